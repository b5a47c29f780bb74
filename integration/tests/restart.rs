//! A daemon that ends, for any reason, and comes back: no packet is lost, no entry changes on peers, and etcd has no new
//! revision. Needs root.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Lab, Lease, Ping, Pod, QUICK, eventually, in_lab};

/// Two hosts with a pod on each, all programmed.
fn two_pods(lab: &Lab) -> Result<(Pod, Pod)> {
    lab.wait_for_mesh(&[1, 2])?;
    lab.two_pods()
}

#[test]
fn kill_9_and_restart_under_a_running_ping_lose_nothing() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let mut first = lab.host(1).flanneld().start_ready()?;
        let _second = lab.host(2).flanneld().start_ready()?;
        let (from, to) = two_pods(lab)?;
        let before = lab.host(1).link("flannel.1")?;
        let revision = lab.etcd.revision()?;
        let there = Ping::start(&from, to.address(), Duration::from_millis(50))?;
        let back = Ping::start(&to, from.address(), Duration::from_millis(50))?;
        there.wait_for_answer()?;
        back.wait_for_answer()?;
        for _ in 0..10 {
            first.kill()?;
            first = lab.host(1).flanneld().start_ready()?;
        }
        for ping in [there, back] {
            let report = ping.finish()?;
            ensure!(report.lost() == 0 && report.sent > 3, "{report:?}");
        }
        let after = lab.host(1).link("flannel.1")?;
        ensure!(
            after.index == before.index && after.mac == before.mac,
            "{before:?} {after:?}"
        );
        ensure!(
            lab.etcd.revision()? == revision,
            "a restart writes nothing to etcd"
        );
        ensure!(
            lab.etcd.etcd_leases()?.len() == 2,
            "a restart leaves no lease behind"
        );
        Ok(())
    })
}

#[test]
fn a_restart_touches_no_entry_that_is_right() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = lab.host(1).flanneld().start_ready()?;
        let _second = lab.host(2).flanneld().start_ready()?;
        lab.wait_for_mesh(&[1, 2])?;
        ensure!(first.stop()?.success());
        let monitor = lab.host(1).start(
            &["ip", "monitor", "link", "address", "route", "neigh"],
            &[],
            "monitor",
        )?;
        // A change of our own shows that the monitor listens.
        eventually(QUICK, "the monitor to listen", || {
            lab.host(1)
                .sh("ip link add probe type bridge; ip link del probe")?;
            ensure!(monitor.log()?.contains("probe"));
            Ok(())
        })?;
        let again = lab.host(1).flanneld().start_ready()?;
        monitor.stop(QUICK)?;
        let seen = monitor.log()?;
        ensure!(!seen.contains("flannel.1"), "{seen}");
        drop(again);
        Ok(())
    })
}

#[test]
fn sigterm_ends_it_with_success_and_leaves_the_data_plane() -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        let (from, to) = two_pods(lab)?;
        for daemon in &daemons {
            ensure!(daemon.stop()?.code() == Some(0));
            daemon.wait_told("STOPPING=1")?;
        }
        from.run(&["ping", "-c3", "-i0.05", "-W5", &to.address().to_string()])?;
        ensure!(lab.etcd.leases()?.len() == 2);
        Ok(())
    })
}

#[test]
fn removes_peers_that_left_while_it_was_down() -> Result<()> {
    in_lab(1, |lab| {
        let gone = Lease::numbered(40);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let (key, value) = gone.entry();
        lab.etcd.put(&key, &value)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        lab.wait_for_mesh(&[1])?;
        daemon.kill()?;
        lab.etcd.delete(&key)?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        ensure!(lab.wait_for_mesh(&[1])?.len() == 1);
        Ok(())
    })
}

/// What flannel v0.20.2 leaves on a host: its device, a peer that is still there, and one that is gone.
const LEFT_BY_FLANNEL: &str = "
    ip link add flannel.1 address 8a:02:ca:17:b5:14 mtu 1450 type vxlan id 1 local 10.99.1.1 dev eth0 dstport 8472 nolearning
    ip address add 10.5.96.0/32 dev flannel.1
    ip link set flannel.1 up
    for peer in '10.5.40.0 3a:2b:c7:14:89:47 10.99.1.2' '10.5.41.0 3a:2b:c7:14:89:48 10.99.1.3'; do
        set -- $peer
        ip neigh add $1 lladdr $2 dev flannel.1 nud permanent
        bridge fdb add $2 dst $3 dev flannel.1
        ip route add $1/24 via $1 dev flannel.1 onlink
    done
    iptables -t nat -N FLANNEL-POSTRTG
    iptables -t nat -A POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG
    mkdir -p /run/flannel; echo FLANNEL_SUBNET=10.5.96.1/24 > /run/flannel/subnet.env";

