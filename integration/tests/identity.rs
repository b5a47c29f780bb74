//! Node ids, MAC addresses that stay, and hosts with the same PublicIP or machine id. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Lab, Lease, Ping, QUICK, SLOW, SNAPSHOT, eventually, in_lab,
    messages,
};

fn node_id(lab: &Lab, lease: &Lease) -> Result<String> {
    let value = lab.etcd.get(&lease.entry().0)?.context("the key is gone")?;
    let value: serde_json::Value = serde_json::from_str(&value)?;
    value
        .get("NodeID")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned)
        .context("no NodeID")
}

#[test]
fn mac_and_subnet_stay_after_a_reboot_and_the_mac_after_a_lost_disk() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = lab.host(1).flanneld().start_ready()?;
        let before = lab.lease(1)?;
        let name = node_id(lab, &before)?;
        let machine_id = lab.host(1).read("/etc/machine-id")?;
        ensure!(
            name.len() == 32 && name != machine_id.trim(),
            "the machine id itself must not be shown: {name}"
        );
        ensure!(lab.host(1).link("flannel.1")?.mac == before.mac);
        lab.host(1).wait_for_snapshot()?;
        // A reboot during which the lease ran out: device, /run and key are gone.
        first.kill()?;
        lab.etcd.delete(&before.entry().0)?;
        lab.reboot(1)?;
        let first = lab.host(1).flanneld().start_ready()?;
        ensure!(
            lab.lease(1)? == before && lab.host(1).link("flannel.1")?.mac == before.mac,
            "{before:?}"
        );
        // Even with an empty disk the address is the same: it follows from the node id.
        first.kill()?;
        lab.etcd.delete(&before.entry().0)?;
        lab.reboot(1)?;
        lab.host(1).sh(&format!("rm {SNAPSHOT}"))?;
        let _first = lab.host(1).flanneld().start_ready()?;
        ensure!(lab.lease(1)?.mac == before.mac);
        let _second = lab.host(2).flanneld().start_ready()?;
        ensure!(lab.lease(2)?.mac != before.mac);
        lab.wait_for_mesh(&[1, 2]).map(drop)
    })
}

#[test]
fn a_public_ip_in_use_is_refused_and_both_nodes_are_named() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        // As on Vagrant machines, whose first interfaces all have the same address.
        let vagrant = |host: u8| lab.host(host).flanneld().arg("--public-ip=10.0.2.15");
        let first = vagrant(1).arg("--node-id=alpha").start_ready()?;
        let before = lab.etcd.lease_at("10.0.2.15")?;
        let revision = lab.etcd.revision()?;
        let second = vagrant(2).arg("--node-id=beta").start()?;
        second.wait_for_log(messages::PUBLIC_IP_IN_USE_BY_ALPHA)?;
        let log = second.log()?;
        ensure!(
            log.contains(messages::THIS_HOST_IS_NODE_BETA) && log.contains("--iface"),
            "{log}"
        );
        let status = lab.host(2).flanneld().arg("status").finish()?;
        ensure!(
            status.stdout.contains(messages::IN_USE_BY_ALPHA),
            "{status:?}"
        );
        ensure!(
            lab.etcd.revision()? == revision && lab.etcd.etcd_leases()?.len() == 1,
            "it writes nothing"
        );
        ensure!(!is_ready(&second) && second.is_running());
        ensure!(
            second.log()?.matches(messages::IS_IN_USE_BY).count() == 1,
            "it is logged once"
        );
        // The other is gone for good: its place is free.
        first.kill()?;
        lab.etcd.delete(&before.entry().0)?;
        second.wait_ready()?;
        ensure!(node_id(lab, &lab.etcd.lease_at("10.0.2.15")?)? == "beta");
        Ok(())
    })
}

#[test]
fn of_two_hosts_that_start_with_one_public_ip_only_one_joins() -> Result<()> {
    in_lab(2, |lab| {
        let vagrant = |host: u8, id: &str| {
            lab.host(host)
                .flanneld()
                .arg("--public-ip=10.0.2.15")
                .arg(id)
                .start()
        };
        let daemons = [
            vagrant(1, "--node-id=alpha")?,
            vagrant(2, "--node-id=beta")?,
        ];
        daemons
            .iter()
            .try_for_each(|daemon| daemon.wait_for_log(messages::NO_NETWORK_CONFIG))?;
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let (ready, refused) = one_ready_one_refused(&daemons)?;
        let is_out = || !is_ready(&daemons[refused]) && daemons[refused].is_running();
        ensure!(is_out());
        let leases = lab.etcd.leases()?;
        ensure!(leases.len() == 1, "{leases:?}");
        let id = node_id(lab, &leases[0])?;
        ensure!(
            daemons[refused].log()?.contains(&format!("node {id}")),
            "{id}"
        );
        // Both have decided: what comes next in etcd reaches the overlay, and neither writes again.
        // The refused one may have created a key first: it keeps the etcd lease of that key for later.
        let granted = lab.etcd.etcd_leases()?;
        ensure!(granted.len() <= 2, "{granted:?}");
        let (peer, revision) = (Lease::numbered(40), lab.etcd.revision()?);
        let (key, value) = peer.entry();
        lab.etcd.put(&key, &value)?;
        lab.hosts()[ready].wait_for_route(&peer)?;
        ensure!(
            lab.etcd.revision()? == revision + 1 && lab.etcd.etcd_leases()? == granted,
            "{:?}",
            lab.etcd.leases()?
        );
        ensure!(is_out());
        Ok(())
    })
}

