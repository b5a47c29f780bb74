//! Owns the state machine of the overlay: takes leases and misses, answers with operations on the kernel. Pure.
//!
//! `state` is the picture of the kernel, `peers` what the leases ask for, `plan` the way from one to the other;
//! `run` drives it over any `kernel::Kernel`.

pub mod desired;
pub mod plan;
pub mod port;
pub mod reconciler;
pub mod state;

#[cfg(test)]
pub(crate) mod fake;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::model::addr::{MacAddr, covers, network_of};
use crate::model::external_interface::ExternalInterface;
use crate::model::lease::Lease;
use crate::model::membership::Membership;
use crate::overlay::desired::{PeerMode, Peers, Touched};
use crate::overlay::plan::Op;
use crate::overlay::port::{Age, KernelChange, Miss};
use crate::overlay::state::{Device, Hop, OverlayState, PROTOCOL, RouteKey, Sysctl};

/// What the alias of each device of ours begins with; the prefix of the keys in etcd follows.
pub const OWNER: &str = "flanneld ";

/// What this host decides for itself about its overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlaySettings {
    /// The interface that carries the overlay.
    pub external: ExternalInterface,
    /// Text for the device that says whose it is.
    pub alias: String,
    /// Whether packets to addresses of our own subnet that no pod has are dropped here.
    pub blackhole: bool,
    /// Whether the kernel makes the checksums of inner packets itself, for a network card that spoils them.
    pub checksums_in_software: bool,
    /// When the entries for a peer are made.
    pub peering: PeerMode,
    /// How long a neighbour made on demand may be unused before it goes.
    pub idle: Duration,
}

/// The overlay as it should be on this host.
#[derive(Debug)]
pub struct Overlay {
    network: Ipv4Network,
    /// Prefix length of the subnets of peers, as a rule.
    subnet_len: u8,
    /// Everything but what peers need, which changes too often to be kept twice.
    frame: OverlayState,
    peers: Peers,
}

impl Overlay {
    /// Our part of the overlay, without peers.
    pub fn new(membership: &Membership, local: &OverlaySettings) -> Self {
        let network = membership.config.network;
        let subnet_len = membership.config.subnet_len;
        Self {
            network,
            subnet_len,
            frame: frame(membership, local),
            peers: Peers::new(network, local.peering),
        }
    }

    /// The whole overlay network.
    pub fn network(&self) -> Ipv4Network {
        self.network
    }

    /// Name of the device.
    pub fn device(&self) -> &str {
        self.frame.device.as_ref().map_or("", |device| &device.name)
    }

    /// Ownership a device is, by its alias, if it is that of another flanneld. A device without such an alias was made by
    /// Go flannel, or by hand, and is taken over.
    pub fn other_owner(&self, found: &Device) -> Option<String> {
        let ours = self
            .frame
            .device
            .as_ref()
            .is_some_and(|wanted| wanted.alias == found.alias);
        (found.alias.starts_with(OWNER) && !ours).then(|| found.alias.clone())
    }

    /// The peers.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// What the kernel should hold.
    pub fn desired(&self) -> OverlayState {
        let mut state = self.frame.clone();
        let mut entries = self.peers.all_entries();
        entries.routes.append(&mut state.entries.routes);
        state.entries = entries;
        state
    }

    /// Goes on with other settings of our own and the same peers.
    pub fn rejoin(&mut self, membership: &Membership, local: &OverlaySettings) {
        self.frame = frame(membership, local);
    }

    /// Takes a complete list of leases: whoever is not in it is gone. Answers what to do.
    pub fn replace_peers(&mut self, leases: Vec<Lease>) -> Vec<Op> {
        let changes = self.difference(leases);
        self.change_peers(changes)
    }

    /// Takes a complete list of leases, of which nothing follows until the kernel is looked at.
    pub fn set_peers(&mut self, leases: Vec<Lease>) {
        let changes = self.difference(leases);
        changes
            .into_iter()
            .for_each(|(subnet, lease)| self.peers.set(subnet, lease));
    }

    fn difference(&self, leases: Vec<Lease>) -> Vec<(Ipv4Network, Option<Lease>)> {
        let mut gone: BTreeSet<Ipv4Network> = self.peers.subnets().collect();
        leases
            .iter()
            .for_each(|lease| _ = gone.remove(&lease.subnet));
        let gone = gone.into_iter().map(|subnet| (subnet, None));
        leases
            .into_iter()
            .map(|lease| (lease.subnet, Some(lease)))
            .chain(gone)
            .collect()
    }

    /// Takes leases that came, changed or went. Answers what to do, for these only.
    pub fn change_peers(&mut self, changes: Vec<(Ipv4Network, Option<Lease>)>) -> Vec<Op> {
        let mut touched = Touched::default();
        for (subnet, lease) in &changes {
            touched.note(*subnet, lease.as_ref());
            touched.note(*subnet, self.peers.get(*subnet));
        }
        let before = self.peers.entries(&touched);
        for (subnet, lease) in changes {
            self.peers.set(subnet, lease);
        }
        let ops = plan::plan_entries(&self.peers.entries(&touched), &before);
        touched
            .subnets
            .iter()
            .for_each(|subnet| self.peers.forget_unowned(*subnet));
        ops
    }

    /// Which of these peers claim what another claims too, a sentence for each pair.
    pub fn conflicts(&self, subnets: &[Ipv4Network]) -> Vec<String> {
        let of = |subnet: &Ipv4Network| {
            let rivals = self.peers.rivals(*subnet).into_iter();
            rivals
                .map(|(other, what)| (other.min(*subnet), other.max(*subnet), what))
                .collect::<Vec<_>>()
        };
        let pairs: BTreeSet<_> = subnets.iter().flat_map(of).collect();
        pairs
            .into_iter()
            .map(|(one, other, what)| format!("{one} and {other} claim the same {what}"))
            .collect()
    }

