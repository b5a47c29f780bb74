//! Owns all talk with the kernel: the only place that knows rtnetlink and interface indexes. Implements
//! [`Kernel`]; decides nothing.

mod attributes;
mod bulk;
mod decode;
mod encode;
mod ethtool;
mod host_facts;
mod links;
mod listen;
mod misses;
mod monitor;
mod nftables;
mod sysctl;

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use ipnetwork::Ipv4Network;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use nix::libc;
use nix::net::if_::{if_indextoname, if_nametoindex};
use rtnetlink::RouteMessageBuilder;

use crate::adapters::netlink::bulk::Bulk;
use crate::adapters::netlink::ethtool::Ethtool;
use crate::adapters::netlink::misses::Misses;
use crate::adapters::netlink::monitor::Monitor;
pub use crate::adapters::netlink::nftables::RuleChanges;
use crate::host::sysctls::HostSysctls;
use crate::host::vxlan_conflicts::PortUse;
use crate::overlay::plan::Op;
use crate::overlay::port::{Age, Event, Kernel, KernelError, OpFailure};
use crate::overlay::state::{Device, Entries, OverlayState, Sysctl};
use crate::underlay::choice::{Interface, RouteLookup};

/// How long any question to the kernel may take; a dump of 60,000 entries takes 0.1 s.
const DEADLINE: Duration = Duration::from_secs(10);

/// FDB entries in one go whose echoes we do without.
const MANY: usize = 64;
/// Time between two complaints about a socket that is broken.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub struct Netlink {
    handle: rtnetlink::Handle,
    bulk: Bulk,
    misses: Misses,
    monitor: Monitor,
    ethtool: Ethtool,
    /// Index of the device that was looked at last.
    device: Option<u32>,
}

/// Opens the sockets. The future must run for as long as the other value is used: it carries the questions.
///
/// # Errors
/// Sockets or capabilities are missing; `CAP_NET_ADMIN` is needed.
pub fn open() -> Result<(Netlink, impl Future<Output = ()>), KernelError> {
    let failed =
        |source: io::Error| request_error("open netlink sockets (CAP_NET_ADMIN is needed)", source);
    let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
    let bulk = Bulk::open().map_err(failed)?;
    let misses = Misses::open().map_err(failed)?;
    let monitor = Monitor::open(bulk.port()).map_err(failed)?;
    Ok((
        Netlink {
            handle,
            bulk,
            misses,
            monitor,
            ethtool: Ethtool::default(),
            device: None,
        },
        connection,
    ))
}

