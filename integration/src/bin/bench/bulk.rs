//! Many peers at once: joining, following, coming back, leaving.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    CONFIG_KEY, Flanneld, Host, Lab, Lease, SLOW, SUBNET_ENV, SUBNETS, WIDE_CONFIG, eventually,
    tool,
};

use crate::figures::{Figures, Unit};

/// The row with which others are compared.
pub(crate) const REFERENCE: &str = "reference: the same entries by bridge -batch and ip -batch";
/// What the kernel itself takes.
const LIMIT: &str = "limit: the same entries by bare netlink, made beforehand";
const RUNS: usize = 5;

/// 4000 peers, five times.
pub(crate) fn join(figures: &mut Figures) -> Result<()> {
    for _ in 0..RUNS {
        let (lab, peers) = lab_with(4000)?;
        figures.time(REFERENCE, by_batch(lab.host(2), &peers)?);
        figures.time(LIMIT, by_netlink(lab.host(2), peers.len())?);
        let daemon = start(&lab, figures)?;
        burst(&lab, figures)?;
        daemon.kill()?;
        let restarted = Instant::now();
        let _again = lab.host(1).flanneld().arg("-v=0").start_ready()?;
        figures.time("kill -9, then from exec to READY=1", restarted.elapsed());
    }
    Ok(())
}

/// 60,000 peers, once: loading etcd takes longest.
pub(crate) fn sixty_thousand(figures: &mut Figures) -> Result<()> {
    let (lab, peers) = lab_with(60_000)?;
    figures.time(REFERENCE, by_batch(lab.host(2), &peers)?);
    figures.time(LIMIT, by_netlink(lab.host(2), peers.len())?);
    let daemon = start(&lab, figures)?;
    let cpu = daemon.cpu_time()?;
    figures.time("join: CPU of the daemon", cpu);
    let started = Instant::now();
    lab.etcd.delete_prefix(&format!("{SUBNETS}32."))?;
    let deleted = started.elapsed();
    wait_for_fdb(lab.host(1), "dst 10[.]98[.]", 0)?;
    figures.time("all leave: until etcd has deleted them", deleted);
    figures.time("all leave: until none is in the kernel", started.elapsed());
    figures.time(
        "all leave: CPU of the daemon",
        daemon.cpu_time()?.saturating_sub(cpu),
    );
    Ok(())
}

fn lab_with(count: u16) -> Result<(Lab, Vec<Lease>)> {
    let lab = Lab::new(2)?;
    lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
    let peers: Vec<Lease> = (1..=count).map(Lease::invented).collect();
    lab.etcd
        .load(&peers.iter().map(Lease::entry).collect::<Vec<_>>(), None)?;
    Ok((lab, peers))
}

/// From exec to subnet.env, and to READY=1, which the daemon sends after it has read everything back from the kernel.
fn start(lab: &Lab, figures: &mut Figures) -> Result<Flanneld> {
    let env = lab.host(1).path(SUBNET_ENV);
    let started = Instant::now();
    // All leave in the end, which a daemon would not believe at first.
    let daemon = lab
        .host(1)
        .flanneld()
        .arg("-v=0")
        .arg("--removal-grace=0")
        .start()?;
    while !env.exists() {
        ensure!(started.elapsed() < SLOW, "no subnet.env: {}", daemon.log()?);
        std::thread::yield_now();
    }
    figures.time("join: from exec to subnet.env", started.elapsed());
    daemon.wait_ready()?;
    figures.time(
        "join: from exec to READY=1, all peers read back",
        started.elapsed(),
    );
    #[expect(clippy::cast_precision_loss, reason = "memory in MB needs no 52 bits")]
    figures.push(
        "join: resident memory",
        Unit::Memory,
        daemon.resident_bytes()? as f64 / 1e6,
    );
    Ok(daemon)
}

/// 1000 leases change their address, in 10 transactions.
fn burst(lab: &Lab, figures: &mut Figures) -> Result<()> {
    let leases: Vec<_> = (1..=1000)
        .map(|number| Lease::moved(number, "10.97").entry())
        .collect();
    let started = Instant::now();
    lab.etcd.load(&leases, None)?;
    let loaded = started.elapsed();
    wait_for_fdb(lab.host(1), "dst 10[.]97[.]", 1000)?;
    figures.time(
        "1000 changes in 10 transactions: until etcd has them",
        loaded,
    );
    figures.time(
        "1000 changes: until they are seen in the kernel",
        started.elapsed(),
    );
    Ok(())
}

fn wait_for_fdb(host: &Host, pattern: &str, count: usize) -> Result<()> {
    eventually(SLOW, "the FDB", || {
        let found = host.sh(&format!(
            "bridge fdb show dev flannel.1 | grep -c '{pattern}' || true"
        ))?;
        ensure!(found.trim() == count.to_string(), "{found}");
        Ok(())
    })
}

/// The same entries by the tools of iproute2.
fn by_batch(host: &Host, peers: &[Lease]) -> Result<Duration> {
    host.sh("ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472 nolearning; ip link set flannel.1 up")?;
    let (mut fdb, mut rest) = (String::new(), String::new());
    for (number, peer) in peers.iter().enumerate() {
        let Lease {
            subnet,
            vtep,
            public_ip,
            mac,
        } = peer;
        writeln!(
            fdb,
            "fdb replace {mac} dev flannel.1 dst {public_ip} self permanent"
        )?;
        writeln!(
            rest,
            "neigh replace {vtep} lladdr {mac} dev flannel.1 nud permanent"
        )?;
        writeln!(
            rest,
            "route replace {subnet} via {vtep} dev flannel.1 onlink metric {}",
            number + 1
        )?;
    }
    let started = Instant::now();
    host.finish(&["bridge", "-batch", "-"], &fdb)?.success()?;
    host.finish(&["ip", "-batch", "-"], &rest)?.success()?;
    let elapsed = started.elapsed();
    host.sh("ip link del flannel.1")?;
    Ok(elapsed)
}

/// The same entries by bare netlink, in a process of its own inside the host.
fn by_netlink(host: &Host, count: usize) -> Result<Duration> {
    host.sh("ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472 nolearning; ip link set flannel.1 up")?;
    let printed = host.run(&[&tool("bench")?, "raw", &count.to_string()])?;
    host.sh("ip link del flannel.1")?;
    Ok(Duration::from_secs_f64(
        printed.trim().parse::<f64>()? / 1000.0,
    ))
}
