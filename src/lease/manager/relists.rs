//! How soon everything is listed again, and when that is worth a line: a registry that contradicts itself must not be
//! asked for everything again and again at full speed. Pure.

use std::fmt;
use std::time::Duration;

use crate::reconcile::backoff::Backoff;

/// So many lists in a row for one reason are worth a line.
const REPEATS_WORTH_A_LINE: u32 = 5;
const MIN_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Why the list is out of date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelistReason {
    WaitMayBeOver,
    RecheckDue,
    OwnerHadTimeToReturn,
    RivalAppeared,
    RivalExpired,
    RivalPersists,
    RivalWrites,
    PublicIpChanged,
    HostNetworkChanged,
    OwnKeyDeleted,
    OwnKeyOverwritten,
    OwnKeyLostNodeId,
    OwnKeyMoved,
    OwnEtcdLeaseExpired,
    ValueIncomplete,
    OthersWereFaster,
    OtherKeyMayCount,
    WriteFailed,
    WatchOutdated,
}

impl fmt::Display for RelistReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WaitMayBeOver => "a change may end the wait for a lease",
            Self::RecheckDue => "this host has waited for a lease for a while",
            Self::OwnerHadTimeToReturn => "the owner of a free subnet had time to return",
            Self::RivalAppeared => "an older lease has the node id or PublicIP of this host",
            Self::RivalExpired => "the etcd lease of a rival has just expired",
            Self::RivalWrites => "a rival has just written its lease",
            Self::PublicIpChanged => "this host has another PublicIP now",
            Self::HostNetworkChanged => "the subnets or addresses of this host have changed",
            Self::RivalPersists => "another host keeps writing its lease to the key of our subnet",
            Self::OwnKeyDeleted => "the key of our lease is gone",
            Self::OwnKeyOverwritten => "another client has written the key of our lease",
            Self::OwnKeyLostNodeId => "the key of our lease has lost the node id",
            Self::OwnKeyMoved => "the key of our lease is attached to another etcd lease now",
            Self::OwnEtcdLeaseExpired => "our etcd lease has expired",
            Self::ValueIncomplete => "the node id is to be added to our lease",
            Self::OthersWereFaster => "other hosts were faster for every subnet that we tried",
            Self::OtherKeyMayCount => "another key of a subnet may count now",
            Self::WriteFailed => "our lease cannot be written",
            Self::WatchOutdated => "etcd does not know any more what came after the last change",
        })
    }
}

/// The back-off between lists.
#[derive(Debug)]
pub(super) struct Relists {
    backoff: Backoff,
    last: Option<RelistReason>,
    repeats: u32,
}

impl Relists {
    pub(super) const fn new() -> Self {
        Self {
            backoff: Backoff::new(MIN_DELAY, MAX_DELAY),
            last: None,
            repeats: 0,
        }
    }

    /// Returns the time until the next list. `random` is uniform in 0..1.
    pub(super) fn delay(&mut self, reason: RelistReason, random: f64) -> Duration {
        let repeats = if self.last == Some(reason) {
            self.repeats
        } else {
            0
        };
        self.repeats = repeats + 1;
        self.last = Some(reason);
        self.backoff.next(random)
    }

    /// Whether the last delay is the first that shows that lists do not help.
    pub(super) const fn is_newly_stuck(&self) -> bool {
        self.repeats == REPEATS_WORTH_A_LINE
    }

    /// Records that all was well for a while.
    pub(super) fn steady(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gets_slower_and_is_newly_stuck_once() {
        let mut relists = Relists::new();
        assert_eq!(
            relists.delay(RelistReason::RivalAppeared, 0.0),
            Duration::from_millis(50)
        );
        let mut stuck = 0;
        for _ in 0..20 {
            assert!(relists.delay(RelistReason::OthersWereFaster, 0.0) <= Duration::from_secs(5));
            stuck += usize::from(relists.is_newly_stuck());
        }
        assert_eq!(
            (stuck, relists.delay(RelistReason::OthersWereFaster, 0.0)),
            (1, Duration::from_secs(5))
        );
        relists.steady();
        assert_eq!(
            relists.delay(RelistReason::OthersWereFaster, 0.0),
            Duration::from_millis(50)
        );
    }
}
