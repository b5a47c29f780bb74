//! A registry in memory for tests: keys with revisions, leases that expire on request, watches, failures when told to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::lease::port::{
    Entry, LeaseId, Listing, Registry, RegistryChange, RegistryError, RegistryWatch, TimeToLive,
    WriteOutcome,
};

#[derive(Debug, Default)]
pub(crate) struct FakeRegistryState {
    pub(crate) config: Option<Vec<u8>>,
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) leases: BTreeSet<LeaseId>,
    /// What is left of the time to live of leases that nobody renews.
    pub(crate) left: BTreeMap<LeaseId, Duration>,
    /// What happened, with its revision; the oldest may be forgotten.
    history: Vec<(i64, RegistryChange)>,
    revision: i64,
    /// Whether every request fails.
    pub(crate) away: bool,
    /// Whether every write fails. A lease is granted all the same, but the answer is lost.
    pub(crate) full: bool,
    pub(crate) renewals: usize,
    pub(crate) lists: usize,
    /// Whether the next creation is refused.
    pub(crate) refuse_creations: bool,
    /// Keys that another host creates just before we would.
    pub(crate) snatch: Vec<String>,
}

/// See the module. Clones share one world.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeRegistry {
    pub(crate) world: Rc<RefCell<FakeRegistryState>>,
    changed: Rc<Notify>,
}

pub(crate) struct MemoryWatch {
    memory: FakeRegistry,
    next: i64,
}

impl FakeRegistry {
    pub(crate) fn with_config(json: &str) -> Self {
        let memory = Self::default();
        memory.put_config(json);
        memory
    }

    pub(crate) fn put_config(&self, json: &str) {
        let value = json.as_bytes().to_vec();
        self.world.borrow_mut().config = Some(value.clone());
        self.record(|_| RegistryChange::Config(Some(value)));
    }

    pub(crate) fn delete_config(&self) {
        self.world.borrow_mut().config = None;
        self.record(|_| RegistryChange::Config(None));
    }

    pub(crate) fn put(&self, name: &str, value: &str, lease: Option<LeaseId>) -> i64 {
        self.record(|revision| {
            RegistryChange::Put(Entry {
                name: name.to_owned(),
                value: value.as_bytes().to_vec(),
                revision,
                lease,
            })
        })
    }

    /// Writes a key of which the watch says nothing yet.
    pub(crate) fn put_unwatched(&self, name: &str, value: &str) {
        let entry = Entry {
            name: name.to_owned(),
            value: value.as_bytes().to_vec(),
            revision: 1,
            lease: None,
        };
        self.world
            .borrow_mut()
            .entries
            .insert(name.to_owned(), entry);
    }

    /// A write of the past that the watch brings only now.
    pub(crate) fn put_old(&self, name: &str, value: &str, revision: i64) {
        self.record(|_| {
            RegistryChange::Put(Entry {
                name: name.to_owned(),
                value: value.as_bytes().to_vec(),
                revision,
                lease: Some(8),
            })
        });
        self.world.borrow_mut().leases.insert(8);
    }

    pub(crate) fn delete(&self, name: &str) {
        self.record(|_| RegistryChange::Delete(name.to_owned()));
    }

    /// Fails everything from now on, running watches too, or nothing any more.
    pub(crate) fn set_away(&self, away: bool) {
        self.world.borrow_mut().away = away;
        self.changed.notify_waiters();
    }

    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let world = self.world.borrow();
        world
            .entries
            .get(name)
            .map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.world.borrow().entries.keys().cloned().collect()
    }

    fn record(&self, change: impl FnOnce(i64) -> RegistryChange) -> i64 {
        let mut world = self.world.borrow_mut();
        world.revision += 1;
        let revision = world.revision;
        let change = change(revision);
        match &change {
            RegistryChange::Put(entry) => {
                _ = world.entries.insert(entry.name.clone(), entry.clone())
            }
            RegistryChange::Delete(name) => _ = world.entries.remove(name),
            RegistryChange::Config(_) => {}
        }
        world.history.push((revision, change));
        self.changed.notify_waiters();
        revision
    }

    fn check(&self, operation: &str) -> Result<(), RegistryError> {
        match self.world.borrow().away {
            false => Ok(()),
            true => Err(RegistryError {
                operation: operation.to_owned(),
                source: "away".into(),
            }),
        }
    }

    fn check_writable(&self, operation: &str) -> Result<(), RegistryError> {
        match self.world.borrow().full {
            false => Ok(()),
            true => Err(RegistryError {
                operation: operation.to_owned(),
                source: "database space exceeded".into(),
            }),
        }
    }
}

