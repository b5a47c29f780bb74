//! The state of etcd that was last reported to the peer table, the outage that lasts, and the delay before the next attempt
//! to reach it. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use tracing::{debug, warn};

use crate::lease::status::EtcdState;
use crate::peers::update::LeaseUpdate;
use crate::reconcile::backoff::Backoff;

const MIN_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_millis(700);
/// How many causes of one outage are logged as warnings.
const MAX_CAUSES: usize = 5;

/// The state of etcd that was last reported, and the back-off of retries.
#[derive(Debug)]
pub(super) struct Contact {
    reported: EtcdState,
    backoff: Backoff,
    outage: Option<Outage>,
}

/// A time in which etcd does not answer.
#[derive(Debug)]
struct Outage {
    began: Duration,
    /// The first failure is often just a closed connection, and what is really wrong shows on a later try.
    causes: BTreeSet<String>,
}

/// Why a request failed.
pub(super) struct Failure<'a> {
    /// The whole sentence.
    pub(super) reason: &'a str,
    /// The sentence without the request that failed: another request fails for the same cause.
    pub(super) cause: &'a str,
}

impl Contact {
    pub(super) const fn new() -> Self {
        Self {
            reported: EtcdState::Connecting,
            backoff: Backoff::new(MIN_RETRY, MAX_RETRY),
            outage: None,
        }
    }

    /// Records that etcd does not answer, and logs each cause the first time. Returns the update for the peer table, or `None` if it was told already.
    pub(super) fn record_unreachable(
        &mut self,
        failure: &Failure<'_>,
        now: Duration,
    ) -> Option<LeaseUpdate> {
        let outage = self.outage.get_or_insert_with(|| Outage {
            began: now,
            causes: BTreeSet::new(),
        });
        let reason = failure.reason;
        let first = outage.causes.is_empty();
        let is_news =
            outage.causes.len() < MAX_CAUSES && outage.causes.insert(failure.cause.to_owned());
        if first {
            warn!(
                reason,
                "etcd is unreachable; the network stays as it is, retrying"
            );
        } else if is_news {
            warn!(reason, "etcd is still unreachable, now for another reason");
        } else {
            debug!(reason, "etcd is still unreachable");
        }
        let before = std::mem::replace(&mut self.reported, EtcdState::Unreachable);
        (before != EtcdState::Unreachable).then(|| LeaseUpdate::Unreachable {
            reason: reason.to_owned(),
        })
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
        std::mem::replace(&mut self.reported, state) != state
    }

    /// Ends the outage, if there is one, and returns how long it has lasted.
    pub(super) fn end_outage(&mut self, now: Duration) -> Option<Duration> {
        let outage = self.outage.take()?;
        Some(now.saturating_sub(outage.began))
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

    const NO_ANSWER: Failure<'static> = Failure {
        reason: "failed to list: no answer",
        cause: "no answer",
    };

    #[test]
    fn each_state_of_etcd_is_news_once() {
        let mut contact = Contact::new();
        let unreachable = LeaseUpdate::Unreachable {
            reason: NO_ANSWER.reason.to_owned(),
        };
        let at = Duration::from_secs;
        assert_eq!(
            contact.record_unreachable(&NO_ANSWER, at(1)),
            Some(unreachable.clone())
        );
        let refused = Failure {
            cause: "refused",
            ..NO_ANSWER
        };
        assert_eq!(contact.record_unreachable(&refused, at(2)), None);
        assert_eq!(contact.record_waiting(), Some(LeaseUpdate::Waiting));
        assert_eq!(contact.record_waiting(), None);
        assert_eq!(contact.end_outage(at(10)), Some(at(9)));
        assert_eq!(contact.end_outage(at(11)), None, "an end is told once");
        assert_eq!(contact.record_synced(), Some(LeaseUpdate::Synced));
        assert_eq!(contact.record_synced(), None);
        assert_eq!(
            contact.record_unreachable(&NO_ANSWER, at(20)),
            Some(unreachable)
        );
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
