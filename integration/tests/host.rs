//! What is wrong with a host while the daemon runs: kernel settings and packet filters of other programs. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Host, Ping, QUICK, SLOW, eventually, in_lab, messages};

const FIT: &str = "HostFit";
const OFTEN: Duration = Duration::from_millis(50);

/// Whether the daemon says so, and its readiness too.
fn ensure_not_ready(host: &Host, part: &str) -> Result<()> {
    eventually(QUICK, format_args!("a state with {part}"), || {
        let status = host.flanneld().arg("status").finish()?.stdout;
        let state = status.lines().next().unwrap_or_default();
        ensure!(state.contains(part), "{status}");
        Ok(())
    })
}

/// The commands that a message names at its end.
fn cure(message: &str) -> Result<&str> {
    let commands = message.rsplit("; ").next();
    commands.context("a message names commands at its end")
}

#[test]
fn a_setting_that_is_switched_off_and_on_shows_within_a_second() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        let host = lab.host(1);
        host.sh("echo 0 > /proc/sys/net/ipv4/ip_forward")?;
        let off = Instant::now();
        let message = host.wait_for_problem(QUICK, FIT, "KernelSetting")?;
        println!(
            "figure: ip_forward=0 named after {} ms",
            off.elapsed().as_millis()
        );
        ensure_not_ready(host, messages::IP_FORWARD_IS_0)?;
        host.sh(cure(&message)?)?;
        let on = Instant::now();
        host.wait_for_condition(QUICK, FIT)?;
        println!(
            "figure: ip_forward=1 known after {} ms",
            on.elapsed().as_millis()
        );
        daemon.wait_for_log(messages::NOTHING_KEEPS_PACKETS)
    })
}

#[test]
fn forwarding_of_a_single_interface_is_named_with_its_command_or_put_right() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        // As systemd-networkd and hardening guides set it: interfaces that are made from now on do not forward.
        host.sh("echo 0 > /proc/sys/net/ipv4/conf/default/forwarding")?;
        let _daemons = [
            host.flanneld().start_ready()?,
            lab.host(2).flanneld().start_ready()?,
        ];
        ensure!(host.sysctl("net/ipv4/conf/flannel.1/forwarding")? == "1");
        let (from, to) = lab.two_pods()?;
        let message = host.wait_for_problem(QUICK, FIT, "KernelSetting")?;
        ensure!(
            message.contains("net.ipv4.conf.docker0.forwarding is 0"),
            "{message}"
        );
        host.sh(cure(&message)?)?;
        host.wait_for_condition(QUICK, FIT)?;
        Ping::start(&from, to.address(), OFTEN)?.wait_for_answer()?;
        for interface in ["docker0", "eth0"] {
            host.sh(&format!(
                "echo 0 > /proc/sys/net/ipv4/conf/{interface}/forwarding"
            ))?;
            let off = Instant::now();
            let message = host.wait_for_problem(QUICK, FIT, "KernelSetting")?;
            println!(
                "figure: {interface}: named after {} ms",
                off.elapsed().as_millis()
            );
            ensure!(message.contains(interface), "{message}");
            ensure_not_ready(host, interface)?;
            host.sh(cure(&message)?)?;
            host.wait_for_condition(QUICK, FIT)?;
        }
        Ping::start(&from, to.address(), OFTEN)?.wait_for_answer()
    })
}

#[test]
fn a_bridge_that_answers_no_arp_is_named() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        let _daemons = [
            host.flanneld().start_ready()?,
            lab.host(2).flanneld().start_ready()?,
        ];
        host.sh("echo 8 > /proc/sys/net/ipv4/conf/default/arp_ignore")?;
        let (from, to) = lab.two_pods()?;
        let message = host.wait_for_problem(QUICK, FIT, "KernelSetting")?;
        let setting = "net.ipv4.conf.docker0.arp_ignore is 8";
        ensure!(message.contains(setting), "{message}");
        host.sh(cure(&message)?)?;
        Ping::start(&from, to.address(), OFTEN)?.wait_for_answer()
    })
}

/// What another program does, and whether pods are cut off by it.
const FILTERS: [(&str, &str); 5] = [
    (
        "nft",
        "nft add table inet mine; nft 'add chain inet mine forwarded { type filter hook forward priority 0; policy drop; }'
         nft add rule inet mine forwarded iifname lo accept",
    ),
    (
        "nft input",
        "nft add table ip mine; nft 'add chain ip mine arriving { type filter hook input priority 0; policy accept; }'
         nft add rule ip mine arriving udp dport 8472 drop",
    ),
    ("iptables", "iptables -A INPUT -p udp --dport 8472 -j DROP"),
    (
        "iptables in a chain",
        "iptables -N CORP; iptables -A INPUT -i eth0 -j CORP
         iptables -A CORP -p tcp -j ACCEPT; iptables -A CORP -p icmp -j ACCEPT; iptables -A CORP -j REJECT",
    ),
    ("iptables-legacy", "iptables-legacy -P OUTPUT DROP"),
];

#[test]
fn a_firewall_that_drops_packets_is_named_and_the_commands_cure_it() -> Result<()> {
    for (name, filter) in FILTERS {
        in_lab(2, |lab| {
            lab.etcd.put(CONFIG_KEY, CONFIG)?;
            // Only iptables-legacy is polled.
            let start = |number| {
                let command = lab.host(number).flanneld();
                command.arg("--iptables-resync=1").start_ready()
            };
            let _daemons = [start(1)?, start(2)?];
            lab.wait_for_mesh(&[1, 2])?;
            let host = lab.host(1);
            [host, lab.host(2)]
                .into_iter()
                .try_for_each(Host::docker0)?;
            let pods = [host.pod()?, lab.host(2).pod()?];
            Ping::start(&pods[0], pods[1].address(), OFTEN)?.wait_for_answer()?;
            host.sh(filter)?;
            let dropped = Instant::now();
            let message = host.wait_for_problem(SLOW, FIT, "Firewall")?;
            let milliseconds = dropped.elapsed().as_millis();
            println!("figure: {name}: named after {milliseconds} ms: {message}");
            host.sh(cure(&message)?)?;
            let cured = Instant::now();
            host.wait_for_condition(SLOW, FIT)?;
            println!(
                "figure: {name}: cured after {} ms",
                cured.elapsed().as_millis()
            );
            let ping = Ping::start(&pods[0], pods[1].address(), OFTEN)?;
            ping.wait_for_answer()
        })?;
    }
    Ok(())
}

#[test]
fn hosts_that_exclude_each_other_by_their_vni_are_not_ready() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _first = lab.host(1).flanneld().start_ready()?;
        let second = lab.host(2).flanneld().start_ready()?;
        lab.wait_for_mesh(&[1, 2])?;
        lab.etcd.put(
            CONFIG_KEY,
            r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7}}"#,
        )?;
        second.stop()?;
        let second = lab.host(2).flanneld().start()?;
        let started = Instant::now();
        for (number, cure) in [(1, "restart flanneld here"), (2, "restart flanneld there")] {
            let message = lab
                .host(number)
                .wait_for_problem(QUICK, FIT, "ExcludesOthers")?;
            ensure!(
                message.contains("1 of 1 other hosts") && message.contains(cure),
                "{message}"
            );
            let milliseconds = started.elapsed().as_millis();
            println!("figure: host {number} says so {milliseconds} ms after the start: {message}");
        }
        lab.host(1).condition(FIT)?;
        drop(second);
        Ok(())
    })
}