fn is_ready(daemon: &Flanneld) -> bool {
    daemon.told().contains(&"READY=1".to_owned())
}

/// Waits until one of two daemons is ready and the other one has been refused; returns their places.
fn one_ready_one_refused(daemons: &[Flanneld; 2]) -> Result<(usize, usize)> {
    eventually(SLOW, "one ready and one refused", || {
        for (ready, refused) in [(0, 1), (1, 0)] {
            let log = daemons[refused].log()?;
            if is_ready(&daemons[ready]) && log.contains(messages::IS_IN_USE_BY) {
                return Ok((ready, refused));
            }
        }
        bail!("{}\n{}", daemons[0].log()?, daemons[1].log()?)
    })
}

#[test]
fn a_copied_machine_id_is_refused_until_the_host_has_a_node_id() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _first = lab.host(1).flanneld().start_ready()?;
        lab.host(1).wait_for_snapshot()?;
        // A copy of the whole disk, the state of the daemon included.
        let (id, state) = (
            lab.host(1).read("/etc/machine-id")?,
            lab.host(1).read(SNAPSHOT)?,
        );
        lab.host(2).sh(&format!(
            "echo '{}' > /etc/machine-id; mkdir -p /var/lib/flannel",
            id.trim()
        ))?;
        lab.host(2)
            .sh(&format!("cat > {SNAPSHOT} <<'EOF'\n{state}EOF"))?;
        let copy = lab.host(2).flanneld().start()?;
        copy.wait_for_log(messages::IN_USE_BY_HOST_1)?;
        let log = copy.log()?;
        ensure!(
            log.contains("systemd-machine-id-setup") && log.contains("--node-id"),
            "{log}"
        );
        ensure!(lab.etcd.leases()?.len() == 1 && !is_ready(&copy));
        copy.stop()?;
        let named = lab.host(2).flanneld().arg("--node-id=beta").start_ready()?;
        ensure!(
            named.log()?.contains(messages::IGNORING_THE_SNAPSHOT),
            "the snapshot is of another node"
        );
        lab.wait_for_mesh(&[1, 2]).map(drop)
    })
}

#[test]
fn a_reinstalled_host_takes_over_its_lease_once_half_of_its_time_has_passed() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        // Nobody can be asked for an address of a NAT gateway.
        let behind_nat = || lab.host(1).flanneld().arg("--public-ip=10.0.2.15");
        let lease = lab.etcd.grant_lease(16)?;
        let old = Lease {
            public_ip: "10.0.2.15".into(),
            ..Lease::numbered(40)
        };
        let (key, value) = old.entry();
        lab.etcd
            .put_with_lease(&key, &value.replace("}}", r#"},"NodeID":"gone"}"#), lease)?;
        let daemon = behind_nat().start()?;
        daemon.wait_for_log(messages::IN_USE_BY_GONE)?;
        daemon.stop()?;
        eventually(SLOW, "half of its time to pass", || {
            ensure!(lab.etcd.lease_seconds_left(lease)? < 8);
            Ok(())
        })?;
        let daemon = behind_nat().start_ready()?;
        let now = lab.etcd.lease_at("10.0.2.15")?;
        ensure!(
            now.subnet == "10.5.40.0/24" && now.mac != old.mac,
            "{now:?}"
        );
        ensure!(
            lab.etcd.etcd_leases()?.len() == 2,
            "it has an etcd lease of its own, so that the old host can tell that another one lives"
        );
        drop(daemon);
        Ok(())
    })
}

#[test]
fn a_host_whose_address_has_changed_keeps_its_subnet_and_its_peers() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = lab.host(1).flanneld().start_ready()?;
        let _second = lab.host(2).flanneld().start_ready()?;
        let before = lab.lease(1)?;
        lab.wait_for_mesh(&[1, 2])?;
        let (to, from) = lab.two_pods()?;
        lab.host(1).wait_for_snapshot()?;
        first.stop()?;
        lab.host(1).sh(
            "ip address flush dev eth0; ip address add 10.99.2.77/16 dev eth0
             ip route replace default via 10.99.0.1",
        )?;
        let _first = lab.host(1).flanneld().start_ready()?;
        let now = lab.etcd.lease_at("10.99.2.77")?;
        ensure!(
            now.subnet == before.subnet && now.mac == before.mac && lab.etcd.leases()?.len() == 2,
            "{now:?}"
        );
        let ping = Ping::start(&from, to.address(), Duration::from_millis(50))?;
        ping.wait_for_answer()
    })
}

