//! Interfaces, routes and names in memory for tests: they change while a test runs, and fail when told to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;

use crate::underlay::choice::{Interface, RouteLookup};
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
}

/// Clones share one host.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeLinks {
    pub(crate) host: Rc<RefCell<FakeUnderlay>>,
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
}

impl Resolver for FakeLinks {
    async fn resolve(&self, name: &str) -> Result<Ipv4Addr, String> {
        if let Ok(address) = name.parse() {
            return Ok(address);
        }
        let address = self.host.borrow().names.get(name).copied();
        address.ok_or_else(|| "no such name".to_owned())
    }
}
