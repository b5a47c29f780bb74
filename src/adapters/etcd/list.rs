//! Owns the list of all keys of a network: in pages, of one revision, and of a size that gets through. Strangers may have
//! written values of any length, and none of them may keep us from those of our peers.

use etcd_client::{GetOptions, Txn, TxnOp, TxnOpResponse};
use tracing::debug;

use crate::adapters::etcd::failure::Failure;
use crate::adapters::etcd::{Etcd, after, end_of_prefix, revision};
use crate::lease::port::{Listing, RegistryError};

/// Most keys in one page. A lease has 200 bytes: such a page is 1 MB.
const MOST: i64 = 5000;
/// How much smaller a page becomes when its answer is too large, and larger when it is not.
const STEP: i64 = 10;

/// How much is asked for at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// So many keys.
    Keys(i64),
    /// One key without its value, which is too large by itself.
    Name,
}

/// Where the next page starts, if there is one.
type Next = Option<Vec<u8>>;

impl Page {
    const FIRST: Self = Self::Keys(MOST);

    fn smaller(self) -> Option<Self> {
        match self {
            Self::Keys(1) => Some(Self::Name),
            Self::Keys(keys) => Some(Self::Keys((keys / STEP).max(1))),
            Self::Name => None,
        }
    }

    fn larger(self) -> Self {
        match self {
            Self::Keys(keys) => Self::Keys((keys * STEP).min(MOST)),
            Self::Name => Self::Keys(1),
        }
    }

    fn options(self) -> GetOptions {
        match self {
            Self::Keys(keys) => GetOptions::new().with_limit(keys),
            Self::Name => GetOptions::new().with_limit(1).with_keys_only(),
        }
    }
}

/// Everything, at one revision.
pub(super) async fn all(etcd: &Etcd) -> Result<Listing, RegistryError> {
    let mut listing = Listing {
        revision: 0,
        config: None,
        entries: Vec::new(),
    };
    let mut page = Page::FIRST;
    let mut from: Next = None;
    loop {
        let asked = match &from {
            None => first(etcd, page, &mut listing).await,
            Some(from) => more(etcd, page, &mut listing, from).await,
        };
        match asked {
            Ok(None) => return Ok(listing),
            Ok(next) => (from, page) = (next, page.larger()),
            Err(failure) => match page.smaller().filter(|_| failure.cause.is_too_large()) {
                Some(smaller) => {
                    debug!(%failure, ?smaller, "asking for less at once");
                    page = smaller;
                }
                None => return Err(failure.during(&format!("list \"{}\"", etcd.keys.all))),
            },
        }
    }
}

/// The configuration and the first page of leases, in one transaction.
async fn first(etcd: &Etcd, page: Page, listing: &mut Listing) -> Result<Next, Failure> {
    let config = TxnOp::get(etcd.keys.config.clone(), None);
    let subnets = TxnOp::get(
        etcd.keys.subnets.clone(),
        Some(page.options().with_prefix()),
    );
    let answer = etcd.txn(Txn::new().and_then([config, subnets])).await?;
    listing.revision = revision(&answer);
    let mut next = None;
    for response in answer.op_responses() {
        let TxnOpResponse::Get(found) = response else {
            continue;
        };
        for kv in found.kvs() {
            match etcd.keys.entry(kv) {
                Some(entry) => listing.entries.push(entry),
                None => listing.config = Some(kv.value().to_vec()),
            }
        }
        next = if found.more() {
            found.kvs().last().map(|kv| after(kv.key()))
        } else {
            None
        };
    }
    Ok(next)
}

/// One more page of the same revision.
async fn more(
    etcd: &Etcd,
    page: Page,
    listing: &mut Listing,
    from: &[u8],
) -> Result<Next, Failure> {
    let options = page
        .options()
        .with_range(end_of_prefix(&etcd.keys.subnets))
        .with_revision(listing.revision);
    let found = etcd.range(from, options).await?;
    listing
        .entries
        .extend(found.kvs().iter().filter_map(|kv| etcd.keys.entry(kv)));
    Ok(if found.more() {
        found.kvs().last().map(|kv| after(kv.key()))
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shrinks_to_one_name_and_grows_again() {
        let mut sizes = vec![Page::FIRST];
        while let Some(smaller) = sizes.last().and_then(|page| page.smaller()) {
            sizes.push(smaller);
        }
        assert_eq!(
            sizes,
            [5000, 500, 50, 5, 1]
                .map(Page::Keys)
                .into_iter()
                .chain([Page::Name])
                .collect::<Vec<_>>()
        );
        let mut page = Page::Name;
        for keys in [1, 10, 100, 1000, 5000, 5000] {
            page = page.larger();
            assert_eq!(page, Page::Keys(keys));
        }
    }
}
