//! The channels between the tasks and the views of how the daemon is.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Context as _;
use tokio::sync::watch;

use crate::conditions::readiness::{Readiness, etcd_text, readiness};
use crate::conditions::report::{LeaseReport, Report};
use crate::conditions::{ConditionType, ConditionWriter, Conditions};
use crate::model::membership::Membership;
use crate::peers::task::Summary;

/// What the views read.
#[derive(Clone)]
pub(crate) struct StatusReceivers {
    pub(crate) conditions: watch::Receiver<Conditions>,
    pub(crate) ignored: watch::Receiver<BTreeMap<String, String>>,
    pub(crate) membership: watch::Receiver<Option<Membership>>,
    pub(crate) summary: watch::Receiver<Summary>,
}

/// What the tasks write.
pub(crate) struct StatusSenders {
    conditions: watch::Sender<Conditions>,
    wall_time: fn() -> SystemTime,
    pub(crate) ignored: watch::Sender<BTreeMap<String, String>>,
    pub(crate) membership: watch::Sender<Option<Membership>>,
    pub(crate) summary: watch::Sender<Summary>,
}

/// All channels, while nothing is known yet.
pub(crate) fn channels(wall_time: fn() -> SystemTime) -> (StatusSenders, StatusReceivers) {
    let (conditions, conditions_view) = watch::channel(Conditions::unknown(wall_time()));
    let (ignored, ignored_view) = watch::channel(BTreeMap::new());
    let (membership, membership_view) = watch::channel(None);
    let (summary, summary_view) = watch::channel(Summary::default());
    let senders = StatusSenders {
        conditions,
        wall_time,
        ignored,
        membership,
        summary,
    };
    let receivers = StatusReceivers {
        conditions: conditions_view,
        ignored: ignored_view,
        membership: membership_view,
        summary: summary_view,
    };
    (senders, receivers)
}

impl StatusSenders {
    /// The handle for one condition.
    pub(crate) fn condition(&self, kind: ConditionType) -> ConditionWriter {
        ConditionWriter::new(kind, self.conditions.clone(), self.wall_time)
    }
}

impl StatusReceivers {
    pub(crate) fn readiness(&self) -> Readiness {
        readiness(&self.conditions.borrow())
    }

    /// Waits until a condition changes.
    pub(crate) async fn changed(&mut self) -> anyhow::Result<()> {
        let changed = self.conditions.changed().await;
        changed.context("all tasks that set conditions ended")
    }

    /// All that `flanneld status` says; `fixed` holds what never changes.
    pub(crate) fn report(&self, fixed: &Report) -> Report {
        let Summary { peers, kept } = *self.summary.borrow();
        Report {
            state: self.readiness().to_string(),
            contact: etcd_text(&self.conditions.borrow()),
            lease: self.membership.borrow().as_ref().map(lease_report),
            peers,
            kept,
            ignored: self.ignored.borrow().clone(),
            ..fixed.clone()
        }
    }
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
