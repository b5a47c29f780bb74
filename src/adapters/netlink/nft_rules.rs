//! Asks the kernel for tables and rules of nftables (linux/netfilter/nf_tables.h). It does not judge them. nft is no way to
//! look at a table of another program: up to 1.1.1 it crashes on tables that a newer one has made.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::adapters::netlink::exchange::QuestionSocket;
use crate::adapters::netlink::message::{
    Attributes, Message, Value, messages, netfilter_request, text_attribute,
};
use crate::host::docker_nftables::NftRule;

// linux/netfilter/nfnetlink.h
/// Upper byte of the type of nftables messages.
pub(super) const NFNL_SUBSYS_NFTABLES: u8 = 10;

// linux/netfilter.h
pub(super) const NFPROTO_IPV4: u8 = 2;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

// linux/netfilter/nf_tables.h
pub(super) const NFTA_TABLE_NAME: u16 = 1;
pub(super) const NFTA_RULE_TABLE: u16 = 1;
pub(super) const NFTA_RULE_CHAIN: u16 = 2;
pub(super) const NFT_MSG_NEWRULE: u8 = 6;
const NFT_MSG_GETTABLE: u8 = 1;
const NFT_MSG_GETRULE: u8 = 7;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;

/// Whether there is a table for IPv4 with this name.
///
/// # Errors
/// The kernel has no nftables, or `CAP_NET_ADMIN` is missing.
pub(super) fn has_table(name: &str) -> io::Result<bool> {
    let request = netfilter_request(
        kind(NFT_MSG_GETTABLE),
        NLM_F_REQUEST | NLM_F_ACK,
        NFPROTO_IPV4,
        &text_attribute(NFTA_TABLE_NAME, name),
    );
    let answer = QuestionSocket::open(NETLINK_NETFILTER)?.exchange(&request)?;
    match answer.accepted() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the rules of a table for IPv4.
///
/// # Errors
/// As for [`has_table`].
pub(super) fn rules(table: &str) -> io::Result<Vec<NftRule>> {
    let request = netfilter_request(
        kind(NFT_MSG_GETRULE),
        NLM_F_REQUEST | NLM_F_DUMP,
        NFPROTO_IPV4,
        &text_attribute(NFTA_RULE_TABLE, table),
    );
    let socket = QuestionSocket::open(NETLINK_NETFILTER)?;
    let datagrams = socket.exchange(&request)?.accepted()?;
    let rules = datagrams
        .iter()
        .flat_map(|datagram| messages(datagram))
        .filter_map(|message| rule(message, table));
    Ok(rules.collect())
}

const fn kind(message: u8) -> u16 {
    u16::from_le_bytes([message, NFNL_SUBSYS_NFTABLES])
}

/// Kernels before 3.16 list the rules of all tables.
fn rule(message: Message<'_>, table: &str) -> Option<NftRule> {
    let attributes = message.attributes();
    let text = |attribute| attributes.find(attribute).and_then(Value::text);
    if message.kind != kind(NFT_MSG_NEWRULE) || text(NFTA_RULE_TABLE) != Some(table) {
        return None;
    }
    let mut rule = NftRule {
        chain: text(NFTA_RULE_CHAIN)?.to_owned(),
        ..NftRule::default()
    };
    let expressions = attributes.find(NFTA_RULE_EXPRESSIONS).map(Value::nested);
    for (_, expression) in expressions.into_iter().flat_map(Attributes::iter) {
        let expression = expression.nested();
        let name = expression.find(NFTA_EXPR_NAME).and_then(Value::text);
        let data = expression.find(NFTA_EXPR_DATA).map(Value::nested);
        if let (Some(name), Some(data)) = (name, data) {
            add(&mut rule, name, data);
        }
    }
    Some(rule)
}

fn add(rule: &mut NftRule, name: &str, data: Attributes<'_>) {
    match name {
        "cmp" => {
            let value = data.find(NFTA_CMP_DATA).map(Value::nested);
            let value = value.and_then(|value| value.find(NFTA_DATA_VALUE));
            rule.compared
                .extend(value.and_then(|value| <[u8; 4]>::try_from(value.bytes()).ok()));
        }
        "immediate" => {
            let verdict = data.find(NFTA_IMMEDIATE_DATA).map(Value::nested);
            let code = verdict
                .and_then(|verdict| verdict.find(NFTA_DATA_VERDICT))
                .and_then(|verdict| verdict.nested().find(NFTA_VERDICT_CODE))
                .and_then(|code| <[u8; 4]>::try_from(code.bytes()).ok())
                .map(u32::from_be_bytes);
            rule.drops |= code == Some(NF_DROP);
            rule.accepts |= code == Some(NF_ACCEPT);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::netlink::message::{bytes_attribute, nested_attribute};

    fn expression(name: &str, data: &[Vec<u8>]) -> Vec<u8> {
        let parts = [
            text_attribute(NFTA_EXPR_NAME, name),
            nested_attribute(NFTA_EXPR_DATA, data),
        ];
        nested_attribute(1, &parts)
    }

    /// `ip daddr 10.5.96.2 ... drop`, as the kernel sends it.
    fn message() -> Vec<u8> {
        let value = nested_attribute(
            NFTA_CMP_DATA,
            &[bytes_attribute(NFTA_DATA_VALUE, &[10, 5, 96, 2])],
        );
        let code = bytes_attribute(NFTA_VERDICT_CODE, &NF_DROP.to_be_bytes());
        let verdict = nested_attribute(NFTA_DATA_VERDICT, &[code]);
        let expressions = [
            expression("payload", &[]),
            expression("cmp", &[value]),
            expression(
                "immediate",
                &[nested_attribute(NFTA_IMMEDIATE_DATA, &[verdict])],
            ),
        ];
        let attributes = [
            text_attribute(NFTA_RULE_TABLE, "docker-bridges"),
            text_attribute(NFTA_RULE_CHAIN, "raw-PREROUTING"),
            nested_attribute(NFTA_RULE_EXPRESSIONS, &expressions),
        ];
        netfilter_request(kind(NFT_MSG_NEWRULE), 0, NFPROTO_IPV4, &attributes.concat())
    }

    #[test]
    fn reads_what_a_rule_compares_and_that_it_drops() {
        let bytes = message();
        let message = messages(&bytes).next().expect("a message");
        let expected = NftRule {
            chain: "raw-PREROUTING".to_owned(),
            compared: vec![[10, 5, 96, 2]],
            drops: true,
            accepts: false,
        };
        assert_eq!(rule(message, "docker-bridges"), Some(expected));
        assert_eq!(rule(message, "filter"), None);
    }

    #[test]
    fn a_message_that_is_cut_off_harms_nothing() {
        let bytes = message();
        for end in 0..bytes.len() {
            for message in messages(&bytes[..end]) {
                _ = rule(message, "docker-bridges");
            }
        }
    }
}
