//! Whether a packet filter of this host drops the packets of the overlay. Others write those rules; here they are only read,
//! and judged as the kernel would: the packets that the overlay needs are sent through them in memory.
//!
//! A rule that cannot be understood may accept or drop. Only what is dropped for certain is reported, so that a strange rule
//! never makes a host that works look broken.

mod evaluate;
mod iptables_save;
mod judge;
mod nft_json;
mod packet;
mod relevance;
mod ruleset;

pub(crate) use iptables_save::iptables_table;
pub(crate) use judge::{FirewallSetup, problems};
pub(crate) use nft_json::{nft_base_tables, nft_table};
pub(crate) use relevance::{is_table_relevant, may_filter};
pub(crate) use ruleset::FilterTable;
