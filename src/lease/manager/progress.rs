//! How far this host has come: whether the rest of the daemon works with a lease of ours, and what we owe to others until
//! then. It outlives lists and outages; only its own methods change it. Pure.

use std::mem;

use ipnetwork::Ipv4Network;

use crate::lease::claim::JoinedKey;
use crate::model::membership::Membership;

/// Whether this host has had a lease in this run.
#[derive(Debug)]
pub(super) enum JoinProgress {
    /// Not yet.
    Joining {
        /// The previous subnet, if the peer table was told that another host holds it.
        reported_taken: Option<Ipv4Network>,
        courtesy: Courtesy,
        /// Whether etcd holds the key of an earlier run.
        own_key: OwnKeyPresence,
    },
    /// Yes: pods run with addresses of its subnet, also while the key is missing from etcd.
    Joined {
        membership: Membership,
        key: JoinedKey,
        own_key: OwnKeyPresence,
    },
}

/// Whether a subnet that has just become free is left to its owner for a context. A host that loses its key by mistake
/// creates it again within a second, and has pods that run; this host has none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Courtesy {
    NotOwed,
    /// We have waited for a subnet that another host held.
    Owed,
}

/// Whether etcd holds our key, as far as we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnKeyPresence {
    Present,
    Gone,
    /// The peer table was told so. It is told once: each time holds up the removal of peers.
    GoneAndReported,
}

/// Whether to tell the peer table that etcd may have lost keys, because our key is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    None,
    Reported,
}

impl Default for JoinProgress {
    fn default() -> Self {
        Self::Joining {
            reported_taken: None,
            courtesy: Courtesy::NotOwed,
            own_key: OwnKeyPresence::Present,
        }
    }
}

impl JoinProgress {
    pub(super) const fn membership(&self) -> Option<&Membership> {
        match self {
            Self::Joining { .. } => None,
            Self::Joined { membership, .. } => Some(membership),
        }
    }

    /// Returns our key as this run knows it.
    pub(super) const fn key(&self) -> Option<&JoinedKey> {
        match self {
            Self::Joining { .. } => None,
            Self::Joined { key, .. } => Some(key),
        }
    }

    pub(super) const fn courtesy(&self) -> Courtesy {
        match self {
            Self::Joining { courtesy, .. } => *courtesy,
            Self::Joined { .. } => Courtesy::NotOwed,
        }
    }

    /// Records which previous subnet another host holds. Returns it if that is news for the peer table.
    pub(super) fn taken(&mut self, taken: Option<Ipv4Network>) -> Option<Ipv4Network> {
        match self {
            Self::Joining { reported_taken, .. } => {
                let before = mem::replace(reported_taken, taken);
                taken.filter(|_| taken != before)
            }
            Self::Joined { .. } => None,
        }
    }

    /// Records that this host holds a lease, with this key. Returns whether that is news for the rest of the daemon.
    pub(super) fn join(&mut self, membership: &Membership, key: JoinedKey) -> bool {
        let is_new = self.membership() != Some(membership);
        *self = Self::Joined {
            membership: membership.clone(),
            key,
            own_key: OwnKeyPresence::Present,
        };
        is_new
    }

    /// Records that this host waits for what other hosts have.
    pub(super) fn waiting_for_others(&mut self) {
        self.set_courtesy(Courtesy::Owed);
    }

    /// Records that a free subnet is nobody's: the operator has made room for it, or its owner had time to return.
    pub(super) fn owes_no_courtesy(&mut self) {
        self.set_courtesy(Courtesy::NotOwed);
    }

    fn set_courtesy(&mut self, to: Courtesy) {
        match self {
            Self::Joining { courtesy, .. } => *courtesy = to,
            Self::Joined { .. } => {}
        }
    }

    /// Records that our key could not be written, and whether it is missing. Returns the suspicion to report now.
    pub(super) fn write_failed(&mut self, key_is_missing: bool) -> Suspicion {
        let Self::Joined { own_key, .. } = self else {
            return Suspicion::None;
        };
        let now = if key_is_missing {
            OwnKeyPresence::GoneAndReported
        } else {
            OwnKeyPresence::Present
        };
        match (mem::replace(own_key, now), now) {
            (OwnKeyPresence::Present | OwnKeyPresence::Gone, OwnKeyPresence::GoneAndReported) => {
                Suspicion::Reported
            }
            (OwnKeyPresence::GoneAndReported, _)
            | (_, OwnKeyPresence::Present | OwnKeyPresence::Gone) => Suspicion::None,
        }
    }

