//! Which changes of nftables by other programs may concern our rules: those of our table, and of the chains of iptables
//! from which ours are called. kube-proxy rewrites its own chains every few seconds; that must start no process. Pure.

use crate::model::addr::Vni;
use crate::model::docker;
use crate::rules::nft;
use crate::rules::tool::{IptablesVariant, RuleTool};

/// Where something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSetChange {
    /// Whether the table is for IPv4, as those of `iptables` are.
    pub ipv4: bool,
    /// Name of the table.
    pub table: String,
    /// Name of the chain, if the change is inside one.
    pub chain: Option<String>,
}

impl RuleSetChange {
    /// Returns the tool whose rules of this instance the change may have touched.
    pub(crate) fn concerns(&self, vni: Vni) -> Option<RuleTool> {
        if !self.ipv4 {
            None
        } else if self.table == nft::table(vni) || self.is_docker_table() {
            Some(RuleTool::Nftables)
        } else {
            self.is_near_our_chains()
                .then_some(RuleTool::Iptables(IptablesVariant::Nft))
        }
    }

    /// Whether Docker made or removed the table of its nftables backend.
    fn is_docker_table(&self) -> bool {
        self.table == docker::NFT_TABLE && self.chain.is_none()
    }

    fn is_near_our_chains(&self) -> bool {
        let parents: &[&str] = match self.table.as_str() {
            "filter" => &["FORWARD"],
            "nat" => &["POSTROUTING"],
            "raw" => &["PREROUTING", "OUTPUT"],
            "mangle" => &["FORWARD"],
            _ => return false,
        };
        self.chain
            .as_deref()
            .is_none_or(|chain| parents.contains(&chain) || chain.starts_with("FLANNEL-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPTABLES: Option<RuleTool> = Some(RuleTool::Iptables(IptablesVariant::Nft));

    fn check(table: &str, chain: &str, expected: Option<RuleTool>) {
        let mut change = RuleSetChange {
            ipv4: true,
            table: table.to_owned(),
            chain: (!chain.is_empty()).then(|| chain.to_owned()),
        };
        assert_eq!(change.concerns(Vni::DEFAULT), expected, "{table} {chain}");
        change.ipv4 = false;
        assert_eq!(change.concerns(Vni::DEFAULT), None, "not IPv4: {table}");
    }

    #[test]
    fn only_changes_of_our_table_and_next_to_our_chains_concern_us() {
        check("flannel.1", "postrouting", Some(RuleTool::Nftables));
        check("flannel.1", "", Some(RuleTool::Nftables));
        check("filter", "", IPTABLES);
        check("filter", "FORWARD", IPTABLES);
        check("nat", "POSTROUTING", IPTABLES);
        check("raw", "OUTPUT", IPTABLES);
        check("nat", "FLANNEL-POSTRTG", IPTABLES);
        check("mangle", "FORWARD", IPTABLES);
        check("docker-bridges", "", Some(RuleTool::Nftables));
        check("docker-bridges", "raw-PREROUTING", None);
        check("flannel.7", "", None);
        check("nat", "KUBE-SERVICES", None);
        check("filter", "INPUT", None);
        check("kube-proxy", "services", None);
    }
}
