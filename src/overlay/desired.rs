//! The overlay as it should be on this host: our device, its addresses and routes, and the entries for all peers. A change
//! of peers returns the operations for just these peers. It never observes the kernel. Pure.

use std::collections::BTreeSet;

use ipnetwork::Ipv4Network;

use crate::model::addr::{covers, overlap};
use crate::model::lease::Lease;
use crate::model::membership::Membership;
use crate::overlay::paths::route::MAIN_TABLE;
use crate::overlay::peer_entries::{ChangedPeers, PeerEntries};
use crate::overlay::plan::{Op, change_device, plan_entries};
use crate::overlay::port::{KernelChange, KernelError, Observed};
use crate::overlay::settings::{ALIAS_PREFIX, OverlaySettings, PeerMode, is_same_alias};
use crate::overlay::state::{Device, NextHop, OverlayState, PROTOCOL, RouteKey, Sysctl};
use crate::peers::update::PeerChange;

#[derive(Debug)]
pub(crate) struct DesiredOverlay {
    membership: Membership,
    network: Ipv4Network,
    /// Prefix length of the subnets that hosts lease in this network.
    subnet_len: u8,
    /// Our device and our own routes. The entries of peers change too often to be kept twice.
    own: OwnState,
    peers: PeerEntries,
}

/// What this host needs in the kernel, whatever peers there are.
#[derive(Debug)]
struct OwnState {
    device: Device,
    address: Ipv4Network,
    subnet: Ipv4Network,
    tx_checksum: Option<bool>,
    routes: Vec<(RouteKey, NextHop)>,
}

impl DesiredOverlay {
    /// Returns the overlay without peers.
    pub(crate) fn new(membership: &Membership, settings: &OverlaySettings) -> Self {
        let network = membership.config.network;
        Self {
            membership: membership.clone(),
            network,
            subnet_len: membership.config.subnet_len,
            own: OwnState::new(membership, settings),
            peers: PeerEntries::new(network, settings.peer_mode),
        }
    }

    /// Takes another lease of this host, and keeps the peers.
    #[must_use]
    pub(crate) fn rejoin(self, membership: &Membership, settings: &OverlaySettings) -> Self {
        Self {
            membership: membership.clone(),
            own: OwnState::new(membership, settings),
            ..self
        }
    }

    /// Takes another external interface. Returns the operations that change the device in place.
    pub(crate) fn follow(&mut self, settings: &OverlaySettings) -> Vec<Op> {
        let own = OwnState::new(&self.membership, settings);
        let before = std::mem::replace(&mut self.own, own);
        change_device(&self.own.device, &before.device)
    }

    pub(crate) const fn network(&self) -> Ipv4Network {
        self.network
    }

    pub(crate) const fn subnet_len(&self) -> u8 {
        self.subnet_len
    }

    /// Returns the subnet of the pods of this host.
    pub(crate) const fn own_subnet(&self) -> Ipv4Network {
        self.own.subnet
    }

    /// Returns the route that covers all peers, in the mode that has one.
    pub(crate) fn network_route(&self) -> Option<RouteKey> {
        let mut routes = self.own.routes.iter();
        let found = routes.find(|(_, hop)| *hop == NextHop::Link);
        found.map(|(key, _)| *key)
    }

    pub(crate) const fn device(&self) -> &Device {
        &self.own.device
    }

    pub(crate) const fn peers(&self) -> &PeerEntries {
        &self.peers
    }

    pub(crate) const fn peers_mut(&mut self) -> &mut PeerEntries {
        &mut self.peers
    }

    /// Returns the whole state that the kernel should have.
    pub(crate) fn state(&self) -> OverlayState {
        let mut entries = self.peers.all_entries();
        entries.routes.extend(self.own.routes.iter().copied());
        OverlayState {
            device: Some(self.own.device.clone()),
            up: true,
            addresses: [self.own.address].into(),
            sysctls: Sysctl::ALL.map(|sysctl| (sysctl, sysctl.desired())).into(),
            tx_checksum: self.own.tx_checksum,
            entries,
        }
    }

    /// Returns an observed state if the device in it is ours, or there is none. A device without the alias of a flanneld comes
    /// from flannel, or from a person, and is taken over.
    ///
    /// # Errors
    /// The alias of the device says that it belongs to another flanneld.
    pub(crate) fn refuse_foreign(&self, observed: Observed) -> Result<Observed, KernelError> {
        let alias = observed
            .overlay
            .device
            .as_ref()
            .map_or("", |device| &device.alias);
        if alias.starts_with(ALIAS_PREFIX) && !is_same_alias(alias, &self.own.device.alias) {
            return Err(KernelError::OtherOwner {
                device: self.own.device.name.clone(),
                owner: alias.to_owned(),
            });
        }
        Ok(observed)
    }

    /// Whether the observed device carries our alias. One without any may be taken by another flanneld at this moment.
    pub(crate) fn has(&self, observed: &OverlayState) -> bool {
        let device = observed.device.as_ref();
        device.is_some_and(|device| device.alias == self.own.device.alias)
    }

    /// Takes over the neighbours that an earlier run has made on demand.
    pub(crate) fn adopt(&mut self, observed: &OverlayState) {
        for address in observed.entries.neighbours.keys() {
            self.peers.set_in_use(*address);
        }
    }

    /// Takes a complete list of leases: a peer that is not in it has none any more. Returns the operations.
    pub(crate) fn replace_peers(&mut self, leases: Vec<Lease>) -> Vec<Op> {
        let changes = self.difference(leases);
        self.change_peers(changes)
    }

