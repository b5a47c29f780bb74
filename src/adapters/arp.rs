//! Asks a link who has an address, with ARP probes (RFC 5227, section 2.1). It decides nothing.
//!
//! A probe has no sender address, so no cache on the link learns anything from it. The kernel has no such request: its own
//! would name the address that is in doubt as the sender.

mod packet;

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::time::Duration;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::libc::{AF_PACKET, ARPHRD_ETHER, ETH_P_ARP};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{LinkAddr, bind};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::lease::port::{AddressProbe, LinkAnswer};
use crate::model::addr::MacAddr;

// RFC 5227, section 1.1: `PROBE_NUM`, `PROBE_MIN`, `PROBE_MAX` and `ANNOUNCE_WAIT`.
const PROBES: u32 = 3;
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(2);
const LAST_WAIT: Duration = Duration::from_secs(2);

const WITHOUT_ARP: InterfaceFlags = InterfaceFlags::IFF_NOARP
    .union(InterfaceFlags::IFF_LOOPBACK)
    .union(InterfaceFlags::IFF_POINTOPOINT);

/// Ethernet frames of this many bytes carry an ARP packet; what follows is padding.
const BUFFER_BYTES: usize = 128;

/// The probe. It opens its socket for each question, since questions are rare.
#[derive(Debug)]
pub(crate) struct ArpProbe {
    /// Returns numbers that are uniform in 0..1.
    pub(crate) random: fn() -> f64,
}

/// The link of an address.
struct Link {
    interface: String,
    address: LinkAddr,
    mac: MacAddr,
    /// The MAC addresses of all interfaces of this host: with two of them on one link, the host answers itself.
    own_macs: BTreeSet<MacAddr>,
}

impl AddressProbe for ArpProbe {
    fn probe(&self, address: Ipv4Addr) -> Pin<Box<dyn Future<Output = LinkAnswer> + '_>> {
        Box::pin(async move {
            match find_link(address) {
                Ok(link) => self.ask(&link, address).await,
                Err(reason) => LinkAnswer::Unknown(reason),
            }
        })
    }
}

impl ArpProbe {
    async fn ask(&self, link: &Link, address: Ipv4Addr) -> LinkAnswer {
        let interface = link.interface.clone();
        match self.exchange(link, address).await {
            Ok(Some(mac)) => LinkAnswer::Other { mac, interface },
            Ok(None) => LinkAnswer::Nobody { interface },
            Err(error) => {
                LinkAnswer::Unknown(format!("failed to send ARP probes on {interface}: {error}"))
            }
        }
    }

    /// Returns the MAC address of another machine that has `address`, as soon as one answers.
    async fn exchange(&self, link: &Link, address: Ipv4Addr) -> io::Result<Option<MacAddr>> {
        let socket = open(link)?;
        let probe = packet::probe(link.mac, address);
        for sent in 1..=PROBES {
            socket.send(&probe).await?;
            let wait = if sent == PROBES {
                LAST_WAIT
            } else {
                MIN_INTERVAL + (MAX_INTERVAL - MIN_INTERVAL).mul_f64((self.random)())
            };
            let answer = listen(&socket, link, address, Instant::now() + wait).await?;
            if answer.is_some() {
                return Ok(answer);
            }
        }
        Ok(None)
    }
}

/// Returns the link of the interface that has `address`.
///
/// # Errors
/// Returns why its link cannot be asked.
fn find_link(address: Ipv4Addr) -> Result<Link, String> {
    let all = getifaddrs().map_err(|error| format!("failed to list the interfaces: {error}"))?;
    let all: Vec<InterfaceAddress> = all.collect();
    let with_address = all.iter().find(|one| {
        let ipv4 = one.address.as_ref().and_then(|any| any.as_sockaddr_in());
        ipv4.is_some_and(|ipv4| ipv4.ip() == address)
    });
    let on_link = with_address.ok_or_else(|| format!("no interface of this host has {address}"))?;
    // An address with a label appears under the label: `eth0:1`.
    let label = on_link.interface_name.as_str();
    let interface = label.split_once(':').map_or(label, |(name, _)| name);
    let ethernet = link_addresses(&all).find(|(name, link)| {
        *name == interface
            && link.hatype() == ARPHRD_ETHER
            && !on_link.flags.intersects(WITHOUT_ARP)
    });
    let (_, link) = ethernet.ok_or_else(|| format!("{interface} does not use ARP"))?;
    let own_macs = link_addresses(&all).filter_map(|(_, link)| link.addr());
    Ok(Link {
        interface: interface.to_owned(),
        address: *link,
        mac: MacAddr(link.addr().unwrap_or_default()),
        own_macs: own_macs.map(MacAddr).collect(),
    })
}

fn link_addresses(all: &[InterfaceAddress]) -> impl Iterator<Item = (&str, &LinkAddr)> {
    all.iter().filter_map(|one| {
        let link = one.address.as_ref()?.as_link_addr()?;
        Some((one.interface_name.as_str(), link))
    })
}

/// Opens a socket that receives all ARP packets of the link. Needs `CAP_NET_RAW`. Tokio has no type for such a socket; that
/// for UDP sends and receives whole packets in the same way.
fn open(link: &Link) -> io::Result<UdpSocket> {
    let protocol = Protocol::from(i32::from((ETH_P_ARP as u16).to_be()));
    let kind = Type::RAW.nonblocking().cloexec();
    let socket = Socket::new(Domain::from(AF_PACKET), kind, Some(protocol)).map_err(|error| {
        let hint = if error.kind() == io::ErrorKind::PermissionDenied {
            " (CAP_NET_RAW is needed)"
        } else {
            ""
        };
        io::Error::new(error.kind(), format!("{error}{hint}"))
    })?;
    // The address names no protocol: the socket keeps its own.
    bind(socket.as_raw_fd(), &link.address)?;
    UdpSocket::from_std(socket.into())
}

async fn listen(
    socket: &UdpSocket,
    link: &Link,
    address: Ipv4Addr,
    until: Instant,
) -> io::Result<Option<MacAddr>> {
    let mut frame = [0; BUFFER_BYTES];
    loop {
        let Ok(received) = timeout_at(until, socket.recv(&mut frame)).await else {
            return Ok(None);
        };
        let length = received?;
        let sender = packet::sender(&frame[..length]);
        if let Some((mac, ip)) = sender
            && ip == address
            && !link.own_macs.contains(&mac)
        {
            return Ok(Some(mac));
        }
    }
}
