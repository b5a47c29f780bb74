//! Owns how a request to etcd fails: what is said about it, and what may mend it. Pure.

use std::error::Error as _;
use std::time::Duration;

use etcd_client::Error as EtcdError;

use crate::lease::port;

/// How long one request may take, connecting included.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// gRPC codes of a connection that broke or a member that is unwell: cancelled, unknown, deadline exceeded, internal,
/// unavailable. (<https://grpc.io/docs/guides/status-codes>)
const UNWELL: [i32; 5] = [1, 2, 4, 13, 14];
/// invalid argument, permission denied, failed precondition, unauthenticated: etcd does not know us, or not well enough.
const NOT_LET_IN: [i32; 4] = [3, 7, 9, 16];
/// etcd's words for a token that was made before users or roles changed. The library knows only of expired ones.
const OLD_TOKEN: &str = "revision of auth store is old";
/// etcd's words for a password that is wrong, and for a user that it does not know.
const REFUSED_LOGIN: &str = "invalid user ID or password";
/// etcd's words for a lease whose number is taken.
const LEASE_EXISTS: &str = "lease already exists";
/// The library's words for an answer that is above our limit. etcd uses the same code for a compacted revision.
const TOO_LARGE: &str = "message length too large";

/// How a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}: {}{}", self.cause.words(), in_parentheses(hint.as_deref()))]
pub(super) struct Failure {
    pub(super) endpoint: String,
    pub(super) cause: Cause,
    /// What probably is behind it, and what to do.
    pub(super) hint: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(super) enum Cause {
    /// etcd, or the way to it, said no.
    Etcd(EtcdError),
    /// Nothing in time.
    Late,
    /// Nothing was asked: etcd has refused our user and password in these words, not long ago.
    StillRefused(String),
}

impl Failure {
    /// The failure as the core sees it: what was tried, and what came back.
    pub(super) fn during(self, operation: &str) -> port::RegistryError {
        port::RegistryError {
            operation: operation.to_owned(),
            source: Box::new(self),
        }
    }
}

impl Cause {
    /// Whether another member may do better, and a connection that leads to this one is not worth keeping.
    pub(super) fn is_of_member(&self) -> bool {
        match self {
            Self::Late | Self::Etcd(EtcdError::TransportError(_) | EtcdError::IoError(_)) => true,
            Self::Etcd(EtcdError::GRpcStatus(status)) => UNWELL.contains(&i32::from(status.code())),
            Self::Etcd(_) | Self::StillRefused(_) => false,
        }
    }

    /// Whether other certificates or another password may do better.
    pub(super) fn new_files_may_help(&self) -> bool {
        match self {
            // Before a refusal is repeated, the files are read.
            Self::Late | Self::StillRefused(_) => false,
            Self::Etcd(EtcdError::GRpcStatus(status)) => {
                self.is_of_member() || NOT_LET_IN.contains(&i32::from(status.code()))
            }
            Self::Etcd(_) => self.is_of_member(),
        }
    }

    pub(super) fn is_old_token(&self) -> bool {
        self.words_of_etcd()
            .is_some_and(|words| words.contains(OLD_TOKEN))
    }

    /// Whether etcd has just looked at our user and password, and refused them.
    pub(super) fn is_refused_login(&self) -> bool {
        self.words_of_etcd()
            .is_some_and(|words| words.contains(REFUSED_LOGIN))
    }

    /// Whether the answer was refused for its size.
    pub(super) fn is_too_large(&self) -> bool {
        self.words_of_etcd()
            .is_some_and(|words| words.contains(TOO_LARGE))
    }

    /// Whether a lease of that number is there.
    pub(super) fn is_granted_already(&self) -> bool {
        self.words_of_etcd()
            .is_some_and(|words| words.contains(LEASE_EXISTS))
    }

    fn words_of_etcd(&self) -> Option<&str> {
        match self {
            Self::Etcd(EtcdError::GRpcStatus(status)) => Some(status.message()),
            Self::Etcd(_) | Self::Late | Self::StillRefused(_) => None,
        }
    }

    /// The words of etcd without the packaging of the libraries in between.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Late => format!("no answer within {} s", DEADLINE.as_secs()),
            Self::StillRefused(words) => words.clone(),
            Self::Etcd(EtcdError::GRpcStatus(status)) => {
                let causes = status.source().map(crate::error::chain).unwrap_or_default();
                // The message often is the innermost cause already.
                match causes.is_empty() || causes.contains(status.message()) {
                    true => status.message().to_owned(),
                    false => format!("{}: {causes}", status.message()),
                }
            }
            // The library's own errors hide their causes.
            Self::Etcd(EtcdError::TransportError(error)) => crate::error::chain(error),
            Self::Etcd(error) => crate::error::chain(error),
        }
    }
}

pub(super) fn in_parentheses(hint: Option<&str>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_whose_number_is_taken_is_granted_already() {
        let of_etcd = |words: &str| {
            Cause::Etcd(EtcdError::GRpcStatus(tonic::Status::failed_precondition(
                words,
            )))
        };
        assert!(of_etcd("etcdserver: lease already exists").is_granted_already());
        assert!(!of_etcd("etcdserver: requested lease not found").is_granted_already());
        assert!(!Cause::Late.is_granted_already());
    }
}
