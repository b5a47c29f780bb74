//! Owns which changes of nftables by others may concern our rules: those of our table, and of the chains from which ours
//! are called. kube-proxy rewrites its own chains every few seconds; that must start no process of ours. Pure.

use crate::adapters::packet_filter::nft;
use crate::model::addr::Vni;

/// Where something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSetChange {
    /// Whether it is a table for IPv4: iptables has its own there.
    pub ipv4: bool,
    /// Name of the table.
    pub table: String,
    /// Name of the chain, if the change is inside of one.
    pub chain: Option<String>,
}

impl RuleSetChange {
    /// Whether rules of this instance may have to be put right.
    pub fn concerns(&self, vni: Vni) -> bool {
        self.ipv4 && (self.table == nft::table(vni) || self.is_called_by_iptables())
    }

    fn is_called_by_iptables(&self) -> bool {
        let parents: &[&str] = match self.table.as_str() {
            "filter" => &["FORWARD"],
            "nat" => &["POSTROUTING"],
            "raw" => &["PREROUTING", "OUTPUT"],
            _ => return false,
        };
        let ours = |chain: &str| parents.contains(&chain) || chain.starts_with("FLANNEL-");
        self.chain.as_deref().is_none_or(ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hears_what_can_touch_our_rules_and_nothing_else() {
        let concerns = |ipv4, table: &str, chain: &str| {
            let chain = (!chain.is_empty()).then(|| chain.to_owned());
            RuleSetChange {
                ipv4,
                table: table.to_owned(),
                chain,
            }
            .concerns(Vni::DEFAULT)
        };
        let near = [
            ("flannel.1", "postrouting"),
            ("flannel.1", ""),
            ("filter", ""),
            ("filter", "FORWARD"),
        ];
        let near = near.into_iter().chain([
            ("nat", "POSTROUTING"),
            ("raw", "OUTPUT"),
            ("nat", "FLANNEL-POSTRTG"),
        ]);
        let far = [
            ("flannel.7", ""),
            ("nat", "KUBE-SERVICES"),
            ("filter", "INPUT"),
            ("kube-proxy", "services"),
        ];
        near.for_each(|(table, chain)| assert!(concerns(true, table, chain), "{table} {chain}"));
        far.into_iter()
            .for_each(|(table, chain)| assert!(!concerns(true, table, chain), "{table} {chain}"));
        assert!(!concerns(false, "filter", "FORWARD"), "that is ip6tables");
    }
}
