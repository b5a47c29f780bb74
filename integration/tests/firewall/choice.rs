//! Which tool carries the rules, why, and what becomes of the rules of another choice.

use anyhow::{Context as _, Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Host, Iptables, Lab, Lease, SLOW, SUBNETS, in_lab, messages,
};

use super::{lines, start};

#[test]
fn logs_its_choice_with_the_reason_and_removes_rules_of_the_choice_before() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        host.docker_rules(Iptables::Legacy)?;
        let run = |options: &[&str], expected: &str| {
            let daemon = start(lab, options)?;
            let log = daemon.log()?;
            let said = lines(&log, messages::RULES_ARE_IN_PLACE);
            ensure!(
                said.len() == 1 && said[0].contains(expected),
                "{said:?} instead of {expected}"
            );
            daemon.kill()?;
            let rules = host.sh("nft list tables; iptables-nft-save; iptables-legacy-save")?;
            let count = |text: &str| rules.matches(text).count();
            Ok::<_, anyhow::Error>((
                count("table ip flannel.1"),
                count(":FLANNEL-POSTRTG"),
                count(":FLANNEL-FWD "),
            ))
        };
        let left = run(&[], messages::WHY_LEGACY)?;
        ensure!(left == (1, 0, 1), "{left:?}");
        let left = run(&["--firewall=iptables"], messages::ALL_IN_LEGACY)?;
        ensure!(left == (0, 1, 1), "{left:?}");
        let left = run(&["--firewall=nftables"], messages::NFTABLES_AND_LEGACY)?;
        ensure!(left == (1, 0, 1), "{left:?}");
        // Docker drops and nobody accepts: it is not ready.
        let options = ["--ip-masq=false", "--iptables-forward-rules=false"];
        let daemon = host.flanneld().args(&options).start()?;
        daemon.wait_for_log(messages::NO_RULES_ARE_CONFIGURED)?;
        ensure!(lines(&daemon.log()?, messages::RULES_ARE_IN_PLACE).is_empty());
        daemon.kill()?;
        let rules = host.sh("nft list ruleset; iptables-legacy-save")?;
        ensure!(
            !rules.contains("FLANNEL") && !rules.contains("flannel.1"),
            "{rules}"
        );
        Ok(())
    })
}

#[test]
fn the_network_config_chooses_and_two_kinds_of_iptables_are_reported() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        host.docker_rules(Iptables::Legacy)?;
        host.docker_rules(Iptables::Nft)?;
        lab.etcd.put(
            CONFIG_KEY,
            r#"{"Network":"10.5.0.0/16","EnableNFTables":false}"#,
        )?;
        let daemon = host.flanneld().start_ready()?;
        let log = daemon.log()?;
        ensure!(log.contains(messages::WHY_CONFIG), "{log}");
        ensure!(lines(&log, messages::IN_BOTH_IPTABLES).len() == 1, "{log}");
        for save in ["iptables-nft-save", "iptables-legacy-save"] {
            let rules = host.sh(save)?;
            ensure!(
                rules.contains("-A FLANNEL-FWD -d 10.5.") && rules.contains("-i flannel.1"),
                "no accept in {save}: {rules}"
            );
        }
        Ok(())
    })
}

/// Two nodes whose FORWARD lets nothing pass, and whether pods reach each other.
fn pods_behind_a_policy(lab: &Lab, accepts: bool) -> Result<bool> {
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    let option = &format!("--iptables-forward-rules={accepts}");
    let start = |host: &Host| {
        host.docker_rules(Iptables::Nft)?;
        host.sh("iptables -A FORWARD -j REJECT")?;
        let daemon = host.flanneld().arg(option).start()?;
        if accepts {
            daemon.wait_ready()?;
        } else {
            // Nobody accepts, and the daemon says so.
            host.wait_for_problem(SLOW, "HostFit", "Firewall")?;
        }
        Ok(daemon)
    };
    let _daemons = lab.hosts().iter().map(start).collect::<Result<Vec<_>>>()?;
    lab.wait_for_mesh(&[1, 2])?;
    let (from, to) = lab.two_pods()?;
    let ping = || from.finish(&["ping", "-c1", "-W2", &to.address().to_string()], "");
    let reached = ping()?.status.success();
    // An accept in another table, before and after the others, makes no difference.
    let accept = "nft 'table ip own { chain early { type filter hook forward priority -10; policy accept; accept; }
        chain late { type filter hook forward priority 10; policy accept; accept; }; }'";
    lab.hosts()
        .iter()
        .try_for_each(|host| host.sh(accept).map(drop))?;
    ensure!(
        ping()?.status.success() == reached,
        "an accept in another table makes a difference"
    );
    Ok(reached)
}

#[test]
fn an_accept_in_iptables_is_needed_where_iptables_drops() -> Result<()> {
    in_lab(2, |lab| {
        ensure!(pods_behind_a_policy(lab, true)?);
        Ok(())
    })?;
    in_lab(2, |lab| {
        ensure!(
            !pods_behind_a_policy(lab, false)?,
            "nothing drops: this proves nothing"
        );
        Ok(())
    })
}

#[test]
fn rules_follow_a_subnet_that_changed_since_the_last_run() -> Result<()> {
    for firewall in ["--firewall=nftables", "--firewall=iptables"] {
        in_lab(1, |lab| {
            let host = lab.host(1);
            let daemon = start(lab, &[firewall])?;
            let old = lab
                .etcd
                .leases()?
                .first()
                .map(|lease| lease.subnet.clone())
                .context("no lease")?;
            daemon.kill()?;
            // Another host has it now.
            let other = Lease {
                subnet: old.clone(),
                ..Lease::invented(9)
            };
            let (key, value) = other.entry();
            ensure!(key.starts_with(SUBNETS));
            lab.etcd.put(&key, &value)?;
            let _daemon = start(lab, &[firewall])?;
            let new = host.subnet_env("FLANNEL_SUBNET")?.replace(".1/24", ".0/24");
            let rules =
                host.sh("nft list table ip flannel.1 2>/dev/null || true; iptables -t nat -S")?;
            ensure!(
                new != old && rules.contains(&new) && !rules.contains(&old),
                "{old} {new} {rules}"
            );
            Ok(())
        })?;
    }
    Ok(())
}
