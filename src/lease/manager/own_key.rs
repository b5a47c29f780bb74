//! Judges changes of etcd while this host holds its lease: whether the lease still stands. Pure; it only logs.

use tracing::{error, warn};

use crate::lease::claim::{Identity, is_named, is_older_rival};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::HeldLease;
use crate::lease::port::{Entry, RegistryChange};
use crate::model::lease::OwnLease;
use crate::model::lease::key::key_name;
use crate::model::lease::value::{owner_of, parse_lease};
use crate::model::network_config::NetworkConfig;

/// Checks a change against our lease.
///
/// # Errors
/// The lease may not stand any more. Only a new list can tell.
pub(super) fn check(
    change: &RegistryChange,
    held: &HeldLease,
    config: &NetworkConfig,
    identity: &Identity,
) -> Result<(), RelistReason> {
    let subnet = held.own.subnet;
    match change {
        RegistryChange::Put(entry) if entry.name == key_name(subnet) => {
            check_write(entry, held, identity)
        }
        RegistryChange::Put(entry) if is_older_rival(entry, config, identity, held.revision) => {
            Err(RelistReason::RivalAppeared)
        }
        RegistryChange::Delete(name) if *name == key_name(subnet) => {
            warn!(%subnet, "the key of our lease was deleted or has expired; creating it again");
            Err(RelistReason::OwnKeyDeleted)
        }
        RegistryChange::Put(_) | RegistryChange::Delete(_) | RegistryChange::Config(_) => Ok(()),
    }
}

/// Accepts a write to our key that says what we say: we wrote it, or an operator has restored a backup.
fn check_write(entry: &Entry, held: &HeldLease, identity: &Identity) -> Result<(), RelistReason> {
    let subnet = held.own.subnet;
    if let Err(rejection) = parse_lease(&entry.name, &entry.value, entry.revision) {
        error!(
            %subnet, %rejection,
            "the key of our lease was overwritten with a value that is not a lease; acquiring a lease again"
        );
        return Err(RelistReason::OwnKeyOverwritten);
    }
    let owner = owner_of(&entry.value);
    let same = is_same_lease(entry, &held.own);
    match owner {
        Some(owner) if same && is_named(identity, &owner) => {
            if entry.lease == held.etcd_lease() {
                Ok(())
            } else {
                Err(RelistReason::OwnKeyMoved)
            }
        }
        Some(owner) if same && owner.node_id.is_none() => Err(RelistReason::OwnKeyLostNodeId),
        Some(_) | None => {
            let holder = owner.map_or_else(String::new, |owner| owner.to_string());
            error!(%subnet, holder, "another host has written its lease to the key of our subnet");
            Err(RelistReason::OwnKeyOverwritten)
        }
    }
}

fn is_same_lease(entry: &Entry, own: &OwnLease) -> bool {
    let lease = parse_lease(&entry.name, &entry.value, entry.revision);
    lease.is_ok_and(|lease| lease.public_ip == own.public_ip && lease.vtep_mac == own.vtep_mac)
}

#[cfg(test)]
mod tests;
