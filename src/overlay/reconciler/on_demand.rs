//! Owns what only `--peers=on-demand` needs in the loop: neighbours that nobody uses go, and an address whose subnet is not
//! known is asked for, once. Decides only when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use crate::overlay::plan::Op;
use crate::overlay::port::{Kernel, Miss};
use crate::overlay::reconciler::OverlayReconciler;

/// Time in which a doubted neighbour shows whether it is used. The kernel waits 5 s before it asks such a one for its
/// address by ARP (`delay_first_probe_time`), so it is over before that.
const TEST: Duration = Duration::from_secs(3);
/// Time for which a subnet that nobody has is remembered.
const UNKNOWN: Duration = Duration::from_secs(1);
/// Time after which the kernel gives up an address (3 probes, a second apart).
const UNRESOLVED: Duration = Duration::from_secs(3);
/// Subnets that are remembered at most: a scan of addresses must not fill the memory.
const MOST_UNKNOWN: usize = 4096;

/// Addresses that nobody has for which packets may wait at one time. The kernel holds 1024 unresolved neighbours by
/// default (`gc_thresh3`), on the whole machine; with all of them taken no packet to a known pod can ask any more.
const MOST_WAITING: usize = 256;

/// The neighbours under test.
#[derive(Debug)]
pub(super) struct Doubts {
    idle: Duration,
    doubted: BTreeSet<Ipv4Addr>,
    pub(super) next: Instant,
}

impl Doubts {
    pub(super) fn new(idle: Duration) -> Self {
        let mut doubts = Self {
            idle,
            doubted: BTreeSet::new(),
            next: Instant::now(),
        };
        doubts.later();
        doubts
    }

    /// A tenth of the time that is allowed: what goes, goes at most that much later.
    fn later(&mut self) {
        self.next = Instant::now()
            + (self.idle / 10).clamp(Duration::from_secs(1), Duration::from_secs(60));
    }
}

/// The subnets that were asked for, and whom to ask.
#[derive(Debug)]
pub(super) struct Questions {
    ask: mpsc::Sender<Ipv4Network>,
    asked: BTreeMap<Ipv4Network, Instant>,
    /// Addresses that nobody has for which packets wait, since when we count them.
    waiting: BTreeSet<Ipv4Addr>,
    since: Instant,
}

impl Questions {
    pub(super) fn new(ask: mpsc::Sender<Ipv4Network>) -> Self {
        Self {
            ask,
            asked: BTreeMap::new(),
            waiting: BTreeSet::new(),
            since: Instant::now(),
        }
    }

    /// Whether an address that nobody has should give its place in the kernel's table to others: so in a scan of many. One
    /// that is asked for again and again keeps it, for without it each packet would make a question.
    pub(super) fn is_one_too_many(&mut self, address: Ipv4Addr) -> bool {
        if self.since.elapsed() > UNRESOLVED {
            self.waiting.clear();
            self.since = Instant::now();
        }
        if self.waiting.len() < MOST_WAITING {
            self.waiting.insert(address);
        }
        !self.waiting.contains(&address)
    }

    /// Asks for a subnet, unless that was done a moment ago. A question for which there is no room now is asked with the
    /// next packet.
    pub(super) fn ask(&mut self, subnet: Ipv4Network) {
        let now = Instant::now();
        if self.asked.len() >= MOST_UNKNOWN {
            self.asked.retain(|_, at| now - *at < UNKNOWN);
        }
        let lately = self
            .asked
            .get(&subnet)
            .is_some_and(|at| now - *at < UNKNOWN);
        if !lately && self.asked.len() < MOST_UNKNOWN && self.ask.try_send(subnet).is_ok() {
            self.asked.insert(subnet, now);
        }
    }
}

impl<K: Kernel> OverlayReconciler<K> {
    /// An address that nobody has, as far as we know: asks, and keeps the kernel's table from filling up with such.
    pub(super) fn pass_by(&mut self, miss: Miss) {
        let (Some(overlay), Miss::L3(address)) = (&self.overlay, miss) else {
            return;
        };
        let Some(subnet) = overlay.subnet_of(miss) else {
            return;
        };
        self.questions.ask(subnet);
        if !self.barred && self.questions.is_one_too_many(address) {
            let failures = self
                .kernel
                .apply(overlay.device(), &[Op::DelNeighbour(address)]);
            self.note(&failures);
        }
    }

    /// Puts to the test who seems unused, or ends the test.
    pub(super) async fn doubt(&mut self) {
        let Some(overlay) = &mut self.overlay else {
            return;
        };
        let ages = match self.kernel.ages(overlay.device()).await {
            Ok(ages) => ages,
            Err(error) => {
                self.doubts.later();
                return self.failed(&crate::error::chain(&error));
            }
        };
        let ops = match self.doubts.doubted.is_empty() {
            true => overlay.doubt(&ages, self.doubts.idle),
            false => overlay.judge(&std::mem::take(&mut self.doubts.doubted), &ages),
        };
        let doubted = ops.iter().filter_map(|op| {
            if let Op::DoubtNeighbour(address, _) = op {
                Some(*address)
            } else {
                None
            }
        });
        self.doubts.doubted = doubted.collect();
        self.doubts.later();
        if !self.doubts.doubted.is_empty() {
            debug!(
                neighbours = self.doubts.doubted.len(),
                "testing whether they are used"
            );
            self.doubts.next = Instant::now() + TEST;
        }
        self.apply(&ops).await;
    }
}
