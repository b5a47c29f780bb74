//! Decides what follows when a request to etcd fails: a remedy on the same endpoint, the next
//! endpoint, or the end. Pure; never sends anything.

use crate::adapters::etcd::call_error::CallCause;

/// What is done before the same endpoint is asked once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Connect again: a new connection gets a new token.
    NewToken,
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

/// How often one request may still be sent: once to each endpoint, and once more after a remedy.
pub(super) struct Attempts {
    endpoints_left: usize,
    remedy_left: bool,
}

impl Attempts {
    pub(super) const fn new(endpoints: usize) -> Self {
        Self {
            endpoints_left: endpoints,
            remedy_left: true,
        }
    }

    /// Returns the remedy for a failure. Only the first failure of a request gets one.
    pub(super) fn remedy(&mut self, cause: &CallCause) -> Option<Remedy> {
        if !std::mem::take(&mut self.remedy_left) {
            None
        } else if cause.is_outdated_token() {
            Some(Remedy::NewToken)
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
    use tonic::Code;

    #[test]
    fn each_cause_has_its_remedy_and_its_next_step() {
        use NextStep::{AskNext, GiveUp};
        use Remedy::{NewFiles, NewToken};
        let outdated = "etcdserver: revision of auth store is old";
        let refused = "etcdserver: authentication failed, invalid user ID or password";
        let on_hold = CallCause::LoginOnHold(refused.to_owned());
        for (cause, remedy, step) in [
            (CallCause::TimedOut, None, AskNext),
            (on_hold, None, GiveUp),
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
                Some(NewToken),
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
}
