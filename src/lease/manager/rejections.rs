//! Owns what the keeper says about entries that it does not pass on.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use crate::model::lease::Rejection;

/// Reasons that are shown at most.
const MOST_SHOWN: usize = 1000;

/// The entries that are not used, each said once.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    by_name: BTreeMap<String, Rejection>,
    changed: bool,
}

impl Rejections {
    /// Takes note of how an entry was judged; `None` is fine, or gone. Logs what is new.
    pub(super) fn note(&mut self, name: &str, rejection: Option<&Rejection>) {
        let Some(rejection) = rejection else {
            self.changed |= self.by_name.remove(name).is_some();
            return;
        };
        if self.by_name.get(name) == Some(rejection) {
            return;
        }
        self.by_name.insert(name.to_owned(), rejection.clone());
        self.changed = true;
        let key = name.escape_debug().take(80).collect::<String>();
        match rejection {
            Rejection::OtherBackend(_) => info!(key, "{rejection}; no peer of ours"),
            Rejection::Key
            | Rejection::Value(_)
            | Rejection::OtherVni(..)
            | Rejection::SecondKey(_)
            | Rejection::Subnet(..)
            | Rejection::PublicIp(..)
            | Rejection::VtepMac(..) => warn!(key, "ignoring a lease: {rejection}"),
        }
    }

    /// Whether anything has changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The reasons, for people.
    pub(super) fn reasons(&self) -> BTreeMap<String, String> {
        self.by_name
            .iter()
            .take(MOST_SHOWN)
            .map(|(name, why)| (name.clone(), why.to_string()))
            .collect()
    }

    /// Before a complete list is judged: entries that are gone need no memory.
    pub(super) fn retain_listed<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let names: BTreeSet<&str> = names.collect();
        self.by_name.retain(|name, _| names.contains(name.as_str()));
    }
}
