//! How the external interface and the source of outer packets are named: addresses on lo, two ways out, names as tools print
//! them, and an interface that is not there.

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Lab, QUICK, eventually, in_lab};

use crate::support::{Pair, add_second_interface, ensure_readyz, start};

/// An address as routers announce it: it is on no network between the hosts.
const ANNOUNCED: &str = "10.200.0.1";

/// The other host takes VXLAN packets that come from the published address, and no others.
const FROM_ANNOUNCED: &str = "nft -f - <<'END'
table inet sources {
    chain input { type filter hook input priority 0; udp dport 8472 ip saddr != 10.200.0.1 drop; }
}
END";

/// Waits until the published address is the source, and pings both ways.
fn ensure_flows(pair: &Pair, lab: &Lab, what: &str, interface: &str) -> Result<()> {
    lab.host(2).sh(FROM_ANNOUNCED)?;
    let right = || {
        pair.ensure_reached_at(lab, ANNOUNCED, interface)?;
        pair.ensure_readyz(lab, "200 OK", "ready")
    };
    pair.disturb(what, || Ok(()), right).map(drop)
}

#[test]
fn an_address_on_an_interface_without_a_way_out_flows_with_the_mtu_of_the_way() -> Result<()> {
    for (interface, make) in [
        ("lo", ""),
        (
            "anycast0",
            "ip link add anycast0 type bridge; ip link set anycast0 up",
        ),
    ] {
        in_lab(2, |lab| {
            let host = lab.host(1);
            host.sh(&format!(
                "{make}\nip address add {ANNOUNCED}/32 dev {interface}"
            ))?;
            lab.underlay
                .sh(&format!("ip route add {ANNOUNCED} via 10.99.1.1"))?;
            let pair = start(lab, |first| first.arg(&format!("--iface={interface}")))?;
            ensure_flows(&pair, lab, &format!("a /32 on {interface}"), "eth0")?;
            let mtu = host.link("flannel.1")?.mtu;
            ensure!(mtu == 1450, "{mtu}");
            ensure!(host.subnet_env("FLANNEL_MTU")? == "1450");
            // The way out becomes narrower: it counts, not lo.
            host.sh("ip link set eth0 mtu 1400")?;
            eventually(QUICK, "the MTU of the way", || {
                let mtu = host.link("flannel.1")?.mtu;
                ensure!(mtu == 1350, "{mtu}");
                Ok(())
            })
        })?;
    }
    Ok(())
}

/// Routers stop to use eth0 of the first host, and use eth1; and back.
const TO_ETH1: &str = "ip route del default via 10.99.0.1; ip route del 10.99.0.0/16 dev eth0";
const TO_ETH0: &str =
    "ip route add 10.99.0.0/16 dev eth0 src 10.99.1.1; ip route add default via 10.99.0.1";

