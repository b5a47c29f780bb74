//! Owns what only `--peers=on-demand` needs in the loop: neighbours that nobody uses go, and an address whose subnet is not
//! known is asked for, once. Decides only when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::Runner;
use crate::vxlan::kernel::Kernel;
use crate::vxlan::plan::Op;

/// Time in which a doubted neighbour shows whether it is used. The kernel waits 5 s before it asks such a one for its
/// address by ARP (`delay_first_probe_time`), so it is over before that.
const TEST: Duration = Duration::from_secs(3);
/// Time for which a subnet that nobody has is remembered.
const UNKNOWN: Duration = Duration::from_secs(1);
/// Subnets that are remembered at most: a scan of addresses must not fill the memory.
const MOST_UNKNOWN: usize = 4096;

/// The neighbours under test.
#[derive(Debug)]
pub(super) struct Doubts {
    idle: Duration,
    doubted: BTreeSet<Ipv4Addr>,
    pub(super) next: Instant,
}

impl Doubts {
    pub(super) fn new(idle: Duration) -> Self {
        let mut doubts = Self { idle, doubted: BTreeSet::new(), next: Instant::now() };
        doubts.later();
        doubts
    }

    /// A tenth of the time that is allowed: what goes, goes at most that much later.
    fn later(&mut self) {
        self.next = Instant::now() + (self.idle / 10).clamp(Duration::from_secs(1), Duration::from_secs(60));
    }
}

/// The subnets that were asked for, and whom to ask.
#[derive(Debug)]
pub(super) struct Questions {
    ask: mpsc::Sender<Ipv4Network>,
    asked: BTreeMap<Ipv4Network, Instant>,
}

impl Questions {
    pub(super) fn new(ask: mpsc::Sender<Ipv4Network>) -> Self {
        Self { ask, asked: BTreeMap::new() }
    }

    /// Asks for a subnet, unless that was done a moment ago. A question for which there is no room now is asked with the
    /// next packet.
    pub(super) fn ask(&mut self, subnet: Ipv4Network) {
        let now = Instant::now();
        if self.asked.len() >= MOST_UNKNOWN {
            self.asked.retain(|_, at| now - *at < UNKNOWN);
        }
        let lately = self.asked.get(&subnet).is_some_and(|at| now - *at < UNKNOWN);
        if !lately && self.asked.len() < MOST_UNKNOWN && self.ask.try_send(subnet).is_ok() {
            self.asked.insert(subnet, now);
        }
    }
}

impl<K: Kernel> Runner<K> {
    /// Puts to the test who seems unused, or ends the test.
    pub(super) async fn doubt(&mut self) {
        let Some(overlay) = &mut self.overlay else { return };
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
        let doubted =
            ops.iter().filter_map(|op| if let Op::DoubtNeighbour(address, _) = op { Some(*address) } else { None });
        self.doubts.doubted = doubted.collect();
        self.doubts.later();
        if !self.doubts.doubted.is_empty() {
            debug!(neighbours = self.doubts.doubted.len(), "testing whether they are used");
            self.doubts.next = Instant::now() + TEST;
        }
        self.apply(&ops).await;
    }
}
