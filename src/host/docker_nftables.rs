//! Whether Docker's nftables backend (Docker 29) lets packets of the overlay in. It drops them unless dockerd was told
//! otherwise, and no rule of another program can undo that: a drop in nftables is final. Pure.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::conditions::{Problem, Reason};
use crate::model::docker::{MARK, NFT_TABLE};

/// Drops packets that do not come by the bridge of a container, one rule for each container.
const DIRECT_ACCESS_CHAIN: &str = "raw-PREROUTING";
/// Decides about packets to the containers of one bridge, whose name follows.
const BRIDGE_CHAIN: &str = "filter-forward-in__";

/// What is read of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct NftRule {
    pub(crate) chain: String,
    /// The values of four bytes with which it compares: addresses, and marks in the byte order of the host.
    pub(crate) compared: Vec<[u8; 4]>,
    pub(crate) drops: bool,
    pub(crate) accepts: bool,
}

impl NftRule {
    /// Whether it drops what is sent to an address of the subnet.
    fn closes(&self, subnet: Ipv4Network) -> bool {
        let mut addresses = self.compared.iter().copied().map(Ipv4Addr::from);
        self.drops
            && self.chain == DIRECT_ACCESS_CHAIN
            && addresses.any(|address| subnet.contains(address))
    }

    fn is_about(&self, bridge: &str) -> bool {
        self.chain.strip_prefix(BRIDGE_CHAIN) == Some(bridge)
    }

    fn accepts_mark(&self) -> bool {
        self.accepts && self.compared.contains(&MARK.to_ne_bytes())
    }
}

/// Judges the rules of Docker's table. `bridge` is the interface that holds an address of our subnet.
pub(crate) fn problem(
    rules: &[NftRule],
    subnet: Ipv4Network,
    bridge: Option<&str>,
    device: &str,
) -> Option<Problem> {
    let is_closed = rules.iter().any(|rule| rule.closes(subnet));
    let mut about_bridge = rules
        .iter()
        .filter(|rule| bridge.is_some_and(|bridge| rule.is_about(bridge)))
        .peekable();
    let is_unmarked = about_bridge.peek().is_some() && !about_bridge.any(NftRule::accepts_mark);
    if !is_closed && !is_unmarked {
        return None;
    }
    let message = format!(
        "Docker's nftables backend drops what comes from {device} to its containers (nftables table ip {NFT_TABLE}), and no rule \
         of another program can accept it; start dockerd with --allow-direct-routing and \
         --bridge-accept-fwmark={MARK:#x}/{MARK:#x}, or with --firewall-backend=iptables"
    );
    Some(Problem::new(Reason::Firewall, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(chain: &str, compared: &[[u8; 4]]) -> NftRule {
        NftRule {
            chain: chain.to_owned(),
            compared: compared.to_vec(),
            ..NftRule::default()
        }
    }

    fn check(rules: &[NftRule], is_problem: bool) {
        let subnet = "10.5.96.0/24".parse().expect("a network in a test");
        let found = problem(rules, subnet, Some("docker0"), "flannel.1");
        assert_eq!(found.is_some(), is_problem, "{rules:?} {found:?}");
    }

    #[test]
    fn a_table_is_open_once_the_drops_are_gone_and_the_mark_is_accepted() {
        let drop = |address| NftRule {
            drops: true,
            ..rule("raw-PREROUTING", &[address])
        };
        let accept = NftRule {
            accepts: true,
            ..rule("filter-forward-in__docker0", &[MARK.to_ne_bytes()])
        };
        let unpublished = NftRule {
            drops: true,
            ..rule("filter-forward-in__docker0", &[])
        };
        check(&[], false);
        check(&[accept.clone(), unpublished.clone()], false);
        check(&[unpublished], true);
        check(&[accept.clone(), drop([10, 5, 96, 2])], true);
        check(&[accept, drop([172, 18, 0, 2])], false);
    }

    #[test]
    fn networks_of_docker_elsewhere_are_no_question() {
        check(&[rule("filter-forward-in__br-1", &[])], false);
    }
}
