//! Owns how the keeper stands with etcd: what it says of that, and how long it waits before it asks again.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::lease::claim;
use crate::lease::manager::LeaseManager;
use crate::lease::port::{Listing, Registry, RegistryError};
use crate::lease::status::{EtcdState, LeaseStatus};

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

    /// Says once that the registry is away, and waits a little longer each time.
    pub(super) async fn wait_out(&mut self, error: &RegistryError) {
        let error = crate::error::chain(error);
        self.reset_if_steady();
        match self.standing.borrow().contact {
            EtcdState::Away { .. } => debug!(error, "etcd still fails us"),
            EtcdState::Connecting | EtcdState::Waiting { .. } | EtcdState::Holding => {
                warn!(
                    error,
                    "etcd fails us; the network stays as it is, trying again"
                );
            }
        }
        let since = (self.settings.wall_time)();
        self.standing.send_if_modified(|standing| {
            let since = match &standing.contact {
                EtcdState::Away { since, .. } => *since,
                EtcdState::Connecting | EtcdState::Waiting { .. } | EtcdState::Holding => since,
            };
            let away = EtcdState::Away {
                since,
                reason: error,
            };
            std::mem::replace(&mut standing.contact, away.clone()) != away
        });
        sleep(self.backoff.next((self.settings.random)())).await;
    }

    /// List, lease and watch have all worked.
    pub(super) fn stands(&mut self, contact: EtcdState) {
        self.watching_since = Some(Instant::now());
        let ignored = self.rejections.reasons();
        let lost = self.standing.borrow().lost;
        let before = self
            .standing
            .send_replace(LeaseStatus {
                contact,
                ignored,
                lost,
            })
            .contact;
        if let EtcdState::Away { .. } = before {
            info!("etcd answers again");
        }
    }

    /// Whether this is what we wait for already: it is said once.
    pub(super) fn stands_waiting(&self, now: &str) -> bool {
        matches!(&self.standing.borrow().contact, EtcdState::Waiting { reason } if reason == now)
    }

    /// Says if the subnet that we had is another host's: what is known from before must not be used then.
    pub(super) fn say_if_lost(&self, listing: &Listing) {
        let lost = self
            .identity
            .past
            .subnet
            .filter(|subnet| claim::is_anothers(listing, *subnet, &self.identity));
        self.standing
            .send_if_modified(|standing| std::mem::replace(&mut standing.lost, lost) != lost);
    }
}
