//! The two requests that read and write keys, with the size of an answer limited. Never interprets
//! an answer.

use etcd_client::{Client, GetOptions, GetResponse, ResponseHeader, Txn, TxnResponse};

use crate::adapters::etcd::call_error::CallError;
use crate::adapters::etcd::endpoints::Endpoints;

/// The largest answer that we accept: above what etcd is recommended to store in one value (10
/// MiB). A larger one is refused before it is received.
pub(super) const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Reads `key`, or the range that `options` begins there.
///
/// # Errors
/// Returns what came back, and from which endpoint.
pub(super) async fn range(
    endpoints: &Endpoints,
    key: &[u8],
    options: GetOptions,
) -> Result<GetResponse, CallError> {
    let request = async |client: Client| {
        client
            .kv_client()
            .max_decoding_message_size(MAX_ANSWER_BYTES)
            .get(key, Some(options.clone()))
            .await
    };
    endpoints.try_call(request).await
}

/// Runs a transaction. It may run twice when the first answer is lost.
///
/// # Errors
/// Returns what came back, and from which endpoint.
pub(super) async fn txn(endpoints: &Endpoints, txn: Txn) -> Result<TxnResponse, CallError> {
    let request = async |client: Client| {
        client
            .kv_client()
            .max_decoding_message_size(MAX_ANSWER_BYTES)
            .txn(txn.clone())
            .await
    };
    endpoints.try_call(request).await
}

/// Returns the revision of etcd's store at an answer.
pub(super) fn revision(answer: &TxnResponse) -> i64 {
    answer.header().map_or(0, ResponseHeader::revision)
}
