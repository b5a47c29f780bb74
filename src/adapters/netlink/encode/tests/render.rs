//! Prints the bytes of a request: message and header flags, the header of its kind, then an
//! attribute in each line. Reads the bytes itself and takes its numbers from the kernel's headers,
//! so that no library stands between test and kernel.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::adapters::netlink::bulk;
use crate::adapters::netlink::encode::Request;
use crate::adapters::netlink::message::tests::route_message;
use crate::adapters::netlink::message::{Attributes, Value};
use crate::model::addr::MacAddr;

/// How the value of an attribute is printed.
enum Form {
    Ip,
    Mac,
    Text,
    Number,
    /// A number of 16 bits in network byte order.
    Port,
    Byte,
    Flag,
    List(&'static [Known]),
}

type Known = (u16, &'static str, Form);

/// A kind of message: the length of its header, how that is printed, and its attributes.
type Kind = (usize, fn(&[u8]) -> String, &'static [Known]);

/// linux/if_link.h
const LINK: Kind = (
    16,
    link_header,
    &[
        (1, "IFLA_ADDRESS", Form::Mac),
        (3, "IFLA_IFNAME", Form::Text),
        (4, "IFLA_MTU", Form::Number),
        (18, "IFLA_LINKINFO", Form::List(LINK_INFO)),
        (20, "IFLA_IFALIAS", Form::Text),
    ],
);
const LINK_INFO: &[Known] = &[
    (1, "IFLA_INFO_KIND", Form::Text),
    (2, "IFLA_INFO_DATA", Form::List(VXLAN)),
];
const VXLAN: &[Known] = &[
    (1, "IFLA_VXLAN_ID", Form::Number),
    (3, "IFLA_VXLAN_LINK", Form::Number),
    (4, "IFLA_VXLAN_LOCAL", Form::Ip),
    (7, "IFLA_VXLAN_LEARNING", Form::Byte),
    (13, "IFLA_VXLAN_L2MISS", Form::Byte),
    (15, "IFLA_VXLAN_PORT", Form::Port),
    (23, "IFLA_VXLAN_GBP", Form::Flag),
];
/// linux/if_addr.h
const ADDRESS: Kind = (
    8,
    address_header,
    &[(1, "IFA_ADDRESS", Form::Ip), (2, "IFA_LOCAL", Form::Ip)],
);
/// linux/neighbour.h
const NEIGHBOUR: Kind = (
    12,
    neighbour_header,
    &[
        (1, "NDA_DST", Form::Ip),
        (2, "NDA_LLADDR", Form::Mac),
        (12, "NDA_PROTOCOL", Form::Byte),
    ],
);
/// linux/rtnetlink.h
const ROUTE: Kind = (
    12,
    route_header,
    &[
        (1, "RTA_DST", Form::Ip),
        (4, "RTA_OIF", Form::Number),
        (5, "RTA_GATEWAY", Form::Ip),
        (6, "RTA_PRIORITY", Form::Number),
    ],
);

const FLAGS: [(u16, &str); 5] = [
    (0x001, "NLM_F_REQUEST"),
    (0x004, "NLM_F_ACK"),
    (0x100, "NLM_F_REPLACE"),
    (0x200, "NLM_F_EXCL"),
    (0x400, "NLM_F_CREATE"),
];

pub(super) fn request(request: Request) -> String {
    let mut bytes = Vec::new();
    bulk::append(&mut bytes, request, 1);
    let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
    let (name, (length, header, known)) = match kind {
        16 => ("RTM_NEWLINK", LINK),
        17 => ("RTM_DELLINK", LINK),
        19 => ("RTM_SETLINK", LINK),
        20 => ("RTM_NEWADDR", ADDRESS),
        21 => ("RTM_DELADDR", ADDRESS),
        24 => ("RTM_NEWROUTE", ROUTE),
        25 => ("RTM_DELROUTE", ROUTE),
        28 => ("RTM_NEWNEIGH", NEIGHBOUR),
        29 => ("RTM_DELNEIGH", NEIGHBOUR),
        other => panic!("a message of type {other}"),
    };
    let (flags, fixed, attributes) = route_message(&bytes, length);
    let mut text = format!("{name}{}\n{}", flag_names(flags), header(fixed));
    append(&mut text, attributes, known);
    text
}

fn flag_names(flags: u16) -> String {
    let mut rest = flags;
    let mut text = String::new();
    for (flag, name) in FLAGS {
        if flags & flag != 0 {
            _ = write!(text, " {name}");
            rest &= !flag;
        }
    }
    assert_eq!(rest, 0, "a flag without a name");
    text
}

fn append(text: &mut String, attributes: Attributes<'_>, known: &[Known]) {
    for (kind, value) in attributes.iter() {
        match known.iter().find(|(number, ..)| *number == kind) {
            Some((_, name, Form::List(inner))) => {
                _ = write!(text, "\n{name}:");
                append(text, value.nested(), inner);
            }
            Some((_, name, form)) => _ = write!(text, "\n{name} {}", printed(value, form)),
            None => _ = write!(text, "\nattribute {kind} {:?}", value.bytes()),
        }
    }
}

fn printed(value: Value<'_>, form: &Form) -> String {
    let bytes = value.bytes();
    match form {
        Form::Ip => Ipv4Addr::from(array(bytes)).to_string(),
        Form::Mac => MacAddr(array(bytes)).to_string(),
        Form::Text => value.text().expect("UTF-8").to_owned(),
        Form::Number => u32::from_ne_bytes(array(bytes)).to_string(),
        Form::Port => u16::from_be_bytes(array(bytes)).to_string(),
        Form::Byte => u8::from_ne_bytes(array(bytes)).to_string(),
        Form::Flag => {
            assert!(bytes.is_empty(), "a flag has no value");
            "is set".to_owned()
        }
        Form::List(_) => unreachable!("lists are printed by append"),
    }
}

/// `struct ifinfomsg`
fn link_header(header: &[u8]) -> String {
    let number = |at: usize| u32::from_ne_bytes(array(&header[at..at + 4]));
    format!(
        "{} index {} flags {:#x} change {:#x}",
        family(header[0]),
        number(4),
        number(8),
        number(12)
    )
}

/// `struct ifaddrmsg`
fn address_header(header: &[u8]) -> String {
    let index = u32::from_ne_bytes(array(&header[4..8]));
    format!(
        "{} index {index} prefixlen {} flags {:#x} scope {}",
        family(header[0]),
        header[1],
        header[2],
        header[3]
    )
}

/// `struct ndmsg`
fn neighbour_header(header: &[u8]) -> String {
    let index = u32::from_ne_bytes(array(&header[4..8]));
    let state = match u16::from_ne_bytes(array(&header[8..10])) {
        0x00 => "NUD_NONE",
        0x04 => "NUD_STALE",
        0x80 => "NUD_PERMANENT",
        other => panic!("the state {other:#x}"),
    };
    let flags = match header[10] {
        0x00 => "none",
        0x02 => "NTF_SELF",
        0x10 => "NTF_EXT_LEARNED",
        other => panic!("the flags {other:#x}"),
    };
    format!(
        "{} index {index} state {state} flags {flags}",
        family(header[0])
    )
}

/// `struct rtmsg`
fn route_header(header: &[u8]) -> String {
    let [
        family_number,
        destination,
        source,
        tos,
        table,
        protocol,
        scope,
        kind,
    ] = array(&header[..8]);
    let scope = match scope {
        0 => "RT_SCOPE_UNIVERSE",
        253 => "RT_SCOPE_LINK",
        255 => "RT_SCOPE_NOWHERE",
        other => panic!("the scope {other}"),
    };
    let kind = match kind {
        1 => "RTN_UNICAST",
        6 => "RTN_BLACKHOLE",
        other => panic!("the type {other}"),
    };
    let flags = match u32::from_ne_bytes(array(&header[8..12])) {
        0 => "none",
        4 => "RTNH_F_ONLINK",
        other => panic!("the flags {other:#x}"),
    };
    assert_eq!((source, tos), (0, 0));
    format!(
        "{} dst_len {destination} table {table} protocol {protocol} {scope} {kind} flags {flags}",
        family(family_number)
    )
}

fn family(number: u8) -> &'static str {
    match number {
        0 => "AF_UNSPEC",
        2 => "AF_INET",
        7 => "AF_BRIDGE",
        other => panic!("the family {other}"),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a value of this length")
}
