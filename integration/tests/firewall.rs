//! The rules of the packet filter: who carries them, that they come back whoever takes them away, that nothing of others is
//! touched, and that a cleanup leaves what was there before. Needs root.

#[path = "firewall/calls.rs"]
mod calls;
#[path = "firewall/cleanup.rs"]
mod cleanup;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Host, Iptables, Lab, Mark, Member, QUICK, SUBNETS, Service,
    eventually, in_lab,
};

/// Our rules as far as they must be there: the table, the chains, the jumps, and that the one in FORWARD is the first rule.
/// `$TOOL` is the iptables that is looked at.
const OURS: &str = "state() {
    nft list table ip flannel.1 2>/dev/null
    $TOOL-save 2>/dev/null | awk '/^-A FORWARD/ && !first++ || /^-A .*FLANNEL-/'
}
";

/// What others have: all rules but ours, without the numbers of packets. A table of iptables-legacy stays for ever once
/// it was there, so of those only what is in them counts.
const OTHERS: &str =
    "{ nft list ruleset 2>/dev/null; iptables-legacy-save | grep -E '^(-A|:[^ ]+ (-|DROP))'; } |
    grep -v '^#' | sed -E 's/packets [0-9]+ bytes [0-9]+//; s/\\[[0-9]+:[0-9]+\\]//'";

fn start(lab: &Lab, options: &[&str]) -> Result<Flanneld> {
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    options
        .iter()
        .fold(lab.host(1).flanneld(), |command, option| {
            command.arg(option)
        })
        .start_ready()
}

/// kube-proxy and Docker on a host.
fn populate(host: &Host, iptables: Iptables) -> Result<()> {
    let service = Service {
        cluster_ip: [192, 168, 3, 1].into(),
        port: 80,
        node_port: Some(28_888),
        endpoints: vec![([10, 5, 1, 2].into(), 80), ([10, 5, 2, 2].into(), 80)],
    };
    host.docker_rules(iptables)?;
    host.kube_proxy(iptables, &[service], Mark::Cleared)?;
    host.sh(&format!("{} -A FORWARD -j REJECT", iptables.name()))?;
    Ok(())
}

/// Time after which rules that are not back will not come: shorter than that of a command of the lab.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// Does damage some times and answers how long it took each time until our rules were as they were: the median and the
/// longest. It fails if they are not back in time.
fn repair_times(
    host: &Host,
    iptables: Iptables,
    damage: &str,
    tries: u8,
) -> Result<(Duration, Duration)> {
    let script = format!(
        "TOOL={}
         {OURS}
         good=$(state)
         for try in $(seq {tries}); do
             {damage}
             begin=$(date +%s%N)
             until test \"$(state)\" = \"$good\"; do
                 test $(( $(date +%s%N) - begin )) -lt {} || {{ state; echo; echo \"$good\"; exit 9; }}
             done
             echo $(( $(date +%s%N) - begin ))
         done",
        iptables.name(),
        BACK_WITHIN.as_nanos()
    );
    let times = host.finish(&["sh", "-c", &script], "")?;
    ensure!(
        times.status.success(),
        "after {damage:?}: {}\n{}",
        times.stdout,
        times.stderr
    );
    let times = times
        .stdout
        .lines()
        .map(|line| Ok(Duration::from_nanos(line.trim().parse()?)));
    let mut times = times.collect::<Result<Vec<_>>>()?;
    times.sort();
    let longest = times.last().context("no time")?;
    Ok((times[times.len() / 2], *longest))
}

fn repaired(host: &Host, iptables: Iptables, damage: &str) -> Result<()> {
    repair_times(host, iptables, damage, 1).map(drop)
}

/// What a firewalld does when it is reloaded: everything is replaced by what it knows.
const RELOAD: &str = "printf '*filter\\n:FORWARD DROP\\n-A FORWARD -j REJECT\\nCOMMIT\\n*nat\\nCOMMIT\\n' | iptables-nft-restore";

/// Polling is put off for longer than a test takes: what comes back has been heard of.
fn comes_back(firewall: &str, damages: &[&str]) -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        populate(host, Iptables::Nft)?;
        let _daemon = start(lab, &[firewall, "--iptables-resync=3600"])?;
        for damage in damages {
            let (median, longest) = repair_times(host, Iptables::Nft, damage, 5)?;
            let (median, longest) = (median.as_millis(), longest.as_millis());
            println!(
                "figure: {firewall}: {damage}: back after {median} ms, {longest} ms at the longest"
            );
        }
        Ok(())
    })
}

