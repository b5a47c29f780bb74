//! Which key the lease of each peer comes from. A subnet may have several keys: the plain one, and those of dual-stack
//! clusters, which continue after an `&`. Only one of them counts, so that none disturbs what another one says. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::Ipv4Network;

/// The keys that count. A key is stored as what follows its IPv4 part: nothing for the plain one, which takes no memory.
#[derive(Debug, Default)]
pub(super) struct ActiveKeys {
    active: BTreeMap<Ipv4Network, Box<str>>,
    /// Keys with usable leases that do not count, because another key of the subnet does.
    spare: BTreeSet<(Ipv4Network, Box<str>)>,
}

/// What the withdrawal of a key means for its subnet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Withdrawal {
    /// The subnet has no lease now.
    NoLeaseLeft,
    /// The key counted, and there is another one that may count now.
    OtherKeyMayCount,
    /// Nothing: another key counts.
    OtherKeyCounts,
}

impl ActiveKeys {
    /// Records a key with a usable lease. Returns whether it counts: the plain key always does, any other key if it is the
    /// first of its subnet.
    pub(super) fn offer(&mut self, subnet: Ipv4Network, name: &str) -> bool {
        let part = ipv6_part(name);
        let other_counts = self.other_key_counts(subnet, part);
        if other_counts && !part.is_empty() {
            self.spare.insert((subnet, part.into()));
            return false;
        }
        let before = self.active.insert(subnet, part.into());
        if let Some(before) = before.filter(|_| other_counts) {
            self.spare.insert((subnet, before));
        }
        true
    }

    /// Whether a key of this subnet counts.
    pub(super) fn contains(&self, subnet: Ipv4Network) -> bool {
        self.active.contains_key(&subnet)
    }

    /// Returns how many subnets have a key that counts.
    pub(super) fn len(&self) -> usize {
        self.active.len()
    }

    fn other_key_counts(&self, subnet: Ipv4Network, part: &str) -> bool {
        let active = self.active.get(&subnet);
        active.is_some_and(|active| **active != *part)
    }

    /// Records that a key is gone, or has no usable lease any more.
    pub(super) fn withdraw(&mut self, subnet: Ipv4Network, name: &str) -> Withdrawal {
        let part = ipv6_part(name);
        self.spare.remove(&(subnet, part.into()));
        if self.other_key_counts(subnet, part) {
            return Withdrawal::OtherKeyCounts;
        }
        self.active.remove(&subnet);
        match self.spare.range((subnet, "".into())..).next() {
            Some((other, _)) if *other == subnet => Withdrawal::OtherKeyMayCount,
            Some(_) | None => Withdrawal::NoLeaseLeft,
        }
    }
}

fn ipv6_part(name: &str) -> &str {
    name.split_once('&').map_or("", |(_, part)| part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "10.5.40.0-24";
    const DUAL: &str = "10.5.40.0-24&fd00:5::-64";
    const OTHER_DUAL: &str = "10.5.40.0-24&fd00:6::-64";

    fn subnet() -> Ipv4Network {
        "10.5.40.0/24".parse().expect("a subnet in a test")
    }

    #[test]
    fn the_plain_key_counts_before_any_other() {
        let mut keys = ActiveKeys::default();
        assert!(keys.offer(subnet(), DUAL) && keys.offer(subnet(), DUAL));
        assert!(!keys.offer(subnet(), OTHER_DUAL), "the first stays");
        assert!(keys.offer(subnet(), PLAIN));
        assert!(!keys.offer(subnet(), DUAL));
    }

    #[test]
    fn only_the_key_that_counts_removes_the_peer() {
        let mut keys = ActiveKeys::default();
        keys.offer(subnet(), PLAIN);
        assert_eq!(keys.withdraw(subnet(), DUAL), Withdrawal::OtherKeyCounts);
        keys.offer(subnet(), DUAL);
        assert_eq!(keys.withdraw(subnet(), DUAL), Withdrawal::OtherKeyCounts);
        assert_eq!(keys.withdraw(subnet(), PLAIN), Withdrawal::NoLeaseLeft);
        assert_eq!(
            keys.withdraw(subnet(), PLAIN),
            Withdrawal::NoLeaseLeft,
            "the kernel may have a peer that we do not know"
        );
    }

    #[test]
    fn another_key_may_count_when_the_one_that_counted_is_gone() {
        let mut keys = ActiveKeys::default();
        keys.offer(subnet(), DUAL);
        keys.offer(subnet(), PLAIN);
        assert_eq!(keys.withdraw(subnet(), PLAIN), Withdrawal::OtherKeyMayCount);
        keys.offer(
            "10.5.41.0/24".parse().expect("a subnet in a test"),
            "10.5.41.0-24&fd00:7::-64",
        );
        assert_eq!(keys.withdraw(subnet(), DUAL), Withdrawal::NoLeaseLeft);
    }
}
