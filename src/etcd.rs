//! Owns all talk with etcd (v3 API): implements [`Registry`]. The only place that knows etcd. Decides nothing about
//! leases; decides which endpoint to ask.

mod endpoints;
mod watch;

use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};

use crate::subnet::registry::{Entry, Error, LeaseId, Listing, Registry, TimeToLive, Written};
pub use endpoints::{Access, Tls};
use endpoints::{Cause, Endpoints};
pub use watch::EtcdWatch;

/// Keys in one page of the list. A lease has 200 bytes: a page is 1 MB, below etcd's limit of 4 MB for an answer.
const PAGE: i64 = 5000;
/// Largest answer that we accept, in bytes: others may have written large values.
const LARGEST_ANSWER: usize = 64 << 20;

/// The leases of one network, in etcd.
pub struct Etcd {
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
        Self { config: format!("{all}config"), subnets: format!("{all}subnets/"), all }
    }

    fn of(&self, name: &str) -> String {
        format!("{}{name}", self.subnets)
    }

    /// Name of a lease's key, or `None` for a key that is none below `PREFIX/subnets/`.
    fn name(&self, key: &[u8]) -> Option<String> {
        key.strip_prefix(self.subnets.as_bytes()).map(|name| String::from_utf8_lossy(name).into_owned())
    }

    fn entry(&self, kv: &KeyValue) -> Option<Entry> {
        Some(Entry {
            name: self.name(kv.key())?,
            value: kv.value().to_vec(),
            revision: kv.mod_revision(),
            lease: Some(kv.lease()).filter(|lease| *lease != 0),
        })
    }
}

impl Etcd {
    /// Prepares to talk to etcd; nothing is sent yet.
    pub fn new(access: Access, prefix: &str) -> Self {
        Self { endpoints: Endpoints::new(access), keys: Keys::new(prefix) }
    }

    /// The configuration and the first page of leases, at one revision.
    async fn first_page(&self) -> Result<(Listing, Option<Vec<u8>>), Error> {
        let page = GetOptions::new().with_prefix().with_limit(PAGE);
        let config = TxnOp::get(self.keys.config.clone(), None);
        let subnets = TxnOp::get(self.keys.subnets.clone(), Some(page));
        let both = Txn::new().and_then([config, subnets]);
        let answer = self.txn(&format!("list \"{}\"", self.keys.all), both).await?;
        let mut listing = Listing { revision: revision(&answer), config: None, entries: Vec::new() };
        let mut next = None;
        for response in answer.op_responses() {
            let TxnOpResponse::Get(found) = response else { continue };
            for kv in found.kvs() {
                match self.keys.entry(kv) {
                    Some(entry) => listing.entries.push(entry),
                    None => listing.config = Some(kv.value().to_vec()),
                }
            }
            next = if found.more() { found.kvs().last().map(|kv| after(kv.key())) } else { None };
        }
        Ok((listing, next))
    }

    /// One more page of the same revision; answers where the next one starts.
    async fn more(&self, listing: &mut Listing, from: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
        let end = end_of_prefix(&self.keys.subnets);
        let page = GetOptions::new().with_range(end).with_limit(PAGE).with_revision(listing.revision);
        let request = async |client: etcd_client::Client| {
            client.kv_client().max_decoding_message_size(LARGEST_ANSWER).get(from.clone(), Some(page.clone())).await
        };
        let found = self.endpoints.call(&format!("list \"{}\"", self.keys.subnets), request).await?;
        listing.entries.extend(found.kvs().iter().filter_map(|kv| self.keys.entry(kv)));
        Ok(if found.more() { found.kvs().last().map(|kv| after(kv.key())) } else { None })
    }

    async fn txn(&self, operation: &str, txn: Txn) -> Result<TxnResponse, Error> {
        let request = async |client: etcd_client::Client| {
            client.kv_client().max_decoding_message_size(LARGEST_ANSWER).txn(txn.clone()).await
        };
        self.endpoints.call(operation, request).await
    }
}

impl Registry for Etcd {
    type Watch = EtcdWatch;

    async fn list(&self) -> Result<Listing, Error> {
        let (mut listing, mut next) = self.first_page().await?;
        while let Some(from) = next {
            next = self.more(&mut listing, from).await?;
        }
        Ok(listing)
    }

    async fn get(&self, name: &str) -> Result<Option<Entry>, Error> {
        let key = self.keys.of(name);
        let request = async |mut client: etcd_client::Client| client.get(key.clone(), None).await;
        let found = self.endpoints.call(&format!("get \"{key}\""), request).await?;
        Ok(found.kvs().first().and_then(|kv| self.keys.entry(kv)))
    }

    async fn watch(&self, from: i64) -> Result<EtcdWatch, Error> {
        watch::start(&self.endpoints, self.keys.clone(), from).await
    }

