//! How a request to etcd fails: what came back, on which endpoint, and what may help. Pure; never
//! asks again itself.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use etcd_client::Error as EtcdError;

use crate::adapters::etcd::fault::Fault;
use crate::lease::port::RegistryError;

/// How long one request may take, connecting included.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// gRPC codes of a connection that broke or an etcd that is unwell: cancelled, unknown, deadline
/// exceeded, unimplemented, internal, unavailable (<https://grpc.io/docs/guides/status-codes>).
const ENDPOINT_FAULTS: [i32; 6] = [1, 2, 4, 12, 13, 14];
/// gRPC codes of an etcd that does not let us in, or not far enough: invalid argument, permission
/// denied, failed precondition, unauthenticated.
const ACCESS_REFUSALS: [i32; 4] = [3, 7, 9, 16];
/// etcd's words for a token from before users or roles changed. The library only notices expired
/// tokens.
const OUTDATED_TOKEN: &str = "revision of auth store is old";
/// etcd's words for a wrong password, and for a user that it does not know.
const REFUSED_LOGIN: &str = "invalid user ID or password";
/// etcd's words for an etcd lease whose number is taken.
const LEASE_EXISTS: &str = "lease already exists";
/// etcd's words for an etcd lease that it does not know. A member answers a renewal with a time to live of 0 instead, but
/// what stands in between may hand these words on.
const LEASE_NOT_FOUND: &str = "requested lease not found";
/// What every text of etcd itself begins with.
const ETCD_ITSELF: &str = "etcdserver: ";
/// The library's words for an answer above our limit. The gRPC code does not tell: etcd uses it for
/// a compacted revision too.
const TOO_LARGE: &str = "message length too large";

/// The longest text of a server that is shown.
const MAX_SHOWN: usize = 300;

/// A request that failed, with the endpoint that was asked.
#[derive(Debug, thiserror::Error)]
pub(super) struct CallError {
    pub(super) endpoint: String,
    pub(super) cause: CallCause,
    /// The probable cause, and what to do.
    pub(super) hint: Option<String>,
    /// What failed on which endpoint, if several were asked.
    pub(super) everywhere: BTreeMap<String, String>,
}

/// What came back.
#[derive(Debug)]
pub(super) enum CallCause {
    /// An error of etcd, or of the connection to it.
    Etcd(EtcdError),
    /// No answer within [`REQUEST_DEADLINE`].
    TimedOut,
    /// The request was not sent: etcd refused user and password in these words a short time ago.
    /// The words are shown again as they are, so that the status does not alternate.
    LoginOnHold(String),
    /// This host's way to etcd changed while the request was under way: no answer would come.
    PathChanged,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.everywhere.len() > 1 {
            return f.write_str(&by_failure(&self.everywhere));
        }
        write!(f, "{}: {}", self.endpoint, self.what())
    }
}

impl CallError {
    /// Returns what came back and what to do, without the endpoint.
    pub(super) fn what(&self) -> String {
        format!(
            "{}{}",
            self.cause.words(),
            in_parentheses(self.hint.as_deref())
        )
    }

    /// Returns the error that the lease slice sees: what was tried, and what came back.
    pub(super) fn during(self, operation: &str) -> RegistryError {
        RegistryError {
            operation: operation.to_owned(),
            source: Box::new(self),
        }
    }
}

impl CallCause {
    /// Returns whether another endpoint may do better. The connection to this one is then not worth
    /// keeping.
    pub(super) fn is_endpoint_fault(&self) -> bool {
        match self {
            Self::TimedOut => true,
            Self::Etcd(_) => self.fault().is_some() || self.has_code_of(&ENDPOINT_FAULTS),
            Self::LoginOnHold(_) | Self::PathChanged => false,
        }
    }

    /// Returns whether only this host's way to etcd has changed.
    pub(super) const fn is_path_change(&self) -> bool {
        matches!(self, Self::PathChanged)
    }

