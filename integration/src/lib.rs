//! The lab: many hosts on one Linux machine, for tests that need a real kernel and a real etcd.
//!
//! A host is a process that holds a network, a mount and a UTS namespace of its own. All hosts
//! are connected to one bridge, in a namespace that is called the underlay and that also runs etcd.
//! Pods are connected to a bridge of their host. Nothing here touches the network of the machine itself,
//! and several labs at once do not see one another.
//!
//! ```no_run
//! use integration::{eventually, in_lab, QUICK};
//!
//! # fn main() -> anyhow::Result<()> {
//! in_lab(2, |lab| {
//!     lab.etcd.put("/coreos.com/network/config", r#"{"Network":"10.5.0.0/16"}"#)?;
//!     let first = lab.host(1).flanneld().start_ready()?;
//!     let second = lab.host(2).flanneld().start_ready()?;
//!     eventually(QUICK, "a route to the peer", || {
//!         anyhow::ensure!(lab.host(1).routes("flannel.1")?.len() == 1);
//!         Ok(())
//!     })?;
//!     drop((first, second));
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Invariants:
//! - every process that the lab starts is its own child, is ended by its process id, and dies
//!   with the test process even when that is killed ([`process`], [`command`]);
//! - every wait and every command has a deadline ([`wait`], [`command`]);
//! - a tool that is missing is an error that names it ([`tools`]); no test passes by skipping.

mod cgroups;
pub mod command;
pub mod conditions;
pub mod containers;
mod docker_rules;
pub mod etcd;
pub mod evidence;
pub mod flanneld;
pub mod harness;
pub mod host;
pub mod kernel;
pub mod kube;
pub mod lab;
pub mod messages;
pub mod netns;
mod nginx;
pub mod node;
mod notify;
pub mod overlay;
pub mod package;
pub mod ping;
pub mod pod;
pub mod process;
mod proxy;
pub mod rack;
mod scratch;
mod spawn;
mod stopwatch;
pub mod tools;
pub mod underlay;
pub mod wait;

pub use command::Finished;
pub use conditions::Condition;
pub use docker_rules::{DirectAccess, Published};
pub use etcd::{Etcd, EtcdOptions, KeyValue, Tls, endpoints};
pub use flanneld::{Flanneld, FlanneldCommand, flanneld_binary, tool};
pub use host::{Host, SNAPSHOT, SUBNET_ENV};
pub use kernel::{FdbEntry, Link, Neighbour, Route};
pub use kube::{Iptables, Mark, Service};
pub use lab::{Lab, in_lab};
pub use netns::Netns;
pub use nginx::Nginx;
pub use node::Node;
pub use overlay::{CONFIG, CONFIG_KEY, Lease, SUBNETS, WIDE_CONFIG};
pub use package::Suite;
pub use ping::{Ping, PingReport};
pub use pod::Pod;
pub use process::Process;
pub use rack::{Rack, SharedRack};
pub use underlay::Underlay;
pub use wait::{QUICK, SLOW, eventually};
