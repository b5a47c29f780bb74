//! Counts how often our key is overwritten: when our value is written back, which host undoes that again and again, and when it is
//! worth an error. A program that writes in a loop must not make us write in a loop. Pure; it does not know what was
//! written, nor whether a host lives.

use std::time::Duration;

use crate::lease::claim::Claimant;
use crate::model::lease::value::Owner;
use crate::reconcile::backoff::Backoff;

/// Writes that are answered at once: a script writes once, or a few times.
const FREE_ROUNDS: u32 = 5;
/// From then on the answers get slower.
const MIN_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(60);
/// Our value must stand for so long before a write counts as the first again. Not below `MAX_DELAY`, or a fight would
/// look like its end.
const CALM: Duration = Duration::from_secs(60);
/// So often a host must undo our write before we ask whether it lives. An honest host that has lost our subnet by mistake
/// does not undo any, and one that lives in it undoes each.
const UNDONE_WRITES: u32 = 2;

/// How often our key was overwritten since our value last stood for long.
#[derive(Debug)]
pub(super) struct Contest {
    rounds: u32,
    /// Revision of the last write that was counted.
    last_found: i64,
    claim: Option<PersistentClaim>,
    backoff: Backoff,
    /// When the last write is answered.
    answer_at: Duration,
    /// Since when our value stands again.
    restored: Option<Duration>,
    /// Our writes that failed in a row.
    failures: u32,
}

/// A host whose lease was found in our key.
#[derive(Debug)]
struct PersistentClaim {
    owner: Owner,
    /// How many writes of ours it has undone.
    undone: u32,
    life: Life,
}

/// Whether a host lives that undoes our writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Nobody has asked since the last write of ours that it has undone.
    Unknown,
    Asked,
}

impl Contest {
    pub(super) const fn new() -> Self {
        Self {
            rounds: 0,
            last_found: 0,
            claim: None,
            backoff: Backoff::new(MIN_DELAY, MAX_DELAY),
            answer_at: Duration::ZERO,
            restored: None,
            failures: 0,
        }
    }

    /// Records that our key was overwritten, by the revision of the write. Returns when to write back. `random` is uniform in 0..1.
    pub(super) fn found(
        &mut self,
        revision: i64,
        claimant: Option<&Claimant>,
        now: Duration,
        random: f64,
    ) -> Duration {
        if revision == self.last_found {
            return self.answer_at;
        }
        self.end_if_calm(now);
        self.last_found = revision;
        let undone = u32::from(self.restored.take().is_some());
        let is_pending = self.rounds > 0 && undone == 0;
        if let Some(claimant) = claimant {
            let owner = claimant.owner.clone();
            let before = self.claim.take().filter(|claim| claim.owner == owner);
            let life = match &before {
                Some(claim) if undone == 0 => claim.life,
                Some(_) | None => Life::Unknown,
            };
            self.claim = Some(PersistentClaim {
                owner,
                undone: before.map_or(0, |claim| claim.undone + undone),
                life,
            });
        }
        // A program that writes all the time must not put our answer off for ever.
        if is_pending {
            return self.answer_at;
        }
        self.rounds += 1;
        let delay = if self.rounds > FREE_ROUNDS {
            self.backoff.next(random)
        } else {
            Duration::ZERO
        };
        self.answer_at = now + delay;
        self.answer_at
    }

    /// Records that our value is in etcd.
    pub(super) fn restored(&mut self, now: Duration) {
        self.failures = 0;
        if self.rounds > 0 {
            self.restored.get_or_insert(now);
        }
    }

    /// Records that our value could not be written. Returns when to try again; `None` the first time, when a list may
    /// find out why.
    pub(super) fn failed(&mut self, now: Duration, random: f64) -> Option<Duration> {
        self.failures += 1;
        self.answer_at = now + self.backoff.next(random);
        (self.failures > 1).then_some(self.answer_at)
    }

    /// Returns when the contest ends, if nobody overwrites our key until then.
    pub(super) fn calm_at(&self) -> Option<Duration> {
        self.restored.map(|since| since + CALM)
    }

