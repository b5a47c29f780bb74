//! First packets, and what floods cost.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Flanneld, Host, Lab, Pod, QUICK, eventually, tool};

use crate::figures::{Figures, Unit};

/// Fills the table of first packets and floods.
pub(crate) fn all(figures: &mut Figures) -> Result<()> {
    first_packets(figures)?;
    frames(figures)?;
    scan(figures)
}

fn two_pods(peers: &str) -> Result<(Lab, Vec<Flanneld>, Pod, Pod)> {
    let lab = Lab::new(2)?;
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    let start = |host: &Host| host.flanneld().arg(peers).arg("-v=0").start_ready();
    let daemons = lab.hosts().iter().map(start).collect::<Result<Vec<_>>>()?;
    eventually(QUICK, "each other", || {
        ensure!(
            lab.hosts()
                .iter()
                .all(|host| host.fdb("flannel.1").is_ok_and(|fdb| fdb.len() == 1))
        );
        Ok(())
    })?;
    lab.hosts().iter().try_for_each(Host::docker0)?;
    let (from, to) = (lab.host(1).pod()?, lab.host(2).pod()?);
    Ok((lab, daemons, from, to))
}

fn round_trip(from: &Pod, to: &str) -> Result<Option<Duration>> {
    let answer = from.finish(&["ping", "-c1", "-W2", to], "")?.stdout;
    let time = answer
        .split("time=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    Ok(time
        .map(str::parse::<f64>)
        .transpose()?
        .map(|ms| Duration::from_secs_f64(ms / 1000.0)))
}

/// On demand: 200 addresses, two packets to each.
fn first_packets(figures: &mut Figures) -> Result<()> {
    let (_lab, _daemons, from, to) = two_pods("--peers=on-demand")?;
    let base = to.address().octets();
    let mut lost = 0;
    for last in 10..210u8 {
        let address = format!("{}.{}.{}.{last}", base[0], base[1], base[2]);
        to.run(&[
            "ip",
            "address",
            "add",
            &format!("{address}/32"),
            "dev",
            "eth0",
        ])?;
        // The peer's bridge learns the pod's address by ARP; that is not what is measured.
        to.run(&[
            "ping",
            "-c1",
            "-W1",
            "-I",
            &address,
            &format!("{}.{}.{}.1", base[0], base[1], base[2]),
        ])?;
        match round_trip(&from, &address)? {
            Some(time) => figures.time("first packet to a pod, through a miss: round trip", time),
            None => lost += 1,
        }
        figures.time(
            "second packet: round trip",
            round_trip(&from, &address)?.context("the second packet is lost")?,
        );
    }
    figures.push("first packets lost, of 200", Unit::Count, f64::from(lost));
    Ok(())
}

/// CPU of the daemon while a flood runs, after its first second.
fn share(daemon: &Flanneld, running: impl Fn() -> bool) -> Result<f64> {
    let started = Instant::now();
    eventually(QUICK, "the first second", || {
        ensure!(started.elapsed() > Duration::from_secs(1));
        Ok(())
    })?;
    let (since, cpu) = (Instant::now(), daemon.cpu_time()?);
    eventually(Duration::from_secs(60), "the end of the flood", || {
        ensure!(!running());
        Ok(())
    })?;
    Ok(
        daemon.cpu_time()?.saturating_sub(cpu).as_secs_f64() / since.elapsed().as_secs_f64()
            * 100.0,
    )
}

/// Frames to an unknown MAC address, past the neighbour table: the driver reports a miss for each.
fn frames(figures: &mut Figures) -> Result<()> {
    let (lab, daemons, _, _) = two_pods("--peers=eager")?;
    let line = [
        &tool("flood")?,
        "frames",
        "flannel.1",
        "02:66:66:66:66:66",
        "5",
    ];
    let flood = lab.host(1).start(&line, &[], "flood")?;
    let share = share(&daemons[0], || flood.is_running())?;
    let sent: f64 = flood.log()?.trim().parse()?;
    figures.push("flood of frames: per second", Unit::Count, sent / 5.0);
    figures.push("flood of frames: daemon", Unit::Core, share);
    Ok(())
}

/// 20,000 unused addresses, each second.
fn scan(figures: &mut Figures) -> Result<()> {
    let (lab, daemons, _, _) = two_pods("--peers=on-demand")?;
    let script = format!(
        "for round in 1 2 3 4; do {} scan 10.5.0.1 20000; sleep 1; done",
        tool("flood")?
    );
    let flood = lab.host(1).start(&["sh", "-c", &script], &[], "scan")?;
    let share = share(&daemons[0], || flood.is_running())?;
    figures.push(
        "scans of 20,000 addresses, a second apart: daemon",
        Unit::Core,
        share,
    );
    Ok(())
}
