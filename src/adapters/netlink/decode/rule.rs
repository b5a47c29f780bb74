//! Reads messages about IPv4 rules (`struct fib_rule_hdr`, linux/fib_rules.h). Pure.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "attributes that we do not read are passed over"
)]

use std::net::IpAddr;

use ipnetwork::Ipv4Network;
use netlink_packet_route::rule::{self as wire, RuleAttribute, RuleFlags, RuleMessage};

use crate::overlay::paths::rule::{Rule, RuleAction};

/// The mask of a rule that names a mark and no mask.
const WHOLE_MARK: u32 = u32::MAX;

/// Reads a rule; `None` for an action that this daemon does not know.
pub(in crate::adapters::netlink) fn rule(message: &RuleMessage) -> Option<Rule> {
    let header = &message.header;
    let mut table = u32::from(header.table);
    let (mut mark, mut mask, mut goto, mut l3mdev) = (None, WHOLE_MARK, 0, false);
    let mut rule = Rule {
        priority: 0,
        inverted: header.flags.contains(RuleFlags::Invert),
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: None,
        selective: header.tos != 0,
        action: RuleAction::Nop,
        suppress: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Source(IpAddr::V4(ip)) => {
                rule.from = Ipv4Network::new(*ip, header.src_len).ok();
            }
            RuleAttribute::Destination(IpAddr::V4(ip)) => {
                rule.to = Ipv4Network::new(*ip, header.dst_len).ok();
            }
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Table(value) => table = *value,
            RuleAttribute::Goto(priority) => goto = *priority,
            RuleAttribute::L3MDev(is_vrf) => l3mdev = *is_vrf,
            // -1 says that nothing is suppressed.
            RuleAttribute::SuppressPrefixLen(length) => rule.suppress = u8::try_from(*length).ok(),
            RuleAttribute::UidRange(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::DestinationPortRange(_)
            | RuleAttribute::TunId(_) => rule.selective = true,
            _ => {}
        }
    }
    rule.mark = (mark, mask).0.map(|mark| (mark, mask));
    rule.action = match header.action {
        wire::RuleAction::ToTable if l3mdev => RuleAction::LookupVrf,
        wire::RuleAction::ToTable => RuleAction::Lookup(table),
        wire::RuleAction::Goto => RuleAction::Goto(goto),
        wire::RuleAction::Nop => RuleAction::Nop,
        wire::RuleAction::Blackhole => RuleAction::Blackhole,
        wire::RuleAction::Unreachable => RuleAction::Unreachable,
        wire::RuleAction::Prohibit => RuleAction::Prohibit,
        _ => return None,
    };
    Some(rule)
}