#[test]
fn rules_in_nftables_come_back_at_once() -> Result<()> {
    comes_back(
        "--firewall=nftables",
        &[
            "nft delete table ip flannel.1",
            "nft flush chain ip flannel.1 postrouting",
            "nft flush table ip flannel.1",
            "nft add rule ip flannel.1 postrouting accept",
            "iptables -F",
            "iptables -F FLANNEL-FWD",
            "iptables -D FORWARD 1",
            "iptables -I FORWARD -j REJECT",
            RELOAD,
            "nft flush ruleset",
        ],
    )
}

#[test]
fn rules_in_iptables_nft_come_back_at_once() -> Result<()> {
    comes_back(
        "--firewall=iptables",
        &[
            "iptables -t nat -F",
            "iptables -t nat -F FLANNEL-POSTRTG",
            "iptables -t raw -F",
            "iptables -F",
            "iptables -I FORWARD -j REJECT",
            RELOAD,
            "nft flush ruleset",
        ],
    )
}

#[test]
fn rules_in_iptables_legacy_come_back_by_polling() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        populate(host, Iptables::Legacy)?;
        let _daemon = start(lab, &["--firewall=iptables", "--iptables-resync=1"])?;
        for damage in [
            "iptables-legacy -F",
            "iptables-legacy -t nat -F",
            "iptables-legacy -I FORWARD -j REJECT",
        ] {
            let (median, _) = repair_times(host, Iptables::Legacy, damage, 1)?;
            println!(
                "figure: legacy: {damage}: back after {} ms",
                median.as_millis()
            );
        }
        Ok(())
    })
}

#[test]
fn iptables_legacy_is_polled_while_others_change_nftables_all_the_time() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        populate(host, Iptables::Legacy)?;
        let _daemon = start(lab, &["--iptables-resync=1"])?;
        let churn = "while :; do nft add table inet busy; nft delete table inet busy; done";
        let _churn = host.start(&["sh", "-c", churn], &[], "churn")?;
        // The first may be found by the look that follows the start.
        let (time, _) = repair_times(host, Iptables::Legacy, "iptables-legacy -F FLANNEL-FWD", 3)?;
        println!(
            "figure: legacy, beside changes of others: back after {} ms",
            time.as_millis()
        );
        Ok(())
    })
}

#[test]
fn repairs_touch_nothing_of_others() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        for iptables in [Iptables::Nft, Iptables::Legacy] {
            populate(host, iptables)?;
        }
        host.sh("nft add table inet firewalld; nft add chain inet firewalld x")?;
        let others = || host.sh(&format!("{OTHERS} | grep -v -i flannel"));
        let before = others()?;
        for firewall in ["--firewall=nftables", "--firewall=iptables"] {
            let daemon = start(lab, &[firewall, "--iptables-resync=1"])?;
            repaired(host, Iptables::Nft, "nft flush chain ip filter FLANNEL-FWD")?;
            repaired(host, Iptables::Legacy, "iptables-legacy -F FLANNEL-FWD")?;
            daemon.kill()?;
        }
        host.flanneld().arg("cleanup").finish()?.success()?;
        ensure!(others()? == before, "{}\n--- before:\n{before}", others()?);
        Ok(())
    })
}

/// Lines of the log with this text.
fn lines<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

#[test]
fn somebody_who_keeps_flushing_is_met_with_patience_and_one_line() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        let daemon = start(lab, &[])?;
        let fight = "while :; do nft delete table ip flannel.1 2>/dev/null; done";
        let fighter = host.start(&["sh", "-c", fight], &[], "fighter")?;
        eventually(integration::SLOW, "the daemon to give way", || {
            ensure!(
                daemon
                    .log()?
                    .contains("somebody keeps taking our rules away")
            );
            Ok(())
        })?;
        // Whether a try comes through is luck.
        let tries = || {
            let log = daemon.log()?;
            Ok::<usize, anyhow::Error>(
                lines(&log, "put our rules back").len() + lines(&log, "not in place").len(),
            )
        };
        let (before, since) = (tries()?, Instant::now());
        eventually(integration::SLOW, "three tries more", || {
            ensure!(tries()? >= before + 3);
            Ok(())
        })?;
        let took = since.elapsed();
        fighter.kill()?;
        eventually(QUICK, "the table", || {
            host.sh("nft list table ip flannel.1")
        })?;
        let log = daemon.log()?;
        let told = lines(&log, "INFO put our rules back").len() + lines(&log, "WARN").len();
        ensure!(told <= 7, "{told} lines:\n{log}");
        ensure!(
            took > Duration::from_secs(3),
            "{took:?} for three tries: that is no patience"
        );
        Ok(())
    })
}