#[test]
fn takes_over_from_go_flannel_with_its_lease_and_its_device() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let own = Lease {
            subnet: "10.5.96.0/24".into(),
            vtep: [10, 5, 96, 0].into(),
            public_ip: "10.99.1.1".into(),
            mac: "8a:02:ca:17:b5:14".into(),
        };
        let peer = Lease {
            subnet: "10.5.40.0/24".into(),
            vtep: [10, 5, 40, 0].into(),
            public_ip: "10.99.1.2".into(),
            mac: "3a:2b:c7:14:89:47".into(),
        };
        let lease = lab.etcd.grant_lease(86_400)?;
        lab.etcd.load(&[own.entry(), peer.entry()], Some(lease))?;
        lab.host(1).sh(LEFT_BY_FLANNEL)?;
        let (revision, index) = (lab.etcd.revision()?, lab.host(1).link("flannel.1")?.index);
        let daemon = lab
            .host(1)
            .flanneld()
            .arg("--node-id=alpha")
            .start_ready()?;
        let leases = lab.wait_for_mesh(&[1])?;
        ensure!(leases == [peer, own.clone()], "{leases:?}");
        ensure!(
            lab.host(1).link("flannel.1")?.index == index,
            "the device stays"
        );
        // One write, which adds our name; the next start finds it there.
        let value = lab.etcd.get(&own.entry().0)?;
        ensure!(
            value == Some(own.entry().1.replace("}}", r#"},"NodeID":"alpha"}"#)),
            "{value:?}"
        );
        daemon.kill()?;
        let _daemon = lab
            .host(1)
            .flanneld()
            .arg("--node-id=alpha")
            .start_ready()?;
        ensure!(
            lab.etcd.revision()? == revision + 1,
            "the lease is taken over as it is"
        );
        let nat = lab.host(1).sh("iptables -t nat -S")?;
        ensure!(
            !nat.contains("FLANNEL-POSTRTG"),
            "nftables masquerades now: {nat}"
        );
        Ok(())
    })
}

#[test]
fn takes_over_from_flannel_0_5_5_which_routed_the_whole_network() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let key = "/coreos.com/network/subnets/10.5.92.0-24";
        let old = r#"{"PublicIP":"10.99.1.1","BackendType":"vxlan","BackendData":{"VtepMAC":"4a:be:18:c0:fc:1b"}}"#;
        lab.etcd
            .put_with_lease(key, old, lab.etcd.grant_lease(86_400)?)?;
        lab.host(1).sh(
            "ip link add flannel.1 address 4a:be:18:c0:fc:1b mtu 1450 type vxlan id 1 local 10.99.1.1 dev eth0 dstport 8472 nolearning
             ip address add 10.5.92.0/16 dev flannel.1
             ip link set flannel.1 up",
        )?;
        let index = lab.host(1).link("flannel.1")?.index;
        let _daemon = lab
            .host(1)
            .flanneld()
            .arg("--node-id=alpha")
            .start_ready()?;
        lab.wait_for_mesh(&[1])?;
        let link = lab.host(1).link("flannel.1")?;
        ensure!(
            link.index == index && link.addresses_v4() == ["10.5.92.0/32"],
            "{link:?}"
        );
        let value = lab.etcd.get(key)?.context("the lease is gone")?;
        ensure!(
            value
                == old
                    .replace(r#","BackendType""#, r#","PublicIPv6":null,"BackendType""#)
                    .replace(r#""VtepMAC""#, r#""VNI":1,"VtepMAC""#)
                    .replace("}}", r#"},"NodeID":"alpha"}"#),
            "{value}"
        );
        Ok(())
    })
}

/// Seconds of a running transfer in which nothing arrived, and seconds in all, as `iperf3 --json` tells.
fn silent_intervals(json: &str) -> Result<(usize, usize)> {
    let report: serde_json::Value =
        serde_json::from_str(json).with_context(|| format!("not JSON: {json}"))?;
    let intervals = report
        .pointer("/intervals")
        .and_then(serde_json::Value::as_array)
        .context("no intervals")?;
    let silent = intervals
        .iter()
        .filter(|i| i.pointer("/sum/bytes").and_then(serde_json::Value::as_u64) == Some(0));
    Ok((silent.count(), intervals.len()))
}

#[test]
fn kill_9_sigterm_and_another_build_under_ping_and_a_transfer_lose_nothing() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let mut first = lab.host(1).flanneld().start_ready()?;
        let _second = lab.host(2).flanneld().start_ready()?;
        let (from, to) = two_pods(lab)?;
        let _server = to.start(&["iperf3", "--server", "--one-off"], &[], "iperf3-server")?;
        let address = to.address().to_string();
        let line = [
            "iperf3",
            "--client",
            &address,
            "--time",
            "4",
            "--interval",
            "0.1",
            "--json",
        ];
        let transfer = eventually(QUICK, "the server to listen", || {
            to.sh("ss -Hltn sport = :5201 | grep -q 5201")?;
            from.start(&line, &[], "iperf3")
        })?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(10))?;
        ping.wait_for_answer()?;
        // "Another build" is another file here, of the same source.
        let other = lab.dir().join("flanneld-of-tomorrow");
        std::fs::copy(integration::flanneld_binary()?, &other)?;
        let mut restarts = 0;
        while transfer.is_running() {
            match restarts % 3 {
                0 => first.kill()?,
                _ => _ = first.stop()?,
            }
            let next = lab.host(1).flanneld();
            let next = if restarts % 3 == 2 {
                next.binary(&other)
            } else {
                next
            };
            first = next.start_ready()?;
            restarts += 1;
        }
        let report = ping.finish()?;
        let (silent, intervals) = silent_intervals(&transfer.log()?)?;
        println!(
            "{restarts} restarts: {} of {} pings lost; {silent} of {intervals} intervals without data",
            report.lost(),
            report.sent
        );
        ensure!(report.lost() == 0 && restarts > 3, "{report:?}");
        ensure!(silent == 0 && intervals > 30, "{silent} of {intervals}");
        Ok(())
    })
}
