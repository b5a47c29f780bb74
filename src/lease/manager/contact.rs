//! Owns how the keeper stands with etcd: what it says of that, and how long it waits before it asks again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::lease::claim;
use crate::lease::manager::{Interrupt, LeaseManager};
use crate::lease::port::{Listing, Registry, RegistryError};
use crate::lease::status::EtcdState;
use crate::peers::update::LeaseUpdate;

/// A watch that has held for this long shows that etcd is well.
const STEADY: Duration = Duration::from_secs(10);

impl<R: Registry> LeaseManager<R> {
    /// Waits before the next list.
    pub(super) async fn pause(&mut self, why: &'static str) {
        self.reset_if_steady();
        let pause = self.relists.pause(why, (self.settings.random)());
        match self.relists.is_stuck() {
            true => warn!(
                why,
                "had to list everything again and again; doing so more slowly"
            ),
            false => debug!(why, "listing again"),
        }
        sleep(pause).await;
    }

    /// Only a watch that has held for a while ends the waiting: one that breaks again and again must not become a busy
    /// loop.
    pub(super) fn reset_if_steady(&mut self) {
        if self
            .watching_since
            .take()
            .is_some_and(|since| since.elapsed() > STEADY)
        {
            self.backoff.reset();
            self.relists.reset();
        }
    }

    /// Records that etcd is unreachable, logs it once, and waits a little longer each time.
    pub(super) async fn wait_out(&mut self, error: &RegistryError) -> Result<(), Interrupt> {
        let reason = crate::error::chain(error);
        self.reset_if_steady();
        self.conditions.etcd.set_false(&reason);
        if self.etcd_state == EtcdState::Unreachable {
            debug!(reason, "etcd is still unreachable");
        } else {
            warn!(
                reason,
                "etcd is unreachable; the network stays as it is, retrying"
            );
            self.etcd_state = EtcdState::Unreachable;
            self.send(LeaseUpdate::Unreachable { reason }).await?;
        }
        sleep(self.backoff.next((self.settings.random)())).await;
        Ok(())
    }

    /// Records that list, lease and watch have all worked.
    pub(super) async fn set_synced(&mut self) -> Result<(), Interrupt> {
        self.conditions.lease.set_true();
        self.set_reachable(EtcdState::Synced, LeaseUpdate::Synced)
            .await
    }

    /// Records that etcd answers, but that this host cannot have a lease now.
    pub(super) async fn set_waiting(&mut self, reason: &str) -> Result<(), Interrupt> {
        self.conditions.lease.set_false(reason);
        self.set_reachable(EtcdState::Waiting, LeaseUpdate::Waiting)
            .await
    }

    async fn set_reachable(
        &mut self,
        state: EtcdState,
        update: LeaseUpdate,
    ) -> Result<(), Interrupt> {
        self.watching_since = Some(Instant::now());
        self.ignored.send_replace(self.rejections.reasons());
        self.conditions.etcd.set_true();
        let before = std::mem::replace(&mut self.etcd_state, state);
        if before == EtcdState::Unreachable {
            info!("etcd is reachable again");
        }
        if before != self.etcd_state {
            self.send(update).await?;
        }
        Ok(())
    }

    /// Whether `reason` is the known reason for having no lease: it is logged once.
    pub(super) fn is_known_reason(&self, reason: &str) -> bool {
        self.conditions.lease.message() == reason
    }

    /// Tells if the subnet of the last run belongs to another host now: the state of the last run must not be used then.
    pub(super) async fn say_if_lost(&mut self, listing: &Listing) -> Result<(), Interrupt> {
        let lost = self
            .identity
            .previous
            .subnet
            .filter(|subnet| claim::held_by_other_host(listing, *subnet, &self.identity));
        let news = lost.filter(|subnet| self.taken != Some(*subnet));
        self.taken = lost;
        match news {
            Some(subnet) => self.send(LeaseUpdate::SubnetTaken(subnet)).await,
            None => Ok(()),
        }
    }
}
