//! What the daemon shows of itself: the handles with which the tasks write their parts, and the view that all answers
//! are made from. It keeps the last value of each part and decides nothing.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Context as _;
use ipnetwork::Ipv4Network;
use tokio::sync::watch;

use crate::conditions::readiness::{Readiness, etcd_text, readiness};
use crate::conditions::report::{ConditionReport, LeaseReport, Report};
use crate::conditions::table::Condition;
use crate::conditions::{ConditionType, ConditionWriter, Conditions};
use crate::model::lease::key::parse_key_name;
use crate::model::lease_counts::LeaseCounts;
use crate::model::membership::Membership;

/// How many peers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PeerSummary {
    pub(crate) peers: usize,
    /// Those of the peers whose leases are gone from etcd and whose removal is held.
    pub(crate) held: usize,
}

/// The endpoints of etcd, as requests have found them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct EndpointStates {
    /// The one that has answered last.
    pub(crate) answering: Option<String>,
    /// Those that did not answer when they were asked last, with the reason.
    pub(crate) failing: BTreeMap<String, String>,
}

/// The handles of the tasks. Each part has one writer.
pub(crate) struct StatusWriters {
    conditions: watch::Sender<Conditions>,
    wall_time: fn() -> SystemTime,
    /// Keys of ignored leases, with the reason.
    pub(crate) ignored_leases: watch::Sender<BTreeMap<String, String>>,
    pub(crate) lease_counts: watch::Sender<LeaseCounts>,
    pub(crate) membership: watch::Sender<Option<Membership>>,
    pub(crate) endpoints: watch::Sender<EndpointStates>,
    pub(crate) peers: watch::Sender<PeerSummary>,
    /// What is wrong on this host, but keeps no packet of the overlay from flowing.
    pub(crate) warnings: watch::Sender<Vec<String>>,
    /// Subnets whose leases are damaged and whose peers are kept as last known, and until when.
    pub(crate) last_known: watch::Sender<BTreeMap<Ipv4Network, SystemTime>>,
}

/// The last value of each part.
#[derive(Clone)]
pub(crate) struct StatusView {
    conditions: watch::Receiver<Conditions>,
    ignored_leases: watch::Receiver<BTreeMap<String, String>>,
    lease_counts: watch::Receiver<LeaseCounts>,
    membership: watch::Receiver<Option<Membership>>,
    endpoints: watch::Receiver<EndpointStates>,
    peers: watch::Receiver<PeerSummary>,
    warnings: watch::Receiver<Vec<String>>,
    last_known: watch::Receiver<BTreeMap<Ipv4Network, SystemTime>>,
}

/// Returns the writers and a view of them. Nothing is known yet.
pub(crate) fn status(wall_time: fn() -> SystemTime) -> (StatusWriters, StatusView) {
    let (conditions, conditions_view) = watch::channel(Conditions::unknown(wall_time()));
    let (ignored_leases, ignored_leases_view) = watch::channel(BTreeMap::new());
    let (lease_counts, lease_counts_view) = watch::channel(LeaseCounts::default());
    let (membership, membership_view) = watch::channel(None);
    let (endpoints, endpoints_view) = watch::channel(EndpointStates::default());
    let (peers, peers_view) = watch::channel(PeerSummary::default());
    let (warnings, warnings_view) = watch::channel(Vec::new());
    let (last_known, last_known_view) = watch::channel(BTreeMap::new());
    let writers = StatusWriters {
        conditions,
        wall_time,
        ignored_leases,
        lease_counts,
        membership,
        endpoints,
        peers,
        warnings,
        last_known,
    };
    let view = StatusView {
        conditions: conditions_view,
        ignored_leases: ignored_leases_view,
        lease_counts: lease_counts_view,
        membership: membership_view,
        endpoints: endpoints_view,
        peers: peers_view,
        warnings: warnings_view,
        last_known: last_known_view,
    };
    (writers, view)
}

