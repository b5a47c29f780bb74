//! Which tables, and which changes of them, are looked at: those of kube-proxy are large and change every few seconds, and
//! our own are no question. Neither drops a packet of the overlay. The table of Docker's nftables backend is not for nft to
//! list: see `docker_nftables`. Pure.

use crate::model::addr::Vni;
use crate::model::docker;

/// Whether a table of nftables is looked at.
pub(crate) fn is_table_relevant(table: &str) -> bool {
    table != "kube-proxy" && table != docker::NFT_TABLE && !Vni::is_device(table)
}

/// Whether a change may concern packets of the overlay; `chain` is the chain that it is in, if it is in one.
pub(crate) fn may_filter(table: &str, chain: Option<&str>) -> bool {
    let chain = chain.unwrap_or_default();
    let is_trusted = ["KUBE-", "FLANNEL-"]
        .iter()
        .any(|start| chain.starts_with(start));
    is_table_relevant(table) && table != "nat" && !is_trusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_chains_of_kube_proxy_and_of_ourselves_are_no_question() {
        for (table, chain) in [
            ("filter", Some("KUBE-FORWARD")),
            ("filter", Some("FLANNEL-FWD")),
            ("flannel.1", Some("postrouting")),
            ("flannel16777215", Some("postrouting")),
            ("nat", Some("POSTROUTING")),
            ("kube-proxy", None),
        ] {
            assert!(!may_filter(table, chain), "{table} {chain:?}");
        }
        for (table, chain) in [("filter", Some("FORWARD")), ("firewalld", None)] {
            assert!(may_filter(table, chain), "{table} {chain:?}");
        }
    }
}
