//! Owns the socket on which the kernel tells of changes of nftables, those through iptables-nft included, and how its
//! messages are read (linux/netfilter/nf_tables.h). iptables-legacy has nothing of the kind.

use std::io;

use crate::adapters::netlink::attributes::{find, number16, number32, text};
use crate::adapters::netlink::listen::Listener;
use crate::rules::change::RuleSetChange;

/// `NFNLGRP_NFTABLES` of linux/netfilter/nfnetlink.h.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`: upper byte of the type of its messages.
const SUBSYSTEM: u8 = 10;
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
/// Room for changes that wait, in bytes: kube-proxy makes thousands in one go.
const BUFFER: usize = 4 << 20;
/// Length of `struct nlmsghdr`, and of that with `struct nfgenmsg` behind it.
const HEADER: usize = 16;
const HEADERS: usize = 20;

/// See the module.
pub struct RuleChanges {
    listener: Listener,
}

impl RuleChanges {
    /// Opens the socket; must be called inside a runtime.
    ///
    /// # Errors
    /// A kernel without nftables.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            listener: Listener::open_netfilter(GROUP, BUFFER)?,
        })
    }

    /// The next changes; `None` if some were lost for want of room. Cancel-safe.
    ///
    /// # Errors
    /// The socket is broken.
    pub async fn next(&mut self) -> io::Result<Option<Vec<RuleSetChange>>> {
        Ok(self
            .listener
            .next()
            .await?
            .map(|datagram| changes(&datagram)))
    }
}

/// The changes that a datagram tells of. What is not understood is left out.
fn changes(mut datagram: &[u8]) -> Vec<RuleSetChange> {
    let mut found = Vec::new();
    while let Some(length) = number32(datagram, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = datagram
            .get(..length)
            .filter(|message| message.len() >= HEADERS)
        else {
            break;
        };
        found.extend(change(message));
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    found
}

fn change(message: &[u8]) -> Option<RuleSetChange> {
    let [kind, subsystem] = number16(message, 4)?.to_le_bytes();
    // Attribute in which each kind of message names its chain: none for tables, then chains, rules. The others are of
    // sets and objects, which our rules do not have, and the new generation that follows each change.
    let chain = match kind {
        0 | 2 => None,
        3 | 5 => Some(3),
        6 | 8 => Some(2),
        _ => return None,
    };
    if subsystem != SUBSYSTEM {
        return None;
    }
    let attributes = message.get(HEADERS..)?;
    let name = |kind| find(attributes, kind).and_then(text).map(str::to_owned);
    Some(RuleSetChange {
        ipv4: message.get(HEADER) == Some(&IPV4),
        table: name(1)?,
        chain: chain.and_then(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::netlink::attributes::text_attribute as attribute;

    fn message(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        let body = attributes.concat();
        let mut bytes = Vec::new();
        bytes.extend((u32::try_from(HEADERS + body.len()).expect("short")).to_ne_bytes());
        bytes.extend((u16::from(SUBSYSTEM) << 8 | kind).to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend([IPV4, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn reads_tables_chains_and_rules_in_one_datagram() {
        let table = message(2, &[attribute(1, "flannel.1")]);
        let chain = message(
            5,
            &[
                attribute(1, "nat"),
                attribute(2, "12345678"),
                attribute(3, "POSTROUTING"),
            ],
        );
        let rule = message(8, &[attribute(1, "filter"), attribute(2, "FORWARD")]);
        let generation = message(15, &[attribute(1, "abc")]);
        let found = changes(&[table, chain, rule, generation].concat());
        let of = |table: &str, chain: Option<&str>| RuleSetChange {
            ipv4: true,
            table: table.to_owned(),
            chain: chain.map(str::to_owned),
        };
        assert_eq!(
            found,
            [
                of("flannel.1", None),
                of("nat", Some("POSTROUTING")),
                of("filter", Some("FORWARD"))
            ]
        );
    }

    #[test]
    fn is_not_troubled_by_what_is_cut_off_or_no_message() {
        let whole = message(8, &[attribute(1, "filter"), attribute(2, "FORWARD")]);
        for end in 0..whole.len() {
            assert!(changes(&whole[..end]).is_empty(), "{end}");
        }
        assert!(changes(&[0; 64]).is_empty());
        assert!(changes(&[0xff; 64]).is_empty());
    }
}
