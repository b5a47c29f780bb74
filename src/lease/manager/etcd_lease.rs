//! The etcd lease of this host: its number, when to renew it, and keys that are attached to an etcd lease that etcd does
//! not know. It does not write keys.

use std::time::Duration;

use crate::lease::manager::state::StepContext;
use crate::lease::port::{Entry, LeaseId, Registry, RegistryError};
use crate::model::lease::TTL;

/// Keeps us from renewing all the time when the margin is as long as the time to live.
const MIN_RENEWAL_DELAY: Duration = Duration::from_secs(10);

/// The etcd lease for our key.
#[derive(Debug)]
pub(super) struct EtcdLease {
    /// The number of the lease that we request, chosen beforehand. If etcd chose it, each request whose answer is lost
    /// would leave a lease behind.
    number: LeaseId,
    /// The lease that we had last, whether our key is attached to it or not.
    last: Option<LeaseId>,
}

impl EtcdLease {
    /// `random` is uniform in 0..1.
    pub(super) fn new(random: f64) -> Self {
        Self {
            number: lease_number(random),
            last: None,
        }
    }

    /// Records the lease that our key is, or was, attached to.
    pub(super) const fn attached(&mut self, lease: LeaseId) {
        self.last = Some(lease);
    }

    /// Returns a living etcd lease and its time to live: the last one, if etcd still knows it, since otherwise it would
    /// live on for a day without a key.
    ///
    /// # Errors
    /// etcd is unreachable or refuses to write.
    pub(super) async fn obtain<R: Registry>(
        &mut self,
        registry: &R,
    ) -> Result<(LeaseId, Duration), RegistryError> {
        if let Some(lease) = self.last
            && let Some(ttl) = registry.keep_alive(lease).await?
        {
            return Ok((lease, ttl));
        }
        // The lease is ours even if its answer is lost.
        self.last = Some(self.number);
        Ok((self.number, registry.grant(self.number, TTL).await?))
    }
}

/// Returns a number of 53 bits, at least 1: the hosts of one etcd do not choose the same. `random` is uniform in 0..1.
fn lease_number(random: f64) -> LeaseId {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "0 <= random < 1, so below 2^53"
    )]
    let number = (random.clamp(0.0, 1.0) * 9_007_199_254_740_992.0) as LeaseId;
    number + 1
}

/// Returns when to renew: after a third of the time to live, spread over a tenth of it so that hosts that started together
/// do not renew together, and never later than `margin` before the end.
pub(super) fn renewal_time(ttl: Duration, margin: Duration, context: StepContext) -> Duration {
    let third = (ttl / 3).mul_f64(0.85 + 0.3 * context.random);
    let latest = ttl.saturating_sub(margin).max(MIN_RENEWAL_DELAY);
    context.now + third.min(latest)
}

/// The key that was last seen attached to an etcd lease that etcd does not know. A lease that has just expired looks the
/// same for a context; a key that is seen like this twice shows that etcd contradicts itself, as after a restore.
#[derive(Debug, Default)]
pub(super) struct OrphanedKey {
    /// Name and revision.
    last: Option<(String, i64)>,
}

impl OrphanedKey {
    /// Records such a key. Returns whether the same one was the last.
    pub(super) fn is_seen_again(&mut self, entry: &Entry) -> bool {
        let seen = Some((entry.name.clone(), entry.revision));
        std::mem::replace(&mut self.last, seen.clone()) == seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn renews_at_a_third_and_before_the_margin() {
        let now = 100 * HOUR;
        for (ttl, margin, random, expected) in [
            (24 * HOUR, HOUR, 0.0, (8 * HOUR).mul_f64(0.85)),
            (24 * HOUR, HOUR, 1.0, (8 * HOUR).mul_f64(1.15)),
            (24 * HOUR, 20 * HOUR, 0.5, 4 * HOUR),
            (24 * HOUR, 24 * HOUR, 0.5, MIN_RENEWAL_DELAY),
            (
                Duration::from_secs(3),
                Duration::ZERO,
                0.5,
                Duration::from_secs(1),
            ),
        ] {
            let at = renewal_time(ttl, margin, StepContext { now, random });
            assert_eq!(at - now, expected, "{ttl:?} {margin:?} {random}");
        }
    }

    #[test]
    fn numbers_of_leases_are_positive_and_differ() {
        let numbers = [0.0, 0.25, 0.999_999].map(lease_number);
        assert_eq!(numbers[0], 1);
        assert!(numbers[0] < numbers[1] && numbers[1] < numbers[2]);
    }

    #[test]
    fn a_key_is_orphaned_when_it_is_seen_twice_in_a_row() {
        let entry = |name: &str, revision| Entry {
            name: name.to_owned(),
            value: Vec::new(),
            created: 1,
            revision,
            lease: Some(7),
        };
        let mut orphaned = OrphanedKey::default();
        assert!(!orphaned.is_seen_again(&entry("10.5.1.0-24", 3)));
        assert!(orphaned.is_seen_again(&entry("10.5.1.0-24", 3)));
        assert!(!orphaned.is_seen_again(&entry("10.5.1.0-24", 4)));
        assert!(!orphaned.is_seen_again(&entry("10.5.2.0-24", 4)));
    }
}