#[test]
fn packets_flow_on_from_the_published_address_when_an_uplink_fails_and_comes_back() -> Result<()> {
    for named in ["--iface=eth0", "--iface=lo"] {
        in_lab(2, |lab| {
            let host = lab.host(1);
            add_second_interface(lab)?;
            host.sh(&format!("ip address add {ANNOUNCED}/32 dev lo"))?;
            lab.underlay
                .sh(&format!("ip route add {ANNOUNCED} via 10.99.1.1"))?;
            lab.host(2)
                .sh("sysctl -qw net.ipv4.conf.eth0.rp_filter=2")?;
            let public_ip = format!("--public-ip={ANNOUNCED}");
            let pair = start(lab, |first| first.arg(named).arg(&public_ip))?;
            ensure_flows(&pair, lab, &format!("{named}, {public_ip}"), "eth0")?;
            let before = host.link("flannel.1")?.index;
            pair.disturb(
                &format!("{named}: eth0 loses its carrier and routes go to eth1"),
                || {
                    host.unplug()?;
                    host.sh(TO_ETH1)?;
                    lab.underlay
                        .sh(&format!("ip route replace {ANNOUNCED} via 10.98.1.1"))
                        .map(drop)
                },
                || {
                    pair.ensure_reached_at(lab, ANNOUNCED, "eth1")?;
                    pair.ensure_readyz(lab, "200 OK", "ready")
                },
            )?
            .ensure_short()?;
            pair.disturb(
                &format!("{named}: eth0 and its routes come back"),
                || {
                    host.plug()?;
                    host.sh(TO_ETH0)?;
                    lab.underlay
                        .sh(&format!("ip route replace {ANNOUNCED} via 10.99.1.1"))
                        .map(drop)
                },
                || {
                    pair.ensure_reached_at(lab, ANNOUNCED, "eth0")?;
                    pair.ensure_readyz(lab, "200 OK", "ready")
                },
            )?
            .ensure_short()?;
            ensure!(host.link("flannel.1")?.index == before, "made anew");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn an_uplink_that_is_deleted_leaves_the_other_one_to_the_published_address() -> Result<()> {
    in_lab(2, |lab| {
        let host = lab.host(1);
        add_second_interface(lab)?;
        host.sh(&format!("ip address add {ANNOUNCED}/32 dev lo"))?;
        lab.underlay
            .sh(&format!("ip route add {ANNOUNCED} via 10.99.1.1"))?;
        let public_ip = format!("--public-ip={ANNOUNCED}");
        let pair = start(lab, |first| first.arg(&public_ip))?;
        // The device goes with its parent, and is made again on the other way.
        pair.disturb(
            "eth0 is deleted and routes go to eth1",
            || {
                host.sh("ip link del eth0")?;
                lab.underlay
                    .sh(&format!("ip route replace {ANNOUNCED} via 10.98.1.1"))
                    .map(drop)
            },
            || pair.ensure_reached_at(lab, ANNOUNCED, "eth1"),
        )
        .map(drop)
    })
}

#[test]
fn names_as_tools_print_them_select_the_interface() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        host.sh("ip link property add dev eth0 altname uplink-to-the-rack")?;
        for word in [
            "eth0@if5",
            "uplink-to-the-rack",
            "Uplink-To-The-Rack",
            "10.99.0.0/16",
            "10.99.1.1/16",
            "eth9,eth0",
        ] {
            let daemon = host.flanneld().arg(&format!("--iface={word}"));
            let daemon = daemon.start_ready()?;
            let link = host.link("flannel.1")?;
            ensure!(link.text("link") == Some("eth0"), "{word}: {link:?}");
            ensure!(link.text("local") == Some("10.99.1.1"), "{word}: {link:?}");
            daemon.stop()?;
            host.sh("ip link del flannel.1")?;
        }
        Ok(())
    })
}

#[test]
fn an_interface_that_is_not_there_is_said_everywhere_and_taken_when_it_comes() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        let http = ["--healthz-ip=127.0.0.1", "--healthz-port=8080"];
        let daemon = host.flanneld().arg("--iface=eth7").args(&http).start()?;
        let reason = "no external interface yet: no interface with an IPv4 address that other hosts can reach matches \
                      --iface=eth7 (did you mean eth0?); there are: lo (127.0.0.1), eth0 (10.99.1.1)";
        eventually(QUICK, "STATUS= with the reason", || {
            let told = daemon.told();
            ensure!(told.contains(&format!("STATUS={reason}")), "{told:?}");
            Ok(())
        })?;
        let status = host.flanneld().arg("status").finish()?.stdout;
        ensure!(status.contains(&format!("state:     {reason}")), "{status}");
        ensure!(
            status.contains("not asked yet: this host has no external interface"),
            "{status}"
        );
        ensure!(!status.contains("etcd has not answered"), "{status}");
        ensure_readyz(host, "503", reason)?;
        host.sh("ip link property add dev eth0 altname eth7")?;
        daemon.wait_ready()?;
        ensure_readyz(host, "200 OK", "ready")
    })
}
