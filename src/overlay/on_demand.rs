//! Which neighbours made on demand are still used. The kernel does not count the use of a permanent neighbour, so one that
//! seems unused is tested: it is made `stale` for a short time, in which the kernel notes a use. Pure: time is an argument.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::overlay::peer_entries::PeerEntries;
use crate::overlay::plan::Op;
use crate::overlay::port::NeighbourUse;

/// Duration of a test. The kernel waits 5 s before it sends ARP requests for a stale neighbour that is used
/// (`delay_first_probe_time`), so the test has to be over before that.
const TEST_DURATION: Duration = Duration::from_secs(3);
/// Limits of the time between two searches for neighbours that seem unused.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// The neighbours under test.
#[derive(Debug)]
pub(crate) struct NeighbourTests {
    /// How long a neighbour may be unused.
    max_idle: Duration,
    tested: BTreeSet<Ipv4Addr>,
    due: Duration,
}

impl NeighbourTests {
    /// `now` is the time since any fixed moment, here and below.
    pub(crate) fn new(max_idle: Duration, now: Duration) -> Self {
        let mut tests = Self {
            max_idle,
            tested: BTreeSet::new(),
            due: now,
        };
        tests.postpone(now);
        tests
    }

    /// Returns when the kernel has to be asked for the use of its neighbours.
    pub(crate) const fn due(&self) -> Duration {
        self.due
    }

    /// Waits for a tenth of the time that a neighbour may be unused: it is removed at most that much later.
    pub(crate) fn postpone(&mut self, now: Duration) {
        self.due = now + (self.max_idle / 10).clamp(MIN_INTERVAL, MAX_INTERVAL);
    }

    /// Begins the test of all neighbours that seem unused, or ends the test that runs. Returns the operations.
    pub(crate) fn next_step(
        &mut self,
        peers: &mut PeerEntries,
        uses: &[NeighbourUse],
        now: Duration,
    ) -> Vec<Op> {
        self.postpone(now);
        let tested = std::mem::take(&mut self.tested);
        if !tested.is_empty() {
            return end_test(peers, &tested, uses);
        }
        self.tested = seemingly_unused(peers, uses, self.max_idle);
        if !self.tested.is_empty() {
            self.due = now + TEST_DURATION;
        }
        let neighbours = self.tested.iter();
        neighbours
            .filter_map(|address| Some(Op::TestNeighbour(*address, peers.neighbour(*address)?)))
            .collect()
    }
}

fn seemingly_unused(
    peers: &PeerEntries,
    uses: &[NeighbourUse],
    max_idle: Duration,
) -> BTreeSet<Ipv4Addr> {
    uses.iter()
        .filter(|neighbour| neighbour.used >= max_idle && peers.is_in_use(neighbour.address))
        .map(|neighbour| neighbour.address)
        .collect()
}

/// A neighbour that nobody used during the test is removed; all others become permanent again.
fn end_test(
    peers: &mut PeerEntries,
    tested: &BTreeSet<Ipv4Addr>,
    uses: &[NeighbourUse],
) -> Vec<Op> {
    let stale: BTreeSet<Ipv4Addr> = uses
        .iter()
        .filter(|neighbour| neighbour.stale)
        .map(|neighbour| neighbour.address)
        .collect();
    let mut ops: Vec<Op> = tested
        .difference(&stale)
        .filter_map(|address| Some(Op::PutNeighbour(*address, peers.neighbour(*address)?)))
        .collect();
    for unused in tested.intersection(&stale) {
        peers.set_unused(*unused);
        ops.push(Op::DelNeighbour(*unused));
    }
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::addr::MacAddr;
    use crate::model::lease::Lease;
    use crate::overlay::settings::PeerMode;

    const MAX_IDLE: Duration = Duration::from_secs(600);
    const START: Duration = Duration::from_secs(1000);

    fn pod(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 5, 40, last)
    }

    /// A peer of whose pods `.2`, `.3` and `.4` have a neighbour.
    fn peers() -> PeerEntries {
        let network = "10.5.0.0/16".parse().expect("a network in a test");
        let mut peers = PeerEntries::new(network, PeerMode::OnDemand);
        let lease = Lease {
            subnet: "10.5.40.0/24".parse().expect("a subnet in a test"),
            public_ip: Ipv4Addr::new(10, 99, 0, 3),
            vtep_mac: MacAddr([2, 0, 0, 0, 0, 0x40]),
            vni: None,
            revision: 1,
        };
        peers.set(lease.subnet, Some(lease));
        for last in [2, 3, 4] {
            peers.set_in_use(pod(last));
        }
        peers
    }

    fn unused_for(last: u8, seconds: u64, stale: bool) -> NeighbourUse {
        NeighbourUse {
            address: pod(last),
            used: Duration::from_secs(seconds),
            stale,
        }
    }

    fn commands(ops: &[Op]) -> Vec<String> {
        ops.iter()
            .map(|op| op.command("flannel.1").to_string())
            .collect()
    }

    #[test]
    fn only_a_neighbour_that_nobody_uses_during_the_test_is_removed() {
        let (mut peers, mut tests) = (peers(), NeighbourTests::new(MAX_IDLE, START));
        assert_eq!(tests.due(), START + Duration::from_secs(60));
        let now = tests.due();
        let uses = [
            unused_for(2, 700, false),
            unused_for(3, 700, false),
            unused_for(4, 599, false),
            unused_for(9, 700, false),
        ];
        assert_eq!(
            commands(&tests.next_step(&mut peers, &uses, now)),
            [
                "ip neigh replace 10.5.40.2 lladdr 02:00:00:00:00:40 dev flannel.1 nud stale extern_learn",
                "ip neigh replace 10.5.40.3 lladdr 02:00:00:00:00:40 dev flannel.1 nud stale extern_learn",
            ],
            "neither one that was used lately nor one that is not ours"
        );
        assert_eq!(tests.due(), now + TEST_DURATION);
        let now = tests.due();
        let uses = [unused_for(2, 3, true), unused_for(3, 1, false)];
        assert_eq!(
            commands(&tests.next_step(&mut peers, &uses, now)),
            [
                "ip neigh replace 10.5.40.3 lladdr 02:00:00:00:00:40 dev flannel.1 nud permanent",
                "ip neigh del 10.5.40.2 dev flannel.1",
            ]
        );
        assert_eq!(tests.due(), now + Duration::from_secs(60));
        assert_eq!(
            [2, 3, 4].map(|last| peers.is_in_use(pod(last))),
            [false, true, true]
        );
    }

    #[test]
    fn a_peer_that_disappears_during_the_test_ends_it_for_its_pods() {
        let (mut peers, mut tests) = (peers(), NeighbourTests::new(MAX_IDLE, START));
        tests.next_step(&mut peers, &[unused_for(2, 700, false)], START);
        let subnet = "10.5.40.0/24".parse().expect("a subnet in a test");
        peers.set(subnet, None);
        peers.forget_unowned(subnet);
        assert_eq!(tests.next_step(&mut peers, &[], START), Vec::new());
    }

    #[test]
    fn the_interval_follows_the_option_within_limits() {
        for (max_idle, interval) in [(1, 1), (100, 10), (86_400, 60)] {
            let tests = NeighbourTests::new(Duration::from_secs(max_idle), START);
            assert_eq!(tests.due(), START + Duration::from_secs(interval));
        }
    }
}
