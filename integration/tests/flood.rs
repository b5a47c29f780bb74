//! Floods of packets to unknown addresses must not stop packets to known ones, nor load the daemon, nor fill its log. Needs
//! root.

use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Host, Lab, Lease, Pod, Process, QUICK, eventually, in_lab,
    messages, tool,
};

/// The table of neighbours is one for the whole machine: floods wait for each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Two hosts with a pod on each; the peer of the first is answered too.
fn two_pods(lab: &Lab, peers: &str) -> Result<(Vec<Flanneld>, Pod, Pod, Lease)> {
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    let start = |host: &Host| host.flanneld().arg(peers).arg("-v=0").start_ready();
    let daemons = lab.hosts().iter().map(start).collect::<Result<Vec<_>>>()?;
    let peer = lab.lease(2)?;
    eventually(QUICK, "each other", || {
        ensure!(
            lab.host(1).fdb("flannel.1")?.len() == 1 && lab.host(2).fdb("flannel.1")?.len() == 1
        );
        Ok(())
    })?;
    let (from, to) = lab.two_pods()?;
    Ok((daemons, from, to, peer))
}

/// While the flood runs: a first packet is answered each time, and the daemon leaves the machine to others (`make bench` has
/// the figures of a release build).
fn ensure_calm(
    lab: &Lab,
    daemon: &Flanneld,
    flood: &Process,
    first_packet: impl Fn() -> Result<()>,
) -> Result<()> {
    let (mut slowest, mut tries) = (Duration::ZERO, 0);
    let (started, cpu) = (Instant::now(), daemon.cpu_time()?);
    while flood.is_running() {
        let asked = Instant::now();
        first_packet()?;
        slowest = slowest.max(asked.elapsed());
        tries += 1;
    }
    let share =
        (daemon.cpu_time()?.saturating_sub(cpu)).as_secs_f64() / started.elapsed().as_secs_f64();
    println!(
        "{tries} first packets, the slowest after {slowest:?}, its process included; daemon: {:.1} % of a core",
        share * 100.0
    );
    println!("packets sent: {}", flood.log()?.trim());
    ensure!(tries > 2, "the flood was over too soon");
    ensure!(
        share < 0.8,
        "the daemon takes {:.0} % of a core",
        share * 100.0
    );
    let log = daemon.log()?;
    // The test deletes an entry again and again; the daemon may log repairs of it now and then.
    let after = log.lines().skip_while(|line| !line.contains(" ready"));
    let said = after
        .filter(|line| {
            !line.contains(messages::IP_NEIGH_REPLACE) && !line.contains(messages::KERNEL_HOLDS_ALL)
        })
        .count();
    ensure!(said <= 3, "it logs too much:\n{log}");
    lab.host(1).fdb("flannel.1").map(drop)
}

/// Makes the kernel ask again. It may have forgotten the address itself, while its table was full.
fn forget_neighbour(host: &Host, address: Ipv4Addr) {
    let _ = host.sh(&format!("ip neigh del {address} dev flannel.1"));
}

#[test]
fn a_flood_to_an_unknown_mac_address() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    in_lab(2, |lab| {
        let (daemons, from, to, peer) = two_pods(lab, "--peers=eager")?;
        let flood = tool("flood")?;
        let flood = lab.host(1).start(
            &[&flood, "frames", "flannel.1", "02:66:66:66:66:66", "4"],
            &[],
            "flood",
        )?;
        ensure_calm(lab, &daemons[0], &flood, || {
            forget_neighbour(lab.host(1), peer.vtep);
            from.run(&["ping", "-c1", "-W5", &to.address().to_string()])
                .map(drop)
        })
    })
}

#[test]
fn a_scan_of_twenty_thousand_unused_addresses() -> Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    in_lab(2, |lab| {
        let (daemons, from, to, _) = two_pods(lab, "--peers=on-demand")?;
        let scan = format!(
            "for round in 1 2 3 4; do {} scan 10.5.0.1 20000; sleep 1; done",
            tool("flood")?
        );
        let flood = lab.host(1).start(&["sh", "-c", &scan], &[], "scan")?;
        ensure_calm(lab, &daemons[0], &flood, || {
            forget_neighbour(lab.host(1), to.address());
            // At the height of the scan the kernel's table of neighbours is full (gc_thresh3, 1024 for the whole machine) and
            // takes no question at all, until the daemon has made room.
            eventually(QUICK, "an answer", || {
                from.run(&["ping", "-c1", "-W1", &to.address().to_string()])
                    .map(drop)
            })
        })
    })
}
