//! Talks to the Linux kernel over netlink, and implements the overlay's port [`Kernel`]. It is the
//! only place that knows rtnetlink and interface indexes. Decides nothing: what to do comes as
//! operations.
//!
//! | file | what it does |
//! |---|---|
//! | `interfaces`, `host_facts`, `observe` | ask the kernel, over the socket of `rtnetlink` |
//! | `requests` | limits how long an answer may take |
//! | `apply`, `bulk` | change the kernel, many requests in one system call |
//! | `ethtool`, `sysctl`, `nft_rules`, `exchange` | read and change what rtnetlink cannot |
//! | `links` | the port of the underlay: questions about interfaces and routes, and their changes |
//! | `misses`, `monitor`, `nftables`, `host_events`, `listen` | receive what the kernel announces |
//! | `encode`, `decode`, `message` | turn operations into bytes, and bytes into our types; pure |
//!
//! Questions, changes and each kind of event have separate sockets: a flood of events fills the
//! buffer of its socket, and answers would be lost with it.

mod apply;
mod bulk;
mod decode;
mod encode;
mod ethtool;
mod exchange;
mod host_events;
mod host_facts;
mod interfaces;
mod links;
mod listen;
mod message;
mod misses;
mod monitor;
mod nft_rules;
mod nftables;
mod observe;
mod requests;
mod sysctl;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;
use nix::net::if_::{if_indextoname, if_nametoindex};

use crate::adapters::netlink::bulk::Bulk;
use crate::adapters::netlink::ethtool::Ethtool;
pub(crate) use crate::adapters::netlink::host_events::HostChanges;
pub(crate) use crate::adapters::netlink::host_facts::KernelSettings;
pub(crate) use crate::adapters::netlink::links::HostLinks;
use crate::adapters::netlink::misses::Misses;
use crate::adapters::netlink::monitor::Monitor;
pub(crate) use crate::adapters::netlink::nftables::RuleChanges;
use crate::adapters::netlink::requests::failed;
use crate::overlay::paths::{PathAnswer, PathQuery};
use crate::overlay::plan::Op;
use crate::overlay::port::{Kernel, KernelError, KernelEvent, NeighbourUse, Observed, OpError};
use crate::overlay::state::Sysctl;

/// Time between two errors of a socket that is broken: such a socket reports its error at once,
/// each time.
const BROKEN_SOCKET_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The kernel of this host, in our network namespace.
pub(crate) struct Netlink {
    handle: rtnetlink::Handle,
    bulk: Bulk,
    misses: Misses,
    monitor: Monitor,
    ethtool: Ethtool,
    /// Index of the overlay device, as of the last observation or creation.
    device: Option<u32>,
}

/// Opens the sockets; must be called inside a tokio runtime. The future carries questions and
/// answers: it must run as long as the [`Netlink`] is used.
///
/// # Errors
/// `CAP_NET_ADMIN` is missing, or the process has no file descriptors left.
pub(crate) fn open() -> Result<(Netlink, impl Future<Output = ()>), KernelError> {
    open_sockets()
        .map_err(|source| failed("open netlink sockets (CAP_NET_ADMIN is needed)", source))
}

fn open_sockets() -> io::Result<(Netlink, impl Future<Output = ()>)> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let bulk = Bulk::open()?;
    let monitor = Monitor::open(bulk.port())?;
    let netlink = Netlink {
        handle,
        bulk,
        misses: Misses::open()?,
        monitor,
        ethtool: Ethtool::default(),
        device: None,
    };
    Ok((netlink, connection))
}

impl Kernel for Netlink {
    async fn observe(
        &mut self,
        device: &str,
        network: Ipv4Network,
    ) -> Result<Observed, KernelError> {
        self.observe_overlay(device, network).await
    }

    fn sysctls(&self, device: &str) -> BTreeMap<Sysctl, i32> {
        observe::read_sysctls(device)
    }

    async fn lookup(&mut self, query: &PathQuery) -> Result<PathAnswer, KernelError> {
        self.look_up_path(query).await
    }

    async fn devices_with_alias(&mut self, alias: &str) -> Result<Vec<String>, KernelError> {
        let devices = self.vxlans().await?.into_iter();
        let marked = devices.filter(|device| device.alias == alias);
        Ok(marked.map(|device| device.name).collect())
    }

    fn apply(&mut self, device: &str, ops: &[Op]) -> Vec<OpError> {
        self.apply_operations(device, ops)
    }

    async fn neighbour_uses(&mut self, device: &str) -> Result<Vec<NeighbourUse>, KernelError> {
        self.read_neighbours(device, decode::neighbour::age).await
    }

    async fn unresolved(&mut self, device: &str) -> Result<Vec<Ipv4Addr>, KernelError> {
        self.read_neighbours(device, decode::neighbour::unresolved)
            .await
    }

    async fn event(&mut self, _device: &str) -> Result<KernelEvent, KernelError> {
        // Both arms are cancel-safe. Misses go first, because packets wait for the answer.
        let event = tokio::select! {
            biased;
            event = self.misses.next(self.device) => event,
            event = self.monitor.next(self.device) => event,
        };
        match event {
            Ok(event) => Ok(event),
            Err(source) => {
                tokio::time::sleep(BROKEN_SOCKET_RETRY_DELAY).await;
                Err(failed("listen to the kernel", source))
            }
        }
    }
}

fn index_of(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

fn name_of(index: u32) -> Option<String> {
    if_indextoname(index).ok()?.into_string().ok()
}
