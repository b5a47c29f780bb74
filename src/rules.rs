//! Slice: the rules in the packet filter: masquerading, forwarding, and outer packets that are not tracked.
//!
//! `settings` and `desired` say which rules this host needs, as data (`rule`); `observed` holds what the tools showed;
//! `choice` decides which tool carries which part; `nft` and `iptables` are the texts of the tools, `plan` the steps
//! from observed to desired; `port` is what the slice needs of the tools, and `reconciler` drives it. It starts no
//! process and knows no socket.

pub mod change;
pub(crate) mod choice;
pub(crate) mod desired;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod iptables;
pub(crate) mod nft;
pub(crate) mod observed;
pub(crate) mod own_table;
pub(crate) mod plan;
pub(crate) mod port;
pub(crate) mod ports;
pub(crate) mod reconciler;
pub(crate) mod rule;
pub mod settings;
pub(crate) mod tool;
