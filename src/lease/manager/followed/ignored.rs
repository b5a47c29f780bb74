//! The entries that are not used, with the reasons. Each reason is logged once. It does not judge entries.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use crate::model::lease::Rejection;
use crate::model::lease_counts::LeaseCounts;

const MAX_SHOWN: usize = 1000;
const MAX_LOGGED_KEY_CHARS: usize = 80;

/// Whether `flanneld status` shows the reasons as they are.
#[derive(Debug, Default, PartialEq, Eq)]
enum Shown {
    #[default]
    Current,
    Outdated,
}

/// The entries that are not used.
#[derive(Debug, Default)]
pub(super) struct IgnoredLeases {
    by_name: BTreeMap<String, Rejection>,
    counts: Counts,
    shown: Shown,
}

/// How many entries there are for each kind of reason.
#[derive(Debug, Default)]
struct Counts {
    other_vni: usize,
    other_backend: usize,
    otherwise: usize,
}

impl Counts {
    const fn of(&mut self, rejection: &Rejection) -> &mut usize {
        match rejection {
            Rejection::OtherVni(..) => &mut self.other_vni,
            Rejection::OtherBackend(_) => &mut self.other_backend,
            Rejection::Key
            | Rejection::Value(_)
            | Rejection::SecondKey(_)
            | Rejection::Subnet(..)
            | Rejection::NeededHere(..)
            | Rejection::PublicIp(..)
            | Rejection::VtepMac(..) => &mut self.otherwise,
        }
    }
}

impl IgnoredLeases {
    pub(super) fn insert(&mut self, name: &str, rejection: &Rejection) {
        if self.by_name.get(name) == Some(rejection) {
            return;
        }
        *self.counts.of(rejection) += 1;
        if let Some(before) = self.by_name.insert(name.to_owned(), rejection.clone()) {
            *self.counts.of(&before) -= 1;
        }
        self.shown = Shown::Outdated;
        log(name, rejection);
    }

    pub(super) fn remove(&mut self, name: &str) {
        if let Some(before) = self.by_name.remove(name) {
            *self.counts.of(&before) -= 1;
            self.shown = Shown::Outdated;
        }
    }

    /// Forgets the entries that are not in a complete list.
    pub(super) fn retain_listed<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let names: BTreeSet<&str> = names.collect();
        let counts = &mut self.counts;
        self.by_name.retain(|name, rejection| {
            let is_listed = names.contains(name.as_str());
            if !is_listed {
                *counts.of(rejection) -= 1;
            }
            is_listed
        });
    }

    /// Returns how many there are. `used`: how many leases are used.
    pub(super) fn counts(&self, used: usize) -> LeaseCounts {
        let Counts {
            other_vni,
            other_backend,
            otherwise,
        } = self.counts;
        LeaseCounts {
            used,
            other_vni,
            other_backend,
            otherwise_unusable: otherwise,
            example: self.example(),
            config_differences: Vec::new(),
        }
    }

    fn example(&self) -> Option<(String, String)> {
        if self.counts.other_vni + self.counts.other_backend == 0 {
            return None;
        }
        let mut ignored = self.by_name.iter();
        let (name, rejection) = ignored.find(|(_, rejection)| {
            matches!(
                rejection,
                Rejection::OtherVni(..) | Rejection::OtherBackend(_)
            )
        })?;
        Some((name.clone(), rejection.to_string()))
    }

    /// Returns the reasons as text.
    pub(super) fn reasons(&mut self) -> BTreeMap<String, String> {
        self.shown = Shown::Current;
        let shown = self.by_name.iter().take(MAX_SHOWN);
        shown
            .map(|(name, rejection)| (name.clone(), rejection.to_string()))
            .collect()
    }

    /// Returns the reasons as text, if any has changed since they were returned last.
    pub(super) fn changed_reasons(&mut self) -> Option<BTreeMap<String, String>> {
        match self.shown {
            Shown::Current => None,
            Shown::Outdated => Some(self.reasons()),
        }
    }
}

fn log(name: &str, rejection: &Rejection) {
    let key: String = name.escape_debug().take(MAX_LOGGED_KEY_CHARS).collect();
    match rejection {
        // Hosts with another backend are no mistake: they are just no peers.
        Rejection::OtherBackend(_) => info!(key, "ignoring a lease: {rejection}"),
        Rejection::Key
        | Rejection::Value(_)
        | Rejection::OtherVni(..)
        | Rejection::SecondKey(_)
        | Rejection::Subnet(..)
        | Rejection::PublicIp(..)
        | Rejection::NeededHere(..)
        | Rejection::VtepMac(..) => warn!(key, "ignoring a lease: {rejection}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_reasons_again_only_when_one_has_changed() {
        let mut ignored = IgnoredLeases::default();
        assert_eq!(ignored.changed_reasons(), None);
        ignored.insert("nonsense", &Rejection::Key);
        let shown = ignored.changed_reasons().expect("a new reason");
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["nonsense"]);
        ignored.insert("nonsense", &Rejection::Key);
        ignored.remove("10.5.1.0-24");
        assert_eq!(ignored.changed_reasons(), None);
        ignored.remove("nonsense");
        assert_eq!(ignored.changed_reasons(), Some(BTreeMap::new()));
    }

    #[test]
    fn counts_the_kinds_of_reasons_as_entries_come_and_go() {
        let (udp, key) = (Rejection::OtherBackend("udp".to_owned()), Rejection::Key);
        let mut ignored = IgnoredLeases::default();
        let counted = |ignored: &IgnoredLeases| {
            let counts = ignored.counts(5);
            let example = counts.example.map(|(name, _)| name);
            (counts.other_backend, counts.otherwise_unusable, example)
        };
        ignored.insert("a", &udp);
        ignored.insert("b", &udp);
        ignored.insert("b", &udp);
        ignored.insert("c", &key);
        assert_eq!(counted(&ignored), (2, 1, Some("a".to_owned())));
        ignored.insert("a", &key);
        ignored.remove("c");
        assert_eq!(counted(&ignored), (1, 1, Some("b".to_owned())));
        ignored.retain_listed(["a"].into_iter());
        assert_eq!(counted(&ignored), (0, 1, None));
    }

    #[test]
    fn forgets_what_is_not_listed_any_more() {
        let mut ignored = IgnoredLeases::default();
        ignored.insert("nonsense", &Rejection::Key);
        ignored.insert("more", &Rejection::Key);
        ignored.retain_listed(["more"].into_iter());
        assert_eq!(ignored.reasons().keys().collect::<Vec<_>>(), ["more"]);
    }
}
