//! Reads what the kernel holds of the overlay: device, addresses, settings, FDB, neighbours and
//! routes; and the routes and rules of others that may be in front of it.
//!
//! A dump may hold 60,000 entries: each is read as it arrives, and goes straight into the result.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use futures_util::{TryStream, TryStreamExt as _};
use ipnetwork::Ipv4Network;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::NeighbourMessage;
use nix::libc;
use rtnetlink::RouteMessageBuilder;

use crate::adapters::netlink::decode::route::Found;
use crate::adapters::netlink::requests::{answer, answer_if_any};
use crate::adapters::netlink::{Netlink, decode, index_of, name_of, sysctl};
use crate::model::addr::MacAddr;
use crate::overlay::paths::rule::Rule;
use crate::overlay::paths::{ForeignPaths, PathAnswer, PathQuery, Sender};
use crate::overlay::port::{KernelError, Observed};
use crate::overlay::state::{Entries, NextHop, OverlayState, RouteKey, Sysctl};

/// The index of no interface.
const NO_INTERFACE: u32 = 0;

impl Netlink {
    /// Reads the overlay on `device`, and notes the index of the device.
    pub(super) async fn observe_overlay(
        &mut self,
        device: &str,
        network: Ipv4Network,
    ) -> Result<Observed, KernelError> {
        let Some(message) = self.link(device).await? else {
            self.device = None;
            // A device that is made has to find what is in the places of its routes.
            let (_, foreign) = self.routes(NO_INTERFACE, network).await?;
            return Ok(Observed {
                foreign,
                ..Observed::default()
            });
        };
        let link = decode::link::attributes(&message);
        let Some(found) = decode::vxlan::device(&message, name_of) else {
            return Err(KernelError::NotVxlan {
                name: device.to_owned(),
                kind: link.kind,
            });
        };
        self.device = Some(link.index);
        let sysctls = read_sysctls(device);
        let addresses = self.addresses(link.index).await?;
        let (fdb, neighbours) = self.fdb_and_neighbours(link.index).await?;
        let (routes, mut foreign) = self.routes(link.index, network).await?;
        foreign.rules = self.rules().await?;
        let entries = Entries {
            fdb,
            neighbours,
            routes,
        };
        let overlay = OverlayState {
            device: Some(found),
            up: link.up,
            addresses,
            sysctls,
            tx_checksum: self.ethtool.tx_checksum(device),
            entries,
        };
        Ok(Observed { overlay, foreign })
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
    async fn fdb_and_neighbours(
        &self,
        index: u32,
    ) -> Result<(BTreeMap<MacAddr, Ipv4Addr>, BTreeMap<Ipv4Addr, MacAddr>), KernelError> {
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
        Ok((fdb, neighbours))
    }

    /// Returns our routes, and those of others that share addresses with `network` or lead through the device.
    async fn routes(
        &self,
        index: u32,
        network: Ipv4Network,
    ) -> Result<(BTreeMap<RouteKey, NextHop>, ForeignPaths), KernelError> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let dump = self.handle.route().get(all).execute();
        let names = RefCell::new(InterfaceNames::default());
        let mut routes = BTreeMap::new();
        let mut foreign = ForeignPaths::default();
        let found = dump.try_for_each(|message| {
            let name_of = |index| names.borrow_mut().name_of(index);
            match decode::route::found(&message, index, network, name_of) {
                Some(Found::Ours(key, hop)) => _ = routes.insert(key, hop),
                Some(Found::Foreign(route)) => foreign.routes.push(route),
                Some(Found::Stray(route)) => foreign.strays.push(route),
                None => {}
            }
            ready(Ok(()))
        });
        answer("dump routes", found).await?;
        Ok((routes, foreign))
    }

    /// Returns the rules; none for a kernel that has no tables to choose from.
    async fn rules(&self) -> Result<Vec<Rule>, KernelError> {
        let dump = self.handle.rule().get(rtnetlink::IpVersion::V4).execute();
        let read = dump.try_filter_map(|message| ready(Ok(decode::rule::rule(&message))));
        let absent = [libc::EOPNOTSUPP, libc::EAFNOSUPPORT];
        let rules = answer_if_any("dump rules", read.try_collect(), &absent).await?;
        Ok(rules.unwrap_or_default())
    }

    /// Asks where a packet would go.
    pub(super) async fn look_up_path(&self, query: &PathQuery) -> Result<PathAnswer, KernelError> {
        let mut question =
            RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(query.destination, 32);
        if let Sender::Pod { address, bridge } = &query.sender {
            let forwards = sysctl::read(&format!("net/ipv4/conf/{bridge}/forwarding"));
            let Some(index) = index_of(bridge).filter(|_| forwards == Some(1)) else {
                return Ok(PathAnswer::NotForwarded);
            };
            question = question.source_prefix(*address, 32).input_interface(index);
        }
        let routes = self.handle.route().get(question.build()).execute();
        let found = async {
            match routes.try_collect::<Vec<_>>().await {
                Ok(routes) => Ok(Ok(routes)),
                Err(rtnetlink::Error::NetlinkError(error)) => {
                    Ok(Err(io::Error::from_raw_os_error(error.raw_code().abs())))
                }
                Err(error) => Err(error),
            }
        };
        Ok(match answer("look up a route", found).await? {
            Ok(routes) => {
                let interface = routes.first().and_then(decode::route::interface);
                PathAnswer::Through(interface.and_then(name_of).unwrap_or_default())
            }
            Err(error) => PathAnswer::Refused(error.to_string()),
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

/// Reads the settings of a device. On a host that forwards nothing, its own forwarding means
/// nothing: whether the host should, is not decided here.
pub(super) fn read_sysctls(device: &str) -> BTreeMap<Sysctl, i32> {
    let counts = |setting: &Sysctl| {
        *setting != Sysctl::Forwarding || sysctl::read("net/ipv4/ip_forward") == Some(1)
    };
    let settings = Sysctl::ALL.into_iter().filter(counts);
    let read = |setting: Sysctl| Some((setting, sysctl::read(&setting.path(device))?));
    settings.filter_map(read).collect()
}

/// The names of interfaces, each asked for once: thousands of routes may lead through one.
#[derive(Default)]
struct InterfaceNames {
    known: BTreeMap<u32, Option<Rc<str>>>,
}

impl InterfaceNames {
    fn name_of(&mut self, index: u32) -> Option<Rc<str>> {
        let known = self.known.entry(index);
        known
            .or_insert_with(|| name_of(index).map(Rc::from))
            .clone()
    }
}