impl StatusWriters {
    /// Returns the handle for one condition.
    pub(crate) fn condition(&self, kind: ConditionType) -> ConditionWriter {
        ConditionWriter::new(kind, self.conditions.clone(), self.wall_time)
    }
}

impl StatusView {
    pub(crate) fn readiness(&self) -> Readiness {
        readiness(&self.conditions.borrow())
    }

    /// Returns all conditions as they are shown.
    pub(crate) fn conditions(&self) -> Vec<ConditionReport> {
        let conditions = self.conditions.borrow();
        let rows = conditions.rows();
        rows.map(|(kind, condition)| condition_report(kind, condition))
            .collect()
    }

    /// Waits until a condition changes: only conditions make up the readiness. Cancel-safe.
    ///
    /// # Errors
    /// No task is left that could set a condition.
    pub(crate) async fn condition_changed(&mut self) -> anyhow::Result<()> {
        let changed = self.conditions.changed().await;
        changed.context("all tasks that set conditions ended")
    }

    /// Returns a handle that wakes when the counts of used and unused leases change.
    pub(crate) fn lease_counts(&self) -> watch::Receiver<LeaseCounts> {
        self.lease_counts.clone()
    }

    /// Returns a handle that wakes when the lease of this host or the network config changes.
    pub(crate) fn membership(&self) -> watch::Receiver<Option<Membership>> {
        self.membership.clone()
    }

    /// Returns a handle that wakes when the number of peers changes.
    pub(crate) fn peer_summary(&self) -> watch::Receiver<PeerSummary> {
        self.peers.clone()
    }

    /// Returns the keys that are not used, with the reasons.
    fn ignored(&self) -> BTreeMap<String, String> {
        let mut ignored = self.ignored_leases.borrow().clone();
        let last_known = self.last_known.borrow();
        if last_known.is_empty() {
            return ignored;
        }
        for (key, reason) in &mut ignored {
            let subnet = parse_key_name(key).ok();
            if let Some(until) = subnet.and_then(|subnet| last_known.get(&subnet)) {
                *reason = kept_until(reason, *until);
            }
        }
        ignored
    }

    /// Returns all that `flanneld status` shows. `constant` holds the parts that never change.
    pub(crate) fn report(&self, constant: &Report) -> Report {
        let PeerSummary { peers, held } = *self.peers.borrow();
        let endpoints = self.endpoints.borrow();
        Report {
            state: self.readiness().to_string(),
            conditions: self.conditions(),
            contact: etcd_text(&self.conditions.borrow()),
            endpoint: endpoints.answering.clone().unwrap_or_default(),
            failing_endpoints: endpoints.failing.clone(),
            lease: self.membership.borrow().as_ref().map(lease_report),
            peers,
            kept: held,
            warnings: self.warnings.borrow().clone(),
            ignored: self.ignored(),
            ..constant.clone()
        }
    }
}

fn condition_report(kind: ConditionType, condition: &Condition) -> ConditionReport {
    ConditionReport {
        kind: kind.to_string(),
        status: condition.status.to_string(),
        reason: condition.reason.to_string(),
        message: condition.message.clone(),
        since: humantime::format_rfc3339_seconds(condition.since).to_string(),
    }
}

/// Says that the peer of a lease that cannot be read is kept.
fn kept_until(reason: &str, until: SystemTime) -> String {
    let until = humantime::format_rfc3339_seconds(until);
    format!("{reason}; its peer is kept as last known until {until}")
}

fn lease_report(membership: &Membership) -> LeaseReport {
    let Membership { own, config } = membership;
    LeaseReport {
        network: config.network.to_string(),
        subnet: own.subnet.to_string(),
        public_ip: own.public_ip.to_string(),
        vtep_mac: own.vtep_mac.to_string(),
        device: config.vxlan.vni.device(),
    }
}

#[cfg(test)]
mod tests;
