//! Owns which key the lease of each peer came from. A subnet may have several: its plain one, and those of dual-stack
//! clusters, which go on behind an `&`. Only one of them counts, so that none disturbs what another one says. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::Ipv4Network;

/// See the module. Keys are known by what follows their IPv4 part: nothing for the plain one, which takes no memory.
#[derive(Debug, Default)]
pub(super) struct Sources {
    used: BTreeMap<Ipv4Network, Box<str>>,
    /// Keys that would do, if another one did not count.
    spare: BTreeSet<(Ipv4Network, Box<str>)>,
}

/// What it means that a key is gone, or says nothing of use any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The subnet has no lease now.
    Peer,
    /// Another key of the subnet may count now.
    Source,
    /// Nothing: another key counts.
    Nothing,
}

impl Sources {
    /// Takes note of a key with a lease that can be used. Answers whether it counts: the plain key always, any other one
    /// if it is the first.
    pub(super) fn offer(&mut self, subnet: Ipv4Network, name: &str) -> bool {
        let part = ipv6_part(name);
        let other = self.used.get(&subnet).is_some_and(|used| **used != *part);
        if other && !part.is_empty() {
            self.spare.insert((subnet, part.into()));
            return false;
        }
        if let Some(before) = self.used.insert(subnet, part.into()).filter(|_| other) {
            self.spare.insert((subnet, before));
        }
        true
    }

    /// Takes note of a key that is gone, or has no lease that can be used.
    pub(super) fn withdraw(&mut self, subnet: Ipv4Network, name: &str) -> Loss {
        let part = ipv6_part(name);
        self.spare.remove(&(subnet, part.into()));
        if self.used.get(&subnet).is_some_and(|used| **used != *part) {
            return Loss::Nothing;
        }
        self.used.remove(&subnet);
        match self.spare.range((subnet, "".into())..).next() {
            Some((other, _)) if *other == subnet => Loss::Source,
            Some(_) | None => Loss::Peer,
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
        let mut sources = Sources::default();
        assert!(sources.offer(subnet(), DUAL) && sources.offer(subnet(), DUAL));
        assert!(!sources.offer(subnet(), OTHER_DUAL), "the first stays");
        assert!(sources.offer(subnet(), PLAIN));
        assert!(!sources.offer(subnet(), DUAL));
    }

    #[test]
    fn only_the_key_that_counts_takes_the_peer_along() {
        let mut sources = Sources::default();
        sources.offer(subnet(), PLAIN);
        assert_eq!(sources.withdraw(subnet(), DUAL), Loss::Nothing);
        sources.offer(subnet(), DUAL);
        assert_eq!(sources.withdraw(subnet(), DUAL), Loss::Nothing);
        assert_eq!(sources.withdraw(subnet(), PLAIN), Loss::Peer);
        assert_eq!(
            sources.withdraw(subnet(), PLAIN),
            Loss::Peer,
            "a peer that we do not know may be one of the kernel's"
        );
    }

    #[test]
    fn another_key_may_take_over() {
        let mut sources = Sources::default();
        sources.offer(subnet(), DUAL);
        sources.offer(subnet(), PLAIN);
        assert_eq!(sources.withdraw(subnet(), PLAIN), Loss::Source);
        sources.offer(
            "10.5.41.0/24".parse().expect("a subnet in a test"),
            "10.5.41.0-24&fd00:7::-64",
        );
        assert_eq!(sources.withdraw(subnet(), DUAL), Loss::Peer);
    }
}
