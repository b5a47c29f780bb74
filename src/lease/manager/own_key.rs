//! Judges changes of etcd while this host holds its lease: whether the lease still stands. Pure; it only logs.

use tracing::warn;

use crate::lease::claim::{Identity, describe, is_older_rival, is_ours};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::HeldLease;
use crate::lease::port::{Entry, RegistryChange};
use crate::model::lease::OwnLease;
use crate::model::lease::key::key_name;
use crate::model::lease::value::{owner_of, parse_lease};
use crate::model::network_config::NetworkConfig;

/// What a change means for our key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OwnKey {
    Unaffected,
    /// It holds our value, last written at this revision.
    Confirmed {
        revision: i64,
    },
    /// Another client has overwritten it with what is not ours.
    Overwritten(Entry),
}

/// Checks a change against our lease.
///
/// # Errors
/// The lease may not stand any more. Only a new list can tell.
pub(super) fn check(
    change: &RegistryChange,
    held: &HeldLease,
    config: &NetworkConfig,
    identity: &Identity,
) -> Result<OwnKey, RelistReason> {
    let subnet = held.own.subnet;
    match change {
        RegistryChange::Put(entry) if entry.name == key_name(subnet) => {
            check_write(entry, held, config, identity)
        }
        RegistryChange::Put(entry) if is_older_rival(entry, config, identity, held.revision) => {
            Err(RelistReason::RivalAppeared)
        }
        RegistryChange::Delete(name) if *name == key_name(subnet) => {
            warn!(%subnet, "the key of our lease was deleted or has expired; creating it again");
            Err(RelistReason::OwnKeyDeleted)
        }
        RegistryChange::Put(_) | RegistryChange::Delete(_) | RegistryChange::Config(_) => {
            Ok(OwnKey::Unaffected)
        }
    }
}

fn check_write(
    entry: &Entry,
    held: &HeldLease,
    config: &NetworkConfig,
    identity: &Identity,
) -> Result<OwnKey, RelistReason> {
    if entry.revision < held.revision {
        return Ok(OwnKey::Unaffected);
    }
    let subnet = held.own.subnet;
    let owner = owner_of(&entry.value).filter(|owner| is_ours(identity, owner));
    let Some(owner) = owner else {
        if entry.created == held.created {
            return Ok(OwnKey::Overwritten(entry.clone()));
        }
        warn!(%subnet, "the key of our lease is gone, and another client has created it");
        return Err(RelistReason::OwnKeyDeleted);
    };
    if !is_same_lease(entry, &held.own, config) {
        let found = describe(&entry.value);
        warn!(%subnet, found, "another client has changed our lease; writing it again");
        return Err(RelistReason::OwnKeyOverwritten);
    }
    match owner.node_id {
        None => Err(RelistReason::OwnKeyLostNodeId),
        Some(_) if entry.lease == held.etcd_lease() => Ok(OwnKey::Confirmed {
            revision: entry.revision,
        }),
        Some(_) => Err(RelistReason::OwnKeyMoved),
    }
}

fn is_same_lease(entry: &Entry, own: &OwnLease, config: &NetworkConfig) -> bool {
    let lease = parse_lease(&entry.name, &entry.value, entry.revision);
    lease.is_ok_and(|lease| {
        let same_host = lease.public_ip == own.public_ip && lease.vtep_mac == own.vtep_mac;
        same_host && lease.vni == Some(config.vxlan.vni)
    })
}

#[cfg(test)]
mod tests;
