//! Lists all keys of a network: in pages, all of one revision, and of a size that can be received.
//! Strangers may have written values of any length, and these must not keep us from the leases of
//! our peers. Never judges a value.

use etcd_client::{GetOptions, GetResponse, Txn, TxnOp, TxnOpResponse};
use tracing::debug;

use crate::adapters::etcd::call_error::CallError;
use crate::adapters::etcd::endpoints::Endpoints;
use crate::adapters::etcd::keys::{NetworkKeys, after, end_of_prefix};
use crate::adapters::etcd::requests;
use crate::lease::port::{Listing, RegistryError};

/// Most keys in one page. A lease has 200 bytes: such a page is 1 MB.
const MAX_KEYS_PER_PAGE: i64 = 5000;
/// How much smaller a page becomes when its answer is too large, and larger when it is not.
const PAGE_STEP: i64 = 10;

/// How much one request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PageSize {
    /// At most this number of keys.
    Keys(i64),
    /// One key without its value: the value alone is too large.
    NameOnly,
}

/// The key with which the next page starts, if there is one.
type NextPage = Option<Vec<u8>>;

impl PageSize {
    const MAX: Self = Self::Keys(MAX_KEYS_PER_PAGE);

    fn smaller(self) -> Option<Self> {
        match self {
            Self::Keys(1) => Some(Self::NameOnly),
            Self::Keys(keys) => Some(Self::Keys((keys / PAGE_STEP).max(1))),
            Self::NameOnly => None,
        }
    }

    fn larger(self) -> Self {
        match self {
            Self::Keys(keys) => Self::Keys((keys * PAGE_STEP).min(MAX_KEYS_PER_PAGE)),
            Self::NameOnly => Self::Keys(1),
        }
    }

    fn options(self) -> GetOptions {
        match self {
            Self::Keys(keys) => GetOptions::new().with_limit(keys),
            Self::NameOnly => GetOptions::new().with_limit(1).with_keys_only(),
        }
    }
}

/// Lists everything, at one revision.
///
/// # Errors
/// Returns why etcd did not answer, or what it refused.
pub(super) async fn all(
    endpoints: &Endpoints,
    keys: &NetworkKeys,
) -> Result<Listing, RegistryError> {
    let mut listing = Listing {
        revision: 0,
        config: None,
        entries: Vec::new(),
    };
    let mut size = PageSize::MAX;
    let mut from: NextPage = None;
    loop {
        let page = match &from {
            None => first_page(endpoints, keys, size, &mut listing).await,
            Some(from) => next_page(endpoints, keys, size, from, &mut listing).await,
        };
        match page {
            Ok(None) => return Ok(listing),
            Ok(next) => (from, size) = (next, size.larger()),
            Err(error) => size = smaller_after(size, error, keys)?,
        }
    }
}

fn smaller_after(
    size: PageSize,
    error: CallError,
    keys: &NetworkKeys,
) -> Result<PageSize, RegistryError> {
    match size.smaller() {
        Some(smaller) if error.cause.is_too_large() => {
            debug!(%error, ?smaller, "the answer is too large; asking for a smaller page");
            Ok(smaller)
        }
        Some(_) | None => Err(error.during(&format!("list \"{}\"", keys.all))),
    }
}

/// Reads the configuration and the first page of leases, in one transaction.
async fn first_page(
    endpoints: &Endpoints,
    keys: &NetworkKeys,
    size: PageSize,
    listing: &mut Listing,
) -> Result<NextPage, CallError> {
    let config = TxnOp::get(keys.config.clone(), None);
    let subnets = TxnOp::get(keys.subnets.clone(), Some(size.options().with_prefix()));
    let answer = requests::txn(endpoints, Txn::new().and_then([config, subnets])).await?;
    listing.revision = requests::revision(&answer);
    let mut next = None;
    for response in answer.op_responses() {
        if let TxnOpResponse::Get(found) = response {
            take_keys(&found, keys, listing);
            // The leases are the second answer, and the config never has a next page.
            next = next_start(&found);
        }
    }
    Ok(next)
}

/// Reads one more page of the same revision.
async fn next_page(
    endpoints: &Endpoints,
    keys: &NetworkKeys,
    size: PageSize,
    from: &[u8],
    listing: &mut Listing,
) -> Result<NextPage, CallError> {
    let options = size
        .options()
        .with_range(end_of_prefix(&keys.subnets))
        .with_revision(listing.revision);
    let found = requests::range(endpoints, from, options).await?;
    take_keys(&found, keys, listing);
    Ok(next_start(&found))
}

fn take_keys(found: &GetResponse, keys: &NetworkKeys, listing: &mut Listing) {
    for kv in found.kvs() {
        match keys.entry(kv) {
            Some(entry) => listing.entries.push(entry),
            None => listing.config = Some(kv.value().to_vec()),
        }
    }
}

fn next_start(found: &GetResponse) -> NextPage {
    let last = found.kvs().last().filter(|_| found.more())?;
    Some(after(last.key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shrinks_to_one_name_and_grows_again() {
        let mut sizes = vec![PageSize::MAX];
        while let Some(smaller) = sizes.last().and_then(|size| size.smaller()) {
            sizes.push(smaller);
        }
        assert_eq!(
            sizes,
            [5000, 500, 50, 5, 1]
                .map(PageSize::Keys)
                .into_iter()
                .chain([PageSize::NameOnly])
                .collect::<Vec<_>>()
        );
        let mut size = PageSize::NameOnly;
        for keys in [1, 10, 100, 1000, 5000, 5000] {
            size = size.larger();
            assert_eq!(size, PageSize::Keys(keys));
        }
    }
}
