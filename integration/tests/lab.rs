//! The lab itself, without a daemon: what its tests take for granted. Needs root.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::{Host, Lab, Ping, QUICK, SUBNET_ENV, endpoints, eventually, in_lab};

const OFTEN: Duration = Duration::from_millis(10);

#[test]
fn hosts_reach_one_another_and_the_underlay() -> Result<()> {
    in_lab(2, |lab| {
        for target in [lab.host(2).address().to_string(), "10.99.0.1".into()] {
            lab.host(1).run(&["ping", "-c1", "-W5", &target])?;
        }
        Ok(())
    })
}

#[test]
fn labs_do_not_see_one_another() -> Result<()> {
    let (one, other) = (Lab::new(1)?, Lab::new(1)?);
    one.etcd.put("/key", "one")?;
    ensure!(other.etcd.get("/key")?.is_none());
    ensure!(one.dir() != other.dir());
    Ok(())
}

#[test]
fn a_host_has_an_identity_and_a_disk_that_outlive_a_reboot() -> Result<()> {
    in_lab(2, |lab| {
        let id = lab.host(1).read("/etc/machine-id")?;
        ensure!(id != lab.host(2).read("/etc/machine-id")?);
        lab.host(1)
            .sh("echo kept > /var/lib/kept; echo gone > /run/gone")?;
        lab.reboot(1)?;
        let host = lab.host(1);
        ensure!(host.read("/etc/machine-id")? == id);
        ensure!(host.read("/var/lib/kept")?.trim() == "kept");
        ensure!(host.read("/run/gone").is_err(), "/run is memory");
        ensure!(!Path::new("/var/lib/kept").exists(), "it is this host's");
        host.run(&["ping", "-c1", "-W5", "10.99.0.1"]).map(drop)
    })
}

#[test]
fn etcd_keeps_its_data_over_restarts() -> Result<()> {
    in_lab(0, |lab| {
        let value = r#"{"Network": "10.5.0.0/16", "note": "it's \"quoted\""}"#;
        lab.etcd.put("/config", value)?;
        lab.etcd.restart()?;
        ensure!(lab.etcd.get("/config")?.as_deref() == Some(value));
        lab.etcd.kill()?;
        lab.etcd.start()?;
        ensure!(lab.etcd.get("/config")?.as_deref() == Some(value));
        lab.etcd.restart_empty()?;
        ensure!(lab.etcd.get("/config")?.is_none());
        Ok(())
    })
}

#[test]
fn etcd_goes_back_to_a_backup() -> Result<()> {
    in_lab(0, |lab| {
        lab.etcd.put("/key", "old")?;
        lab.etcd.backup("before")?;
        lab.etcd.put("/key", "new")?;
        let revision = lab.etcd.revision()?;
        lab.etcd.restore("before")?;
        ensure!(lab.etcd.get("/key")?.as_deref() == Some("old"));
        ensure!(lab.etcd.revision()? < revision);
        Ok(())
    })
}