    /// Records that etcd has shown that our key does not exist.
    pub(super) const fn own_key_is_gone(&mut self) {
        let (Self::Joining { own_key, .. } | Self::Joined { own_key, .. }) = self;
        if matches!(own_key, OwnKeyPresence::Present) {
            *own_key = OwnKeyPresence::Gone;
        }
    }

    /// Records that this host cannot have a lease now, for a reason of its own.
    pub(super) const fn own_key_is_not_missed(&mut self) {
        let (Self::Joining { own_key, .. } | Self::Joined { own_key, .. }) = self;
        if matches!(own_key, OwnKeyPresence::Gone) {
            *own_key = OwnKeyPresence::Present;
        }
    }

    /// Whether etcd has shown that our key does not exist, and we have not created it since.
    pub(super) const fn is_own_key_gone(&self) -> bool {
        let (Self::Joining { own_key, .. } | Self::Joined { own_key, .. }) = self;
        matches!(
            own_key,
            OwnKeyPresence::Gone | OwnKeyPresence::GoneAndReported
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::manager::test_data::{joined_key, membership};

    fn joined() -> JoinProgress {
        let mut progress = JoinProgress::default();
        assert!(progress.join(&membership("10.5.1.0/24"), joined_key("10.5.1.0/24")));
        progress
    }

    #[test]
    fn a_lease_is_news_when_it_differs_from_the_one_before() {
        let mut progress = joined();
        assert!(!progress.join(&membership("10.5.1.0/24"), joined_key("10.5.1.0/24")));
        assert!(progress.join(&membership("10.5.2.0/24"), joined_key("10.5.2.0/24")));
    }

    #[test]
    fn a_taken_subnet_is_reported_once_and_only_before_the_first_lease() {
        let subnet = "10.5.9.0/24".parse().ok();
        let mut progress = JoinProgress::default();
        let news = [subnet, subnet, None, subnet].map(|taken| progress.taken(taken));
        assert_eq!(news, [subnet, None, None, subnet]);
        assert_eq!(joined().taken(subnet), None);
    }

    #[test]
    fn courtesy_is_owed_after_a_wait_until_the_first_lease() {
        let mut progress = JoinProgress::default();
        assert_eq!(progress.courtesy(), Courtesy::NotOwed);
        progress.waiting_for_others();
        assert_eq!(progress.courtesy(), Courtesy::Owed);
        progress.owes_no_courtesy();
        assert_eq!(progress.courtesy(), Courtesy::NotOwed);
        let mut progress = joined();
        progress.waiting_for_others();
        assert_eq!(progress.courtesy(), Courtesy::NotOwed, "pods run here, too");
    }

    #[test]
    fn suspicion_is_reported_once_while_the_key_cannot_be_created() {
        let mut progress = joined();
        let reports = [true, true, false, true].map(|missing| progress.write_failed(missing));
        let (none, reported) = (Suspicion::None, Suspicion::Reported);
        assert_eq!(reports, [reported, none, none, reported]);
        progress.join(&membership("10.5.1.0/24"), joined_key("10.5.1.0/24"));
        assert_eq!(
            progress.write_failed(true),
            reported,
            "the key was there again"
        );
        assert_eq!(JoinProgress::default().write_failed(true), none);
    }

    #[test]
    fn our_key_is_gone_from_what_etcd_shows_until_it_is_ours_again() {
        for mut progress in [JoinProgress::default(), joined()] {
            assert!(!progress.is_own_key_gone());
            progress.own_key_is_gone();
            assert!(progress.is_own_key_gone());
            progress.write_failed(true);
            progress.own_key_is_gone();
            assert!(progress.is_own_key_gone());
            progress.join(&membership("10.5.1.0/24"), joined_key("10.5.1.0/24"));
            assert!(!progress.is_own_key_gone());
        }
        let mut progress = joined();
        progress.own_key_is_gone();
        progress.own_key_is_not_missed();
        assert!(!progress.is_own_key_gone());
        progress.own_key_is_gone();
        let reported = progress.write_failed(true);
        assert_eq!(reported, Suspicion::Reported, "nobody was told yet");
    }
}
