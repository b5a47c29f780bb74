//! Listens to changes of nftables, including those made through iptables-nft, and reads the
//! kernel's messages about them (linux/netfilter/nf_tables.h). Does not judge whose rules they are.
//! iptables-legacy sends no such messages.

use std::io;

use crate::adapters::netlink::listen::Listener;
use crate::adapters::netlink::message::{Message, Value, messages};
use crate::adapters::netlink::nft_rules::{
    self, NFNL_SUBSYS_NFTABLES, NFPROTO_IPV4, NFT_MSG_NEWRULE, NFTA_RULE_CHAIN, NFTA_RULE_TABLE,
    NFTA_TABLE_NAME,
};
use crate::rules::change::RuleSetChange;
use crate::rules::port::RuleEvents;

/// Receive buffer, in bytes: kube-proxy changes thousands of rules in one transaction.
const BUFFER_BYTES: usize = 4 << 20;

// linux/netfilter/nfnetlink.h
const NFNLGRP_NFTABLES: u32 = 7;

// linux/netfilter/nf_tables.h
const NFT_MSG_NEWTABLE: u8 = 0;
const NFT_MSG_DELTABLE: u8 = 2;
const NFT_MSG_NEWCHAIN: u8 = 3;
const NFT_MSG_DELCHAIN: u8 = 5;
const NFT_MSG_DELRULE: u8 = 8;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;

/// The changes of nftables on this host, as they happen.
pub(crate) struct RuleChanges {
    listener: Listener,
}

impl RuleChanges {
    /// Opens the socket; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The kernel has no nftables, or `CAP_NET_ADMIN` is missing.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            listener: Listener::open_netfilter(NFNLGRP_NFTABLES, BUFFER_BYTES)?,
        })
    }
}

impl RuleEvents for RuleChanges {
    async fn next(&mut self) -> io::Result<Option<Vec<RuleSetChange>>> {
        let datagram = self.listener.next().await?;
        Ok(datagram.map(|datagram| changes(&datagram)))
    }

    fn has_table(&self, name: &str) -> bool {
        nft_rules::has_table(name).unwrap_or_default()
    }
}

fn changes(datagram: &[u8]) -> Vec<RuleSetChange> {
    messages(datagram).filter_map(change).collect()
}

/// Reads a message about a table, chain or rule. The other messages are about sets and objects,
/// which our rules do not use, and about the new generation number that follows each change.
fn change(message: Message<'_>) -> Option<RuleSetChange> {
    let [kind, subsystem] = message.kind.to_le_bytes();
    if subsystem != NFNL_SUBSYS_NFTABLES {
        return None;
    }
    let (table, chain) = match kind {
        NFT_MSG_NEWTABLE | NFT_MSG_DELTABLE => (NFTA_TABLE_NAME, None),
        NFT_MSG_NEWCHAIN | NFT_MSG_DELCHAIN => (NFTA_CHAIN_TABLE, Some(NFTA_CHAIN_NAME)),
        NFT_MSG_NEWRULE | NFT_MSG_DELRULE => (NFTA_RULE_TABLE, Some(NFTA_RULE_CHAIN)),
        _ => return None,
    };
    Some(RuleSetChange {
        ipv4: message.protocol_byte() == Some(NFPROTO_IPV4),
        table: name(message, table)?,
        chain: chain.and_then(|chain| name(message, chain)),
    })
}

fn name(message: Message<'_>, attribute: u16) -> Option<String> {
    let value = message.attributes().find(attribute);
    value.and_then(Value::text).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::netlink::message::tests::netfilter_message;
    use crate::adapters::netlink::message::text_attribute as text;

    const IPV6: u8 = 10;

    fn message(kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let kind = u16::from_le_bytes([kind, NFNL_SUBSYS_NFTABLES]);
        netfilter_message(kind, NFPROTO_IPV4, attributes)
    }

    fn changed(table: &str, chain: Option<&str>) -> RuleSetChange {
        RuleSetChange {
            ipv4: true,
            table: table.to_owned(),
            chain: chain.map(str::to_owned),
        }
    }

    #[test]
    fn reads_tables_chains_and_rules_in_one_datagram() {
        let table = message(2, &[text(1, "flannel.1")]);
        let chain = message(
            5,
            &[text(1, "nat"), text(2, "12345678"), text(3, "POSTROUTING")],
        );
        let rule = message(8, &[text(1, "filter"), text(2, "FORWARD")]);
        let generation = message(15, &[text(1, "abc")]);
        let found = changes(&[table, chain, rule, generation].concat());
        assert_eq!(
            found,
            [
                changed("flannel.1", None),
                changed("nat", Some("POSTROUTING")),
                changed("filter", Some("FORWARD"))
            ]
        );
    }

    #[test]
    fn a_message_of_another_subsystem_or_family_is_told_apart() {
        let attributes = [text(1, "filter")];
        let conntrack = netfilter_message(1 << 8, NFPROTO_IPV4, &attributes);
        assert!(changes(&conntrack).is_empty());
        let ipv6 = netfilter_message(u16::from(NFNL_SUBSYS_NFTABLES) << 8, IPV6, &attributes);
        let expected = RuleSetChange {
            ipv4: false,
            ..changed("filter", None)
        };
        assert_eq!(changes(&ipv6), [expected]);
    }

    #[test]
    fn messages_that_are_cut_off_or_malformed_are_no_changes() {
        let whole = message(8, &[text(1, "filter"), text(2, "FORWARD")]);
        for end in 0..whole.len() {
            assert!(changes(&whole[..end]).is_empty(), "{end}");
        }
        assert!(changes(&[0; 64]).is_empty());
        assert!(changes(&[0xff; 64]).is_empty());
    }
}
