//! Finds a rival: another host that uses our node id or our PublicIP. Writes the message that tells the operator what to
//! do about it. Pure; whether the rival is alive is found out by `manager::acquire`.

use std::fmt;

use crate::lease::claim::ownership::{Ownership, SharedIdentity, ownership};
use crate::lease::claim::{Exclusions, Identity, fitting_entries};
use crate::lease::port::{Entry, LinkAnswer, Listing};
use crate::model::lease::key::parse_key_name;
use crate::model::lease::value::{Owner, owner_of};
use crate::model::network_config::NetworkConfig;

/// Deleting a reservation would lose the host its subnet.
const KEEP_RESERVATION: &str =
    "the key is a reservation, so do not delete it, but write it again without NodeID";

/// Another host that cannot be told from this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rival {
    /// Its lease.
    pub(crate) entry: Entry,
    pub(crate) owner: Owner,
    pub(crate) shares: SharedIdentity,
}

/// What was found out about a rival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LifeSign {
    /// What the link says, if that is not that nobody answers.
    Link(LinkAnswer),
    /// Its daemon has renewed its etcd lease when its key was written again.
    Renews,
    /// Its key could not be written again, for this reason.
    NotAsked(String),
}

impl LifeSign {
    /// Whether it shows that the host lives.
    pub(crate) const fn is_proof(&self) -> bool {
        match self {
            Self::Link(LinkAnswer::Other { .. }) | Self::Renews => true,
            Self::Link(LinkAnswer::Nobody { .. } | LinkAnswer::Unknown(_)) | Self::NotAsked(_) => {
                false
            }
        }
    }
}

impl fmt::Display for LifeSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(answer) => answer.fmt(f),
            Self::Renews => f.write_str("its flanneld renews the lease when asked"),
            Self::NotAsked(reason) => write!(f, "its flanneld cannot be asked: {reason}"),
        }
    }
}

/// Returns the rival with the oldest lease.
pub(super) fn oldest_rival(
    listing: &Listing,
    config: &NetworkConfig,
    identity: &Identity,
    exclusions: &Exclusions,
) -> Option<Rival> {
    fitting_entries(listing, config)
        .filter_map(|(_, entry, owner)| {
            let dead = exclusions.dead_keys.contains_key(&entry.name);
            match ownership(identity, &owner, dead) {
                Ownership::Rival(shares) => Some(Rival {
                    entry: entry.clone(),
                    owner,
                    shares,
                }),
                Ownership::Ours | Ownership::OtherHost => None,
            }
        })
        .min_by_key(|rival| rival.entry.revision)
}

/// Whether an entry belongs to a rival that wrote it before revision `ours`.
pub(crate) fn is_older_rival(
    entry: &Entry,
    config: &NetworkConfig,
    identity: &Identity,
    ours: i64,
) -> bool {
    let fits = parse_key_name(&entry.name).is_ok_and(|subnet| config.fits(subnet));
    fits && entry.revision < ours
        && owner_of(&entry.value)
            .is_some_and(|owner| matches!(ownership(identity, &owner, false), Ownership::Rival(_)))
}

/// Why this host cannot have a lease beside a rival, and what the operator can do.
pub(crate) struct RivalMessage<'a> {
    pub(crate) rival: &'a Rival,
    pub(crate) sign: Option<LifeSign>,
    pub(crate) identity: &'a Identity,
}

impl RivalMessage<'_> {
    fn key(&self) -> String {
        let prefix = self.identity.prefix.trim_end_matches('/');
        format!("{prefix}/subnets/{}", self.rival.entry.name)
    }

    fn sign(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sign {
            Some(sign) => write!(f, "; {sign}"),
            None => Ok(()),
        }
    }

    fn shared_public_ip(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, node) = (self.identity.public_ip, &self.identity.node);
        let (key, owner) = (self.key(), &self.rival.owner);
        write!(f, "PublicIP {ip} is in use by {owner} (key {key})")?;
        self.sign(f)?;
        write!(
            f,
            "; this host is node {node}: choose another interface with --iface, or another address with --public-ip; if \
             the other host is gone, or is this host before it was reinstalled: "
        )?;
        match self.rival.entry.lease {
            Some(_) => write!(f, "etcdctl del {key}"),
            None => write!(f, "{KEEP_RESERVATION}, or give this host that --node-id"),
        }
    }

    fn shared_node_id(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, node) = (self.identity.public_ip, &self.identity.node);
        let (key, other) = (self.key(), self.rival.owner.public_ip);
        write!(
            f,
            "node id {node} is in use by a host at {other} (key {key})"
        )?;
        self.sign(f)?;
        write!(
            f,
            "; this host is at {ip}: if this machine is a copy, give it its own machine id (rm /etc/machine-id; systemd-machine-id-setup) or a --node-id; if the other \
             host is this one under an earlier address: "
        )?;
        match self.rival.entry.lease {
            Some(_) => write!(f, "etcdctl del {key}"),
            None => write!(f, "{KEEP_RESERVATION} and with PublicIP {ip}"),
        }
    }
}

impl fmt::Display for RivalMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rival.shares {
            SharedIdentity::PublicIp => self.shared_public_ip(f),
            SharedIdentity::NodeId => self.shared_node_id(f),
        }
    }
}