    /// Returns whether other certificates or another password may help.
    pub(super) fn may_need_new_files(&self) -> bool {
        match self {
            // The files are read before a login is put on hold.
            Self::TimedOut | Self::LoginOnHold(_) | Self::PathChanged => false,
            Self::Etcd(_) => self.is_endpoint_fault() || self.has_code_of(&ACCESS_REFUSALS),
        }
    }

    /// Returns whether etcd wants a new token.
    pub(super) fn is_outdated_token(&self) -> bool {
        self.etcd_says(OUTDATED_TOKEN)
    }

    /// Returns whether etcd has checked our user and password just now, and refused them.
    pub(super) fn is_refused_login(&self) -> bool {
        self.etcd_says(REFUSED_LOGIN)
    }

    /// Returns whether the answer was refused for its size.
    pub(super) fn is_too_large(&self) -> bool {
        self.etcd_says(TOO_LARGE)
    }

    /// Returns whether an etcd lease of the wanted number exists already.
    pub(super) fn is_granted_already(&self) -> bool {
        self.etcd_says(LEASE_EXISTS)
    }

    /// Returns whether the etcd lease that was asked for does not exist.
    pub(super) fn is_missing_lease(&self) -> bool {
        matches!(self, Self::Etcd(EtcdError::LeaseKeepAliveError(_)))
            || self.etcd_says(LEASE_NOT_FOUND)
    }

    /// Returns whether the other side ended the connection under the request. On a new one, the same endpoint may do better.
    pub(super) fn is_hang_up(&self) -> bool {
        matches!(self.fault(), Some(Fault::Closed | Fault::GoAway(_)))
    }

    /// Returns whether a stream ended as a proxy ends one that was idle: what is behind it may be well.
    pub(super) fn is_cut(&self) -> bool {
        match self.fault() {
            Some(fault) => matches!(fault, Fault::Closed | Fault::GoAway(_) | Fault::NotGrpc(_)),
            None => self.has_code_of(&ENDPOINT_FAULTS) && !self.etcd_says(ETCD_ITSELF),
        }
    }

    fn fault(&self) -> Option<Fault> {
        match self {
            Self::Etcd(error) => Fault::of(error),
            Self::TimedOut | Self::LoginOnHold(_) | Self::PathChanged => None,
        }
    }

    /// Returns the words of etcd, without what the libraries in between add.
    pub(super) fn words(&self) -> String {
        match self {
            Self::TimedOut => format!("no answer within {} s", REQUEST_DEADLINE.as_secs()),
            Self::LoginOnHold(words) => words.clone(),
            Self::PathChanged => "the way of this host to etcd keeps changing".to_owned(),
            Self::Etcd(error) => error_words(error),
        }
    }

    fn etcd_says(&self, words: &str) -> bool {
        self.status()
            .is_some_and(|status| status.message().contains(words))
    }

    fn has_code_of(&self, codes: &[i32]) -> bool {
        self.status()
            .is_some_and(|status| codes.contains(&i32::from(status.code())))
    }

    fn status(&self) -> Option<&tonic::Status> {
        match self {
            Self::Etcd(EtcdError::GRpcStatus(status)) => Some(status),
            Self::Etcd(_) | Self::TimedOut | Self::LoginOnHold(_) | Self::PathChanged => None,
        }
    }
}

fn error_words(error: &EtcdError) -> String {
    if let Some(fault) = Fault::of(error) {
        return shown(&fault.to_string());
    }
    if let EtcdError::GRpcStatus(status) = error {
        return shown(status.message());
    }
    shown(&crate::error::chain(error))
}

/// Whatever answers there may send anything.
fn shown(words: &str) -> String {
    let mut shown: String = words
        .chars()
        .take(MAX_SHOWN)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    if words.chars().count() > MAX_SHOWN {
        shown.push_str("...");
    }
    shown
}

