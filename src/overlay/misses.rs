//! The answers to the kernel's questions for addresses, and what happens when no peer has the address: etcd is asked for
//! the lease, and addresses that nobody has must not fill the kernel's table. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::model::addr::network_of;
use crate::overlay::desired::DesiredOverlay;
use crate::overlay::peer_entries::PeerEntries;
use crate::overlay::plan::Op;
use crate::overlay::port::Miss;

/// Time between two requests to etcd for a subnet.
const REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// Limit of the requests that are remembered: a scan of addresses must not fill the memory.
const MAX_REQUESTS: usize = 4096;
/// Time after which the kernel gives up an address (3 probes, a second apart).
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Limit of the addresses without a peer for which packets wait at one time. The kernel holds 1024 unresolved neighbours
/// by default (`gc_thresh3`), on the whole machine; when they are all taken, no packet to a known pod can ask any more.
const MAX_UNRESOLVED: usize = 256;

/// Returns the operations that answer a miss: none, if no peer has the address.
pub(crate) fn answer(peers: &mut PeerEntries, miss: Miss) -> Vec<Op> {
    match miss {
        Miss::L3(address) => resolve(peers, address).into_iter().flatten().collect(),
        Miss::L2(mac) => {
            let ip = peers.fdb(mac);
            ip.map(|ip| Op::PutFdb(mac, ip)).into_iter().collect()
        }
    }
}

/// The FDB entry comes first: the packet waits for the neighbour, and is lost if it then finds no FDB entry.
fn resolve(peers: &mut PeerEntries, address: Ipv4Addr) -> Option<[Op; 2]> {
    peers.set_in_use(address);
    let mac = peers.resolve(address)?;
    let ip = peers.fdb(mac)?;
    Some([Op::PutFdb(mac, ip), Op::PutNeighbour(address, mac)])
}

/// Returns the subnet whose lease etcd may have, for an address in the overlay that no known peer has.
pub(crate) fn unknown_subnet(overlay: &DesiredOverlay, address: Ipv4Addr) -> Option<Ipv4Network> {
    let inside = overlay.network().contains(address);
    inside.then(|| network_of(address, overlay.subnet_len()))?
}

/// The subnets that etcd was asked for.
#[derive(Debug, Default)]
pub(crate) struct SubnetRequests {
    requested: BTreeMap<Ipv4Network, Duration>,
}

impl SubnetRequests {
    /// Whether etcd has to be asked for a subnet: not, if it was asked a moment ago.
    pub(crate) fn is_due(&mut self, subnet: Ipv4Network, now: Duration) -> bool {
        if self.requested.len() >= MAX_REQUESTS {
            self.requested
                .retain(|_, at| now.saturating_sub(*at) < REQUEST_INTERVAL);
        }
        let recent = self
            .requested
            .get(&subnet)
            .is_some_and(|at| now.saturating_sub(*at) < REQUEST_INTERVAL);
        !recent && self.requested.len() < MAX_REQUESTS
    }

    pub(crate) fn record(&mut self, subnet: Ipv4Network, now: Duration) {
        self.requested.insert(subnet, now);
    }
}

/// The addresses without a peer for which packets wait.
#[derive(Debug, Default)]
pub(crate) struct UnresolvedAddresses {
    waiting: BTreeSet<Ipv4Addr>,
    counted_since: Duration,
}

impl UnresolvedAddresses {
    /// Whether an address has to give its place in the kernel's table to others, as in a scan of many addresses. One that
    /// is asked for again and again keeps its place: without it, each packet would lead to a miss.
    pub(crate) fn exceeds_limit(&mut self, address: Ipv4Addr, now: Duration) -> bool {
        if now.saturating_sub(self.counted_since) > RESOLVE_TIMEOUT {
            self.waiting.clear();
            self.counted_since = now;
        }
        if self.waiting.len() < MAX_UNRESOLVED {
            self.waiting.insert(address);
        }
        !self.waiting.contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(number: u32) -> Ipv4Network {
        let address = Ipv4Addr::from(0x0a00_0000 + (number << 8));
        Ipv4Network::new(address, 24).expect("a length of 24")
    }

    #[test]
    fn a_subnet_is_requested_once_in_a_second() {
        let mut requests = SubnetRequests::default();
        let ms = Duration::from_millis;
        assert!(requests.is_due(subnet(1), ms(0)));
        assert!(requests.is_due(subnet(1), ms(0)), "it was not sent");
        requests.record(subnet(1), ms(0));
        assert!(!requests.is_due(subnet(1), ms(999)));
        assert!(requests.is_due(subnet(2), ms(999)));
        assert!(requests.is_due(subnet(1), ms(1000)));
    }

    #[test]
    fn a_scan_of_addresses_fills_the_memory_only_up_to_a_limit() {
        let mut requests = SubnetRequests::default();
        for number in 0..10_000 {
            if requests.is_due(subnet(number), Duration::ZERO) {
                requests.record(subnet(number), Duration::ZERO);
            }
        }
        assert_eq!(requests.requested.len(), MAX_REQUESTS);
        assert!(requests.is_due(subnet(9999), REQUEST_INTERVAL));
        assert!(requests.requested.is_empty());
    }

    #[test]
    fn the_first_addresses_keep_their_place_until_the_kernel_gives_them_up() {
        let mut unresolved = UnresolvedAddresses::default();
        let address = |number: usize| Ipv4Addr::from(0x0a05_0000 + number as u32);
        let mut exceeds = |number, now| unresolved.exceeds_limit(address(number), now);
        assert!((0..MAX_UNRESOLVED).all(|number| !exceeds(number, Duration::ZERO)));
        assert!(exceeds(MAX_UNRESOLVED, RESOLVE_TIMEOUT));
        assert!(!exceeds(0, RESOLVE_TIMEOUT));
        let later = RESOLVE_TIMEOUT + Duration::from_millis(1);
        assert!(!exceeds(MAX_UNRESOLVED, later));
    }
}
