//! Addresses and the MTU of the external interface change.

use anyhow::{Result, ensure};
use integration::{QUICK, SUBNET_ENV, eventually, in_lab};

use crate::support::{add_second_interface, start};

/// What a DHCP client does when it gets another address.
const ANOTHER_ADDRESS: &str = "ip address add 10.99.2.1/16 dev eth0
    ip address del 10.99.1.1/16 dev eth0
    ip route replace default via 10.99.0.1";

#[test]
fn another_address_is_followed_with_all_entries_kept() -> Result<()> {
    in_lab(2, |lab| {
        for by_name in [true, false] {
            lab.host(1).sh("ip address replace 10.99.1.1/16 dev eth0")?;
            let pair = start(lab, |first| {
                if by_name {
                    first
                } else {
                    first.without("--iface")
                }
            })?;
            let before = lab.host(1).link("flannel.1")?.index;
            let neighbours = lab.host(1).neighbours("flannel.1")?;
            let outcome = pair.disturb(
                "another address on the same interface",
                || lab.host(1).sh(ANOTHER_ADDRESS).map(drop),
                || pair.ensure_reached_at(lab, "10.99.2.1", "eth0"),
            )?;
            outcome.ensure_short()?;
            ensure!(lab.host(1).link("flannel.1")?.index == before, "made anew");
            ensure!(lab.host(1).neighbours("flannel.1")? == neighbours);
            eventually(QUICK, "ready", || {
                pair.ensure_readyz(lab, "200 OK", "ready")
            })?;
            pair.daemon.stop()?;
            lab.host(1).sh(
                "ip address add 10.99.1.1/16 dev eth0; ip address del 10.99.2.1/16 dev eth0
                 ip route replace default via 10.99.0.1; ip link del flannel.1; ip link del docker0
                 rm -r /run/flannel /var/lib/flannel",
            )?;
            lab.etcd.delete(&pair.lease.entry().0)?;
            lab.host(2).sh("ip link del docker0")?;
        }
        Ok(())
    })
}

#[test]
fn an_address_that_goes_and_comes_back_tears_nothing_down() -> Result<()> {
    in_lab(2, |lab| {
        let host = lab.host(1);
        let pair = start(lab, |first| first)?;
        let before = host.link("flannel.1")?.index;
        pair.disturb(
            "the address gone for as long as it takes to be noticed, and back",
            || {
                host.sh("ip address del 10.99.1.1/16 dev eth0")?;
                eventually(QUICK, "the reason", || {
                    pair.ensure_readyz(lab, "503", "no external interface")
                })?;
                ensure!(host.link("flannel.1")?.text("local") == Some("10.99.1.1"));
                ensure!(!host.neighbours("flannel.1")?.is_empty());
                host.sh(
                    "ip address add 10.99.1.1/16 dev eth0; ip route replace default via 10.99.0.1",
                )
                .map(drop)
            },
            || {
                pair.ensure_reached_at(lab, "10.99.1.1", "eth0")?;
                pair.ensure_readyz(lab, "200 OK", "ready")
            },
        )?;
        ensure!(host.link("flannel.1")?.index == before, "made anew");
        let log = pair.daemon.log()?;
        pair.disturb(
            "the address deleted and added at once",
            || {
                host.sh(
                    "ip address del 10.99.1.1/16 dev eth0; ip address add 10.99.1.1/16 dev eth0
                     ip route replace default via 10.99.0.1",
                )
                .map(drop)
            },
            || pair.ensure_reached_at(lab, "10.99.1.1", "eth0"),
        )?
        .ensure_short()?;
        ensure!(!pair.daemon.log()?[log.len()..].contains("external interface"));
        Ok(())
    })
}

#[test]
fn the_mtu_is_followed_down_and_up() -> Result<()> {
    in_lab(2, |lab| {
        let host = lab.host(1);
        let pair = start(lab, |first| first)?;
        for (mtu, overlay) in [(1400, 1350), (1500, 1450), (1300, 1250), (1500, 1450)] {
            let outcome = pair.disturb(
                &format!("MTU {mtu} on the external interface"),
                || host.sh(&format!("ip link set eth0 mtu {mtu}")).map(drop),
                || {
                    let link = host.link("flannel.1")?;
                    ensure!(link.mtu == overlay, "{link:?}");
                    let env = host.read(SUBNET_ENV)?;
                    ensure!(env.contains(&format!("FLANNEL_MTU={overlay}")), "{env}");
                    let docker = host.read("/run/flannel/docker_opts.env")?;
                    ensure!(docker.contains(&format!("--mtu={overlay}")), "{docker}");
                    Ok(())
                },
            )?;
            outcome.ensure_short()?;
        }
        Ok(())
    })
}

#[test]
fn the_published_address_selects_its_interface() -> Result<()> {
    in_lab(2, |lab| {
        add_second_interface(lab)?;
        let pair = start(lab, |first| {
            first.without("--iface").arg("--public-ip=10.98.1.1")
        })?;
        pair.ensure_reached_at(lab, "10.98.1.1", "eth1")?;
        // While the address is away, no other interface is right.
        pair.disturb(
            "the published address gone until it was noticed, and back",
            || {
                lab.host(1).sh("ip address del 10.98.1.1/16 dev eth1")?;
                eventually(QUICK, "the reason", || {
                    pair.ensure_readyz(lab, "503", "--public-ip=10.98.1.1")
                })?;
                lab.host(1)
                    .sh("ip address add 10.98.1.1/16 dev eth1
                         ip route add default via 10.98.0.1 metric 200")
                    .map(drop)
            },
            || {
                pair.ensure_reached_at(lab, "10.98.1.1", "eth1")?;
                pair.ensure_readyz(lab, "200 OK", "ready")
            },
        )?;
        Ok(())
    })
}

#[test]
fn a_label_selects_its_address() -> Result<()> {
    in_lab(2, |lab| {
        lab.host(1)
            .sh("ip address add 10.99.7.1/16 dev eth0 label eth0:1")?;
        let pair = start(lab, |first| first.arg("--iface=eth0:1"))?;
        pair.ensure_reached_at(lab, "10.99.7.1", "eth0")?;
        let outcome = pair.disturb(
            "another address under the same label",
            || {
                lab.host(1)
                    .sh("ip address del 10.99.7.1/16 dev eth0
                         ip address add 10.99.8.1/16 dev eth0 label eth0:1")
                    .map(drop)
            },
            || pair.ensure_reached_at(lab, "10.99.8.1", "eth0"),
        )?;
        outcome.ensure_short()
    })
}