/// Names each failure once, with the endpoints that it has: the same text, whichever endpoint was asked last.
fn by_failure(everywhere: &BTreeMap<String, String>) -> String {
    let mut failures: Vec<(&str, Vec<&str>)> = Vec::new();
    for (endpoint, what) in everywhere {
        match failures.iter_mut().find(|(known, _)| known == what) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => failures.push((what, vec![endpoint])),
        }
    }
    let parts = failures
        .iter()
        .map(|(what, endpoints)| format!("{}: {what}", endpoints.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

/// Returns the hint as the end of an error's text.
pub(super) fn in_parentheses(hint: Option<&str>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An error that came from etcd itself.
    pub(in crate::adapters::etcd) fn from_etcd(code: tonic::Code, words: &str) -> CallCause {
        CallCause::Etcd(EtcdError::GRpcStatus(tonic::Status::new(code, words)))
    }

    #[test]
    fn a_lease_whose_number_is_taken_is_granted_already() {
        let says = |words| from_etcd(tonic::Code::FailedPrecondition, words);
        assert!(says("etcdserver: lease already exists").is_granted_already());
        assert!(!says("etcdserver: requested lease not found").is_granted_already());
        assert!(!CallCause::TimedOut.is_granted_already());
    }

    #[test]
    fn a_lease_is_missing_also_in_the_words_of_a_proxy() {
        let says = |words| from_etcd(tonic::Code::NotFound, words);
        assert!(says("etcdserver: requested lease not found").is_missing_lease());
        assert!(!says("etcdserver: no leader").is_missing_lease());
        let library = EtcdError::LeaseKeepAliveError("lease not found".to_owned());
        assert!(CallCause::Etcd(library).is_missing_lease());
    }

    #[test]
    fn a_cut_is_what_a_proxy_does_and_not_what_etcd_says() {
        use tonic::Code::{Internal, OutOfRange, PermissionDenied, Unavailable};
        let no_answer = EtcdError::WatchError("failed to create lease keeper".to_owned());
        assert!(CallCause::Etcd(no_answer).is_cut());
        for (code, words, expected) in [
            (Unavailable, "upstream reset", true),
            (Internal, "stream terminated by RST_STREAM", true),
            (
                Unavailable,
                "grpc-status header missing, mapped from HTTP status code 504",
                true,
            ),
            (Unavailable, "etcdserver: no leader", false),
            (PermissionDenied, "etcdserver: permission denied", false),
            (OutOfRange, "message length too large", false),
        ] {
            assert_eq!(from_etcd(code, words).is_cut(), expected, "{words}");
        }
        assert!(!CallCause::TimedOut.is_cut() && !CallCause::PathChanged.is_cut());
    }

    #[test]
    fn the_text_names_endpoint_words_and_hint() {
        let error = CallError {
            endpoint: "http://a:2379".to_owned(),
            cause: CallCause::TimedOut,
            hint: Some("start etcd".to_owned()),
            everywhere: BTreeMap::new(),
        };
        assert_eq!(
            crate::error::chain(&error.during("list \"/net/\"")),
            "failed to list \"/net/\": http://a:2379: no answer within 5 s (start etcd)"
        );
    }

    #[test]
    fn several_endpoints_are_named_with_what_they_have_in_common() {
        let everywhere = [
            ("http://b:1", "refused"),
            ("http://a:1", "refused"),
            ("http://c:1", "silent"),
        ];
        let error = CallError {
            endpoint: "http://b:1".to_owned(),
            cause: CallCause::TimedOut,
            hint: None,
            everywhere: everywhere
                .map(|(endpoint, what)| (endpoint.to_owned(), what.to_owned()))
                .into(),
        };
        assert_eq!(
            error.to_string(),
            "http://a:1, http://b:1: refused; http://c:1: silent"
        );
    }

    #[test]
    fn words_of_a_server_are_cut_and_stay_on_one_line() {
        let words = from_etcd(tonic::Code::Unknown, &format!("a\nb{}", "x".repeat(1000))).words();
        assert!(words.starts_with("a bx") && words.len() < 310, "{words}");
    }
}
