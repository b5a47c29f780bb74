//! The daemon repairs every change that others make to the overlay in the kernel, at once, by event, and leaves all other
//! state alone. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Lab, Lease, Ping, QUICK, SLOW, eventually, in_lab, messages,
};

/// A host with a daemon and some peers that exist in etcd only.
fn with_peers(lab: &Lab) -> Result<Flanneld> {
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    for number in 40..50 {
        let (key, value) = Lease::numbered(number).entry();
        lab.etcd.put(&key, &value)?;
    }
    let daemon = lab.host(1).flanneld().start_ready()?;
    lab.wait_for_mesh(&[1])?;
    Ok(daemon)
}

/// Checks the device and the entries of all leases.
fn ensure_device(lab: &Lab) -> Result<()> {
    let host = lab.host(1);
    let (leases, own) = (lab.etcd.leases()?, lab.lease(1)?);
    let link = host.link("flannel.1")?;
    ensure!(
        link.up && link.mtu == 1450 && link.mac == own.mac,
        "{link:?}"
    );
    ensure!(
        link.addresses_v4() == [format!("{}/32", own.vtep)],
        "{link:?}"
    );
    host.ensure_programmed(&leases)
}

/// Damage, as an operator does it by hand.
const DAMAGE: [&str; 17] = [
    "bridge fdb del 02:aa:00:00:00:28 dev flannel.1 dst 10.98.0.40 self",
    "bridge fdb replace 02:aa:00:00:00:28 dev flannel.1 dst 10.98.9.9 self permanent",
    "bridge fdb add 02:aa:00:00:09:09 dev flannel.1 dst 10.98.9.9 self permanent",
    "ip neigh del 10.5.40.0 dev flannel.1",
    "ip neigh replace 10.5.40.0 lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent",
    "ip neigh replace 10.5.40.0 lladdr 02:aa:00:00:00:28 dev flannel.1 nud reachable",
    "ip neigh add 10.5.90.9 lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent",
    "ip neigh flush dev flannel.1 nud permanent",
    "ip route del 10.5.40.0/24",
    "ip route replace 10.5.40.0/24 via 10.5.41.0 dev flannel.1 onlink proto 102",
    "ip route add 10.5.90.0/24 via 10.5.41.0 dev flannel.1 onlink",
    "ip route flush proto 102",
    "ip address del $(ip -4 -o address show dev flannel.1 | awk '{print $4}') dev flannel.1",
    "ip link set flannel.1 down",
    "ip link set flannel.1 down; ip link set flannel.1 up",
    "ip link set flannel.1 address 02:00:00:00:00:77",
    "ip link set flannel.1 mtu 1400",
];

#[test]
fn repairs_each_change_that_an_operator_makes_by_hand() -> Result<()> {
    in_lab(1, |lab| {
        let daemon = with_peers(lab)?;
        for damage in DAMAGE {
            lab.host(1).sh(damage)?;
            eventually(QUICK, damage, || ensure_device(lab))?;
        }
        let log = daemon.log()?;
        ensure!(log.contains(messages::REPAIRED_THE_OVERLAY), "{log}");
        ensure!(
            !log.contains(messages::KEEPS_UNDOING_THE_OVERLAY),
            "so much is no fight:\n{log}"
        );
        Ok(())
    })
}

#[test]
fn recreates_the_device_when_it_or_its_underlay_interface_is_deleted() -> Result<()> {
    in_lab(1, |lab| {
        let _daemon = with_peers(lab)?;
        lab.host(1).sh("ip link del flannel.1")?;
        eventually(QUICK, "the device", || ensure_device(lab))?;
        // The device goes with the interface that it is bound to.
        let before = lab.host(1).link("flannel.1")?.mac;
        lab.host(1).sh("ip link del eth0")?;
        ensure!(lab.host(1).link("flannel.1").is_err());
        lab.host(1).connect_again()?;
        eventually(QUICK, "the device on the new interface", || {
            ensure_device(lab)
        })?;
        ensure!(lab.host(1).link("flannel.1")?.mac == before);
        Ok(())
    })
}

#[test]
fn leaves_other_state_in_the_kernel_alone() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        host.sh(
            "ip link add br9 type bridge; ip address add 10.77.0.1/24 dev br9; ip link set br9 up
             ip route add 10.5.200.0/24 via 10.77.0.9 dev br9
             ip route add 192.168.50.0/24 dev br9 proto 102
             ip neigh add 10.77.0.9 lladdr 02:00:00:00:00:55 dev br9 nud permanent
             ip rule add from 10.77.0.0/24 lookup 77",
        )?;
        let foreign = || {
            host.sh(
                "ip route show dev br9; ip neigh show dev br9; ip rule; ip -4 address show dev br9",
            )
        };
        let before = foreign()?;
        let _daemon = with_peers(lab)?;
        host.sh("ip route add 192.168.60.0/24 dev flannel.1; ip link del flannel.1")?;
        eventually(QUICK, "the device", || ensure_device(lab))?;
        ensure!(foreign()? == before, "{}\n{before}", foreign()?);
        Ok(())
    })
}

