//! Reads and sets whether the kernel leaves the checksums of inner packets to the network card:
//! `ethtool -K DEVICE tx-checksum-ip-generic off`. Decides nothing.
//!
//! The requests are those of the generic netlink family `ethtool` (Linux 5.6 and later,
//! linux/ethtool_netlink.h).

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_GENERIC;

use crate::adapters::netlink::exchange::{Answer, QuestionSocket};
use crate::adapters::netlink::message::{
    Value, flag_attribute, generic_request, messages, nested_attribute, text_attribute,
};

/// The feature of a device that leaves checksums of any protocol to the network card.
const FEATURE: &str = "tx-checksum-ip-generic";
// linux/genetlink.h
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

// linux/ethtool_netlink.h
const ETHTOOL_GENL_NAME: &str = "ethtool";
const ETHTOOL_MSG_FEATURES_GET: u8 = 11;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_FEATURES_ACTIVE: u16 = 4;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const ETHTOOL_A_BITSET_BIT_VALUE: u16 = 3;

/// The socket for ethtool requests, opened with the first one.
#[derive(Default)]
pub(super) struct Ethtool {
    connection: Option<GenericSocket>,
}

struct GenericSocket {
    socket: QuestionSocket,
    /// The number that the kernel gave the family `ethtool`.
    family: u16,
}

impl Ethtool {
    /// Returns whether checksums are left to the network card; `None` if the kernel does not say.
    pub(super) fn tx_checksum(&mut self, device: &str) -> Option<bool> {
        let answer = self
            .request(ETHTOOL_MSG_FEATURES_GET, &device_header(device))
            .ok()?;
        feature_is_active(&answer)
    }

    /// Leaves checksums to the network card, or has the kernel compute them.
    ///
    /// # Errors
    /// The kernel has no such family or device, or refuses, or does not answer in time.
    pub(super) fn set_tx_checksum(&mut self, device: &str, on: bool) -> io::Result<()> {
        self.request(ETHTOOL_MSG_FEATURES_SET, &wanted_feature(device, on))
            .map(drop)
    }

    fn request(&mut self, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => GenericSocket::open()?,
        };
        // Without an answer the socket is dropped: the answer may still arrive on it.
        let answer = connection.exchange(connection.family, command, attributes)?;
        self.connection = Some(connection);
        Ok(answer.accepted()?.concat())
    }
}

impl GenericSocket {
    fn open() -> io::Result<Self> {
        let socket = QuestionSocket::open(NETLINK_GENERIC)?;
        let mut connection = Self { socket, family: 0 };
        let name = text_attribute(CTRL_ATTR_FAMILY_NAME, ETHTOOL_GENL_NAME);
        let answer = connection
            .exchange(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &name)?
            .accepted()?;
        connection.family = family_id(&answer.concat()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(connection)
    }

    fn exchange(&self, family: u16, command: u8, attributes: &[u8]) -> io::Result<Answer> {
        let request = generic_request(family, NLM_F_REQUEST | NLM_F_ACK, command, attributes);
        self.socket.exchange(&request)
    }
}

fn family_id(answer: &[u8]) -> Option<u16> {
    let attributes = messages(answer).next()?.attributes();
    attributes.find(CTRL_ATTR_FAMILY_ID)?.number16()
}

/// Returns whether our feature is in the list of features that are on: the kernel lists no others
/// there.
fn feature_is_active(answer: &[u8]) -> Option<bool> {
    let attributes = messages(answer).next()?.attributes();
    let active = attributes.find(ETHTOOL_A_FEATURES_ACTIVE)?.nested();
    let mut bits = active.find(ETHTOOL_A_BITSET_BITS)?.nested().iter();
    Some(bits.any(|(_, bit)| feature_name(bit) == Some(FEATURE)))
}

fn feature_name(bit: Value<'_>) -> Option<&str> {
    bit.nested().find(ETHTOOL_A_BITSET_BIT_NAME)?.text()
}

fn device_header(device: &str) -> Vec<u8> {
    nested_attribute(
        ETHTOOL_A_FEATURES_HEADER,
        &[text_attribute(ETHTOOL_A_HEADER_DEV_NAME, device)],
    )
}

/// Builds the attributes that change one feature and leave all others as they are.
fn wanted_feature(device: &str, on: bool) -> Vec<u8> {
    let mut bit = vec![text_attribute(ETHTOOL_A_BITSET_BIT_NAME, FEATURE)];
    if on {
        bit.push(flag_attribute(ETHTOOL_A_BITSET_BIT_VALUE));
    }
    let bit = nested_attribute(ETHTOOL_A_BITSET_BITS_BIT, &bit);
    let bits = nested_attribute(ETHTOOL_A_BITSET_BITS, &[bit]);
    let wanted = nested_attribute(ETHTOOL_A_FEATURES_WANTED, &[bits]);
    [device_header(device), wanted].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(features: &[&str]) -> Vec<u8> {
        let bits: Vec<Vec<u8>> = features
            .iter()
            .map(|name| {
                nested_attribute(
                    ETHTOOL_A_BITSET_BITS_BIT,
                    &[text_attribute(ETHTOOL_A_BITSET_BIT_NAME, name)],
                )
            })
            .collect();
        let bits = nested_attribute(ETHTOOL_A_BITSET_BITS, &bits);
        let active = nested_attribute(ETHTOOL_A_FEATURES_ACTIVE, &[bits]);
        generic_request(21, 0, ETHTOOL_MSG_FEATURES_GET, &active)
    }

    #[test]
    fn a_feature_is_on_when_the_kernel_lists_it() {
        let check = |answer: &[u8], expected| assert_eq!(feature_is_active(answer), expected);
        check(&active(&["tx-scatter-gather", FEATURE]), Some(true));
        check(&active(&["tx-scatter-gather"]), Some(false));
        check(&active(&[]), Some(false));
        check(&[], None);
    }

    #[test]
    fn a_request_switches_one_feature_on_or_off() {
        let check = |on: bool, expected: &[u16]| {
            let request =
                generic_request(21, 0, ETHTOOL_MSG_FEATURES_SET, &wanted_feature("eth0", on));
            let message = messages(&request).next().expect("a message");
            let header = message.attributes().find(1).expect("a header").nested();
            assert_eq!(header.find(2).and_then(Value::text), Some("eth0"));
            let wanted = message.attributes().find(3).expect("a bitset").nested();
            let bits = wanted.find(3).expect("bits").nested();
            let (_, bit) = bits.iter().next().expect("one bit");
            assert_eq!(feature_name(bit), Some("tx-checksum-ip-generic"));
            let kinds: Vec<u16> = bit.nested().iter().map(|(kind, _)| kind).collect();
            assert_eq!(kinds, expected);
            assert_eq!(bits.iter().count(), 1);
            let nomask = wanted.find(1);
            assert!(nomask.is_none(), "NOMASK switches all others off");
        };
        check(true, &[2, 3]);
        check(false, &[2]);
    }
}