#[test]
fn says_what_it_chose_and_why_and_what_another_choice_had_left_goes() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        host.docker_rules(Iptables::Legacy)?;
        let run = |options: &[&str], expected: &str| {
            let daemon = start(lab, options)?;
            let log = daemon.log()?;
            let said = lines(&log, "rules are in place");
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
                count(":FLANNEL-FWD"),
            ))
        };
        let left = run(
            &[],
            "why=\"nft works here, and chains of kube-proxy or Docker are in iptables-legacy\"",
        )?;
        ensure!(left == (1, 0, 1), "{left:?}");
        let left = run(
            &["--firewall=iptables"],
            "masquerade=\"iptables-legacy\" forward=\"iptables-legacy\"",
        )?;
        ensure!(left == (0, 1, 1), "{left:?}");
        let left = run(
            &["--firewall=nftables"],
            "masquerade=\"nftables\" forward=\"iptables-legacy\"",
        )?;
        ensure!(left == (1, 0, 1), "{left:?}");
        let left = run(
            &["--ip-masq=false", "--iptables-forward-rules=false"],
            "no rules are wanted",
        )
        .err();
        ensure!(
            left.is_some_and(|error| error.to_string().starts_with("[] instead")),
            "nothing is in place"
        );
        let rules = host.sh("nft list ruleset; iptables-legacy-save")?;
        ensure!(
            !rules.contains("FLANNEL") && !rules.contains("flannel.1"),
            "{rules}"
        );
        Ok(())
    })
}

#[test]
fn the_configuration_of_the_network_chooses_and_two_kinds_of_iptables_are_worth_a_word()
-> Result<()> {
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
        ensure!(
            log.contains("why=\"EnableNFTables in the network's config asks for iptables"),
            "{log}"
        );
        ensure!(
            lines(&log, "are in both iptables-legacy and iptables-nft").len() == 1,
            "{log}"
        );
        for save in ["iptables-nft-save", "iptables-legacy-save"] {
            ensure!(
                host.sh(save)?.contains("-A FLANNEL-FWD -s 10.5.0.0/16"),
                "no accept in {save}"
            );
        }
        Ok(())
    })
}

/// Two nodes whose FORWARD lets nothing pass, and whether pods reach each other.
fn pods_behind_a_policy(lab: &Lab, option: &str) -> Result<bool> {
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    let start = |host: &Host| {
        host.docker_rules(Iptables::Nft)?;
        host.sh("iptables -A FORWARD -j REJECT")?;
        host.flanneld().arg(option).start_ready()
    };
    let _daemons = lab.hosts().iter().map(start).collect::<Result<Vec<_>>>()?;
    lab.wait_for_mesh(&[1, 2])?;
    lab.hosts().iter().try_for_each(Host::docker0)?;
    let (from, to) = (lab.host(1).pod()?, lab.host(2).pod()?);
    let ping = || from.finish(&["ping", "-c1", "-W2", &to.address().to_string()], "");
    let reached = ping()?.status.success();
    // An accept in a table of one's own, before and after the others: no help where there was none before.
    let accept = "nft 'table ip own { chain early { type filter hook forward priority -10; policy accept; accept; }
        chain late { type filter hook forward priority 10; policy accept; accept; }; }'";
    lab.hosts()
        .iter()
        .try_for_each(|host| host.sh(accept).map(drop))?;
    ensure!(
        ping()?.status.success() == reached,
        "a table of one's own makes a difference"
    );
    Ok(reached)
}

#[test]
fn the_accept_must_stand_in_iptables_where_iptables_drops() -> Result<()> {
    in_lab(2, |lab| {
        ensure!(pods_behind_a_policy(lab, "--iptables-forward-rules=true")?);
        Ok(())
    })?;
    in_lab(2, |lab| {
        ensure!(
            !pods_behind_a_policy(lab, "--iptables-forward-rules=false")?,
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
                .members()?
                .first()
                .map(|member| member.subnet.clone())
                .context("no lease")?;
            daemon.kill()?;
            // Another host has it now.
            let other = Member {
                subnet: old.clone(),
                ..Member::invented(9)
            };
            let (key, value) = other.lease();
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
