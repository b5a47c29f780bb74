//! Leases that claim the same VTEP MAC, PublicIP or addresses, in words for the log. It decides nothing: which of them
//! counts is decided in `peer_entries`. Pure.

use std::collections::BTreeSet;

use ipnetwork::Ipv4Network;

use crate::overlay::peer_entries::index::PeerIndex;

/// Limit of the conflicts that are logged: whatever other hosts write must fill neither log nor memory.
const MAX_LOGGED_CONFLICTS: usize = 1000;

/// Two subnets, the smaller first, and what both leases claim.
type Conflict = (Ipv4Network, Ipv4Network, &'static str);

/// Returns a sentence for each pair of leases, of which one is in `subnets`, that claim the same.
pub(crate) fn conflicts(peers: &PeerIndex, subnets: &[Ipv4Network]) -> Vec<String> {
    let mut pairs: BTreeSet<Conflict> = BTreeSet::new();
    for subnet in subnets {
        pairs.extend(conflicts_of(peers, *subnet));
    }
    let sentence = |(one, other, what)| format!("{one} and {other} claim the same {what}");
    pairs.into_iter().map(sentence).collect()
}

fn conflicts_of(peers: &PeerIndex, subnet: Ipv4Network) -> Vec<Conflict> {
    let Some(lease) = peers.get(subnet) else {
        return Vec::new();
    };
    let macs = peers.others_with_mac(lease);
    let public_ips = peers.others_with_public_ip(lease);
    let addresses = peers.overlapping(subnet);
    let others = macs.map(|other| (other, "VtepMAC"));
    let others = others.chain(public_ips.map(|other| (other, "PublicIP")));
    let others = others.chain(addresses.map(|other| (other, "addresses")));
    others
        .map(|(other, what)| (other.min(subnet), other.max(subnet), what))
        .collect()
}

/// The conflicts that were logged: each is logged once.
#[derive(Debug, Default)]
pub(crate) struct LoggedConflicts {
    logged: BTreeSet<String>,
}

impl LoggedConflicts {
    /// Returns whether a conflict has to be logged, and remembers it.
    pub(crate) fn is_new(&mut self, conflict: &str) -> bool {
        self.logged.len() < MAX_LOGGED_CONFLICTS && self.logged.insert(conflict.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::addr::MacAddr;
    use crate::model::lease::Lease;

    fn lease(subnet: &str, mac: u8, host: u8) -> Lease {
        Lease {
            subnet: subnet.parse().expect("a subnet in a test"),
            public_ip: Ipv4Addr::new(10, 99, 0, host),
            vtep_mac: MacAddr([2, 0, 0, 0, 0, mac]),
            vni: None,
            revision: 1,
        }
    }

    #[test]
    fn names_the_leases_that_claim_the_same() {
        let mut peers = PeerIndex::default();
        for lease in [
            lease("10.5.40.0/24", 0x40, 3),
            lease("10.5.41.0/24", 0x40, 4),
            lease("10.5.42.0/24", 0x42, 3),
            lease("10.5.40.0/23", 0x43, 6),
        ] {
            peers.set(lease.subnet, Some(lease));
        }
        let subnets: Vec<Ipv4Network> = peers.subnets().collect();
        assert_eq!(
            conflicts(&peers, &subnets),
            [
                "10.5.40.0/23 and 10.5.40.0/24 claim the same addresses",
                "10.5.40.0/23 and 10.5.41.0/24 claim the same addresses",
                "10.5.40.0/24 and 10.5.41.0/24 claim the same VtepMAC",
                "10.5.40.0/24 and 10.5.42.0/24 claim the same PublicIP",
            ]
        );
        let of_the_last = conflicts(&peers, &subnets[3..]);
        assert_eq!(of_the_last.len(), 1, "{of_the_last:?}");
    }

    #[test]
    fn each_conflict_is_new_once_and_their_number_is_limited() {
        let mut logged = LoggedConflicts::default();
        assert!(logged.is_new("0") && !logged.is_new("0"));
        let new = (0..2 * MAX_LOGGED_CONFLICTS).filter(|n| logged.is_new(&n.to_string()));
        assert_eq!(new.count(), MAX_LOGGED_CONFLICTS - 1);
    }
}