    /// Takes a complete list of leases without working out operations: a run compares everything with the kernel anyway.
    pub(crate) fn set_peers(&mut self, leases: Vec<Lease>) {
        let changes = self.difference(leases);
        self.set_changes(changes);
    }

    /// Takes leases that appeared, changed or disappeared. Returns the operations for these peers.
    pub(crate) fn change_peers(&mut self, changes: Vec<PeerChange>) -> Vec<Op> {
        if self.peers.outgrows_metric_0(changes.len()) {
            // The new routes of all peers are there before the old ones go.
            let before = self.peers.all_entries();
            self.set_changes(changes);
            return plan_entries(&self.peers.all_entries(), &before);
        }
        let changed = self.changed(&changes);
        let before = self.peers.entries_of(&changed);
        self.set_changes(changes);
        plan_entries(&self.peers.entries_of(&changed), &before)
    }

    /// Takes leases that appeared, changed or disappeared, without working out operations.
    pub(crate) fn set_changes(&mut self, changes: Vec<PeerChange>) {
        let subnets: Vec<Ipv4Network> = changes.iter().map(|(subnet, _)| *subnet).collect();
        for (subnet, lease) in changes {
            self.peers.set(subnet, lease);
        }
        self.peers.choose_metrics();
        // Only now: an address may have moved from one peer to another.
        for subnet in subnets {
            self.peers.forget_unowned(subnet);
        }
    }

    fn difference(&self, leases: Vec<Lease>) -> Vec<PeerChange> {
        let mut gone: BTreeSet<Ipv4Network> = self.peers.index().subnets().collect();
        for lease in &leases {
            gone.remove(&lease.subnet);
        }
        let gone = gone.into_iter().map(|subnet| (subnet, None));
        let present = leases.into_iter().map(|lease| (lease.subnet, Some(lease)));
        present.chain(gone).collect()
    }

    fn changed(&self, changes: &[PeerChange]) -> ChangedPeers {
        let mut changed = ChangedPeers::default();
        for (subnet, lease) in changes {
            changed.note(*subnet, lease.as_ref());
            changed.note(*subnet, self.peers.index().get(*subnet));
        }
        changed
    }

    /// Whether the kernel now holds something else than it should. Echoes of our own changes never contradict.
    pub(crate) fn contradicts(&self, change: &KernelChange) -> bool {
        match change {
            KernelChange::Link(name) => {
                *name == self.own.device.name || *name == self.own.device.parent
            }
            KernelChange::Address(address, present) => (*address == self.own.address) != *present,
            KernelChange::Fdb(mac, ip) => self.peers.fdb(*mac) != *ip,
            KernelChange::Neighbour(ip, mac) => self.peers.neighbour(*ip) != *mac,
            KernelChange::Route(key, hop) if covers(self.network, key.destination) => {
                self.route(key) != *hop
            }
            // To outside of the overlay, no route may lead through our device. A blackhole route is another overlay's.
            KernelChange::Route(_, hop) => hop.is_some_and(|hop| hop != NextHop::Blackhole),
            KernelChange::Stray(exists) => *exists,
            KernelChange::ForeignRoute(table, to) => self.may_be_hidden_by(*table, *to),
            KernelChange::Rules => true,
            // The reconciler looks at the settings themselves.
            KernelChange::Settings => false,
        }
    }

    /// Whether a route of another program may be in front of ours. In the main table only longer ones are, and nothing is in
    /// front of the bridge of our own pods that is not about it.
    fn may_be_hidden_by(&self, table: u32, to: Ipv4Network) -> bool {
        let concerns = match table {
            MAIN_TABLE => covers(self.network, to),
            _ => overlap(self.network, to),
        };
        concerns && (to == self.own.subnet || !covers(self.own.subnet, to))
    }

    fn route(&self, key: &RouteKey) -> Option<NextHop> {
        let of_peer = self.peers.route(key.destination);
        let mut all = of_peer.iter().chain(&self.own.routes);
        all.find(|(desired, _)| desired == key).map(|(_, hop)| *hop)
    }
}

impl OwnState {
    fn new(membership: &Membership, settings: &OverlaySettings) -> Self {
        let Membership { own, config } = membership;
        let device = Device {
            name: config.vxlan.vni.device(),
            vni: config.vxlan.vni,
            parent: settings.external.name.clone(),
            local: settings.external.address,
            port: config.vxlan.port,
            mac: own.vtep_mac,
            mtu: config.overlay_mtu(settings.external.mtu),
            learning: config.vxlan.learning,
            gbp: config.vxlan.gbp,
            alias: settings.alias.clone(),
        };
        Self {
            device,
            address: Ipv4Network::from(own.vtep()),
            subnet: own.subnet,
            tx_checksum: settings.tx_checksum_in_software.then_some(false),
            routes: own_routes(membership, settings),
        }
    }
}

fn own_routes(membership: &Membership, settings: &OverlaySettings) -> Vec<(RouteKey, NextHop)> {
    let mut routes = Vec::new();
    if settings.peer_mode == PeerMode::OnDemand {
        routes.push((our_route(membership.config.network, 0), NextHop::Link));
    }
    if settings.blackhole {
        // The largest metric: the bridge of the pods has a route to the same destination, which must win.
        routes.push((
            our_route(membership.own.subnet, u32::MAX),
            NextHop::Blackhole,
        ));
    }
    routes
}

const fn our_route(destination: Ipv4Network, metric: u32) -> RouteKey {
    RouteKey {
        destination,
        metric,
        protocol: PROTOCOL,
    }
}

#[cfg(test)]
pub(crate) mod tests;