#[test]
fn waits_while_the_only_subnet_is_held_and_names_the_holder() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(
            CONFIG_KEY,
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.4.0","SubnetMax":"10.5.4.0"}"#,
        )?;
        let first = lab
            .host(1)
            .flanneld()
            .arg("--node-id=alpha")
            .start_ready()?;
        lab.host(2).sh(
            "mkdir -p /run/flannel; echo FLANNEL_SUBNET=10.5.4.1/24 > /run/flannel/subnet.env",
        )?;
        let second = lab.host(2).flanneld().start()?;
        second.wait_for_log(messages::SUBNET_HELD_BY_ALPHA)?;
        ensure!(lab.etcd.leases()?.len() == 1);
        let key = lab.lease(1)?.entry().0;
        first.kill()?;
        lab.etcd.delete(&key)?;
        second.wait_ready()
    })
}

#[test]
fn a_second_daemon_with_the_same_files_does_not_start() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = lab.host(1).flanneld().start_ready()?;
        let second = lab.host(1).flanneld().start()?;
        ensure!(second.wait(QUICK)?.code() == Some(1));
        let log = second.log()?;
        ensure!(
            log.contains(messages::ANOTHER_FLANNELD_ANSWERS) && first.is_running(),
            "{log}"
        );
        Ok(())
    })
}

/// What a DHCP client does when it gets another address.
const ANOTHER_ADDRESS: &str = "ip address add 10.99.2.1/16 dev eth0
    ip address del 10.99.1.1/16 dev eth0
    ip route replace default via 10.99.0.1";

#[test]
fn a_host_that_comes_to_the_address_of_another_keeps_its_lease_and_names_the_other() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = lab.host(1).flanneld().arg("--node-id=alpha");
        let first = first.start_ready()?;
        let before = lab.lease(1)?;
        let second = lab.host(2).flanneld();
        let second = second.args(&["--node-id=beta", "--public-ip=10.99.2.1"]);
        let second = second.start_ready()?;
        let others = lab.etcd.lease_at("10.99.2.1")?;
        lab.host(1)
            .sh("sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1")?;
        lab.host(1).sh(ANOTHER_ADDRESS)?;
        first.wait_for_log(messages::PUBLIC_IP_IN_USE_BY_BETA)?;
        eventually(QUICK, "the status to name both", || {
            let status = lab.host(1).flanneld().arg("status").finish()?;
            let both = [
                messages::PUBLIC_IP_IN_USE_BY_BETA,
                messages::THIS_HOST_IS_NODE_ALPHA,
            ];
            ensure!(
                both.iter().all(|text| status.stdout.contains(text)),
                "{status:?}"
            );
            Ok(())
        })?;
        ensure!(lab.etcd.lease_at("10.99.1.1")? == before, "it is kept");
        lab.host(1).wait_for_route(&others)?;
        // The other host leaves.
        second.stop()?;
        lab.etcd.delete(&others.entry().0)?;
        let left = Instant::now();
        eventually(QUICK, "the lease to follow", || {
            let now = lab.etcd.lease_at("10.99.2.1")?;
            ensure!(
                now.subnet == before.subnet && now.mac == before.mac,
                "{now:?}"
            );
            Ok(())
        })?;
        println!(
            "figure: the lease followed {:?} after the other left",
            left.elapsed()
        );
        ensure!(lab.etcd.leases()?.len() == 1);
        Ok(())
    })
}

#[test]
fn an_address_that_changes_while_etcd_is_away_is_published_when_it_is_back() -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        let before = lab.lease(1)?;
        lab.wait_for_mesh(&[1, 2])?;
        lab.host(1).wait_for_snapshot()?;
        lab.etcd.freeze()?;
        lab.host(1)
            .sh("sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1")?;
        lab.host(1).sh(ANOTHER_ADDRESS)?;
        eventually(SLOW, "the status to name both addresses", || {
            let status = lab.host(1).flanneld().arg("status").finish()?;
            ensure!(
                status.stdout.contains(messages::NOT_PUBLISHED_YET),
                "{status:?}"
            );
            Ok(())
        })?;
        lab.etcd.thaw()?;
        let back = Instant::now();
        eventually(SLOW, "the new address in etcd", || {
            let now = lab.etcd.lease_at("10.99.2.1")?;
            ensure!(
                now.subnet == before.subnet && now.mac == before.mac,
                "{now:?}"
            );
            Ok(())
        })?;
        println!("figure: published {:?} after etcd was back", back.elapsed());
        // At this moment the snapshot may still have the old address.
        daemons[0].kill()?;
        let _first = lab.host(1).flanneld().start_ready()?;
        let now = lab.etcd.lease_at("10.99.2.1")?;
        ensure!(
            now.subnet == before.subnet && now.mac == before.mac,
            "{now:?}"
        );
        ensure!(lab.etcd.leases()?.len() == 2);
        Ok(())
    })
}
