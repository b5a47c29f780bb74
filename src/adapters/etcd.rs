//! All talk with etcd (v3 API): the adapter behind the lease slice's port [`Registry`], and the
//! only place that knows etcd. Decides which endpoint to ask, and decides nothing about leases.
//!
//! Arrows run down: [`Registry`]'s requests (`list`, `write`, `etcd_lease`, `watch`) -> `requests`
//! -> `endpoints` -> its pure parts (`connection`, `attempts`, `call_error`, `diagnose`,
//! `cuts`, `login_backoff`, `tls`, `fault`) -> `access` -> `certificate` -> `pem`, `der`.

mod access;
mod attempts;
mod call_error;
mod certificate;
mod check;
mod connect;
mod connection;
mod cuts;
mod der;
mod diagnose;
mod endpoints;
mod etcd_lease;
mod fault;
mod history;
mod keys;
mod list;
mod login_backoff;
mod path;
mod pem;
mod requests;
mod tls;
mod watch;
mod write;

use std::rc::Rc;
use std::time::Duration;

use etcd_client::GetOptions;
use tokio::sync::watch as watch_channel;

pub(crate) use crate::adapters::etcd::access::{AccessFiles, AccessSource, EtcdAccess, EtcdTls};
pub(crate) use crate::adapters::etcd::check::{check, weak_keys};
use crate::adapters::etcd::endpoints::Endpoints;
use crate::adapters::etcd::keys::NetworkKeys;
use crate::adapters::etcd::path::NetworkPath;
pub(crate) use crate::adapters::etcd::pem::{Wanted, instead_of_pem};
pub(crate) use crate::adapters::etcd::watch::EtcdWatch;
use crate::conditions::status::EndpointStates;
use crate::lease::port::{
    Entry, LeaseId, Listing, Registry, RegistryError, TimeToLive, WriteOutcome,
};

/// The leases of one network, in etcd.
pub(crate) struct Etcd {
    /// Shared with the watch, which opens itself again when this host's way to etcd changes.
    endpoints: Rc<Endpoints>,
    keys: NetworkKeys,
}

impl Etcd {
    /// Prepares to talk to etcd; sends nothing yet. `source` reads `access` again when etcd refuses
    /// it. `path` changes when connections that exist may be dead, because a source address or an
    /// interface of this host has changed. `states` shows which endpoints answer.
    pub(crate) fn new(
        access: EtcdAccess,
        source: AccessSource,
        prefix: &str,
        path: watch_channel::Receiver<u64>,
        states: watch_channel::Sender<EndpointStates>,
    ) -> Self {
        let keys = NetworkKeys::new(prefix);
        let path = NetworkPath::new(path);
        Self {
            endpoints: Rc::new(Endpoints::new(access, source, &keys.all, path, states)),
            keys,
        }
    }
}

impl Registry for Etcd {
    type Watch = EtcdWatch;

    fn endpoint(&self) -> Option<String> {
        self.endpoints.answering()
    }

    async fn list(&self) -> Result<Listing, RegistryError> {
        list::all(&self.endpoints, &self.keys).await
    }

    async fn get(&self, name: &str) -> Result<Option<Entry>, RegistryError> {
        let key = self.keys.lease(name);
        let found = match requests::range(&self.endpoints, key.as_bytes(), GetOptions::new()).await
        {
            Err(error) if error.cause.is_too_large() => {
                let name_only = GetOptions::new().with_keys_only();
                requests::range(&self.endpoints, key.as_bytes(), name_only).await
            }
            found => found,
        };
        let found = found.map_err(|error| error.during(&format!("get \"{key}\"")))?;
        Ok(found.kvs().first().and_then(|kv| self.keys.entry(kv)))
    }

    async fn watch(&self, from: i64) -> Result<EtcdWatch, RegistryError> {
        watch::start(Rc::clone(&self.endpoints), self.keys.clone(), from).await
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<Duration, RegistryError> {
        etcd_lease::grant(&self.endpoints, lease, ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Option<Duration>, RegistryError> {
        etcd_lease::keep_alive(&self.endpoints, lease).await
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<Option<TimeToLive>, RegistryError> {
        etcd_lease::time_to_live(&self.endpoints, lease).await
    }

    async fn create(
        &self,
        name: &str,
        value: &str,
        lease: LeaseId,
    ) -> Result<WriteOutcome, RegistryError> {
        write::create(&self.endpoints, &self.keys.lease(name), value, lease).await
    }

    async fn replace(&self, read: &Entry, value: &str) -> Result<WriteOutcome, RegistryError> {
        let (key, lease) = (self.keys.lease(&read.name), read.lease.unwrap_or(0));
        write::replace(&self.endpoints, &key, read.revision, value, lease).await
    }

    async fn remove(&self, read: &Entry) -> Result<WriteOutcome, RegistryError> {
        write::remove(&self.endpoints, &self.keys.lease(&read.name), read.revision).await
    }
}
