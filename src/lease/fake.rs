//! A registry in memory for tests: keys with revisions, etcd leases, watches, and failures on demand. It models revisions, transactions and watches. It does not tie keys to etcd leases: an expired lease leaves its keys, and a key may name a lease that does not exist.

mod registry;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lease::port::{AddressProbe, Entry, LeaseId, LinkAnswer, RegistryChange, RegistryError};

/// What the registry holds, and how it fails.
#[derive(Debug, Default)]
pub(crate) struct FakeRegistryState {
    pub(crate) config: Option<Vec<u8>>,
    pub(crate) entries: BTreeMap<String, Entry>,
    /// The etcd leases that exist.
    pub(crate) leases: BTreeSet<LeaseId>,
    /// When etcd leases expire. A lease that is not in the map has all of its time to live.
    pub(crate) expires: BTreeMap<LeaseId, Instant>,
    /// Etcd leases whose hosts live: they renew when their key is written by another client.
    pub(crate) renewed_on_write: BTreeSet<LeaseId>,
    /// All changes, with their revisions.
    history: Vec<(i64, RegistryChange)>,
    revision: i64,
    /// Watches that have not seen this revision yet end.
    compacted: i64,
    /// Whether every request fails.
    pub(crate) unreachable: bool,
    /// As an etcd that is out of space: creating and replacing keys fails, removing works, and a grant takes effect although its answer is an error.
    pub(crate) read_only: bool,
    /// How many times a lease was renewed.
    pub(crate) renewals: usize,
    /// How many times everything was listed.
    pub(crate) lists: usize,
    /// How many times a key was replaced.
    pub(crate) replacements: usize,
    /// Whether the next creation of a key fails.
    pub(crate) fail_next_creation: bool,
    /// Keys that another host creates just before the lease manager does.
    pub(crate) taken_by_others: Vec<String>,
    /// A key and a value that another host writes just before the lease manager creates a key.
    pub(crate) written_before_creation: Option<(&'static str, String)>,
}

/// The registry. Clones share one state.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeRegistry {
    pub(crate) state: Rc<RefCell<FakeRegistryState>>,
    changed: Rc<Notify>,
}

impl FakeRegistry {
    pub(crate) fn with_config(json: &str) -> Self {
        let registry = Self::default();
        registry.put_config(json);
        registry
    }

    pub(crate) fn put_config(&self, json: &str) {
        let value = json.as_bytes().to_vec();
        self.state.borrow_mut().config = Some(value.clone());
        self.record(|_| RegistryChange::Config(Some(value)));
    }

    pub(crate) fn delete_config(&self) {
        self.state.borrow_mut().config = None;
        self.record(|_| RegistryChange::Config(None));
    }

    pub(crate) fn put(&self, name: &str, value: &str, lease: Option<LeaseId>) -> i64 {
        let before = self
            .state
            .borrow()
            .entries
            .get(name)
            .map(|entry| entry.created);
        self.record(|revision| {
            RegistryChange::Put(Entry {
                name: name.to_owned(),
                value: value.as_bytes().to_vec(),
                created: before.unwrap_or(revision),
                revision,
                lease,
            })
        })
    }

    /// Writes a key without telling the watches.
    pub(crate) fn put_unwatched(&self, name: &str, value: &str) {
        let entry = Entry {
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
            created: 1,
            revision: 1,
            lease: None,
        };
        self.state
            .borrow_mut()
            .entries
            .insert(name.to_owned(), entry);
    }

    /// Sends the watches a key whose revision is older than the list: a late event.
    pub(crate) fn put_old(&self, name: &str, value: &str, revision: i64) {
        self.record(|_| {
            RegistryChange::Put(Entry {
                name: name.to_owned(),
                value: value.as_bytes().to_vec(),
                created: revision,
                revision,
                lease: Some(8),
            })
        });
        self.state.borrow_mut().leases.insert(8);
    }

    pub(crate) fn delete(&self, name: &str) {
        self.record(|_| RegistryChange::Delete(name.to_owned()));
    }

    /// Forgets everything but the config, and starts with revision 0: etcd was restored from a backup.
    pub(crate) fn restore(&self) {
        let mut state = self.state.borrow_mut();
        state.entries.clear();
        state.history.clear();
        state.revision = 0;
    }

    /// Forgets all changes; a watch that waits for the next one ends, as if others had written meanwhile.
    pub(crate) fn compact(&self) {
        let mut state = self.state.borrow_mut();
        state.revision += 1;
        state.compacted = state.revision;
        self.changed.notify_waiters();
    }

    /// While `unreachable`, every request and every running watch fails.
    pub(crate) fn set_unreachable(&self, unreachable: bool) {
        self.state.borrow_mut().unreachable = unreachable;
        self.changed.notify_waiters();
    }

    /// Lets an etcd lease exist that has so much of its time to live.
    pub(crate) fn lease_with_time_left(&self, lease: LeaseId, left: Duration) {
        let mut state = self.state.borrow_mut();
        state.leases.insert(lease);
        state.expires.insert(lease, Instant::now() + left);
    }

    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let state = self.state.borrow();
        state
            .entries
            .get(name)
            .map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.state.borrow().entries.keys().cloned().collect()
    }

    fn record(&self, change: impl FnOnce(i64) -> RegistryChange) -> i64 {
        let mut state = self.state.borrow_mut();
        state.revision += 1;
        let revision = state.revision;
        let change = change(revision);
        match &change {
            RegistryChange::Put(entry) => {
                _ = state.entries.insert(entry.name.clone(), entry.clone())
            }
            RegistryChange::Delete(name) => _ = state.entries.remove(name),
            RegistryChange::Config(_) => {}
        }
        state.history.push((revision, change));
        self.changed.notify_waiters();
        revision
    }

    fn check_reachable(&self, operation: &str) -> Result<(), RegistryError> {
        if self.state.borrow().unreachable {
            return Err(failure(operation, "no answer"));
        }
        Ok(())
    }

    fn check_writable(&self, operation: &str) -> Result<(), RegistryError> {
        if self.state.borrow().read_only {
            return Err(failure(operation, "database space exceeded"));
        }
        Ok(())
    }
}

fn failure(operation: &str, reason: &'static str) -> RegistryError {
    RegistryError {
        operation: operation.to_owned(),
        source: reason.into(),
    }
}

/// A link on which somebody, or nobody, answers. Clones share the answer.
#[derive(Debug, Clone)]
pub(crate) struct FakeLink(Rc<RefCell<LinkAnswer>>);

impl FakeLink {
    /// Nobody can be asked.
    pub(crate) fn unknown() -> Self {
        let reason = "no interface of this host has it".to_owned();
        Self(Rc::new(RefCell::new(LinkAnswer::Unknown(reason))))
    }

    pub(crate) fn set(&self, answer: LinkAnswer) {
        self.0.replace(answer);
    }
}

impl AddressProbe for FakeLink {
    fn probe(&self, _address: Ipv4Addr) -> Pin<Box<dyn Future<Output = LinkAnswer> + '_>> {
        Box::pin(async {
            let answer = self.0.borrow().clone();
            if matches!(answer, LinkAnswer::Nobody { .. }) {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            answer
        })
    }
}
