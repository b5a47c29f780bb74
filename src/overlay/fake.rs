//! A kernel in memory for tests: it keeps an [`OverlayState`], fails when told to, and prints itself in the syntax of `ip`.

use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::model::addr::covers;
use crate::overlay::paths::{ForeignPaths, PathAnswer, PathQuery};
use crate::overlay::plan::Op;
use crate::overlay::port::{Kernel, KernelError, KernelEvent, NeighbourUse, Observed, OpError};
use crate::overlay::state::{Device, Entries, NextHop, OverlayState, RouteKey, Sysctl};

/// What a test sees of the kernel, and with what it makes it fail.
#[derive(Debug, Default)]
pub(crate) struct FakeKernelState {
    pub(crate) state: OverlayState,
    pub(crate) foreign: ForeignPaths,
    /// Answers to questions by destination; others go through the device.
    pub(crate) answers: BTreeMap<Ipv4Addr, PathAnswer>,
    pub(crate) lookups: usize,
    pub(crate) sysctls_read: usize,
    /// Name and alias of further vxlan devices.
    pub(crate) other_devices: Vec<(String, String)>,
    pub(crate) devices_listed: usize,
    pub(crate) events: VecDeque<KernelEvent>,
    pub(crate) unresolved: Vec<Ipv4Addr>,
    pub(crate) neighbour_uses: Vec<NeighbourUse>,
    /// Operations from now on, counted down, after which one fails.
    pub(crate) fail_after: Option<usize>,
    /// A device that another program makes just before we do.
    pub(crate) made_meanwhile: Option<Device>,
    pub(crate) applied: usize,
    pub(crate) observed: usize,
    pub(crate) observing_takes: Duration,
    /// Whether it is too old to change the parent of a device.
    pub(crate) parent_is_fixed: bool,
}

/// Clones share one kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeKernel {
    pub(crate) shared: Rc<RefCell<FakeKernelState>>,
    pub(crate) wake: Rc<tokio::sync::Notify>,
}

impl FakeKernel {
    pub(crate) fn report(&self, event: KernelEvent) {
        self.shared.borrow_mut().events.push_back(event);
        self.wake.notify_one();
    }

    /// The entries, for a test that changes them behind flanneld's back.
    pub(crate) fn entries(&self) -> RefMut<'_, Entries> {
        RefMut::map(self.shared.borrow_mut(), |kernel| &mut kernel.state.entries)
    }

    /// The device disappears with everything on it.
    pub(crate) fn lose_everything(&self) {
        self.shared.borrow_mut().state = OverlayState::default();
    }

    pub(crate) fn text(&self) -> String {
        render(&self.shared.borrow().state)
    }
}

impl FakeKernelState {
    fn step(&mut self, op: &Op) -> io::Result<()> {
        if let Some(left) = &mut self.fail_after {
            if *left == 0 {
                self.fail_after = None;
                return Err(io::Error::from_raw_os_error(nix::libc::ENOBUFS));
            }
            *left -= 1;
        }
        if op.creates_device()
            && let Some(device) = self.made_meanwhile.take()
        {
            self.state.device = Some(device);
            return Err(io::Error::from_raw_os_error(nix::libc::EEXIST));
        }
        let is_taken = |key: &RouteKey| {
            let mut routes = self.foreign.routes.iter();
            routes.any(|route| (route.destination, route.metric) == (key.destination, key.metric))
        };
        if let Op::AddRoute(key, _) = op
            && is_taken(key)
        {
            return Err(io::Error::from_raw_os_error(nix::libc::EEXIST));
        }
        self.applied += 1;
        if self.parent_is_fixed && matches!(op, Op::SetParent(_)) {
            return Err(io::Error::from_raw_os_error(nix::libc::EOPNOTSUPP));
        }
        if let Op::DelForeignRoute(route) = op {
            self.foreign.routes.retain(|other| other != route);
            self.foreign.strays.retain(|other| other != route);
        }
        if let Op::DeleteOldDevice(gone) = op {
            self.other_devices.retain(|(name, _)| name != gone);
        }
        apply(&mut self.state, op)
    }
}

/// What the kernel takes for the place of a route.
fn same_place(one: &RouteKey, other: &RouteKey) -> bool {
    (one.destination, one.metric) == (other.destination, other.metric)
}

