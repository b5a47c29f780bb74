//! The binary form of netlink messages: headers and attributes, built and read in one place.
//!
//! `netlink-packet-route` builds and reads the messages of rtnetlink. This file serves what it does
//! not know: answers to requests, generic netlink and nftables. Reading never fails: it ends where
//! a message is cut off. Pure.
//!
//! A message is a header of 16 bytes (`struct nlmsghdr`), a header of its protocol (four bytes in
//! generic netlink and in netfilter), and attributes. An attribute (`struct nlattr`) is its length,
//! its kind and its value, padded to four bytes. Numbers are in the byte order of the host
//! (linux/netlink.h).

use std::iter;

/// Length of `struct nlmsghdr`, in bytes.
const HEADER_LENGTH: usize = 16;
/// Offset of `nlmsg_type` in `struct nlmsghdr`; `nlmsg_len` is at 0.
const TYPE_OFFSET: usize = 4;
/// Offset of `nlmsg_seq` in `struct nlmsghdr`.
const SEQUENCE_OFFSET: usize = 8;
/// Length of `struct genlmsghdr` and of `struct nfgenmsg`, in bytes.
const PROTOCOL_HEADER_LENGTH: usize = 4;
/// Length of the head of `struct nlattr`, in bytes.
const ATTRIBUTE_HEADER_LENGTH: usize = 4;
/// Messages and attributes begin at multiples of this many bytes.
const ALIGNMENT: usize = 4;
/// `NLMSG_ERROR`: the kernel confirms or refuses a request.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the kernel has listed everything.
const NLMSG_DONE: u16 = 3;
/// `NLA_F_NESTED`: flag in the kind of an attribute whose value is a list of attributes.
const NLA_F_NESTED: u16 = 1 << 15;
/// `NLA_TYPE_MASK`: the kind of an attribute without its flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// A message that the kernel sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    /// What the message is about (`nlmsg_type`).
    pub(super) kind: u16,
    /// Number of the request that the message answers (`nlmsg_seq`).
    pub(super) sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Returns the error number with which the kernel answers a request, 0 for success; `None` for
    /// other messages.
    ///
    /// The kernel sends error numbers negated.
    pub(super) fn error_code(&self) -> Option<i32> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        number32(self.payload, 0).map(|code| code.cast_signed().saturating_abs())
    }

    /// Whether the message ends a list.
    pub(super) const fn is_done(&self) -> bool {
        self.kind == NLMSG_DONE
    }

    /// Returns the first byte of the header of generic netlink (`cmd`) or netfilter
    /// (`nfgen_family`).
    pub(super) fn protocol_byte(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// Returns the attributes behind the header of generic netlink or netfilter.
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(
            self.payload
                .get(PROTOCOL_HEADER_LENGTH..)
                .unwrap_or_default(),
        )
    }
}

/// Returns the messages in a datagram.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    iter::from_fn(move || {
        let length = usize::try_from(number32(datagram, 0)?).ok()?;
        let message = Message {
            kind: number16(datagram, TYPE_OFFSET)?,
            sequence: number32(datagram, SEQUENCE_OFFSET)?,
            payload: datagram.get(HEADER_LENGTH..length)?,
        };
        datagram = after(datagram, length);
        Some(message)
    })
}

/// The attributes of a message, or those inside an attribute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Returns the kind and value of each attribute.
    pub(super) fn iter(self) -> impl Iterator<Item = (u16, Value<'a>)> {
        let mut rest = self.0;
        iter::from_fn(move || {
            let length = usize::from(number16(rest, 0)?);
            let kind = number16(rest, 2)? & NLA_TYPE_MASK;
            let value = rest.get(ATTRIBUTE_HEADER_LENGTH..length)?;
            rest = after(rest, length);
            Some((kind, Value(value)))
        })
    }

    /// Returns the value of the first attribute of this kind.
    pub(super) fn find(self, wanted: u16) -> Option<Value<'a>> {
        self.iter()
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    }
}

/// The value of an attribute. The kernel header of the attribute says what it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// Returns the value as a list of attributes.
    pub(super) fn nested(self) -> Attributes<'a> {
        Attributes(self.0)
    }

    /// Returns the value as text, without the zero byte at its end.
    pub(super) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.0.strip_suffix(&[0]).unwrap_or(self.0)).ok()
    }

    /// Returns the value as it is.
    pub(super) const fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Returns the value as a number of 16 bits.
    pub(super) fn number16(self) -> Option<u16> {
        number16(self.0, 0)
    }
}

/// Builds a message of generic netlink (`struct nlmsghdr`, `struct genlmsghdr`). The kernel fills
/// in the sequence and port numbers that are 0 here.
pub(super) fn generic_request(family: u16, flags: u16, command: u8, attributes: &[u8]) -> Vec<u8> {
    /// `version` in `struct genlmsghdr`: the families that we use have had no other.
    const VERSION: u8 = 1;
    request(family, flags, [command, VERSION, 0, 0], attributes)
}

/// Builds a message of netfilter (`struct nlmsghdr`, `struct nfgenmsg`), like [`generic_request`].
pub(super) fn netfilter_request(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    request(kind, flags, [family, 0, 0, 0], attributes)
}

fn request(
    kind: u16,
    flags: u16,
    protocol_header: [u8; PROTOCOL_HEADER_LENGTH],
    attributes: &[u8],
) -> Vec<u8> {
    let length = HEADER_LENGTH + PROTOCOL_HEADER_LENGTH + attributes.len();
    let length = u32::try_from(length).expect("our requests are short");
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.resize(HEADER_LENGTH, 0);
    bytes.extend(protocol_header);
    bytes.extend(attributes);
    bytes
}

/// Builds an attribute that holds text, with a zero byte at its end.
pub(super) fn text_attribute(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), &[0]].concat())
}

/// Builds an attribute that holds these bytes.
#[cfg(test)]
pub(super) fn bytes_attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind, value)
}

/// Builds an attribute without a value: it says yes by being there.
pub(super) fn flag_attribute(kind: u16) -> Vec<u8> {
    attribute(kind, &[])
}

/// Builds an attribute that holds attributes.
pub(super) fn nested_attribute(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, &attributes.concat())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE_HEADER_LENGTH + value.len())
        .expect("our attributes hold names, which are short");
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes
}

/// Returns what follows an item of this length in bytes.
fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes
        .get(length.next_multiple_of(ALIGNMENT)..)
        .unwrap_or_default()
}

fn number16(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

fn number32(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
pub(super) mod tests;
