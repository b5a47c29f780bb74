//! The ports of the lease manager. [`Registry`] is the store of leases: what it needs from etcd, and how that fails.
//! [`AddressProbe`] asks a link who has an address. `adapters::etcd` and `adapters::arp` implement them; tests use
//! `lease::fake`. They know no client, connection or socket.

use std::fmt;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::time::Duration;

use crate::model::addr::MacAddr;

/// The number of an etcd lease. Keys that are attached to it disappear when it expires.
pub(crate) type LeaseId = i64;

/// How long an etcd lease still lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeToLive {
    /// Time until it expires.
    pub(crate) left: Duration,
    /// Time that it was granted, and gets again with each renewal.
    pub(crate) granted: Duration,
}

impl TimeToLive {
    /// Whether the lease was not renewed for half its time. A live host renews at a third.
    pub(crate) fn is_neglected(self) -> bool {
        self.left < self.granted / 2
    }

    /// Whether the lease was renewed between two looks. `elapsed`: the time between them, which must be longer than
    /// the slack, because etcd tells whole seconds.
    pub(crate) fn is_renewed_since(self, earlier: Self, elapsed: Duration) -> bool {
        const SLACK: Duration = Duration::from_secs(2);
        self.left + elapsed > earlier.left + SLACK
    }
}

/// One key below `PREFIX/subnets/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key without its prefix: `10.5.1.0-24` for a well-formed one.
    pub(crate) name: String,
    /// The value, not parsed.
    pub(crate) value: Vec<u8>,
    /// Revision at which the key was created. It differs when the key was gone in between.
    pub(crate) created: i64,
    /// Revision of the last write.
    pub(crate) revision: i64,
    /// The etcd lease that the key is attached to; `None` for a reservation, which never expires.
    pub(crate) lease: Option<LeaseId>,
}

/// Everything that the store holds for one network, at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The revision. A watch from the next one on misses nothing.
    pub(crate) revision: i64,
    /// Value of `PREFIX/config`, if the key exists.
    pub(crate) config: Option<Vec<u8>>,
    /// All keys below `PREFIX/subnets/`, sorted by name.
    pub(crate) entries: Vec<Entry>,
}

/// One change of the store, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RegistryChange {
    /// `PREFIX/config` was written, or deleted.
    Config(Option<Vec<u8>>),
    /// A key below `PREFIX/subnets/` was written.
    Put(Entry),
    /// A key below `PREFIX/subnets/` was deleted, or has expired.
    Delete(String),
}

/// How a guarded write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteOutcome {
    /// The key was written.
    Done {
        /// Revision of the write.
        revision: i64,
    },
    /// Another client has written the key since it was read. Nothing was changed.
    Lost,
}

/// A request to the store that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}")]
pub(crate) struct RegistryError {
    /// The operation, with the key or lease that it is about.
    pub(crate) operation: String,
    /// Why it failed.
    #[source]
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a watch has ended. Only a new list tells what has changed since.
#[derive(Debug)]
pub(crate) enum WatchEnd {
    /// The store does not know any more what came after the last change, for this reason. Nothing is wrong with it.
    Outdated(String),
    Failed(RegistryError),
}

/// The store of the leases of one network. Every call has a time limit of its own, and fails when etcd is unreachable or
/// refuses the request.
///
/// The futures are awaited on one thread, so they need not be `Send`.
pub(crate) trait Registry {
    /// A running watch.
    type Watch: RegistryWatch;

    /// Returns which endpoint has answered last, for the log.
    fn endpoint(&self) -> Option<String>;

    /// Returns everything, at one revision.
    ///
    /// # Errors
    /// etcd is unreachable or refuses to read.
    fn list(&self) -> impl Future<Output = Result<Listing, RegistryError>>;

    /// Returns one key below `PREFIX/subnets/`, if it exists.
    ///
    /// # Errors
    /// etcd is unreachable or refuses to read.
    fn get(&self, name: &str) -> impl Future<Output = Result<Option<Entry>, RegistryError>>;

    /// Watches for changes, from revision `from` on, that one included.
    ///
    /// # Errors
    /// etcd is unreachable or refuses the watch. A revision that is compacted shows as the end of the watch.
    fn watch(&self, from: i64) -> impl Future<Output = Result<Self::Watch, RegistryError>>;

    /// Grants an etcd lease with this number and returns the time to live that etcd chose. A lease that exists already
    /// is a success: an earlier request may have been executed without an answer.
    ///
    /// # Errors
    /// etcd is unreachable or refuses to write.
    fn grant(
        &self,
        lease: LeaseId,
        ttl: Duration,
    ) -> impl Future<Output = Result<Duration, RegistryError>>;

    /// Renews an etcd lease and returns its time to live, or `None` if there is no such lease any more.
    ///
    /// # Errors
    /// etcd is unreachable or refuses the renewal.
    fn keep_alive(
        &self,
        lease: LeaseId,
    ) -> impl Future<Output = Result<Option<Duration>, RegistryError>>;

    /// Returns how long an etcd lease still lives, or `None` if there is no such lease.
    ///
    /// # Errors
    /// etcd is unreachable or refuses to read.
    fn time_to_live(
        &self,
        lease: LeaseId,
    ) -> impl Future<Output = Result<Option<TimeToLive>, RegistryError>>;

    /// Creates a key below `PREFIX/subnets/`. The outcome is `Lost` if the key exists.
    ///
    /// # Errors
    /// etcd is unreachable or refuses to write. The key may exist all the same.
    fn create(
        &self,
        name: &str,
        value: &str,
        lease: LeaseId,
    ) -> impl Future<Output = Result<WriteOutcome, RegistryError>>;

    /// Writes a new value to the key that was read as `read`, and attaches it to the etcd lease in `read`. The outcome is
    /// `Lost` if the key has changed since.
    ///
    /// # Errors
    /// etcd is unreachable or refuses to write. The value may be written all the same.
    fn replace(
        &self,
        read: &Entry,
        value: &str,
    ) -> impl Future<Output = Result<WriteOutcome, RegistryError>>;

    /// Deletes the key that was read as `read`. The outcome is `Lost` if the key has changed since.
    ///
    /// # Errors
    /// etcd is unreachable or refuses to write. The key may be deleted all the same.
    fn remove(&self, read: &Entry) -> impl Future<Output = Result<WriteOutcome, RegistryError>>;
}

/// A stream of changes.
pub(crate) trait RegistryWatch {
    /// Returns the next changes, at least one. Cancel-safe: dropping the future loses no change.
    ///
    /// # Errors
    /// The watch has ended.
    fn next(&mut self) -> impl Future<Output = Result<Vec<RegistryChange>, WatchEnd>>;
}

/// Who answers on a link for an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkAnswer {
    /// Another machine.
    Other { mac: MacAddr, interface: String },
    /// Nobody.
    Nobody { interface: String },
    /// The link cannot be asked, for this reason.
    Unknown(String),
}

impl fmt::Display for LinkAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other { mac, interface } => {
                write!(
                    f,
                    "a machine with MAC address {mac} answers for this address on {interface}"
                )
            }
            Self::Nobody { interface } => {
                write!(
                    f,
                    "no other machine answers for this address on {interface}"
                )
            }
            Self::Unknown(reason) => {
                write!(f, "cannot ask the link who has this address: {reason}")
            }
        }
    }
}

/// Asks a link whether another machine has an address (RFC 5227).
pub(crate) trait AddressProbe {
    /// Asks the link of the interface that has `address`. Takes some seconds if nobody answers.
    fn probe(&self, address: Ipv4Addr) -> Pin<Box<dyn Future<Output = LinkAnswer> + '_>>;
}
