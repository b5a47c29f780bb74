//! Owns the port to the store of leases: what the keeper needs of it, and how it fails. `crate::adapters::etcd`
//! implements it; tests use `subnet::memory`.

use std::time::Duration;

/// etcd's number for a lease; keys that hang on it vanish when it is not renewed.
pub type LeaseId = i64;

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeToLive {
    /// What is left.
    pub left: Duration,
    /// What a renewal gives.
    pub granted: Duration,
}

impl TimeToLive {
    /// Whether nobody has renewed the lease for half its time: whoever lives does so at a third.
    pub fn is_neglected(self) -> bool {
        self.left < self.granted / 2
    }
}

/// One key below `PREFIX/subnets/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key without its prefix: `10.5.1.0-24` for a well-formed one.
    pub name: String,
    /// The value, unread.
    pub value: Vec<u8>,
    /// Revision of the last write.
    pub revision: i64,
    /// The lease it hangs on; `None` for a reservation, which never expires.
    pub lease: Option<LeaseId>,
}

/// All that the store holds for one network, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The moment. A watch from the next revision on misses nothing.
    pub revision: i64,
    /// Value of `PREFIX/config`, if there is one.
    pub config: Option<Vec<u8>>,
    /// All keys below `PREFIX/subnets/`, in the order of their names.
    pub entries: Vec<Entry>,
}

/// One change of the store, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryChange {
    /// `PREFIX/config` was written, or deleted.
    Config(Option<Vec<u8>>),
    /// A key below `PREFIX/subnets/` was written.
    Put(Entry),
    /// A key below `PREFIX/subnets/` was deleted or has expired.
    Delete(String),
}

/// How a guarded write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is there.
    Done {
        /// Revision of the write.
        revision: i64,
    },
    /// Somebody else wrote the key since it was read; nothing was changed.
    Lost,
}

/// A request to the store that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}")]
pub struct RegistryError {
    /// What was tried, on what.
    pub operation: String,
    /// What came back.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// The store of leases of one network. Every call has a time limit of its own.
///
/// Its futures are awaited on one thread, so they need not be `Send`.
pub trait Registry {
    /// A running watch.
    type Watch: RegistryWatch;

    /// Everything, at one revision.
    fn list(&self) -> impl Future<Output = Result<Listing, RegistryError>>;

    /// One key below `PREFIX/subnets/`, if it is there.
    fn get(&self, name: &str) -> impl Future<Output = Result<Option<Entry>, RegistryError>>;

    /// Changes from revision `from` on, that one included.
    fn watch(&self, from: i64) -> impl Future<Output = Result<Self::Watch, RegistryError>>;

    /// A lease of this number, on which keys can hang; the time to live that was granted. Fine if it is there already: an
    /// earlier request may have gone through without an answer.
    fn grant(
        &self,
        lease: LeaseId,
        ttl: Duration,
    ) -> impl Future<Output = Result<Duration, RegistryError>>;

    /// Renews a lease. The time to live it has again, or `None` if there is no such lease any more.
    fn keep_alive(
        &self,
        lease: LeaseId,
    ) -> impl Future<Output = Result<Option<Duration>, RegistryError>>;

    /// What is left of a lease's time to live, and what it was granted; `None` if there is no such lease.
    fn time_to_live(
        &self,
        lease: LeaseId,
    ) -> impl Future<Output = Result<Option<TimeToLive>, RegistryError>>;

    /// Creates a key below `PREFIX/subnets/`; lost if it exists.
    fn create(
        &self,
        name: &str,
        value: &str,
        lease: LeaseId,
    ) -> impl Future<Output = Result<WriteOutcome, RegistryError>>;

    /// Writes an entry that was read before, on the lease that `read` names; lost if it has changed since.
    fn replace(
        &self,
        read: &Entry,
        value: &str,
    ) -> impl Future<Output = Result<WriteOutcome, RegistryError>>;

    /// Deletes an entry that was read before; lost if it has changed since.
    fn remove(&self, read: &Entry) -> impl Future<Output = Result<WriteOutcome, RegistryError>>;
}

/// A stream of changes.
pub trait RegistryWatch {
    /// The next changes, at least one. Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The watch has ended, for whatever reason: what happened since is only known by listing again.
    fn next(&mut self) -> impl Future<Output = Result<Vec<RegistryChange>, RegistryError>>;
}
