//! The external interface is renamed, goes down, is made anew, or another one takes over.

use anyhow::{Result, ensure};
use integration::{QUICK, eventually, in_lab};

use crate::support::{add_second_interface, start};

#[test]
fn another_interface_takes_over_the_way_to_etcd_and_gives_it_back() -> Result<()> {
    in_lab(2, |lab| {
        add_second_interface(lab)?;
        let host = lab.host(1);
        let pair = start(lab, |first| first.without("--iface"))?;
        pair.ensure_reached_at(lab, "10.99.1.1", "eth0")?;
        let before = host.link("flannel.1")?.index;
        pair.disturb(
            "another interface takes over while the first one works",
            || host.sh("ip route add 10.99.0.1 via 10.98.0.1").map(drop),
            || pair.ensure_reached_at(lab, "10.98.1.1", "eth1"),
        )?
        .ensure_short()?;
        pair.disturb(
            "the first interface takes over again",
            || host.sh("ip route del 10.99.0.1 via 10.98.0.1").map(drop),
            || pair.ensure_reached_at(lab, "10.99.1.1", "eth0"),
        )?
        .ensure_short()?;
        pair.disturb(
            "the first interface goes down and another takes over",
            || host.sh("ip link set eth0 down").map(drop),
            || pair.ensure_reached_at(lab, "10.98.1.1", "eth1"),
        )?
        .ensure_short()?;
        pair.disturb(
            "the first interface comes up and takes over again",
            || {
                host.sh("ip link set eth0 up; ip route add default via 10.99.0.1")
                    .map(drop)
            },
            || pair.ensure_reached_at(lab, "10.99.1.1", "eth0"),
        )?
        .ensure_short()?;
        ensure!(host.link("flannel.1")?.index == before, "made anew");
        eventually(QUICK, "ready", || {
            pair.ensure_readyz(lab, "200 OK", "ready")
        })
    })
}

#[test]
fn an_interface_that_is_named_stays_chosen_while_another_has_the_way_to_etcd() -> Result<()> {
    in_lab(2, |lab| {
        add_second_interface(lab)?;
        let host = lab.host(1);
        let pair = start(lab, |first| first)?;
        pair.disturb(
            "the named interface goes down until it was noticed, and up",
            || {
                host.sh("ip link set eth0 down")?;
                eventually(QUICK, "the reason", || {
                    pair.ensure_readyz(lab, "503", "\"eth0\" is down")
                })?;
                host.sh("ip link set eth0 up; ip route add default via 10.99.0.1")
                    .map(drop)
            },
            || {
                pair.ensure_reached_at(lab, "10.99.1.1", "eth0")?;
                pair.ensure_readyz(lab, "200 OK", "ready")
            },
        )?;
        Ok(())
    })
}

#[test]
fn a_new_name_changes_nothing_but_the_name() -> Result<()> {
    in_lab(2, |lab| {
        let host = lab.host(1);
        let pair = start(lab, |first| first.arg("--iface=10.99.1.1"))?;
        let before = host.link("flannel.1")?.index;
        pair.disturb(
            "another name",
            || {
                host.sh("ip link set eth0 name lan0 2> /dev/null || {
                    ip link set eth0 down; ip link set eth0 name lan0; ip link set lan0 up
                    ip route add default via 10.99.0.1; }")
                    .map(drop)
            },
            || pair.ensure_reached_at(lab, "10.99.1.1", "lan0"),
        )?
        .ensure_short()?;
        pair.daemon.wait_for_log("interface=\"lan0\"")?;
        ensure!(host.link("flannel.1")?.index == before, "made anew");
        eventually(QUICK, "ready", || {
            pair.ensure_readyz(lab, "200 OK", "ready")
        })
    })
}

#[test]
fn an_interface_that_is_named_and_renamed_is_missed_but_nothing_is_torn_down() -> Result<()> {
    in_lab(2, |lab| {
        let host = lab.host(1);
        let pair = start(lab, |first| first)?;
        let before = host.link("flannel.1")?.index;
        pair.disturb(
            "another name than the option says, and the old one again",
            || {
                host.sh("ip link set eth0 name lan0")?;
                eventually(QUICK, "the reason", || {
                    pair.ensure_readyz(lab, "503", "--iface=eth0")
                })?;
                host.sh("ip link set lan0 name eth0").map(drop)
            },
            || {
                pair.ensure_reached_at(lab, "10.99.1.1", "eth0")?;
                pair.ensure_readyz(lab, "200 OK", "ready")
            },
        )?
        .ensure_short()?;
        ensure!(host.link("flannel.1")?.index == before, "made anew");
        Ok(())
    })
}

#[test]
fn an_interface_that_is_deleted_and_made_again_gets_the_device_back() -> Result<()> {
    in_lab(2, |lab| {
        let host = lab.host(1);
        let pair = start(lab, |first| first)?;
        pair.disturb(
            "deleted until it was noticed, and made again",
            || {
                host.sh("ip link del eth0")?;
                eventually(QUICK, "the reason", || {
                    pair.ensure_readyz(lab, "503", "no external interface")
                })?;
                host.connect_again()
            },
            || {
                pair.ensure_reached_at(lab, "10.99.1.1", "eth0")?;
                pair.ensure_readyz(lab, "200 OK", "ready")
            },
        )?;
        pair.disturb(
            "deleted and made again at once, with another address",
            || {
                host.sh("ip link del eth0")?;
                host.connect_again()?;
                host.sh(
                    "ip address flush dev eth0; ip address add 10.99.3.1/16 dev eth0
                     ip route replace default via 10.99.0.1",
                )
                .map(drop)
            },
            || pair.ensure_reached_at(lab, "10.99.3.1", "eth0"),
        )?;
        Ok(())
    })
}
