//! Decides what follows when a request to etcd fails: a remedy on the same endpoint, the next
//! endpoint, or the end. Pure; never sends anything.

use crate::adapters::etcd::call_error::CallCause;

/// What is done before the same endpoint is asked once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Connect again: a new connection gets a new token, and is not one that was closed under the request, as proxies close
    /// idle ones.
    Reconnect,
    /// Read the files again. It helps only if they have changed.
    NewFiles,
}

/// How a request goes on when no remedy helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Ask the next endpoint.
    AskNext,
    /// Report the error, since every endpoint has failed. The next request begins with the next
    /// endpoint.
    RotateAndGiveUp,
    /// Report the error, and stay: another endpoint would say the same.
    GiveUp,
}

/// How often a request is sent again because this host's way to etcd has changed under it.
const MAX_PATH_CHANGES: usize = 5;

/// How often one request may still be sent: once to each endpoint, once more after a remedy, and again when this host's way
/// to etcd changes.
pub(super) struct Attempts {
    endpoints_left: usize,
    remedy_left: bool,
    path_changes_left: usize,
}

impl Attempts {
    pub(super) const fn new(endpoints: usize) -> Self {
        Self {
            endpoints_left: endpoints,
            remedy_left: true,
            path_changes_left: MAX_PATH_CHANGES,
        }
    }

    /// Returns whether the request is sent again to the same endpoint, at once: nothing is wrong with it.
    pub(super) fn may_take_new_path(&mut self, cause: &CallCause) -> bool {
        if !cause.is_path_change() || self.path_changes_left == 0 {
            return false;
        }
        self.path_changes_left -= 1;
        true
    }

    /// Returns the remedy for a failure. Only the first failure of a request gets one.
    pub(super) fn remedy(&mut self, cause: &CallCause) -> Option<Remedy> {
        if !std::mem::take(&mut self.remedy_left) {
            None
        } else if cause.is_outdated_token() || cause.is_hang_up() {
            Some(Remedy::Reconnect)
        } else if cause.may_need_new_files() {
            Some(Remedy::NewFiles)
        } else {
            None
        }
    }

    /// Returns what follows when the current endpoint has failed for good.
    pub(super) fn next_step(&mut self, cause: &CallCause) -> NextStep {
        self.endpoints_left = self.endpoints_left.saturating_sub(1);
        if !cause.is_endpoint_fault() {
            NextStep::GiveUp
        } else if self.endpoints_left == 0 {
            NextStep::RotateAndGiveUp
        } else {
            NextStep::AskNext
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::etcd::call_error::tests::from_etcd;
    use etcd_client::Error as EtcdError;
    use tonic::Code;

    #[test]
    fn each_cause_has_its_remedy_and_its_next_step() {
        use NextStep::{AskNext, GiveUp};
        use Remedy::{NewFiles, Reconnect};
        let closed = CallCause::Etcd(EtcdError::WatchError("no answer".to_owned()));
        let outdated = "etcdserver: revision of auth store is old";
        let refused = "etcdserver: authentication failed, invalid user ID or password";
        let on_hold = CallCause::LoginOnHold(refused.to_owned());
        for (cause, remedy, step) in [
            (CallCause::TimedOut, None, AskNext),
            (on_hold, None, GiveUp),
            (closed, Some(Reconnect), AskNext),
            (
                from_etcd(Code::Unavailable, "no leader"),
                Some(NewFiles),
                AskNext,
            ),
            (
                from_etcd(Code::Unknown, "transport error"),
                Some(NewFiles),
                AskNext,
            ),
            (
                from_etcd(Code::InvalidArgument, outdated),
                Some(Reconnect),
                GiveUp,
            ),
            (
                from_etcd(Code::InvalidArgument, refused),
                Some(NewFiles),
                GiveUp,
            ),
            (
                from_etcd(Code::PermissionDenied, "permission denied"),
                Some(NewFiles),
                GiveUp,
            ),
            (
                from_etcd(Code::Unauthenticated, "invalid auth token"),
                Some(NewFiles),
                GiveUp,
            ),
            (
                from_etcd(Code::OutOfRange, "message length too large"),
                None,
                GiveUp,
            ),
        ] {
            let mut attempts = Attempts::new(3);
            assert_eq!(attempts.remedy(&cause), remedy, "{cause:?}");
            assert_eq!(attempts.next_step(&cause), step, "{cause:?}");
        }
    }

    #[test]
    fn a_request_goes_to_each_endpoint_once_and_has_one_remedy() {
        use NextStep::{AskNext, RotateAndGiveUp};
        let unavailable = from_etcd(Code::Unavailable, "no leader");
        for (endpoints, expected) in [
            (1, &[RotateAndGiveUp][..]),
            (3, &[AskNext, AskNext, RotateAndGiveUp]),
        ] {
            let mut attempts = Attempts::new(endpoints);
            assert_eq!(attempts.remedy(&unavailable), Some(Remedy::NewFiles));
            for step in expected {
                assert_eq!(attempts.next_step(&unavailable), *step);
                assert_eq!(
                    attempts.remedy(&unavailable),
                    None,
                    "one remedy per request"
                );
            }
        }
    }

    #[test]
    fn a_request_is_sent_again_each_time_the_way_changes_but_not_for_ever() {
        let mut attempts = Attempts::new(1);
        assert!(!attempts.may_take_new_path(&CallCause::TimedOut));
        for _ in 0..MAX_PATH_CHANGES {
            assert!(attempts.may_take_new_path(&CallCause::PathChanged));
        }
        assert!(!attempts.may_take_new_path(&CallCause::PathChanged));
        assert_eq!(
            attempts.next_step(&CallCause::PathChanged),
            NextStep::GiveUp
        );
    }
}
