//! A host in memory for tests.

use std::cell::RefCell;
use std::rc::Rc;

use ipnetwork::Ipv4Network;
use tokio::sync::mpsc;

use crate::host::docker_nftables::NftRule;
use crate::host::firewall::{FilterTable, iptables_table};
use crate::host::neighbour_table::NeighbourTable;
use crate::host::port::{Firewalls, HostEvent, HostEvents, HostKernel};
use crate::host::sysctls::HostSysctls;

/// What a test changes and counts.
#[derive(Debug, Default)]
pub(crate) struct FakeHostState {
    pub(crate) sysctls: HostSysctls,
    pub(crate) neighbours: NeighbourTable,
    /// The text of `iptables-save`.
    pub(crate) iptables: String,
    pub(crate) docker_nftables: Vec<NftRule>,
    pub(crate) tool_fails: bool,
    pub(crate) polled: bool,
    /// How often the packet filters were read.
    pub(crate) reads: usize,
}

/// Clones share one host.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeHost(pub(crate) Rc<RefCell<FakeHostState>>);

impl HostKernel for FakeHost {
    fn sysctls(&self, _external: &str, _bridges: &[String]) -> HostSysctls {
        self.0.borrow().sysctls.clone()
    }

    fn neighbour_table(&self) -> NeighbourTable {
        self.0.borrow().neighbours
    }

    fn bridges(&self, _subnet: Ipv4Network, _device: &str) -> Vec<String> {
        vec!["docker0".to_owned()]
    }

    fn docker_nftables(&self) -> Vec<NftRule> {
        self.0.borrow().docker_nftables.clone()
    }
}

impl Firewalls for FakeHost {
    async fn tables(&mut self) -> Result<Vec<FilterTable>, String> {
        let mut host = self.0.borrow_mut();
        host.reads += 1;
        if host.tool_fails {
            return Err("failed to run \"iptables-save\"".to_owned());
        }
        Ok(vec![iptables_table("iptables", "filter", &host.iptables)])
    }

    fn needs_polling(&self) -> bool {
        self.0.borrow().polled
    }
}

impl HostEvents for mpsc::Receiver<HostEvent> {
    async fn next(&mut self) -> HostEvent {
        match self.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}