    async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), Error> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let request = async |mut client: etcd_client::Client| client.lease_grant(seconds, None).await;
        let granted = self.endpoints.call("get a lease from etcd", request).await?;
        Ok((granted.id(), seconds_of(granted.ttl())))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Option<Duration>, Error> {
        let request = async |mut client: etcd_client::Client| {
            // The first answer only says that the lease is there; the library keeps its time to live to itself.
            let (mut keeper, mut answers) = client.lease_keep_alive(lease).await?;
            keeper.keep_alive().await?;
            answers.message().await
        };
        match self.endpoints.try_call(request).await {
            Ok(Some(answer)) if answer.ttl() > 0 => Ok(Some(seconds_of(answer.ttl()))),
            Ok(_) => Ok(None),
            Err(failure) if matches!(failure.cause, Cause::Etcd(etcd_client::Error::LeaseKeepAliveError(_))) => {
                Ok(None)
            }
            Err(failure) => Err(failure.during(&format!("renew etcd lease {lease:x}"))),
        }
    }

    async fn time_to_live(&self, lease: LeaseId) -> Result<Option<TimeToLive>, Error> {
        let request = async |mut client: etcd_client::Client| client.lease_time_to_live(lease, None).await;
        let answer = self.endpoints.call(&format!("look up etcd lease {lease:x}"), request).await?;
        let (left, granted) = (seconds_of(answer.ttl()), seconds_of(answer.granted_ttl()));
        Ok((answer.ttl() > 0).then_some(TimeToLive { left, granted }))
    }

    async fn create(&self, name: &str, value: &str, lease: LeaseId) -> Result<Written, Error> {
        let key = self.keys.of(name);
        let absent = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let put = TxnOp::put(key.clone(), value, Some(PutOptions::new().with_lease(lease)));
        let txn = Txn::new().when([absent]).and_then([put]).or_else([TxnOp::get(key.clone(), None)]);
        let answer = self.txn(&format!("create \"{key}\""), txn).await?;
        Ok(if answer.succeeded() {
            Written::Done { revision: revision(&answer) }
        } else {
            already(&answer, value, lease)
        })
    }

    async fn replace(&self, read: &Entry, value: &str) -> Result<Written, Error> {
        let key = self.keys.of(&read.name);
        let lease = read.lease.unwrap_or(0);
        let unchanged = Compare::mod_revision(key.clone(), CompareOp::Equal, read.revision);
        let put = TxnOp::put(key.clone(), value, Some(PutOptions::new().with_lease(lease)));
        let txn = Txn::new().when([unchanged]).and_then([put]).or_else([TxnOp::get(key.clone(), None)]);
        let answer = self.txn(&format!("update \"{key}\""), txn).await?;
        Ok(if answer.succeeded() {
            Written::Done { revision: revision(&answer) }
        } else {
            already(&answer, value, lease)
        })
    }

    async fn remove(&self, read: &Entry) -> Result<Written, Error> {
        let key = self.keys.of(&read.name);
        let unchanged = Compare::mod_revision(key.clone(), CompareOp::Equal, read.revision);
        let txn = Txn::new().when([unchanged]).and_then([TxnOp::delete(key.clone(), None)]);
        let answer = self.txn(&format!("delete \"{key}\""), txn).await?;
        Ok(if answer.succeeded() { Written::Done { revision: revision(&answer) } } else { Written::Lost })
    }
}

/// A write that lost may have lost against itself: the first try went through, its answer did not.
fn already(answer: &TxnResponse, value: &str, lease: LeaseId) -> Written {
    let ours = |kv: &KeyValue| kv.value() == value.as_bytes() && kv.lease() == lease;
    for response in answer.op_responses() {
        if let TxnOpResponse::Get(found) = response
            && let Some(kv) = found.kvs().first().filter(|kv| ours(kv))
        {
            return Written::Done { revision: kv.mod_revision() };
        }
    }
    Written::Lost
}

fn revision(answer: &TxnResponse) -> i64 {
    answer.header().map_or(0, etcd_client::ResponseHeader::revision)
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
            assert_eq!(keys.of("10.5.1.0-24"), "/coreos.com/network/subnets/10.5.1.0-24");
            assert_eq!(keys.name(b"/coreos.com/network/subnets/10.5.1.0-24").as_deref(), Some("10.5.1.0-24"));
            assert_eq!(keys.name(b"/coreos.com/network/config"), None);
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_above_all_its_keys_and_below_its_siblings() {
        let end = end_of_prefix("/a/subnets/");
        assert!(b"/a/subnets/\xff\xff".as_slice() < &end[..] && &end[..] <= b"/a/subnets0".as_slice());
    }
}
