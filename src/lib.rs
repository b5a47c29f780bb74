//! A Flannel-style VXLAN overlay network daemon for Linux. It gives each host a subnet, which it leases in etcd, and
//! programs the kernel to carry packets between the pods of all hosts.
//!
//! Decide in pure code, act in thin code:
//!
//! ```text
//!  etcd leases ──watch──▶ peers (what should be) ──┐
//!  own lease, config ──────────────────────────────┼─▶ desired state ─┐
//!                                                  │                  ├─▶ plan: ordered ops ─▶ apply
//!  kernel dumps + netlink events (what is) ────────┴─▶ observed state ┘
//!  kernel L3/L2 misses ─▶ lookup in peers ─▶ one or two ops, at once
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `commands` | one file for each subcommand |
//! | `cli` | options and environment: parses and refuses |
//! | `daemon` | the wiring: builds the tasks, hands out settings, signals, systemd |
//! | `lease` | slice: our lease in etcd; port `Registry` |
//! | `underlay` | slice: the external interface; port `Links` |
//! | `overlay` | slice: device, FDB, neighbours, routes, misses; port `Kernel` |
//! | `rules` | slice: the packet filter; port `RuleTable` |
//! | `files` | slice: subnet.env and the options for Docker; port `Files` |
//! | `host` | slice: whether this host is fit; port `HostFacts` |
//! | `peers` | the one table of peers, the mass-removal guard, the snapshot |
//! | `conditions` | the health of the daemon: one table of conditions, and its views |
//! | `reconcile` | the loop of overlay, rules and files, and its schedule |
//! | `model` | shared types: addresses, network config, lease, node id |
//! | `adapters` | what touches the world; they implement the ports |
//!
//! Arrows run down only: `main` -> `commands` -> `daemon` -> slices -> `peers` -> `reconcile` -> `conditions` -> `model`.
//! Adapters implement the ports; only `daemon` and `commands` name adapters. `docs/architecture.md` says more.

mod adapters;
#[cfg(test)]
mod architecture;
pub mod cli;
pub mod commands;
mod conditions;
mod daemon;
mod error;
mod files;
mod host;
pub mod lease;
pub mod model;
mod overlay;
#[cfg(test)]
mod paused_time;
pub mod peers;
mod reconcile;
mod rules;
mod underlay;
