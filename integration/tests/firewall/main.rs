//! The rules of the packet filter: which tool carries them, that they come back when others remove them, that other rules
//! stay as they are, and that a cleanup leaves what was there before. Needs root.

mod calls;
mod choice;
mod cleanup;
mod repair;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Flanneld, Host, Iptables, Lab, Mark, Service};

/// Our rules as far as they must be there: the table, the chains, the jumps, and that the one in FORWARD is the first rule
/// but for that of DOCKER-USER. What depends on the rules of Docker is left out: a flush takes those away.
/// `$TOOL` is the iptables that is looked at.
const OURS: &str = "state() {
    nft list table ip flannel.1 2>/dev/null
    $TOOL-save 2>/dev/null | awk '/DOCKER|FWD-END|FWD -s [^ ]+ -m comment/ { next } /^-A FORWARD/ && !first++ || /^-A .*FLANNEL-/'
}
";

/// The rules of others: all but ours, without the numbers of packets. A table of iptables-legacy stays for ever once
/// it was there, so of those only what is in them counts.
const OTHERS: &str =
    "{ nft list ruleset 2>/dev/null; iptables-legacy-save | grep -E '^(-A|:[^ ]+ (-|DROP))'; } |
    grep -v '^#' | sed -E 's/packets [0-9]+ bytes [0-9]+//; s/\\[[0-9]+:[0-9]+\\]//'";

fn start(lab: &Lab, options: &[&str]) -> Result<Flanneld> {
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    lab.host(1).flanneld().args(options).start_ready()
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

/// Does damage some times and measures how long it takes each time until our rules are as they were. Returns the median
/// and the longest; fails if they are not back in time.
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

/// Lines of the log with this text.
fn lines<'a>(log: &'a str, text: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(text)).collect()
}
