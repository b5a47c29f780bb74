//! A Flannel-style VXLAN overlay network daemon for Linux: gives each host a subnet, kept in etcd, and has the kernel
//! carry packets between the hosts' pods.
//!
//! Decide in pure code, act in thin code. One picture holds the whole daemon:
//!
//! ```text
//!  etcd ──▶ subnet::keeper ──leases──▶ vxlan (what should be) ──┐
//!           (our lease, the others)                             ├─▶ vxlan::plan ──▶ netlink
//!                                      netlink (what there is) ─┘    (ordered operations)
//!  kernel asks (L2/L3 miss) ──▶ vxlan (who has it?) ──▶ netlink, at once
//!           our lease ──▶ envfile, masq ──▶ files, packet filter
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`cli`], [`config`] | what the operator says: options, and the network's configuration in etcd |
//! | [`identity`] | who we are among the members |
//! | [`iface`] | which interface carries the overlay |
//! | [`subnet`] | leases: their form, whose a subnet is, how we come to one and keep it |
//! | [`roster`] | what we believe of the other hosts, also when etcd is away or was emptied |
//! | [`vxlan`] | what the kernel should hold, and the operations that lead there |
//! | [`masq`], [`envfile`], [`readiness`], [`status`], [`preflight`] | rules, files, readiness, state and preconditions as data |
//! | [`etcd`], [`netlink`], [`firewall`], [`envfile::write`], [`status::ask`] | the adapters: each alone touches one piece of the outside |
//! | [`daemon`], [`cleanup`] | the order in which all this happens, and how it is undone; know all others |
//!
//! The core owns its ports ([`subnet::registry::Registry`], [`vxlan::kernel::Kernel`]); adapters implement them and do
//! not know each other. `docs/architecture.md` says more.

pub mod addr;
pub mod backoff;
pub mod cleanup;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod envfile;
pub mod error;
pub mod etcd;
pub mod firewall;
pub mod identity;
pub mod iface;
pub mod log;
pub mod masq;
pub mod netlink;
pub mod preflight;
pub mod readiness;
pub mod roster;
pub mod secret;
pub mod status;
pub mod subnet;
pub mod vxlan;
