//! Reads what the kernel holds of the overlay: device, addresses, settings, FDB, neighbours and
//! routes. Leaves out what is not ours.
//!
//! A dump may hold 60,000 entries: each is read as it arrives, and goes straight into the result.

use std::collections::BTreeSet;
use std::future::ready;
use std::net::Ipv4Addr;

use futures_util::{TryStream, TryStreamExt as _};
use ipnetwork::Ipv4Network;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::NeighbourMessage;
use rtnetlink::RouteMessageBuilder;

use crate::adapters::netlink::requests::answer;
use crate::adapters::netlink::{Netlink, decode, index_of, name_of, sysctl};
use crate::overlay::port::KernelError;
use crate::overlay::state::{Entries, OverlayState, Sysctl};

impl Netlink {
    /// Reads the overlay on `device`, and notes the index of the device.
    pub(super) async fn observe_overlay(
        &mut self,
        device: &str,
        network: Ipv4Network,
    ) -> Result<OverlayState, KernelError> {
        let Some(message) = self.link(device).await? else {
            self.device = None;
            return Ok(OverlayState::default());
        };
        let link = decode::link::attributes(&message);
        let Some(found) = decode::vxlan::device(&message, name_of) else {
            return Err(KernelError::NotVxlan {
                name: device.to_owned(),
                kind: link.kind,
            });
        };
        self.device = Some(link.index);
        let sysctls = Sysctl::ALL
            .into_iter()
            .filter_map(|setting| Some((setting, sysctl::read(&setting.path(device))?)));
        Ok(OverlayState {
            device: Some(found),
            up: link.up,
            addresses: self.addresses(link.index).await?,
            sysctls: sysctls.collect(),
            tx_checksum: self.ethtool.tx_checksum(device),
            entries: self.entries(link.index, network).await?,
        })
    }

    async fn addresses(&self, index: u32) -> Result<BTreeSet<Ipv4Network>, KernelError> {
        let request = self.handle.address().get().set_link_index_filter(index);
        collect("dump addresses", request.execute(), |message| {
            let (owner, net) = decode::address::address(message)?;
            (owner == index).then_some(net)
        })
        .await
    }

    /// Dumps one table after the other: the kernel carries out one dump at a time on a socket, and
    /// a request is sent as soon as it is made.
    async fn entries(&self, index: u32, network: Ipv4Network) -> Result<Entries, KernelError> {
        let dump = self.neighbour_dump(AddressFamily::Bridge);
        let fdb = collect("dump the FDB", dump, |message| {
            decode::neighbour::fdb(message, index)
        })
        .await?;
        let dump = self.neighbour_dump(AddressFamily::Inet);
        let neighbours = collect("dump neighbours", dump, |message| {
            decode::neighbour::permanent(message, index)
        })
        .await?;
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let dump = self.handle.route().get(all).execute();
        let routes = collect("dump routes", dump, |message| {
            decode::route::ours(message, index, network)
        })
        .await?;
        Ok(Entries {
            fdb,
            neighbours,
            routes,
        })
    }

    /// Reads something from each IPv4 neighbour of a device; nothing if the device does not exist.
    pub(super) async fn read_neighbours<T>(
        &self,
        device: &str,
        read: fn(&NeighbourMessage, u32) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        let Some(index) = index_of(device) else {
            return Ok(Vec::new());
        };
        let neighbours = self.neighbour_dump(AddressFamily::Inet);
        collect("dump neighbours", neighbours, |message| {
            read(message, index)
        })
        .await
    }

    fn neighbour_dump(
        &self,
        family: AddressFamily,
    ) -> impl TryStream<Ok = NeighbourMessage, Error = rtnetlink::Error> + use<> {
        let request = self.handle.neighbours().get();
        request.set_address_family(family).execute()
    }
}

/// Collects what `read` finds in the messages of a dump.
async fn collect<M, T, C: Default + Extend<T>>(
    operation: &str,
    dump: impl TryStream<Ok = M, Error = rtnetlink::Error>,
    read: impl Fn(&M) -> Option<T>,
) -> Result<C, KernelError> {
    let found = dump.try_filter_map(|message| ready(Ok(read(&message))));
    answer(operation, found.try_collect()).await
}