#[test]
fn a_program_that_undoes_every_repair_slows_repairs_down_and_is_logged_once() -> Result<()> {
    in_lab(1, |lab| {
        let daemon = with_peers(lab)?;
        let fighter = lab.host(1).start(
            &[
                "sh",
                "-c",
                "while :; do ip route del 10.5.40.0/24 2>/dev/null; done",
            ],
            &[],
            "fighter",
        )?;
        eventually(QUICK, "the daemon to give way", || {
            ensure!(daemon.log()?.contains(messages::KEEPS_UNDOING_THE_OVERLAY));
            Ok(())
        })?;
        // While the other program works as hard as it can, the daemon hardly does anything.
        let (daemon_before, fighter_before) = (daemon.cpu_time()?, fighter.cpu_time()?);
        eventually(SLOW, "some more of the fight", || {
            ensure!(
                fighter.cpu_time()?.saturating_sub(fighter_before) > Duration::from_millis(500)
            );
            Ok(())
        })?;
        let spent = daemon.cpu_time()?.saturating_sub(daemon_before);
        fighter.kill()?;
        eventually(QUICK, "the route", || ensure_device(lab))?;
        let log = daemon.log()?;
        let lines = log
            .lines()
            .filter(|line| line.contains(messages::REPAIRED_THE_OVERLAY) || line.contains("WARN"))
            .count();
        ensure!(lines <= 7, "{lines} lines:\n{log}");
        ensure!(
            spent < Duration::from_millis(250),
            "{spent:?} of CPU, while the shell alone took 500 ms"
        );
        Ok(())
    })
}

#[test]
fn a_peer_that_changes_mac_or_address_under_a_running_ping_loses_nothing() -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let old = lab.lease(2)?;
        // The second host has two addresses, and its device takes packets for both; its daemon rests meanwhile.
        daemons[1].kill()?;
        lab.host(2).sh("ip address add 10.99.2.2/16 dev eth0")?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(10))?;
        ping.wait_for_answer()?;
        for public_ip in ["10.99.2.2", "10.99.1.2", "10.99.2.2", "10.99.1.2"] {
            let moved = Lease {
                public_ip: public_ip.into(),
                ..old.clone()
            };
            let (key, value) = moved.entry();
            lab.etcd.put(&key, &value)?;
            eventually(QUICK, "the peer's new address", || {
                let fdb = lab.host(1).fdb("flannel.1")?;
                ensure!(
                    fdb.len() == 1 && fdb[0].dst.as_deref() == Some(public_ip),
                    "{fdb:?}"
                );
                Ok(())
            })?;
        }
        // A new MAC: the peer's device takes it in the same moment as its lease says so, as nearly as a shell can.
        let report = ping.finish()?;
        ensure!(report.lost() == 0, "{report:?}");
        let moved = Lease {
            mac: "02:00:00:00:00:42".into(),
            ..old.clone()
        };
        let (key, value) = moved.entry();
        lab.etcd.put(&key, &value)?;
        lab.host(2)
            .sh("ip link set flannel.1 address 02:00:00:00:00:42")?;
        eventually(QUICK, "the peer's new MAC alone", || {
            lab.host(1).ensure_programmed(&lab.etcd.leases()?)
        })
    })
}

#[test]
fn routes_of_others_through_the_device_go_and_are_named() -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let host = lab.host(1);
        let before = host.sh("ip route show table all")?;
        // What dhcpcd does when it takes the device for a network card, and other ways to lose a host.
        for route in [
            "default via 192.168.1.254 dev flannel.1 onlink metric 208 proto dhcp",
            "0.0.0.0/1 dev flannel.1",
            "10.96.0.0/12 dev flannel.1 proto static metric 7",
            "default via 192.168.1.254 dev flannel.1 onlink table 77",
            "10.5.99.0/24 dev flannel.1 table 77 proto zebra",
        ] {
            let ping = Ping::start(&from, to.address(), Duration::from_millis(20))?;
            ping.wait_for_answer()?;
            // The address comes first, as from a DHCP client.
            host.sh(&format!(
                "ip address add 192.168.1.125/24 dev flannel.1; ip route add {route}"
            ))?;
            let start = Instant::now();
            let gone = eventually(QUICK, route, || {
                let now = host.sh("ip route show table all")?;
                ensure!(now == before, "{now}");
                Ok(start.elapsed())
            })?;
            println!(
                "figure: {route}: gone after {} ms, {} packets lost",
                gone.as_millis(),
                ping.finish()?.lost()
            );
        }
        // The kernel does not delete this one by its interface: it stays, and nobody tries.
        host.sh("ip nexthop add id 7 dev flannel.1; ip route add 192.0.2.0/24 nhid 7")?;
        Ping::start(&from, to.address(), Duration::from_millis(20))?.wait_for_answer()?;
        let status = host.flanneld().arg("status").finish()?;
        ensure!(status.stdout.contains(messages::STATUS_READY), "{status:?}");
        let log = daemons[0].log()?;
        ensure!(
            log.contains(messages::STRAY_DEFAULT_ROUTE) && log.contains("denyinterfaces flannel.1"),
            "{log}"
        );
        ensure!(log.matches(messages::STRAY_ROUTE).count() == 5, "{log}");
        Ok(())
    })
}
