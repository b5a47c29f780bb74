//! Owns all talk with etcd (v3 API): implements [`Registry`]. The only place that knows etcd. Decides nothing about
//! leases; decides which endpoint to ask.

mod access;
mod certificate;
mod check;
mod connect;
mod diagnose;
mod endpoints;
mod failure;
mod list;
mod login;
mod watch;

use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, GetOptions, GetResponse, KeyValue, LeaseGrantOptions, PutOptions,
    Txn, TxnOp, TxnOpResponse, TxnResponse,
};

pub(crate) use crate::adapters::etcd::access::{AccessFiles, AccessSource, EtcdAccess, EtcdTls};
pub(crate) use crate::adapters::etcd::check::check;
use crate::adapters::etcd::endpoints::Endpoints;
use crate::adapters::etcd::failure::{Cause, Failure};
pub(crate) use crate::adapters::etcd::watch::EtcdWatch;
use crate::lease::port::{
    Entry, LeaseId, Listing, Registry, RegistryError, TimeToLive, WriteOutcome,
};

/// Largest answer that we accept, in bytes: above what etcd is recommended to store in one value (10 MiB). What is larger
/// is refused before it is received.
const LARGEST_ANSWER: usize = 16 << 20;
/// So much of a value is kept. Longer ones are no leases, and all of them must fit into memory.
const LONGEST_KEPT: usize = 64 << 10;

/// The leases of one network, in etcd.
pub(crate) struct Etcd {
    endpoints: Endpoints,
    keys: Keys,
}

/// The names of the keys of one network.
#[derive(Debug, Clone)]
struct Keys {
    /// `PREFIX/`: everything of this network.
    all: String,
    /// `PREFIX/config`.
    config: String,
    /// `PREFIX/subnets/`.
    subnets: String,
}

impl Keys {
    fn new(prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/');
        let all = format!("{prefix}/");
        Self {
            config: format!("{all}config"),
            subnets: format!("{all}subnets/"),
            all,
        }
    }

    fn of(&self, name: &str) -> String {
        format!("{}{name}", self.subnets)
    }

    /// Name of a lease's key, or `None` for a key that is none below `PREFIX/subnets/`.
    fn name(&self, key: &[u8]) -> Option<String> {
        key.strip_prefix(self.subnets.as_bytes())
            .map(|name| String::from_utf8_lossy(name).into_owned())
    }

    fn entry(&self, kv: &KeyValue) -> Option<Entry> {
        Some(Entry {
            name: self.name(kv.key())?,
            value: kv
                .value()
                .get(..LONGEST_KEPT)
                .unwrap_or(kv.value())
                .to_vec(),
            revision: kv.mod_revision(),
            lease: Some(kv.lease()).filter(|lease| *lease != 0),
        })
    }
}

impl Etcd {
    /// Prepares to talk to etcd; nothing is sent yet. `source` tells what `access` has become when it is refused.
    pub(crate) fn new(access: EtcdAccess, source: AccessSource, prefix: &str) -> Self {
        let keys = Keys::new(prefix);
        Self {
            endpoints: Endpoints::new(access, source, &keys.all),
            keys,
        }
    }

