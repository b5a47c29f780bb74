//! Damage of each kind, many times, and the time until it is put right.

use std::time::Duration;

use anyhow::{Context as _, Result};
use integration::{CONFIG, CONFIG_KEY, Lab, Lease};

use crate::figures::Figures;

const TRIES: usize = 50;

/// Name, damage, and a condition that holds once it is repaired, as shell commands. `$SELF` and `$MAC` are ours.
const KINDS: [(&str, &str, &str); 18] = [
    (
        "FDB entry deleted",
        "bridge fdb del 02:aa:00:00:00:28 dev flannel.1 dst 10.98.0.40 self",
        "bridge fdb show dev flannel.1 | grep -q '00:28 dst 10.98.0.40 '",
    ),
    (
        "FDB entry changed",
        "bridge fdb replace 02:aa:00:00:00:28 dev flannel.1 dst 10.98.9.9 self permanent",
        "bridge fdb show dev flannel.1 | grep -q '00:28 dst 10.98.0.40 '",
    ),
    (
        "neighbour deleted",
        "ip neigh del 10.5.40.0 dev flannel.1",
        "ip neigh show 10.5.40.0 dev flannel.1 | grep -q '00:28 PERMANENT'",
    ),
    (
        "neighbour changed",
        "ip neigh replace 10.5.40.0 lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent",
        "ip neigh show 10.5.40.0 dev flannel.1 | grep -q '00:28 PERMANENT'",
    ),
    (
        "ip neigh flush",
        "ip neigh flush dev flannel.1 nud permanent",
        "test $(ip neigh show dev flannel.1 | grep -c PERMANENT) = 10",
    ),
    (
        "route deleted",
        "ip route del 10.5.40.0/24",
        "ip route show 10.5.40.0/24 | grep -q flannel.1",
    ),
    (
        "ip route flush proto",
        "ip route flush proto 102",
        "test $(ip route show proto 102 | grep -c via) = 10",
    ),
    (
        "address removed",
        "ip address del $SELF dev flannel.1",
        "ip -4 address show dev flannel.1 | grep -q inet",
    ),
    (
        "link down",
        "ip link set flannel.1 down",
        "test $(ip route show proto 102 | grep -c via) = 10",
    ),
    (
        "link down and up",
        "ip link set flannel.1 down; ip link set flannel.1 up",
        "test $(ip route show proto 102 | grep -c via) = 10",
    ),
    (
        "MAC changed",
        "ip link set flannel.1 address 02:00:00:00:00:77",
        "ip link show flannel.1 | grep -q $MAC && test $(ip neigh show dev flannel.1 | grep -c PERMANENT) = 10",
    ),
    (
        "MTU changed",
        "ip link set flannel.1 mtu 1400",
        "ip link show flannel.1 | grep -q 'mtu 1450'",
    ),
    (
        "nft delete table",
        "nft delete table ip flannel.1",
        "nft list table ip flannel.1 2>/dev/null | grep -q notrack",
    ),
    (
        "nft flush chain",
        "nft flush chain ip flannel.1 postrouting",
        "nft list chain ip flannel.1 postrouting 2>/dev/null | grep -q fully-random",
    ),
    (
        "nft flush ruleset",
        "nft flush ruleset",
        "nft list table ip flannel.1 2>/dev/null | grep -q notrack && iptables-save | grep -q 'A FORWARD.*FLANNEL-FWD'",
    ),
    (
        "iptables -F",
        "iptables -F",
        "iptables-save | grep -q 'A FORWARD.*FLANNEL-FWD'",
    ),
    (
        "REJECT put before ours in FORWARD",
        "iptables -I FORWARD -j REJECT",
        "iptables-save | grep '^-A FORWARD' | head -1 | grep -q FLANNEL-FWD && iptables -D FORWARD -j REJECT",
    ),
    (
        "ip link del",
        "ip link del flannel.1",
        "test $(ip route show proto 102 2>/dev/null | grep -c via) = 10",
    ),
];

/// Each kind of damage on a host of its own: repairs of one must not slow down those of another.
pub(crate) fn all(figures: &mut Figures) -> Result<()> {
    for (name, damage, right) in KINDS {
        one_kind(figures, name, damage, right)?;
    }
    interface_deleted(figures)
}

fn lab_with_peers() -> Result<Lab> {
    let lab = Lab::new(1)?;
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    let leases = (40..50).map(|n: u8| {
        let vtep = [10, 5, n, 0].into();
        Lease {
            subnet: format!("{vtep}/24"),
            vtep,
            ..Lease::invented(n.into())
        }
        .entry()
    });
    lab.etcd.load(&leases.collect::<Vec<_>>(), None)?;
    Ok(lab)
}

fn one_kind(figures: &mut Figures, name: &str, damage: &str, right: &str) -> Result<()> {
    let lab = lab_with_peers()?;
    let host = lab.host(1);
    let _daemon = host.flanneld().arg("-v=0").start_ready()?;
    let link = host.link("flannel.1")?;
    let own = link
        .addresses_v4()
        .first()
        .copied()
        .context("no address")?
        .to_owned();
    // One shell does the damage and watches, so that no start of a process is counted twice. Between two tries it is quiet
    // for a while: the daemon slows down on purpose when the same damage comes back again and again.
    let script = format!(
        "SELF={own} MAC={mac}
         for try in $(seq {TRIES}); do
             {damage}
             begin=$(date +%s%N)
             until {right}; do :; done
             echo $(( $(date +%s%N) - begin ))
             sleep 0.1
         done",
        mac = link.mac
    );
    for line in host.sh(&script)?.lines() {
        figures.time(name, Duration::from_nanos(line.trim().parse()?));
    }
    Ok(())
}

/// The interface below is deleted and made again by the underlay; from the moment it is configured.
fn interface_deleted(figures: &mut Figures) -> Result<()> {
    let lab = lab_with_peers()?;
    let host = lab.host(1);
    let _daemon = host.flanneld().arg("-v=0").start_ready()?;
    for _ in 0..10 {
        host.sh("ip link del eth0")?;
        host.connect_again()?;
        let begin = std::time::Instant::now();
        host.sh(
            "until test $(ip route show proto 102 2>/dev/null | grep -c via) = 10; do :; done",
        )?;
        figures.time("external interface deleted and made again", begin.elapsed());
    }
    Ok(())
}