impl Netlink {
    /// All interfaces with their IPv4 addresses, in the order of their indexes.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, KernelError> {
        let links = self
            .ask(
                "list interfaces",
                self.handle.link().get().execute().try_collect::<Vec<_>>(),
            )
            .await?;
        let addresses = self
            .ask(
                "list addresses",
                self.handle
                    .address()
                    .get()
                    .execute()
                    .try_collect::<Vec<_>>(),
            )
            .await?;
        let addresses: Vec<_> = addresses.iter().filter_map(decode::address).collect();
        let interface = |message: &LinkMessage| {
            let link = decode::link(message);
            let own = addresses
                .iter()
                .filter(|(index, _)| *index == link.index)
                .map(|(_, net)| net.ip());
            Interface {
                name: link.name,
                mac: link.mac,
                mtu: link.mtu,
                addresses: own.collect(),
            }
        };
        Ok(links.iter().map(interface).collect())
    }

    /// The way that a packet to `address` would take, if there is one: `ip route get`.
    pub async fn lookup_route(
        &self,
        address: Ipv4Addr,
    ) -> Result<Option<RouteLookup>, KernelError> {
        let question = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, 32)
            .build();
        let answer = self
            .handle
            .route()
            .get(question)
            .execute()
            .try_collect::<Vec<_>>();
        let unreachable = [
            libc::ENETUNREACH,
            libc::EHOSTUNREACH,
            libc::EACCES,
            libc::EINVAL,
        ];
        let answer = self
            .ask_unless("look up a route", answer, &unreachable)
            .await?;
        let way = answer
            .as_deref()
            .and_then(<[_]>::first)
            .and_then(decode::way);
        Ok(way.and_then(|(index, source)| {
            Some(RouteLookup {
                interface: name_of(index)?,
                source,
            })
        }))
    }

    /// All vxlan devices of this host.
    pub async fn vxlans(&self) -> Result<Vec<Device>, KernelError> {
        let links = self.links().await?;
        Ok(links
            .iter()
            .filter_map(|message| decode::device(message, name_of))
            .collect())
    }

    async fn links(&self) -> Result<Vec<LinkMessage>, KernelError> {
        self.ask(
            "list interfaces",
            self.handle.link().get().execute().try_collect::<Vec<_>>(),
        )
        .await
    }

    /// HostSysctls of this host that the overlay depends on.
    pub fn settings(&self, external: &str) -> HostSysctls {
        let rp_filter =
            |interface: &str| sysctl::read(&format!("net/ipv4/conf/{interface}/rp_filter"));
        HostSysctls {
            external: external.to_owned(),
            ip_forward: sysctl::read("net/ipv4/ip_forward"),
            rp_filter_all: rp_filter("all"),
            rp_filter_external: rp_filter(external),
            rp_filter_default: rp_filter("default"),
            bridge_nf: sysctl::read("net/bridge/bridge-nf-call-iptables"),
        }
    }

    /// What may be in the way of a vxlan device of ours.
    pub async fn preflight(&self) -> Result<PortUse, KernelError> {
        let links = self.links().await?;
        let (udp_ports, udp6_ports) = sysctl::udp_ports();
        Ok(PortUse {
            vxlans: links.iter().filter_map(decode::vxlan).collect(),
            udp_ports,
            udp6_ports,
        })
    }

    async fn link(&self, name: &str) -> Result<Option<LinkMessage>, KernelError> {
        let answer = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute()
            .try_collect::<Vec<_>>();
        let answer = self
            .ask_unless(
                &format!("look up device \"{name}\""),
                answer,
                &[libc::ENODEV],
            )
            .await?;
        Ok(answer.and_then(|links| links.into_iter().next()))
    }

    async fn entries(&self, index: u32, network: Ipv4Network) -> Result<Entries, KernelError> {
        let fdb = self
            .handle
            .neighbours()
            .get()
            .set_address_family(AddressFamily::Bridge)
            .execute();
        let fdb = fdb.try_fold(Entries::default(), |mut entries, message| {
            entries.fdb.extend(decode::fdb(&message, index));
            async { Ok(entries) }
        });
        let entries = self.ask("dump the FDB", fdb).await?;
        let neighbours = self
            .handle
            .neighbours()
            .get()
            .set_address_family(AddressFamily::Inet)
            .execute();
        let neighbours = neighbours.try_fold(entries, |mut entries, message| {
            entries
                .neighbours
                .extend(decode::neighbour(&message, index));
            async { Ok(entries) }
        });
        let entries = self.ask("dump neighbours", neighbours).await?;
        let routes = self
            .handle
            .route()
            .get(RouteMessageBuilder::<Ipv4Addr>::new().build())
            .execute();
        let routes = routes.try_fold(entries, |mut entries, message| {
            entries
                .routes
                .extend(decode::route_in(&message, index, network));
            async { Ok(entries) }
        });
        self.ask("dump routes", routes).await
    }

    /// What `read` finds in the IPv4 neighbours of a device.
    async fn neighbours<T>(
        &self,
        device: &str,
        read: fn(&NeighbourMessage, u32) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        let Some(index) = index_of(device) else {
            return Ok(Vec::new());
        };
        let all = self
            .handle
            .neighbours()
            .get()
            .set_address_family(AddressFamily::Inet)
            .execute();
        let found = all.try_filter_map(async |message| Ok(read(&message, index)));
        self.ask("dump neighbours", found.try_collect()).await
    }

    async fn addresses(&self, index: u32) -> Result<Vec<Ipv4Network>, KernelError> {
        let all = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute()
            .try_collect::<Vec<_>>();
        let all = self.ask("dump addresses", all).await?;
        Ok(all
            .iter()
            .filter_map(decode::address)
            .filter(|(i, _)| *i == index)
            .map(|(_, net)| net)
            .collect())
    }

    async fn ask<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, KernelError> {
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer.map_err(|source| request_error(what, source)),
            Err(late) => Err(request_error(what, late)),
        }
    }

    /// Like `ask`, with `None` for answers that say that there is nothing.
    async fn ask_unless<T>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, rtnetlink::Error>>,
        nothing: &[i32],
    ) -> Result<Option<T>, KernelError> {
        let answer = async {
            match answer.await {
                Ok(answer) => Ok(Some(answer)),
                Err(rtnetlink::Error::NetlinkError(error))
                    if nothing.contains(&error.raw_code().abs()) =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        };
        self.ask(what, answer).await
    }

    /// Runs the requests that have gathered, noting what fails.
    fn flush(&mut self, device: &str, gathered: &mut Vec<&Op>, failures: &mut Vec<OpFailure>) {
        // A device that somebody has made again meanwhile has another index: then this fails, and the next look knows.
        let index = self.device.or_else(|| index_of(device));
        let mut sent = Vec::with_capacity(gathered.len());
        let mut requests = Vec::with_capacity(gathered.len());
        for op in gathered.drain(..) {
            match resolve(op, index) {
                Ok(Some(request)) => {
                    sent.push(op);
                    requests.push(request);
                }
                Ok(None) => {}
                Err(source) => failures.push(failure(op, device, source)),
            }
        }
        let fdb = sent
            .iter()
            .filter(|op| matches!(op, Op::PutFdb(..) | Op::DelFdb(..)))
            .count();
        let answers = match fdb > MANY {
            true => self.monitor.deaf_to_fdb(|| self.bulk.execute(requests)),
            false => self.bulk.execute(requests),
        };
        for (op, answer) in sent.into_iter().zip(answers) {
            if let Err(source) = answer
                && !is_done_already(op, &source)
            {
                failures.push(failure(op, device, source));
            }
        }
    }
}