    async fn range(&self, from: &[u8], options: GetOptions) -> Result<GetResponse, Failure> {
        let request = async |client: Client| {
            client
                .kv_client()
                .max_decoding_message_size(LARGEST_ANSWER)
                .get(from, Some(options.clone()))
                .await
        };
        self.endpoints.try_call(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, Failure> {
        let request = async |client: Client| {
            client
                .kv_client()
                .max_decoding_message_size(LARGEST_ANSWER)
                .txn(txn.clone())
                .await
        };
        self.endpoints.try_call(request).await
    }
}

impl Registry for Etcd {
    type Watch = EtcdWatch;

    async fn list(&self) -> Result<Listing, RegistryError> {
        list::all(self).await
    }

    async fn get(&self, name: &str) -> Result<Option<Entry>, RegistryError> {
        let key = self.keys.of(name);
        let found = match self.range(key.as_bytes(), GetOptions::new()).await {
            Err(failure) if failure.cause.is_too_large() => {
                self.range(key.as_bytes(), GetOptions::new().with_keys_only())
                    .await
            }
            found => found,
        };
        let found = found.map_err(|failure| failure.during(&format!("get \"{key}\"")))?;
        Ok(found.kvs().first().and_then(|kv| self.keys.entry(kv)))
    }

    async fn watch(&self, from: i64) -> Result<EtcdWatch, RegistryError> {
        watch::start(&self.endpoints, self.keys.clone(), from).await
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration) -> Result<Duration, RegistryError> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let named = LeaseGrantOptions::new().with_id(lease);
        let request =
            async |mut client: Client| client.lease_grant(seconds, Some(named.clone())).await;
        match self.endpoints.try_call(request).await {
            Ok(granted) => Ok(seconds_of(granted.ttl())),
            Err(failure) if failure.cause.is_granted_already() => Ok(ttl),
            Err(failure) => Err(failure.during("get a lease from etcd")),
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Option<Duration>, RegistryError> {
        let request = async |mut client: Client| {
            // The first answer only says that the lease is there; the library keeps its time to live to itself.
            let (mut keeper, mut answers) = client.lease_keep_alive(lease).await?;
            keeper.keep_alive().await?;
            answers.message().await
        };
        match self.endpoints.try_call(request).await {
            Ok(Some(answer)) if answer.ttl() > 0 => Ok(Some(seconds_of(answer.ttl()))),
            Ok(_) => Ok(None),
            Err(failure)
                if matches!(
                    failure.cause,
                    Cause::Etcd(etcd_client::Error::LeaseKeepAliveError(_))
                ) =>
            {
                Ok(None)
            }
            Err(failure) => Err(failure.during(&format!("renew etcd lease {lease:x}"))),
        }
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<Option<TimeToLive>, RegistryError> {
        let request =
            async |mut client: etcd_client::Client| client.lease_time_to_live(lease, None).await;
        let answer = self
            .endpoints
            .call(&format!("look up etcd lease {lease:x}"), request)
            .await?;
        let (left, granted) = (seconds_of(answer.ttl()), seconds_of(answer.granted_ttl()));
        Ok((answer.ttl() > 0).then_some(TimeToLive { left, granted }))
    }

    async fn create(
        &self,
        name: &str,
        value: &str,
        lease: LeaseId,
    ) -> Result<WriteOutcome, RegistryError> {
        let key = self.keys.of(name);
        let absent = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let put = TxnOp::put(
            key.clone(),
            value,
            Some(PutOptions::new().with_lease(lease)),
        );
        let txn = Txn::new()
            .when([absent])
            .and_then([put])
            .or_else([TxnOp::get(key.clone(), None)]);
        let answer = self
            .txn(txn)
            .await
            .map_err(|failure| failure.during(&format!("create \"{key}\"")))?;
        Ok(if answer.succeeded() {
            WriteOutcome::Done {
                revision: revision(&answer),
            }
        } else {
            already(&answer, value, lease)
        })
    }

    async fn replace(&self, read: &Entry, value: &str) -> Result<WriteOutcome, RegistryError> {
        let key = self.keys.of(&read.name);
        let lease = read.lease.unwrap_or(0);
        let unchanged = Compare::mod_revision(key.clone(), CompareOp::Equal, read.revision);
        let put = TxnOp::put(
            key.clone(),
            value,
            Some(PutOptions::new().with_lease(lease)),
        );
        let txn = Txn::new()
            .when([unchanged])
            .and_then([put])
            .or_else([TxnOp::get(key.clone(), None)]);
        let answer = self
            .txn(txn)
            .await
            .map_err(|failure| failure.during(&format!("update \"{key}\"")))?;
        Ok(if answer.succeeded() {
            WriteOutcome::Done {
                revision: revision(&answer),
            }
        } else {
            already(&answer, value, lease)
        })
    }

    async fn remove(&self, read: &Entry) -> Result<WriteOutcome, RegistryError> {
        let key = self.keys.of(&read.name);
        let unchanged = Compare::mod_revision(key.clone(), CompareOp::Equal, read.revision);
        let txn = Txn::new()
            .when([unchanged])
            .and_then([TxnOp::delete(key.clone(), None)]);
        let answer = self
            .txn(txn)
            .await
            .map_err(|failure| failure.during(&format!("delete \"{key}\"")))?;
        Ok(if answer.succeeded() {
            WriteOutcome::Done {
                revision: revision(&answer),
            }
        } else {
            WriteOutcome::Lost
        })
    }
}

/// A write that lost may have lost against itself: the first try went through, its answer did not.
fn already(answer: &TxnResponse, value: &str, lease: LeaseId) -> WriteOutcome {
    let ours = |kv: &KeyValue| kv.value() == value.as_bytes() && kv.lease() == lease;
    for response in answer.op_responses() {
        if let TxnOpResponse::Get(found) = response
            && let Some(kv) = found.kvs().first().filter(|kv| ours(kv))
        {
            return WriteOutcome::Done {
                revision: kv.mod_revision(),
            };
        }
    }
    WriteOutcome::Lost
}

fn revision(answer: &TxnResponse) -> i64 {
    answer
        .header()
        .map_or(0, etcd_client::ResponseHeader::revision)
}

fn seconds_of(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

/// The smallest key above `key`.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The smallest key above all that begin with `prefix`, which ends in `/`.
fn end_of_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_keys_with_and_without_a_slash_at_the_end() {
        for prefix in ["/coreos.com/network", "/coreos.com/network/"] {
            let keys = Keys::new(prefix);
            assert_eq!(keys.config, "/coreos.com/network/config");
            assert_eq!(
                keys.of("10.5.1.0-24"),
                "/coreos.com/network/subnets/10.5.1.0-24"
            );
            assert_eq!(
                keys.name(b"/coreos.com/network/subnets/10.5.1.0-24")
                    .as_deref(),
                Some("10.5.1.0-24")
            );
            assert_eq!(keys.name(b"/coreos.com/network/config"), None);
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_above_all_its_keys_and_below_its_siblings() {
        let end = end_of_prefix("/a/subnets/");
        assert!(
            b"/a/subnets/\xff\xff".as_slice() < &end[..] && &end[..] <= b"/a/subnets0".as_slice()
        );
    }
}