    /// Ends the contest if its time has come. Returns whether it has.
    pub(super) fn end_if_calm(&mut self, now: Duration) -> bool {
        let is_calm = self.calm_at().is_some_and(|at| at <= now);
        if is_calm {
            *self = Self {
                last_found: self.last_found,
                ..Self::new()
            };
        }
        is_calm
    }

    /// Whether our key was overwritten more often than a mistake explains.
    pub(super) fn is_contested(&self) -> bool {
        let undone = self.claim.as_ref().map_or(0, |claim| claim.undone);
        self.rounds > FREE_ROUNDS || undone > 0
    }

    /// Whether our value could not be written.
    pub(super) const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Returns the host that undoes our writes again and again.
    pub(super) fn persistent(&self) -> Option<&Owner> {
        let claim = self.claim.as_ref()?;
        (claim.undone >= UNDONE_WRITES).then_some(&claim.owner)
    }

    /// Whether to find out now if that host lives: once for each write of ours that it has undone.
    pub(super) fn asks_for_life(&mut self) -> bool {
        let is_persistent = self.persistent().is_some();
        let Some(claim) = self.claim.as_mut().filter(|_| is_persistent) else {
            return false;
        };
        std::mem::replace(&mut claim.life, Life::Asked) == Life::Unknown
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn claimant(host: u8) -> Claimant {
        Claimant {
            owner: Owner {
                public_ip: Ipv4Addr::new(10, 99, 0, host),
                node_id: None,
            },
            etcd_lease: 8,
        }
    }

    #[test]
    fn answers_a_few_writes_at_once_and_then_more_and_more_slowly() {
        let mut contest = Contest::new();
        let mut delays = Vec::new();
        let mut now = at(100);
        for revision in 1..=14 {
            let answer = contest.found(revision, None, now, 0.0);
            delays.push((answer - now).as_secs());
            now = answer;
            contest.restored(now);
        }
        assert_eq!(delays, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(contest.is_contested());
        assert_eq!(contest.persistent(), None, "nobody claims the subnet");
        contest.end_if_calm(now + CALM);
        assert!(!contest.is_contested());
    }

    #[test]
    fn the_same_write_counts_once() {
        let mut contest = Contest::new();
        for _ in 0..20 {
            assert_eq!(contest.found(7, Some(&claimant(3)), at(1), 0.0), at(1));
        }
        assert!(!contest.is_contested());
    }

    #[test]
    fn writes_that_come_before_the_answer_do_not_put_it_off() {
        let mut contest = Contest::new();
        for revision in 1..=6 {
            contest.found(revision, None, at(1), 0.0);
            contest.restored(at(1));
        }
        let answers = (7..99).map(|revision| contest.found(revision, None, at(1), 0.0));
        assert_eq!(answers.max(), Some(at(3)));
    }

    #[test]
    fn a_host_is_persistent_when_it_undoes_two_writes() {
        let mut contest = Contest::new();
        for (revision, expected) in [(1, [false, false]), (3, [true, false]), (5, [true, true])] {
            contest.found(revision, Some(&claimant(3)), at(1), 0.0);
            let state = [contest.is_contested(), contest.persistent().is_some()];
            assert_eq!(state, expected, "{revision}");
            contest.restored(at(1));
        }
        assert!(contest.asks_for_life() && !contest.asks_for_life());
        // Another host starts anew, and so does one that writes again without a write of ours in between.
        contest.found(7, Some(&claimant(4)), at(1), 0.0);
        contest.found(8, Some(&claimant(4)), at(1), 0.0);
        contest.found(9, Some(&claimant(4)), at(1), 0.0);
        assert_eq!(contest.persistent(), None);
    }

    #[test]
    fn a_write_that_fails_is_tried_again_after_a_list_and_then_slowly() {
        let mut contest = Contest::new();
        contest.found(1, None, at(1), 0.0);
        let tries = [(); 3].map(|()| contest.failed(at(1), 0.0));
        assert_eq!(tries, [None, Some(at(3)), Some(at(5))]);
        assert!(contest.has_failed());
        contest.restored(at(9));
        assert!(!contest.has_failed());
    }
}
