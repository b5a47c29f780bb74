//! Why this host cannot have a lease now, and which change may end that. Pure.

use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::conditions::{Problem, Reason};
use crate::lease::claim::{self, Identity, LifeSign, Rival, RivalMessage};
use crate::lease::port::{Entry, LinkAnswer, Listing, RegistryChange};
use crate::model::host_network::NeededNetwork;
use crate::model::lease::Rejection;
use crate::model::lease::validate::validate_own;
use crate::model::network_config::NetworkConfig;

/// How often a host without a lease lists again.
const WAIT_RECHECK: Duration = Duration::from_secs(600);
/// The same where the link, which costs etcd nothing, told that a rival lives.
const LINK_RECHECK: Duration = Duration::from_secs(60);

/// What keeps this host from a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blocker {
    /// etcd holds no network config.
    NoConfig,
    /// etcd holds a network config that cannot be used.
    InvalidConfig,
    /// The key of a rival.
    Rival {
        lease: Entry,
        /// It answers on the link of the PublicIP that both have.
        on_link: bool,
    },
    NoFreeSubnet,
    /// The other hosts would ignore a lease with our PublicIP.
    PublicIpUnusable,
    /// The overlay lies in the network of the hosts.
    NetworkOverlap,
}

/// The key of the network config.
pub(super) fn config_key(prefix: &str) -> String {
    format!("{}/config", prefix.trim_end_matches('/'))
}

/// There is no lease for this host now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoLease {
    pub(super) blocker: Blocker,
    /// The reason and the remedy, for people.
    pub(super) message: String,
}

impl NoLease {
    pub(super) fn no_config(prefix: &str) -> Self {
        let key = config_key(prefix);
        Self {
            blocker: Blocker::NoConfig,
            message: format!(
                "waiting for a network config in etcd: the key {key} does not exist; check --etcd-prefix, or create the \
                 key: etcdctl put {key} '{{\"Network\": \"10.5.0.0/16\"}}'"
            ),
        }
    }

    /// `error` says what is wrong with it.
    pub(super) fn invalid_config(error: &str) -> Self {
        Self {
            blocker: Blocker::InvalidConfig,
            message: format!(
                "waiting for a network config in etcd that can be used; the present one cannot: {error}"
            ),
        }
    }

    /// Why the condition `LeaseHeld` is false.
    pub(super) fn problem(&self) -> Problem {
        let reason = match self.blocker {
            Blocker::NoConfig => Reason::NoConfig,
            Blocker::InvalidConfig => Reason::InvalidConfig,
            Blocker::Rival { .. } => Reason::Rival,
            Blocker::NoFreeSubnet => Reason::NoFreeSubnet,
            Blocker::PublicIpUnusable => Reason::PublicIpUnusable,
            Blocker::NetworkOverlap => Reason::NetworkOverlap,
        };
        Problem::new(reason, self.message.as_str())
    }

    /// `sign`: what was found out about its life.
    pub(super) fn rival(rival: &Rival, sign: Option<LifeSign>, identity: &Identity) -> Self {
        let lease = rival.entry.clone();
        let on_link = matches!(&sign, Some(LifeSign::Link(LinkAnswer::Other { .. })));
        let message = RivalMessage {
            rival,
            sign,
            identity,
        };
        Self {
            blocker: Blocker::Rival { lease, on_link },
            message: message.to_string(),
        }
    }

    /// How long a host waits before it lists again without a change of etcd: a rival may be silent by then.
    pub(super) const fn recheck_after(&self) -> Duration {
        match self.blocker {
            Blocker::Rival { on_link: true, .. } => LINK_RECHECK,
            Blocker::Rival { on_link: false, .. }
            | Blocker::NoConfig
            | Blocker::InvalidConfig
            | Blocker::NoFreeSubnet
            | Blocker::PublicIpUnusable
            | Blocker::NetworkOverlap => WAIT_RECHECK,
        }
    }

    /// Returns why this host should not have a lease, whatever etcd holds: the other hosts would ignore it, or pods would
    /// get addresses of hosts. While pods run, the network stays as it is.
    pub(super) fn of_host(
        config: &NetworkConfig,
        identity: &Identity,
        has_pods: bool,
    ) -> Option<Self> {
        let Identity {
            public_ip, host, ..
        } = identity;
        if let Err(rejection) = validate_own(*public_ip, config, host) {
            return Some(Self::public_ip_unusable(&rejection, identity));
        }
        let around = host.underlay_at(config.network);
        let around = around.filter(|_| !has_pods)?;
        Some(Self::network_overlap(config, around, identity))
    }