    /// Answers the kernel's question for an address: nothing, if no peer has it.
    pub fn answer(&mut self, miss: Miss) -> Vec<Op> {
        match miss {
            Miss::L3(address) => self.resolve(address),
            Miss::L2(mac) => self
                .peers
                .fdb(mac)
                .map(|ip| Op::PutFdb(mac, ip))
                .into_iter()
                .collect(),
        }
    }

    /// Whether a change is one that must be put right. Echoes of what we do ourselves never are.
    pub fn contradicts(&self, change: &KernelChange) -> bool {
        let parent = self
            .frame
            .device
            .as_ref()
            .map_or("", |device| &device.parent);
        match change {
            KernelChange::Link(name) => name == self.device() || name == parent,
            KernelChange::Address(net, there) => self.frame.addresses.contains(net) != *there,
            KernelChange::Fdb(mac, ip) => self.peers.fdb(*mac) != *ip,
            KernelChange::Neighbour(ip, mac) => self.peers.neighbour(*ip) != *mac,
            KernelChange::Route(key, hop) => {
                covers(self.network, key.destination) && self.route(key) != *hop
            }
        }
    }

    fn route(&self, key: &RouteKey) -> Option<Hop> {
        let of_peer = self
            .peers
            .route(key.destination)
            .filter(|(wanted, _)| wanted == key)
            .map(|(_, hop)| hop);
        of_peer.or_else(|| self.frame.entries.routes.get(key).copied())
    }

    /// The FDB entry first: a packet waits for the neighbour, and is lost if it then finds no FDB entry.
    fn resolve(&mut self, address: Ipv4Addr) -> Vec<Op> {
        self.peers.set_in_use(address, true);
        let known = |mac: MacAddr| {
            Some([
                Op::PutFdb(mac, self.peers.fdb(mac)?),
                Op::PutNeighbour(address, mac),
            ])
        };
        self.peers
            .resolve(address)
            .and_then(known)
            .into_iter()
            .flatten()
            .collect()
    }

    /// Takes over the neighbours that an earlier run has made on demand.
    pub fn adopt(&mut self, observed: &OverlayState) {
        observed
            .entries
            .neighbours
            .keys()
            .for_each(|address| self.peers.set_in_use(*address, true));
    }

    /// Of the neighbours made on demand, those that have not been used for `idle`: they are put to the test.
    pub fn doubt(&self, ages: &[Age], idle: Duration) -> Vec<Op> {
        let old = ages
            .iter()
            .filter(|age| age.used >= idle && self.peers.is_in_use(age.address));
        old.filter_map(|age| {
            Some(Op::DoubtNeighbour(
                age.address,
                self.peers.neighbour(age.address)?,
            ))
        })
        .collect()
    }

    /// The outcome of the test: who was not used meanwhile goes, all others are as before.
    pub fn judge(&mut self, doubted: &BTreeSet<Ipv4Addr>, ages: &[Age]) -> Vec<Op> {
        let still = |address: &Ipv4Addr| {
            ages.iter()
                .any(|age| age.address == *address && age.untouched)
        };
        let (unused, used): (Vec<Ipv4Addr>, Vec<Ipv4Addr>) =
            doubted.iter().partition(|address| still(address));
        let keep = used.iter().filter_map(|address| {
            Some(Op::PutNeighbour(*address, self.peers.neighbour(*address)?))
        });
        let mut ops: Vec<Op> = keep.collect();
        for address in unused {
            self.peers.set_in_use(address, false);
            ops.push(Op::DelNeighbour(address));
        }
        ops
    }

    /// The subnet of a peer that the address in question may belong to, whose lease we have not heard of yet.
    pub fn subnet_of(&self, miss: Miss) -> Option<Ipv4Network> {
        match miss {
            Miss::L3(address) if self.network.contains(address) => {
                network_of(address, self.subnet_len)
            }
            Miss::L3(_) | Miss::L2(_) => None,
        }
    }
}

fn frame(membership: &Membership, local: &OverlaySettings) -> OverlayState {
    let Membership { own, config } = membership;
    let device = Device {
        name: config.vxlan.vni.device(),
        vni: config.vxlan.vni,
        parent: local.external.name.clone(),
        local: local.external.address,
        port: config.vxlan.port,
        mac: own.vtep_mac,
        mtu: config.overlay_mtu(local.external.mtu),
        learning: config.vxlan.learning,
        gbp: config.vxlan.gbp,
        alias: local.alias.clone(),
    };
    let mut state = OverlayState {
        device: Some(device),
        up: true,
        ..OverlayState::default()
    };
    state.addresses.extend(Ipv4Network::new(own.vtep(), 32));
    state
        .sysctls
        .extend(Sysctl::ALL.map(|sysctl| (sysctl, sysctl.wanted())));
    state.tx_checksum = local.checksums_in_software.then_some(false);
    if local.peering == PeerMode::OnDemand {
        let key = RouteKey {
            destination: config.network,
            metric: 0,
            protocol: PROTOCOL,
        };
        state.entries.routes.insert(key, Hop::Link);
    }
    if local.blackhole {
        // The largest metric: the bridge of the pods has the same destination, and must win.
        let key = RouteKey {
            destination: own.subnet,
            metric: u32::MAX,
            protocol: PROTOCOL,
        };
        state.entries.routes.insert(key, Hop::Blackhole);
    }
    state
}

#[cfg(test)]
mod tests;
