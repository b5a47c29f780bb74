//! Owns what the keeper tells the rest of the daemon, and what it says about entries that it does not pass on.

use std::collections::BTreeMap;

use ipnetwork::Ipv4Network;
use tracing::{info, warn};

use crate::config::NetworkConfig;
use crate::subnet::{Lease, Own, Rejection};

/// Our place in the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// What we are.
    pub own: Own,
    /// What all members share.
    pub config: NetworkConfig,
}

/// What changed, in the order in which it happened. The first is always `Joined`, the second `Leases`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// We hold this lease now.
    Joined(Membership),
    /// These are all the others; whoever is not among them is gone.
    Leases(Vec<Lease>),
    /// Leases that came, changed, or went (`None`).
    Changes(Vec<(Ipv4Network, Option<Lease>)>),
}

/// The entries that are not used, each said once.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    by_name: BTreeMap<String, Rejection>,
}

impl Rejections {
    /// Takes note of how an entry was judged; `None` is fine, or gone. Logs what is new.
    pub(super) fn note(&mut self, name: &str, rejection: Option<&Rejection>) {
        let Some(rejection) = rejection else {
            self.by_name.remove(name);
            return;
        };
        if self.by_name.get(name) == Some(rejection) {
            return;
        }
        self.by_name.insert(name.to_owned(), rejection.clone());
        let key = name.escape_debug().take(80).collect::<String>();
        match rejection {
            Rejection::OtherBackend(_) => info!(key, "{rejection}; no peer of ours"),
            Rejection::Key
            | Rejection::Value(_)
            | Rejection::OtherVni(..)
            | Rejection::Subnet(..)
            | Rejection::PublicIp(..)
            | Rejection::VtepMac(..) => warn!(key, "ignoring a lease: {rejection}"),
        }
    }

    /// Before a complete list is judged: entries that are gone need no memory.
    pub(super) fn retain_listed<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let names: std::collections::BTreeSet<&str> = names.collect();
        self.by_name.retain(|name, _| names.contains(name.as_str()));
    }
}
