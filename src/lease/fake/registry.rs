//! The port as the registry in memory implements it.

use std::time::Duration;

use tokio::time::Instant;

use crate::lease::fake::{FakeRegistry, failure};
use crate::lease::port::{
    Entry, LeaseId, Listing, Registry, RegistryChange, RegistryError, RegistryWatch, TimeToLive,
    WatchEnd, WriteOutcome,
};
use crate::model::lease::TTL;

/// A watch of the registry in memory.
pub(crate) struct FakeWatch {
    registry: FakeRegistry,
    next: i64,
}

impl FakeRegistry {
    fn is_unchanged(&self, read: &Entry) -> bool {
        let state = self.state.borrow();
        let entry = state.entries.get(&read.name);
        entry.is_some_and(|entry| entry.revision == read.revision)
    }
}

impl Registry for FakeRegistry {
    type Watch = FakeWatch;

    fn endpoint(&self) -> Option<String> {
        None
    }

    async fn list(&self) -> Result<Listing, RegistryError> {
        self.check_reachable("list")?;
        let mut state = self.state.borrow_mut();
        state.lists += 1;
        let entries = state.entries.values().cloned().collect();
        Ok(Listing {
            revision: state.revision,
            config: state.config.clone(),
            entries,
        })
    }

    async fn get(&self, name: &str) -> Result<Option<Entry>, RegistryError> {
        self.check_reachable("get")?;
        Ok(self.state.borrow().entries.get(name).cloned())
    }

    async fn watch(&self, from: i64) -> Result<FakeWatch, RegistryError> {
        self.check_reachable("watch")?;
        Ok(FakeWatch {
            registry: self.clone(),
            next: from,
        })
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<Duration, RegistryError> {
        self.check_reachable("grant")?;
        self.state.borrow_mut().leases.insert(lease);
        self.check_writable("grant")?;
        Ok(ttl)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Option<Duration>, RegistryError> {
        self.check_reachable("renew")?;
        let mut state = self.state.borrow_mut();
        state.renewals += 1;
        Ok(state.leases.contains(&lease).then_some(TTL))
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<Option<TimeToLive>, RegistryError> {
        self.check_reachable("look up")?;
        let state = self.state.borrow();
        let expires = state.expires.get(&lease);
        let left = expires.map_or(TTL, |at| at.saturating_duration_since(Instant::now()));
        Ok(state
            .leases
            .contains(&lease)
            .then_some(TimeToLive { left, granted: TTL }))
    }

    async fn create(
        &self,
        name: &str,
        value: &str,
        lease: LeaseId,
    ) -> Result<WriteOutcome, RegistryError> {
        self.check_reachable("create")?;
        self.check_writable("create")?;
        let other = self.state.borrow_mut().written_before_creation.take();
        if let Some((name, value)) = other {
            self.state.borrow_mut().leases.insert(8);
            self.put(name, &value, Some(8));
        }
        if std::mem::take(&mut self.state.borrow_mut().fail_next_creation) {
            return Err(failure("create", "permission denied"));
        }
        if self
            .state
            .borrow()
            .taken_by_others
            .iter()
            .any(|taken| taken == name)
        {
            self.put(name, "{}", Some(99));
        }
        if self.state.borrow().entries.contains_key(name) {
            return Ok(WriteOutcome::Lost);
        }
        Ok(WriteOutcome::Done {
            revision: self.put(name, value, Some(lease)),
        })
    }

    async fn replace(&self, read: &Entry, value: &str) -> Result<WriteOutcome, RegistryError> {
        self.check_reachable("replace")?;
        self.check_writable("replace")?;
        if !self.is_unchanged(read) {
            return Ok(WriteOutcome::Lost);
        }
        let mut state = self.state.borrow_mut();
        state.replacements += 1;
        if let Some(lease) = read.lease
            && state.renewed_on_write.contains(&lease)
        {
            state.expires.insert(lease, Instant::now() + TTL);
        }
        drop(state);
        Ok(WriteOutcome::Done {
            revision: self.put(&read.name, value, read.lease),
        })
    }

    async fn remove(&self, read: &Entry) -> Result<WriteOutcome, RegistryError> {
        self.check_reachable("remove")?;
        if !self.is_unchanged(read) {
            return Ok(WriteOutcome::Lost);
        }
        self.delete(&read.name);
        Ok(WriteOutcome::Done {
            revision: self.state.borrow().revision,
        })
    }
}

impl RegistryWatch for FakeWatch {
    async fn next(&mut self) -> Result<Vec<RegistryChange>, WatchEnd> {
        loop {
            let changed = self.registry.changed.clone();
            let notified = changed.notified();
            self.registry
                .check_reachable("go on watching")
                .map_err(WatchEnd::Failed)?;
            if self.next <= self.registry.state.borrow().compacted {
                return Err(WatchEnd::Outdated("compacted".to_owned()));
            }
            let changes: Vec<RegistryChange> = {
                let state = self.registry.state.borrow();
                let new = state
                    .history
                    .iter()
                    .filter(|(revision, _)| *revision >= self.next);
                new.map(|(_, change)| change.clone()).collect()
            };
            if !changes.is_empty() {
                self.next = self.registry.state.borrow().revision + 1;
                return Ok(changes);
            }
            notified.await;
        }
    }
}