/// Does what the kernel would do.
pub(crate) fn apply(state: &mut OverlayState, op: &Op) -> io::Result<()> {
    if state.device.is_none() && !matches!(op, Op::CreateDevice(_) | Op::DeleteDevice) {
        return Err(io::Error::from_raw_os_error(nix::libc::ENODEV));
    }
    let entries = &mut state.entries;
    let device = state.device.as_mut();
    match op.clone() {
        Op::CreateDevice(device) => {
            let sysctls = [
                (Sysctl::AppSolicit, 0),
                (Sysctl::AcceptRa, 1),
                (Sysctl::Forwarding, 1),
            ];
            let sysctls = sysctls.into();
            let device = Some(Device {
                alias: String::new(),
                ..device
            });
            *state = OverlayState {
                device,
                sysctls,
                ..OverlayState::default()
            };
        }
        Op::DeleteDevice => *state = OverlayState::default(),
        Op::SetParent(parent) => device
            .into_iter()
            .for_each(|d| d.parent.clone_from(&parent)),
        Op::SetLocal(ip) => device.into_iter().for_each(|d| d.local = ip),
        Op::SetMac(mac) => {
            device.into_iter().for_each(|d| d.mac = mac);
            entries.neighbours.clear();
        }
        Op::SetMtu(mtu) => device.into_iter().for_each(|d| d.mtu = mtu),
        Op::SetAlias(alias) => device.into_iter().for_each(|d| d.alias = alias.clone()),
        Op::SetUp => state.up = true,
        Op::AddAddress(address) => _ = state.addresses.insert(address),
        Op::DelAddress(address) => _ = state.addresses.remove(&address),
        Op::SetSysctl(sysctl, value) => _ = state.sysctls.insert(sysctl, value),
        Op::SetTxChecksum(on) => state.tx_checksum = Some(on),
        Op::PutFdb(mac, ip) => _ = entries.fdb.insert(mac, ip),
        Op::DelFdb(mac, _) => _ = entries.fdb.remove(&mac),
        Op::PutNeighbour(ip, mac) => _ = entries.neighbours.insert(ip, mac),
        Op::TestNeighbour(ip, _) => _ = entries.neighbours.remove(&ip),
        Op::DelNeighbour(ip) => _ = entries.neighbours.remove(&ip),
        Op::AddRoute(key, _) if entries.routes.keys().any(|other| same_place(other, &key)) => {
            return Err(io::Error::from_raw_os_error(nix::libc::EEXIST));
        }
        Op::AddRoute(key, hop) | Op::PutRoute(key, hop) => {
            entries.routes.retain(|other, _| !same_place(other, &key));
            entries.routes.insert(key, hop);
        }
        Op::DelRoute(key, _) => _ = entries.routes.remove(&key),
        Op::DelForeignRoute(_) | Op::DeleteOldDevice(_) => {}
    }
    Ok(())
}

/// Returns what [`Kernel::observe`] shows of `state`: no routes to destinations outside `network`.
pub(crate) fn observe(state: &OverlayState, network: Ipv4Network) -> OverlayState {
    let mut observed = state.clone();
    observed
        .entries
        .routes
        .retain(|key, _| covers(network, key.destination));
    observed
}

/// Returns the state in the syntax of `ip` and `bridge`.
pub(crate) fn render(state: &OverlayState) -> String {
    let mut text = String::new();
    if let Some(d) = &state.device {
        let up = if state.up { "up" } else { "down" };
        _ = writeln!(
            text,
            "{} {} id {} local {} dev {} mtu {} {up}",
            d.name, d.mac, d.vni, d.local, d.parent, d.mtu
        );
    }
    state
        .addresses
        .iter()
        .for_each(|address| _ = writeln!(text, "inet {address}"));
    state
        .entries
        .fdb
        .iter()
        .for_each(|(mac, ip)| _ = writeln!(text, "{mac} dst {ip}"));
    state
        .entries
        .neighbours
        .iter()
        .for_each(|(ip, mac)| _ = writeln!(text, "{ip} lladdr {mac}"));
    for (key, hop) in &state.entries.routes {
        _ = match hop {
            NextHop::Vtep(via) => {
                writeln!(
                    text,
                    "{} via {via} metric {} proto {}",
                    key.destination, key.metric, key.protocol
                )
            }
            NextHop::Link => writeln!(
                text,
                "{} metric {} proto {}",
                key.destination, key.metric, key.protocol
            ),
            NextHop::Blackhole => writeln!(text, "blackhole {}", key.destination),
        };
    }
    text
}

impl Kernel for FakeKernel {
    async fn observe(
        &mut self,
        _device: &str,
        network: Ipv4Network,
    ) -> Result<Observed, KernelError> {
        self.shared.borrow_mut().observed += 1;
        let takes = self.shared.borrow().observing_takes;
        tokio::time::sleep(takes).await;
        let kernel = self.shared.borrow();
        Ok(Observed {
            overlay: observe(&kernel.state, network),
            foreign: kernel.foreign.clone(),
        })
    }

    fn sysctls(&self, _device: &str) -> BTreeMap<Sysctl, i32> {
        let mut kernel = self.shared.borrow_mut();
        kernel.sysctls_read += 1;
        kernel.state.sysctls.clone()
    }

    async fn lookup(&mut self, query: &PathQuery) -> Result<PathAnswer, KernelError> {
        let mut kernel = self.shared.borrow_mut();
        kernel.lookups += 1;
        let device = kernel
            .state
            .device
            .as_ref()
            .map(|device| device.name.clone());
        let known = kernel.answers.get(&query.destination).cloned();
        Ok(known.unwrap_or(PathAnswer::Through(device.unwrap_or_default())))
    }

    fn apply(&mut self, device: &str, ops: &[Op]) -> Vec<OpError> {
        let mut kernel = self.shared.borrow_mut();
        let failed = |op: &Op, source| OpError {
            command: op.command(device).to_string(),
            source,
        };
        ops.iter()
            .filter_map(|op| kernel.step(op).err().map(|source| failed(op, source)))
            .collect()
    }

    async fn devices_with_alias(&mut self, alias: &str) -> Result<Vec<String>, KernelError> {
        let mut kernel = self.shared.borrow_mut();
        kernel.devices_listed += 1;
        let marked = kernel
            .other_devices
            .iter()
            .filter(|(_, other)| other == alias);
        Ok(marked.map(|(name, _)| name.clone()).collect())
    }

    async fn neighbour_uses(&mut self, _device: &str) -> Result<Vec<NeighbourUse>, KernelError> {
        Ok(self.shared.borrow().neighbour_uses.clone())
    }

    async fn unresolved(&mut self, _device: &str) -> Result<Vec<Ipv4Addr>, KernelError> {
        Ok(self.shared.borrow().unresolved.clone())
    }

    async fn event(&mut self, _device: &str) -> Result<KernelEvent, KernelError> {
        loop {
            if let Some(event) = self.shared.borrow_mut().events.pop_front() {
                return Ok(event);
            }
            self.wake.notified().await;
        }
    }
}
