//! The mass-removal guard: decides whether peers that are gone from etcd are removed, or held for a while because too
//! many of them vanished at once. Pure: `now` is the time since the task started.
//!
//! An etcd that was emptied, or restored from an old backup, says that all hosts are gone. They are not: each daemon puts
//! its own lease back within moments. Until then the network between them has to work.

use std::time::Duration;

/// With fewer peers than this, more than half of them may well leave at once.
const MIN_PEERS_FOR_GUARD: usize = 4;
/// How long a removal waits for others, so that a burst is judged as one.
pub(crate) const SETTLE: Duration = Duration::from_millis(200);

/// A decision that is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuardDecision {
    /// Most peers vanished: their removal is held.
    Hold {
        gone: usize,
        /// Number of peers before, with those that left shortly before.
        of: usize,
    },
    /// All peers whose removal was held are back.
    AllBack,
    /// These peers did not come back in time.
    Remove { gone: usize },
}

/// What happens to the missing peers when their time is up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DueRemovals {
    Hold(GuardDecision),
    Remove(Option<GuardDecision>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GuardState {
    /// Removals wait for [`SETTLE`] only.
    Normal,
    /// Removals wait until this time.
    Held { until: Duration },
}

/// What is known of the next complete list from etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextList {
    Trusted,
    /// etcd lost the lease of this host, so it may have lost others too.
    Suspect,
}

#[derive(Debug, Clone, Copy)]
struct RecentRemovals {
    count: usize,
    since: Duration,
}

#[derive(Debug)]
pub(crate) struct RemovalGuard {
    /// How long removals are held. Zero turns the guard off.
    grace: Duration,
    state: GuardState,
    next_list: NextList,
    /// Removals of the last `grace`: peers that vanish one after the other count together.
    recent: Option<RecentRemovals>,
}

impl RemovalGuard {
    pub(crate) const fn new(grace: Duration) -> Self {
        Self {
            grace,
            state: GuardState::Normal,
            next_list: NextList::Trusted,
            recent: None,
        }
    }

    pub(crate) const fn is_off(&self) -> bool {
        self.grace.is_zero()
    }

    pub(crate) const fn is_holding(&self) -> bool {
        matches!(self.state, GuardState::Held { .. })
    }

    /// Records that etcd may have lost leases: the next judgement holds even a single removal.
    pub(crate) fn suspect_next_list(&mut self) {
        self.next_list = NextList::Suspect;
    }

    /// Returns when the removal of peers is due of which the first is missing since `first_missing`.
    pub(crate) fn due(&self, first_missing: Option<Duration>) -> Option<Duration> {
        match self.state {
            GuardState::Held { until } => Some(until),
            GuardState::Normal => first_missing.map(|since| since + SETTLE),
        }
    }

    /// Ends the hold after all missing peers came back.
    pub(crate) fn all_back(&mut self) {
        self.state = GuardState::Normal;
    }

    /// Judges that `gone` of `of` peers are missing. Returns the decision to hold them, if it is made now.
    pub(crate) fn judge(&mut self, gone: usize, of: usize, now: Duration) -> Option<GuardDecision> {
        if gone == 0 {
            self.state = GuardState::Normal;
        }
        if self.is_holding() {
            return None;
        }
        let recent = self.recent_removals(now);
        let next_list = std::mem::replace(&mut self.next_list, NextList::Trusted);
        let (all_gone, of) = (gone + recent, of + recent);
        let most_vanished = of >= MIN_PEERS_FOR_GUARD && all_gone * 2 > of;
        let suspicious = most_vanished || next_list == NextList::Suspect;
        if self.is_off() || gone == 0 || !suspicious {
            return None;
        }
        let until = now + self.grace;
        self.state = GuardState::Held { until };
        Some(GuardDecision::Hold { gone, of })
    }

    /// Decides about `gone` of `of` peers whose removal is due.
    pub(crate) fn decide_due(&mut self, gone: usize, of: usize, now: Duration) -> DueRemovals {
        if self.is_holding() {
            self.state = GuardState::Normal;
            self.recent = None;
            return DueRemovals::Remove(Some(GuardDecision::Remove { gone }));
        }
        if let Some(hold) = self.judge(gone, of, now) {
            return DueRemovals::Hold(hold);
        }
        let recent = self.recent.unwrap_or(RecentRemovals {
            count: 0,
            since: now,
        });
        self.recent = Some(RecentRemovals {
            count: recent.count + gone,
            ..recent
        });
        DueRemovals::Remove(None)
    }

    fn recent_removals(&mut self, now: Duration) -> usize {
        let grace = self.grace;
        self.recent = self.recent.filter(|recent| recent.since + grace > now);
        self.recent.map_or(0, |recent| recent.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn guard() -> RemovalGuard {
        RemovalGuard::new(at(60))
    }

    #[test]
    fn holds_more_than_half_of_at_least_four_peers() {
        for (gone, of, held) in [(3, 3, false), (4, 4, true), (4, 8, false), (5, 8, true)] {
            let hold = held.then_some(GuardDecision::Hold { gone, of });
            assert_eq!(guard().judge(gone, of, at(1)), hold, "{gone} of {of}");
        }
    }

    #[test]
    fn holds_even_one_when_the_list_is_suspect_but_only_once() {
        let mut guard = guard();
        guard.suspect_next_list();
        let hold = GuardDecision::Hold { gone: 1, of: 8 };
        assert_eq!(guard.judge(1, 8, at(1)), Some(hold));
        guard.all_back();
        assert_eq!(guard.judge(1, 8, at(2)), None);
    }

    #[test]
    fn a_hold_ends_with_the_grace_and_then_removes() {
        let mut guard = guard();
        assert!(guard.judge(8, 8, at(1)).is_some());
        assert_eq!(guard.due(Some(at(1))), Some(at(61)));
        let removed = DueRemovals::Remove(Some(GuardDecision::Remove { gone: 8 }));
        assert_eq!(guard.decide_due(8, 8, at(61)), removed);
        assert_eq!(guard.due(None), None);
    }

    #[test]
    fn removals_are_forgotten_after_the_grace() {
        let mut guard = guard();
        for second in 1..=4 {
            let removed = guard.decide_due(1, 8, at(second));
            assert_eq!(removed, DueRemovals::Remove(None));
        }
        assert_eq!(guard.judge(1, 4, at(62)), None);
    }

    #[test]
    fn without_grace_nothing_is_held() {
        let mut guard = RemovalGuard::new(Duration::ZERO);
        guard.suspect_next_list();
        assert!(guard.is_off() && guard.judge(8, 8, at(1)).is_none());
    }
}
