//! Passes the lease of this host on to the slices that act in the name of its overlay, rules and files, once it is known
//! that no other flanneld has the device of this name. A second daemon with the same VNI must not touch the rules of the
//! first: they have the same names.

use tokio::sync::watch;

use crate::model::device_ownership::DeviceOwnership;
use crate::model::membership::Membership;

/// Runs until no membership can come any more.
pub(super) async fn pass_on(
    mut membership: watch::Receiver<Option<Membership>>,
    mut ownership: watch::Receiver<DeviceOwnership>,
    to: watch::Sender<Option<Membership>>,
) {
    loop {
        let passed = match *ownership.borrow_and_update() {
            DeviceOwnership::Free | DeviceOwnership::Ours => membership.borrow_and_update().clone(),
            DeviceOwnership::Unknown | DeviceOwnership::Foreign => None,
        };
        to.send_if_modified(|known| {
            let is_new = *known != passed;
            *known = passed;
            is_new
        });
        // Both arms are cancel-safe: a change stays until it is taken.
        let changed = tokio::select! {
            changed = membership.changed() => changed,
            changed = ownership.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paused_time::on_paused_time;
    use crate::peers::table::tests::membership;

    #[test]
    fn the_lease_is_passed_on_while_nobody_else_has_the_device() {
        on_paused_time(async {
            let (lease, leases) = watch::channel(None);
            let (owner, owners) = watch::channel(DeviceOwnership::Unknown);
            let (to, mut passed) = watch::channel(None);
            tokio::task::spawn_local(pass_on(leases, owners, to));
            let mut check = async |expected: bool, news: bool| {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                assert_eq!(passed.has_changed().ok(), Some(news));
                assert_eq!(passed.borrow_and_update().is_some(), expected);
            };
            lease.send_replace(Some(membership()));
            check(false, false).await;
            owner.send_replace(DeviceOwnership::Free);
            check(true, true).await;
            owner.send_replace(DeviceOwnership::Ours);
            check(true, false).await;
            owner.send_replace(DeviceOwnership::Foreign);
            check(false, true).await;
        });
    }
}
