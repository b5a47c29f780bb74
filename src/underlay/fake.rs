//! Interfaces, routes and names in memory for tests: they change while a test runs, and fail when told to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::underlay::observation::{Interface, InterfaceAddress, RouteLookup};
use crate::underlay::port::{Links, Resolver};

#[derive(Debug, Default)]
pub(crate) struct FakeUnderlay {
    pub(crate) interfaces: Vec<Interface>,
    /// Routes by the address that they lead to.
    pub(crate) routes: BTreeMap<Ipv4Addr, RouteLookup>,
    pub(crate) names: BTreeMap<String, Ipv4Addr>,
    /// Lists of interfaces from now on that fail.
    pub(crate) failing_lists: usize,
    /// Lists of interfaces so far.
    pub(crate) lists: usize,
    /// Lookups of names so far.
    pub(crate) lookups: usize,
}

/// Clones share one host.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeLinks {
    pub(crate) host: Rc<RefCell<FakeUnderlay>>,
    wake: Rc<Notify>,
}

impl FakeLinks {
    /// Changes the host, and reports that.
    pub(crate) fn change(&self, change: impl FnOnce(&mut FakeUnderlay)) {
        change(&mut self.host.borrow_mut());
        self.wake.notify_one();
    }
}

impl Links for FakeLinks {
    async fn interfaces(&self) -> Result<Vec<Interface>, String> {
        let mut host = self.host.borrow_mut();
        host.lists += 1;
        if host.failing_lists > 0 {
            host.failing_lists -= 1;
            return Err("failed to list interfaces: No buffer space available".to_owned());
        }
        Ok(host.interfaces.clone())
    }

    async fn lookup_route(&self, address: Ipv4Addr) -> Result<Option<RouteLookup>, String> {
        Ok(self.host.borrow().routes.get(&address).cloned())
    }

    async fn changed(&mut self) -> Result<(), String> {
        self.wake.notified().await;
        Ok(())
    }
}

impl Resolver for FakeLinks {
    async fn resolve(&self, name: &str) -> Result<Option<Ipv4Addr>, String> {
        self.host.borrow_mut().lookups += 1;
        if let Ok(address) = name.parse() {
            return Ok(Some(address));
        }
        let address = self.host.borrow().names.get(name).copied();
        address.map(Some).ok_or_else(|| "no such name".to_owned())
    }
}

pub(crate) fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
    let addresses = addresses.iter().map(|address| InterfaceAddress {
        ip: address.parse().expect("an address in a test"),
        prefix: 24,
        label: name.to_owned(),
        preferred: true,
    });
    Interface {
        index,
        name: name.to_owned(),
        mac: None,
        mtu: 1500,
        altnames: Vec::new(),
        up: true,
        carrier: true,
        loopback: name == "lo",
        kind: String::new(),
        addresses: addresses.collect(),
    }
}

pub(crate) fn route(interface: &str, source: &str) -> RouteLookup {
    RouteLookup {
        interface: interface.to_owned(),
        source: source.parse().expect("an address in a test"),
        gateway: None,
    }
}