impl Kernel for Netlink {
    async fn observe(
        &mut self,
        device: &str,
        network: Ipv4Network,
    ) -> Result<OverlayState, KernelError> {
        let Some(message) = self.link(device).await? else {
            self.device = None;
            return Ok(OverlayState::default());
        };
        let link = decode::link(&message);
        let Some(found) = decode::device(&message, name_of) else {
            return Err(KernelError::NotVxlan {
                name: device.to_owned(),
                kind: link.kind,
            });
        };
        self.device = Some(link.index);
        let sysctls = Sysctl::ALL
            .into_iter()
            .filter_map(|s| Some((s, sysctl::read(&s.path(device))?)));
        Ok(OverlayState {
            device: Some(found),
            up: link.up,
            addresses: self.addresses(link.index).await?.into_iter().collect(),
            sysctls: sysctls.collect(),
            tx_checksum: self.ethtool.tx_checksum(device),
            entries: self.entries(link.index, network).await?,
        })
    }

    fn apply(&mut self, device: &str, ops: &[Op]) -> Vec<OpFailure> {
        let mut failures = Vec::new();
        let mut gathered = Vec::new();
        for op in ops {
            if let Op::SetSysctl(setting, value) = op {
                self.flush(device, &mut gathered, &mut failures);
                let written = sysctl::write(&setting.path(device), *value);
                failures.extend(written.err().map(|source| failure(op, device, source)));
                continue;
            }
            if let Op::SetTxChecksum(on) = op {
                self.flush(device, &mut gathered, &mut failures);
                let set = self.ethtool.set_tx_checksum(device, *on);
                failures.extend(set.err().map(|source| failure(op, device, source)));
                continue;
            }
            gathered.push(op);
            // The index of the device changes with these, and what follows needs it.
            if matches!(op, Op::CreateDevice(_) | Op::DeleteDevice) {
                self.flush(device, &mut gathered, &mut failures);
                self.device = index_of(device);
            }
        }
        self.flush(device, &mut gathered, &mut failures);
        failures
    }

    async fn ages(&mut self, device: &str) -> Result<Vec<Age>, KernelError> {
        self.neighbours(device, decode::age).await
    }

    async fn unresolved(&mut self, device: &str) -> Result<Vec<Ipv4Addr>, KernelError> {
        self.neighbours(device, decode::unresolved).await
    }

    async fn event(&mut self, _device: &str) -> Result<Event, KernelError> {
        // Both arms are cancel-safe; misses go first, packets wait for them.
        let event = tokio::select! {
            biased;
            event = self.misses.next(self.device) => event,
            event = self.monitor.next(self.device) => event,
        };
        match event {
            Ok(event) => Ok(event),
            Err(source) => {
                // A socket that is broken answers at once, again and again.
                tokio::time::sleep(PAUSE).await;
                Err(request_error("listen to the kernel", source))
            }
        }
    }
}

/// The request for an operation; `None` if there is nothing to do because the device is gone.
fn resolve(op: &Op, index: Option<u32>) -> io::Result<Option<encode::Request>> {
    let no_device = || io::Error::from_raw_os_error(libc::ENODEV);
    if let Op::CreateDevice(spec) = op {
        let parent = index_of(&spec.parent).ok_or_else(no_device)?;
        return Ok(encode::request(op, 0, parent));
    }
    match index {
        None if op.removes() => Ok(None),
        None => Err(no_device()),
        Some(index) => Ok(encode::request(op, index, 0)),
    }
}

/// There already, or gone already: that is what was wanted.
fn is_done_already(op: &Op, error: &io::Error) -> bool {
    let is = |codes: &[i32]| {
        error
            .raw_os_error()
            .is_some_and(|code| codes.contains(&code))
    };
    let gone = [libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV];
    (op.removes() && is(&gone)) || (matches!(op, Op::AddAddress(_)) && is(&[libc::EEXIST]))
}

fn failure(op: &Op, device: &str, source: io::Error) -> OpFailure {
    OpFailure {
        command: op.command(device).to_string(),
        source,
    }
}

fn request_error(
    operation: &str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> KernelError {
    KernelError::Request {
        operation: operation.to_owned(),
        source: Box::new(source),
    }
}

fn index_of(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

fn name_of(index: u32) -> Option<String> {
    if_indextoname(index).ok()?.into_string().ok()
}
