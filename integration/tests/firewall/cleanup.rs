//! A cleanup removes what is ours and leaves what is not.

use anyhow::{Result, ensure};
use integration::{Iptables, Lab, SUBNETS, in_lab, messages};

use super::{OTHERS, populate, start};

fn cleaned(lab: &Lab, option: &str) -> Result<()> {
    let host = lab.host(1);
    let others = || host.sh(OTHERS);
    let links = || {
        host.sh(
            "ip -o link | wc -l; ip route; find /run/flannel /var/lib/flannel -type f -o -type s 2>/dev/null || true",
        )
    };
    let before = (others()?, links()?);
    let daemon = start(lab, &[option, "--ip-blackhole-route"])?;
    let cleanup = || host.flanneld().arg("cleanup").finish();
    let refused = cleanup()?;
    ensure!(
        !refused.status.success() && refused.stderr.contains(messages::STOP_IT_FIRST),
        "{refused:?}"
    );
    ensure!(host.link("flannel.1").is_ok());
    daemon.stop()?;
    let done = cleanup()?.success()?;
    ensure!(
        done.contains(messages::REMOVED_DEVICE) && done.contains(messages::ETCDCTL_DEL),
        "{done}"
    );
    let after = (others()?, links()?);
    ensure!(
        after == before,
        "{}\n{}\n--- before:\n{}\n{}",
        after.0,
        after.1,
        before.0,
        before.1
    );
    ensure!(lab.etcd.leases()?.len() == 1, "the lease is etcd's");
    let again = cleanup()?.success()?;
    ensure!(again == messages::FOUND_NOTHING, "{again}");
    lab.etcd.delete(&lab.etcd.get_prefix(SUBNETS)?[0].key)
}

/// A firewall of the administrator's own, in tables that iptables-nft puts its chains into as well and does not show.
const FOREIGN: &str = "table ip filter {
    set friends { type ipv4_addr; elements = { 10.99.0.1 }; }
    chain input { type filter hook input priority 0; policy drop; ip saddr @friends accept; tcp dport 22 accept; }
}
table ip nat {
    map ports { type inet_service : inet_service; }
}
";

#[test]
fn cleanup_leaves_exactly_what_was_there_before() -> Result<()> {
    in_lab(1, |lab| {
        let options = ["--firewall=nftables", "--firewall=iptables"];
        options.iter().try_for_each(|option| cleaned(lab, option))?;
        lab.host(1).sh(&format!("nft -f - <<'END'\n{FOREIGN}END"))?;
        options.iter().try_for_each(|option| cleaned(lab, option))?;
        lab.host(1)
            .sh("nft delete table ip filter; nft delete table ip nat")?;
        populate(lab.host(1), Iptables::Nft)?;
        options.iter().try_for_each(|option| cleaned(lab, option))?;
        populate(lab.host(1), Iptables::Legacy)?;
        options.iter().try_for_each(|option| cleaned(lab, option))
    })
}

#[test]
fn cleanup_of_one_instance_leaves_the_other_alone() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        let first = start(lab, &[])?;
        lab.etcd.put(
            "/blue/config",
            r#"{"Network":"10.6.0.0/16","Backend":{"VNI":7,"Port":8473}}"#,
        )?;
        let blue = ["--etcd-prefix=/blue", "--subnet-file=/run/flannel/blue.env"];
        host.flanneld().args(&blue).start_ready()?.stop()?;
        let of_first = || {
            host.sh(
                "nft list table ip flannel.1; iptables -S FLANNEL-FWD; cat /run/flannel/subnet.env",
            )
        };
        let before = of_first()?;
        let cleanup = || host.flanneld().arg("cleanup").args(&blue).finish();
        cleanup()?.success()?;
        // Without the device, nothing shows which VNI it had; the usual one belongs to the other instance.
        let again = cleanup()?.success()?;
        ensure!(again.contains(messages::LEFT_ALONE_DEVICE), "{again}");
        let rules = host.sh("nft list ruleset; ip link")?;
        ensure!(
            !rules.contains("FLANNEL-FWD-7") && !rules.contains("flannel.7"),
            "{rules}"
        );
        ensure!(of_first()? == before && host.read("/run/flannel/blue.env").is_err());
        ensure!(first.is_running());
        Ok(())
    })
}