impl Registry for FakeRegistry {
    type Watch = MemoryWatch;

    async fn list(&self) -> Result<Listing, RegistryError> {
        self.check("list")?;
        let mut world = self.world.borrow_mut();
        world.lists += 1;
        let entries = world.entries.values().cloned().collect();
        Ok(Listing {
            revision: world.revision,
            config: world.config.clone(),
            entries,
        })
    }

    async fn get(&self, name: &str) -> Result<Option<Entry>, RegistryError> {
        self.check("get")?;
        Ok(self.world.borrow().entries.get(name).cloned())
    }

    async fn watch(&self, from: i64) -> Result<MemoryWatch, RegistryError> {
        self.check("watch")?;
        Ok(MemoryWatch {
            memory: self.clone(),
            next: from,
        })
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<Duration, RegistryError> {
        self.check("grant")?;
        self.world.borrow_mut().leases.insert(lease);
        self.check_writable("grant")?;
        Ok(ttl)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Option<Duration>, RegistryError> {
        self.check("renew")?;
        let mut world = self.world.borrow_mut();
        world.renewals += 1;
        Ok(world
            .leases
            .contains(&lease)
            .then_some(crate::model::lease::TTL))
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<Option<TimeToLive>, RegistryError> {
        self.check("look up")?;
        let world = self.world.borrow();
        let left = world
            .left
            .get(&lease)
            .copied()
            .unwrap_or(crate::model::lease::TTL);
        Ok(world.leases.contains(&lease).then_some(TimeToLive {
            left,
            granted: crate::model::lease::TTL,
        }))
    }

    async fn create(
        &self,
        name: &str,
        value: &str,
        lease: LeaseId,
    ) -> Result<WriteOutcome, RegistryError> {
        self.check("create")?;
        self.check_writable("create")?;
        if std::mem::take(&mut self.world.borrow_mut().refuse_creations) {
            return Err(RegistryError {
                operation: "create".to_owned(),
                source: "permission denied".into(),
            });
        }
        if self.world.borrow().snatch.iter().any(|other| other == name) {
            self.put(name, "{}", Some(99));
        }
        if self.world.borrow().entries.contains_key(name) {
            return Ok(WriteOutcome::Lost);
        }
        Ok(WriteOutcome::Done {
            revision: self.put(name, value, Some(lease)),
        })
    }

    async fn replace(&self, read: &Entry, value: &str) -> Result<WriteOutcome, RegistryError> {
        self.check("replace")?;
        self.check_writable("replace")?;
        let current = self
            .world
            .borrow()
            .entries
            .get(&read.name)
            .map(|entry| entry.revision);
        if current != Some(read.revision) {
            return Ok(WriteOutcome::Lost);
        }
        Ok(WriteOutcome::Done {
            revision: self.put(&read.name, value, read.lease),
        })
    }

    async fn remove(&self, read: &Entry) -> Result<WriteOutcome, RegistryError> {
        self.check("remove")?;
        let current = self
            .world
            .borrow()
            .entries
            .get(&read.name)
            .map(|entry| entry.revision);
        if current != Some(read.revision) {
            return Ok(WriteOutcome::Lost);
        }
        self.delete(&read.name);
        Ok(WriteOutcome::Done {
            revision: self.world.borrow().revision,
        })
    }
}

impl RegistryWatch for MemoryWatch {
    async fn next(&mut self) -> Result<Vec<RegistryChange>, RegistryError> {
        loop {
            let changed = self.memory.changed.clone();
            let notified = changed.notified();
            self.memory.check("go on watching")?;
            let changes: Vec<RegistryChange> = {
                let world = self.memory.world.borrow();
                let new = world
                    .history
                    .iter()
                    .filter(|(revision, _)| *revision >= self.next);
                new.map(|(_, change)| change.clone()).collect()
            };
            if !changes.is_empty() {
                self.next = self.memory.world.borrow().revision + 1;
                return Ok(changes);
            }
            notified.await;
        }
    }
}
