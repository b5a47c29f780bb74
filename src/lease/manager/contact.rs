//! The state of etcd that was last reported to the peer table, and the delay before the next attempt to reach it. Pure.

use std::time::Duration;

use tracing::{debug, info, warn};

use crate::lease::status::EtcdState;
use crate::peers::update::LeaseUpdate;
use crate::reconcile::backoff::Backoff;

const MIN_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_millis(700);

/// The state of etcd that was last reported, and the back-off of retries.
#[derive(Debug)]
pub(super) struct Contact {
    reported: EtcdState,
    backoff: Backoff,
}

impl Contact {
    pub(super) const fn new() -> Self {
        Self {
            reported: EtcdState::Connecting,
            backoff: Backoff::new(MIN_RETRY, MAX_RETRY),
        }
    }

    /// Records that etcd does not answer, and logs the first time. Returns the update for the peer table, or `None` if it was told already.
    pub(super) fn record_unreachable(&mut self, reason: &str) -> Option<LeaseUpdate> {
        if self.reported == EtcdState::Unreachable {
            debug!(reason, "etcd is still unreachable");
            return None;
        }
        warn!(
            reason,
            "etcd is unreachable; the network stays as it is, retrying"
        );
        self.reported = EtcdState::Unreachable;
        let reason = reason.to_owned();
        Some(LeaseUpdate::Unreachable { reason })
    }

    /// Records that this host holds its lease and follows those of the others. Returns the update for the peer table, or `None` if it was told already.
    pub(super) fn record_synced(&mut self) -> Option<LeaseUpdate> {
        self.reachable(EtcdState::Synced)
            .then_some(LeaseUpdate::Synced)
    }

    /// Records that etcd answers, but that this host cannot have a lease now. Returns the update for the peer table, or `None` if it was told already.
    pub(super) fn record_waiting(&mut self) -> Option<LeaseUpdate> {
        self.reachable(EtcdState::Waiting)
            .then_some(LeaseUpdate::Waiting)
    }

    fn reachable(&mut self, state: EtcdState) -> bool {
        let before = std::mem::replace(&mut self.reported, state);
        if before == EtcdState::Unreachable {
            info!("etcd is reachable again");
        }
        before != state
    }

    /// Returns the time until the next try. `random` is uniform in 0..1.
    pub(super) fn retry_delay(&mut self, random: f64) -> Duration {
        self.backoff.next(random)
    }

    /// Records that etcd was well for a while: the next failure is a new one.
    pub(super) fn reset_backoff(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_etcd_is_news_once() {
        let mut contact = Contact::new();
        let unreachable = LeaseUpdate::Unreachable {
            reason: "no answer".to_owned(),
        };
        assert_eq!(
            contact.record_unreachable("no answer"),
            Some(unreachable.clone())
        );
        assert_eq!(contact.record_unreachable("refused"), None);
        assert_eq!(contact.record_waiting(), Some(LeaseUpdate::Waiting));
        assert_eq!(contact.record_waiting(), None);
        assert_eq!(contact.record_synced(), Some(LeaseUpdate::Synced));
        assert_eq!(contact.record_synced(), None);
        assert_eq!(contact.record_unreachable("no answer"), Some(unreachable));
    }

    #[test]
    fn retries_get_slower_until_etcd_was_well_for_a_while() {
        let mut contact = Contact::new();
        let delays: Vec<u128> = (0..4)
            .map(|_| contact.retry_delay(0.0).as_millis())
            .collect();
        assert_eq!(delays, [100, 200, 400, 700]);
        contact.reset_backoff();
        assert_eq!(contact.retry_delay(0.0), MIN_RETRY);
    }
}
