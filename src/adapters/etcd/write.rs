//! The writes to keys of leases. Each is guarded: etcd makes it only if the key is as we saw it, so
//! no write of another host is overwritten unseen. Never retries after a write that lost.

use etcd_client::{
    Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use crate::adapters::etcd::endpoints::Endpoints;
use crate::adapters::etcd::requests;
use crate::lease::port::{LeaseId, RegistryError, WriteOutcome};

/// Creates `key` on an etcd lease; lost if the key exists.
///
/// # Errors
/// Returns why etcd did not answer, or what it refused.
pub(super) async fn create(
    endpoints: &Endpoints,
    key: &str,
    value: &str,
    lease: LeaseId,
) -> Result<WriteOutcome, RegistryError> {
    let absent = Compare::create_revision(key, CompareOp::Equal, 0);
    let answer = requests::txn(endpoints, put_if(absent, key, value, lease))
        .await
        .map_err(|error| error.during(&format!("create \"{key}\"")))?;
    Ok(put_outcome(&answer, value, lease))
}

/// Writes `key` again; lost if it has changed since `revision`.
///
/// # Errors
/// Returns why etcd did not answer, or what it refused.
pub(super) async fn replace(
    endpoints: &Endpoints,
    key: &str,
    revision: i64,
    value: &str,
    lease: LeaseId,
) -> Result<WriteOutcome, RegistryError> {
    let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision);
    let answer = requests::txn(endpoints, put_if(unchanged, key, value, lease))
        .await
        .map_err(|error| error.during(&format!("update \"{key}\"")))?;
    Ok(put_outcome(&answer, value, lease))
}

/// Deletes `key`; lost if it has changed since `revision`.
///
/// # Errors
/// Returns why etcd did not answer, or what it refused.
pub(super) async fn remove(
    endpoints: &Endpoints,
    key: &str,
    revision: i64,
) -> Result<WriteOutcome, RegistryError> {
    let unchanged = Compare::mod_revision(key, CompareOp::Equal, revision);
    let delete = TxnOp::delete(key, None);
    let answer = requests::txn(endpoints, Txn::new().when([unchanged]).and_then([delete]))
        .await
        .map_err(|error| error.during(&format!("delete \"{key}\"")))?;
    Ok(if answer.succeeded() {
        done(requests::revision(&answer))
    } else {
        WriteOutcome::Lost
    })
}

/// Returns the transaction that writes the key if `guard` holds, and reads it otherwise.
fn put_if(guard: Compare, key: &str, value: &str, lease: LeaseId) -> Txn {
    let put = TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)));
    Txn::new()
        .when([guard])
        .and_then([put])
        .or_else([TxnOp::get(key, None)])
}

fn put_outcome(answer: &TxnResponse, value: &str, lease: LeaseId) -> WriteOutcome {
    if answer.succeeded() {
        return done(requests::revision(answer));
    }
    // A write may lose against itself: the first attempt went through, and only its answer was
    // lost.
    match read_back(answer) {
        Some(kv) if kv.value() == value.as_bytes() && kv.lease() == lease => {
            done(kv.mod_revision())
        }
        Some(_) | None => WriteOutcome::Lost,
    }
}

/// Returns the key as a failed guard found it, if it exists.
fn read_back(answer: &TxnResponse) -> Option<KeyValue> {
    answer
        .op_responses()
        .into_iter()
        .find_map(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().cloned(),
            TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
        })
}

const fn done(revision: i64) -> WriteOutcome {
    WriteOutcome::Done { revision }
}