#[test]
fn etcd_loads_many_keys_on_a_lease_that_takes_them_along() -> Result<()> {
    in_lab(0, |lab| {
        let lease = lab.etcd.grant_lease(600)?;
        ensure!(lab.etcd.etcd_leases()? == [lease]);
        ensure!((1..=600).contains(&lab.etcd.lease_seconds_left(lease)?));
        let pair = |i| (format!("/many/{i:04}"), format!(r#"{{"number": {i}}}"#));
        let pairs: Vec<(String, String)> = (0..1050).map(pair).collect();
        lab.etcd.load(&pairs, Some(lease))?;
        let found = lab.etcd.get_prefix("/many/")?;
        ensure!(found.len() == pairs.len());
        let last = &found[1049];
        ensure!((&last.key, &last.value) == (&pairs[1049].0, &pairs[1049].1));
        ensure!(found.iter().all(|pair| pair.lease == lease));
        lab.etcd.compact()?;
        lab.etcd.revoke_lease(lease)?;
        ensure!(lab.etcd.get_prefix("/many/")?.is_empty());
        Ok(())
    })
}

#[test]
fn a_frozen_etcd_does_not_answer_until_it_is_thawed() -> Result<()> {
    in_lab(0, |lab| {
        lab.etcd.freeze()?;
        ensure!(
            lab.etcd
                .ctl(&["--command-timeout=200ms", "get", "/"])
                .is_err()
        );
        lab.etcd.thaw()?;
        lab.etcd.wait_ready()
    })
}

#[test]
fn a_cluster_of_etcd_survives_the_loss_of_a_member() -> Result<()> {
    in_lab(0, |lab| {
        let members = lab.start_etcd_cluster(3)?;
        ensure!(endpoints(&members).split(',').count() == 3);
        members[0].put("/key", "value")?;
        members[1].kill()?;
        eventually(QUICK, "a majority", || {
            // It may be asked before it knows that its leader is gone.
            members[2].ctl(&["--command-timeout=1s", "put", "/key", "other"])
        })?;
        members[1].start()?;
        ensure!(members[1].get("/key")?.as_deref() == Some("other"));
        Ok(())
    })
}

#[test]
fn pods_reach_one_another_through_a_vxlan_made_by_hand() -> Result<()> {
    in_lab(2, |lab| {
        let (one, other) = (lab.host(1), lab.host(2));
        make_overlay(one, other)?;
        make_overlay(other, one)?;
        let (pod, peer) = (one.pod()?, other.pod()?);
        ensure!(peer.address().to_string() == "10.5.2.2");
        let ping = Ping::start(&pod, peer.address(), OFTEN)?;
        ping.wait_for_answer()?;
        let report = ping.finish()?;
        ensure!(report.received() > 0 && report.max_rtt < QUICK);
        kernel_state_reads_as_it_was_made(one, other)
    })
}

/// Does for one host what the daemon will do: subnet file, device, and entries for the peer.
fn make_overlay(host: &Host, peer: &Host) -> Result<()> {
    let (n, p) = (host.number(), peer.number());
    let (local, remote) = (host.address(), peer.address());
    host.sh(&format!(
        "mkdir -p /run/flannel
         printf 'FLANNEL_SUBNET=10.5.{n}.1/24\\nFLANNEL_MTU=1450\\n' > {SUBNET_ENV}
         ip link add flannel.1 address 02:00:00:00:00:0{n} mtu 1450 type vxlan id 1 \
             local {local} dev eth0 dstport 8472 nolearning
         ip address add 10.5.{n}.0/32 dev flannel.1
         ip link set flannel.1 up
         bridge fdb append 02:00:00:00:00:0{p} dev flannel.1 dst {remote}
         ip neigh replace 10.5.{p}.0 lladdr 02:00:00:00:00:0{p} dev flannel.1 nud permanent
         ip route replace 10.5.{p}.0/24 via 10.5.{p}.0 dev flannel.1 onlink metric 7 proto 99"
    ))?;
    host.docker0()
}

fn kernel_state_reads_as_it_was_made(host: &Host, peer: &Host) -> Result<()> {
    let mac = "02:00:00:00:00:02";
    let link = host.link("flannel.1")?;
    ensure!(link.up && link.kind == "vxlan" && link.mtu == 1450);
    ensure!(link.number("id") == Some(1) && link.number("port") == Some(8472));
    ensure!(link.text("local") == Some(host.address().to_string().as_str()));
    ensure!(
        link.addresses
            .iter()
            .any(|address| address == "10.5.1.0/32")
    );
    let routes = host.routes("flannel.1")?;
    let route = routes.get("10.5.2.0/24").context("no route to the peer")?;
    ensure!(route.via.as_deref() == Some("10.5.2.0"));
    ensure!((route.metric, route.protocol) == (7, 99));
    ensure!(route.flags == ["onlink"]);
    let neighbours = host.neighbours("flannel.1")?;
    let neighbour = neighbours.get(&"10.5.2.0".parse()?).context("no peer")?;
    ensure!(neighbour.lladdr.as_deref() == Some(mac) && neighbour.state == "PERMANENT");
    let fdb = host.fdb("flannel.1")?;
    ensure!(fdb.len() == 1 && fdb[0].mac == mac && fdb[0].state == "permanent");
    ensure!(fdb[0].dst == Some(peer.address().to_string()));
    ensure!(host.sysctl("net/ipv4/ip_forward")? == "1");
    Ok(())
}

#[test]
fn a_ping_sees_how_long_a_cable_was_out() -> Result<()> {
    in_lab(2, |lab| {
        let ping = Ping::start(lab.host(1), lab.host(2).address(), OFTEN)?;
        ping.wait_for_answer()?;
        lab.host(2).unplug()?;
        let target = lab.host(2).address().to_string();
        let second_ping = lab.host(1).run(&["ping", "-c1", "-W1", &target]);
        ensure!(second_ping.is_err(), "it went through no cable");
        lab.host(2).plug()?;
        ping.wait_for_answer()?;
        let report = ping.finish()?;
        ensure!(report.lost() > 0 && report.received() > 0);
        ensure!(report.max_gap() > Duration::from_millis(900));
        ensure!(report.max_gap() < QUICK);
        Ok(())
    })
}

#[test]
fn a_cut_drops_traffic_between_two_hosts_only() -> Result<()> {
    in_lab(3, |lab| {
        let (one, two) = (lab.host(1).address(), lab.host(2).address());
        let reaches = |to: &str| lab.host(1).run(&["ping", "-c1", "-W1", to]);
        lab.underlay.cut(one, two)?;
        ensure!(reaches(&two.to_string()).is_err());
        reaches(&lab.host(3).address().to_string())?;
        lab.underlay.cut(one, integration::underlay::ADDRESS)?;
        ensure!(reaches("10.99.0.1").is_err());
        lab.underlay.heal()?;
        reaches("10.99.0.1")?;
        reaches(&two.to_string()).map(drop)
    })
}

#[test]
fn a_process_tells_its_state_and_usage() -> Result<()> {
    in_lab(1, |lab| {
        let busy = lab.host(1).start(&["yes"], &[], "yes")?;
        eventually(QUICK, "CPU time", || {
            ensure!(busy.cpu_time()? >= Duration::from_millis(50));
            Ok(())
        })?;
        ensure!(busy.resident_bytes()? > 0 && busy.is_running());
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", busy.pid()))?;
        ensure!(comm.trim() == "yes", "the id is that of {comm:?}");
        busy.freeze()?;
        ensure!(busy.is_running());
        busy.kill()?;
        ensure!(!busy.is_running() && busy.stop(QUICK).is_err());
        Ok(())
    })
}

#[test]
fn a_missing_program_is_named() -> Result<()> {
    in_lab(1, |lab| {
        let Err(error) = lab.host(1).run(&["no-such-program"]) else {
            bail!("a program that does not exist has run");
        };
        ensure!(format!("{error:#}").contains("no-such-program"));
        Ok(())
    })
}

#[test]
fn a_killed_lab_leaves_no_process() -> Result<()> {
    let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg("1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = lab.stdout.take().context("its output is piped")?;
    let mut lines = BufReader::new(output).lines();
    let ready = lines.any(|line| line.is_ok_and(|line| line.contains("Ctrl-D")));
    let children = children_of(lab.id())?;

    lab.kill()?;
    lab.wait()?;
    ensure!(ready, "it made no lab");
    ensure!(
        children.len() == 4,
        "underlay, etcd, host and sweeper: {children:?}"
    );
    eventually(QUICK, "the end of all its processes", || {
        let left = children.iter().find(is_alive);
        ensure!(left.is_none(), "{left:?} is there");
        Ok(())
    })
}

/// The processes that were forked by any thread of `pid`.
fn children_of(pid: u32) -> Result<Vec<String>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = std::fs::read_to_string(task?.path().join("children"))?;
        children.extend(list.split_whitespace().map(str::to_owned));
    }
    Ok(children)
}

fn is_alive(pid: &&String) -> bool {
    // A zombie has ended; its new parent has not waited for it yet.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
