//! Owns asking and setting whether the kernel leaves the checksums of inner packets to the hardware (generic netlink,
//! family `ethtool`, since Linux 5.6; linux/ethtool_netlink.h): `ethtool -K DEVICE tx-checksum-ip-generic off`.

use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use crate::adapters::netlink::attributes::{
    NESTED, attribute, each, find, number16, number32, text, text_attribute,
};

const FEATURE: &str = "tx-checksum-ip-generic";
/// How long an answer may take; the kernel gives it inside of the request.
const DEADLINE: Duration = Duration::from_secs(5);
/// The family that knows all others, and its question for one of them (linux/genetlink.h).
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const NLMSG_ERROR: u16 = 2;
/// Length of `struct nlmsghdr`, and of that with `struct genlmsghdr` behind it.
const HEADER: usize = 16;
const HEADERS: usize = 20;

/// See the module. Opened with the first question.
#[derive(Default)]
pub(super) struct Ethtool {
    open: Option<(Socket, u16)>,
}

impl Ethtool {
    /// Whether checksums are left to the hardware; `None` if the kernel does not say.
    pub(super) fn tx_checksum(&mut self, device: &str) -> Option<bool> {
        let answer = self.request(FEATURES_GET, &header(device)).ok()?;
        // ETHTOOL_A_FEATURES_ACTIVE: a list of the features that are on (ETHTOOL_A_BITSET_BITS, their names).
        let bits = find(find(answer.get(HEADERS..)?, 4)?, 3)?;
        Some(each(bits).any(|(_, bit)| find(bit, 2).and_then(text) == Some(FEATURE)))
    }

    /// Sets it.
    pub(super) fn set_tx_checksum(&mut self, device: &str, on: bool) -> io::Result<()> {
        self.request(FEATURES_SET, &set(device, on)).map(drop)
    }

    fn request(&mut self, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        let (socket, family) = match self.open.take() {
            Some(open) => open,
            None => open()?,
        };
        // A socket with an answer that was not waited for is not used again.
        let answer = exchange(&socket, family, command, attributes)?;
        self.open = Some((socket, family));
        answer
    }
}

fn open() -> io::Result<(Socket, u16)> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    SockRef::from(&socket).set_read_timeout(Some(DEADLINE))?;
    let answer = exchange(&socket, CONTROL, GET_FAMILY, &text_attribute(2, "ethtool"))??;
    let id = answer
        .get(HEADERS..)
        .and_then(|attributes| number16(find(attributes, 1)?, 0));
    Ok((socket, id.ok_or(io::ErrorKind::InvalidData)?))
}

/// Answers what the kernel said before it confirmed or refused the request.
fn exchange(
    socket: &Socket,
    family: u16,
    command: u8,
    attributes: &[u8],
) -> io::Result<io::Result<Vec<u8>>> {
    socket.send(&message(family, command, attributes), 0)?;
    let mut answer = Vec::new();
    loop {
        let mut buffer = Vec::with_capacity(64 * 1024);
        socket.recv(&mut buffer, 0)?;
        if number16(&buffer, 4) != Some(NLMSG_ERROR) {
            answer = buffer;
            continue;
        }
        let code = number32(&buffer, HEADER).unwrap_or_default().cast_signed();
        return Ok(if code == 0 {
            Ok(answer)
        } else {
            Err(io::Error::from_raw_os_error(code.saturating_abs()))
        });
    }
}

fn message(family: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADERS + attributes.len()).expect("messages of ours are short");
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(family.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    bytes.resize(HEADER, 0);
    bytes.extend([command, 1, 0, 0]);
    bytes.extend(attributes);
    bytes
}

/// `ETHTOOL_A_FEATURES_HEADER`, which names the device.
fn header(device: &str) -> Vec<u8> {
    attribute(1 | NESTED, &text_attribute(2, device))
}

/// `ETHTOOL_A_FEATURES_WANTED` with one feature, whose value is a flag that is there or not.
fn set(device: &str, on: bool) -> Vec<u8> {
    let value = if on { attribute(3, &[]) } else { Vec::new() };
    let bit = attribute(1 | NESTED, &[text_attribute(2, FEATURE), value].concat());
    let bits = attribute(3 | NESTED, &bit);
    [header(device), attribute(3 | NESTED, &bits)].concat()
}
