//! Sends packets as fast as it can, for tests of what the daemon does under a flood. Runs inside a host of the lab.
//!
//! `flood frames DEVICE MAC SECONDS`: frames to an Ethernet address, past the neighbour table.
//! `flood scan FIRST-ADDRESS COUNT`: one UDP packet to each of many addresses.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, send, socket};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["frames", device, mac, seconds] => {
            frames(device, mac, Duration::from_secs(seconds.parse()?))
        }
        ["scan", first, count] => scan(first.parse()?, count.parse()?),
        _ => bail!("expected: frames DEVICE MAC SECONDS, or scan FIRST-ADDRESS COUNT"),
    }
}

/// Frames of an EtherType for local experiments (IEEE 802), which no host answers.
fn frames(device: &str, mac: &str, duration: Duration) -> Result<()> {
    let octets = mac
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16))
        .collect::<Result<Vec<_>, _>>()?;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::empty(),
        None,
    )?;
    bind(socket.as_raw_fd(), &link(device)?)
        .with_context(|| format!("failed to send on {device}"))?;
    let frame = [&octets[..], &[2, 0, 0, 0, 0, 1], &[0x88, 0xb5], &[0; 46]].concat();
    let (started, mut sent) = (Instant::now(), 0u64);
    while started.elapsed() < duration {
        for _ in 0..64 {
            send(socket.as_raw_fd(), &frame, MsgFlags::empty())?;
        }
        sent += 64;
    }
    println!("{sent}");
    Ok(())
}

fn link(device: &str) -> Result<LinkAddr> {
    let mut found = getifaddrs()?.filter(|interface| interface.interface_name == device);
    let address = found.find_map(|interface| interface.address?.as_link_addr().copied());
    address.with_context(|| format!("there is no device {device}"))
}

fn scan(first: Ipv4Addr, count: u32) -> Result<()> {
    let first = u32::from(first);
    let mut sent = 0;
    for to in first..first + count {
        // A socket for each: packets that wait for an address count against the buffer of theirs.
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        // The kernel may have no room for one more address to resolve: that is what a scan does.
        sent += u32::from(socket.send_to(b"scan", (Ipv4Addr::from(to), 9)).is_ok());
    }
    println!("{sent}");
    Ok(())
}