    pub(super) fn no_free_subnet(
        listing: &Listing,
        config: &NetworkConfig,
        previous: Option<Ipv4Network>,
    ) -> Self {
        let holder = previous.and_then(|subnet| Some((subnet, claim::holder(listing, subnet)?)));
        let previous = holder.map_or_else(String::new, |(subnet, holder)| {
            format!("; the previous subnet of this host, {subnet}, is held by {holder}")
        });
        let (min, max) = (config.subnet_min, config.subnet_max);
        Self {
            blocker: Blocker::NoFreeSubnet,
            message: format!(
                "no subnet from {min} to {max} is free{previous}; waiting for a free one"
            ),
        }
    }

    /// `identity` has a PublicIP that no other host would use.
    fn public_ip_unusable(rejection: &Rejection, identity: &Identity) -> Self {
        let local = identity.host.local.unwrap_or(identity.public_ip);
        Self {
            blocker: Blocker::PublicIpUnusable,
            message: format!(
                "{rejection}; the other hosts would ignore the lease of this host, whose external interface has the \
                 address {local}: choose another interface with --iface, or another address with --public-ip"
            ),
        }
    }

    /// `around` is a subnet of the underlay.
    fn network_overlap(
        config: &NetworkConfig,
        around: &NeededNetwork,
        identity: &Identity,
    ) -> Self {
        let (network, lan, what) = (config.network, around.network, &around.what);
        let key = config_key(&identity.prefix);
        let relation = if network == lan { "is" } else { "is inside" };
        Self {
            blocker: Blocker::NetworkOverlap,
            message: format!(
                "Network {network} {relation} {lan}, {what}: pods would get addresses of hosts; choose another Network \
                 in the key {key}"
            ),
        }
    }

    /// Whether a change may end the wait. `joined`: this host already had a lease in this run. A new network config is then used only after a restart, so it cannot end the wait.
    pub(super) fn may_end_with(&self, change: &RegistryChange, joined: bool) -> bool {
        match (&self.blocker, change) {
            (Blocker::NoConfig | Blocker::InvalidConfig, RegistryChange::Config(_)) => true,
            (
                Blocker::NoConfig | Blocker::InvalidConfig,
                RegistryChange::Put(_) | RegistryChange::Delete(_),
            ) => false,
            (_, RegistryChange::Config(_)) => !joined,
            // A deleted key may have freed a subnet, or may have been the rival's.
            (Blocker::PublicIpUnusable | Blocker::NetworkOverlap, RegistryChange::Delete(_)) => {
                false
            }
            (_, RegistryChange::Delete(_)) => true,
            // The same value is what we have written to see whether it lives.
            (Blocker::Rival { lease, .. }, RegistryChange::Put(entry)) => {
                entry.name == lease.name && entry.value != lease.value
            }
            (
                Blocker::NoFreeSubnet | Blocker::PublicIpUnusable | Blocker::NetworkOverlap,
                RegistryChange::Put(_),
            ) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, value: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
            created: 1,
            revision: 1,
            lease: None,
        }
    }

    fn put(name: &str) -> RegistryChange {
        RegistryChange::Put(entry(name, "new"))
    }

    #[test]
    fn only_a_change_that_may_help_ends_the_wait() {
        let rival = Blocker::Rival {
            lease: entry("10.5.40.0-24", "old"),
            on_link: false,
        };
        let same = RegistryChange::Put(entry("10.5.40.0-24", "old"));
        let config = RegistryChange::Config(None);
        let delete = RegistryChange::Delete("10.5.41.0-24".to_owned());
        let (rivals, other) = (put("10.5.40.0-24"), put("10.5.41.0-24"));
        for (blocker, joined, change, expected) in [
            (Blocker::NoConfig, false, &config, true),
            (Blocker::NoConfig, false, &delete, false),
            (Blocker::NoConfig, false, &rivals, false),
            (Blocker::InvalidConfig, false, &config, true),
            (Blocker::InvalidConfig, false, &delete, false),
            (Blocker::NoFreeSubnet, false, &config, true),
            (Blocker::NoFreeSubnet, true, &config, false),
            (Blocker::NoFreeSubnet, true, &delete, true),
            (Blocker::NoFreeSubnet, false, &rivals, false),
            (rival.clone(), false, &config, true),
            (rival.clone(), true, &config, false),
            (rival.clone(), true, &delete, true),
            (rival.clone(), true, &rivals, true),
            (rival.clone(), true, &other, false),
            (rival.clone(), true, &same, false),
        ] {
            let no_lease = NoLease {
                blocker,
                message: String::new(),
            };
            let ends = no_lease.may_end_with(change, joined);
            assert_eq!(ends, expected, "{no_lease:?} {joined} {change:?}");
        }
    }
}
