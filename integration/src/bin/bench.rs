//! Figures: how long a host takes to join a large overlay, to follow a burst of changes, to come back. Prints a table, and
//! the same as JSON lines. Machines differ: each figure stands beside a reference that was measured in the same run, the
//! same entries programmed by `ip -batch` and `bridge -batch`. Needs root. Judges nothing.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use integration::{CONFIG_KEY, Flanneld, Host, Lab, Member, SLOW, SUBNET_ENV, WIDE_CONFIG, eventually};

/// Peers that have a lease before the host joins.
const PEERS: u16 = 4000;
/// Runs of everything; the median counts.
const RUNS: usize = 5;

fn main() -> Result<()> {
    println!("{PEERS} peers, median of {RUNS} runs\n");
    println!("{:<58} {:>10} {:>22}", "what", "ms", "of ip/bridge -batch");
    let mut figures = Figures::default();
    for _ in 0..RUNS {
        run(&mut figures)?;
    }
    figures.print();
    Ok(())
}

fn run(figures: &mut Figures) -> Result<()> {
    let lab = Lab::new(2)?;
    lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
    let peers: Vec<Member> = (1..=PEERS).map(Member::invented).collect();
    lab.etcd.load(&peers.iter().map(Member::lease).collect::<Vec<_>>(), None)?;
    figures.add("reference", by_batch(lab.host(2), &peers)?);
    let joined = join(&lab, figures)?;
    figures.add_bytes("resident memory", joined.resident_bytes()?);
    burst(&lab, figures)?;
    joined.kill()?;
    let restarted = Instant::now();
    let _again = lab.host(1).flanneld().arg("-v=0").start_ready()?;
    figures.add("kill -9, then from exec to READY=1", restarted.elapsed());
    Ok(())
}

/// From exec to subnet.env, and to READY=1, which is said after all was read back from the kernel.
fn join(lab: &Lab, figures: &mut Figures) -> Result<Flanneld> {
    let env = lab.host(1).path(SUBNET_ENV);
    let started = Instant::now();
    let daemon = lab.host(1).flanneld().arg("-v=0").start()?;
    while !env.exists() {
        anyhow::ensure!(started.elapsed() < SLOW, "no subnet.env: {}", daemon.log()?);
        std::thread::yield_now();
    }
    figures.add("join: from exec to subnet.env", started.elapsed());
    daemon.wait_ready()?;
    figures.add("join: from exec to READY=1, all peers read back", started.elapsed());
    Ok(daemon)
}

/// 1000 leases change their address, in 10 transactions: from the last answer of etcd until the kernel has them all.
fn burst(lab: &Lab, figures: &mut Figures) -> Result<()> {
    let moved = |n| Member { public_ip: format!("10.97.{}.{}", n >> 8, n & 255), ..Member::invented(n) };
    let leases: Vec<_> = (1..=1000).map(|n| moved(n).lease()).collect();
    let started = Instant::now();
    lab.etcd.load(&leases, None)?;
    let loaded = started.elapsed();
    eventually(SLOW, "the burst in the kernel", || {
        let fdb = lab.host(1).sh("bridge fdb show dev flannel.1 | grep -c 'dst 10[.]97[.]'")?;
        anyhow::ensure!(fdb.trim() == "1000", "{fdb}");
        Ok(())
    })?;
    figures.add("1000 changes, 10 transactions: until etcd has them", loaded);
    figures.add("1000 changes: until they are seen in the kernel", started.elapsed());
    Ok(())
}

/// The same entries by the tools of iproute2.
fn by_batch(host: &Host, peers: &[Member]) -> Result<Duration> {
    host.sh("ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472 nolearning; ip link set flannel.1 up")?;
    let (mut fdb, mut rest) = (String::new(), String::new());
    for (number, peer) in peers.iter().enumerate() {
        let Member { subnet, vtep, public_ip, mac } = peer;
        writeln!(fdb, "fdb replace {mac} dev flannel.1 dst {public_ip} self permanent")?;
        writeln!(rest, "neigh replace {vtep} lladdr {mac} dev flannel.1 nud permanent")?;
        writeln!(rest, "route replace {subnet} via {vtep} dev flannel.1 onlink metric {}", number + 1)?;
    }
    let started = Instant::now();
    host.finish(&["bridge", "-batch", "-"], &fdb)?.success()?;
    host.finish(&["ip", "-batch", "-"], &rest)?.success()?;
    Ok(started.elapsed())
}

/// What was measured, in the order in which it was first named.
#[derive(Default)]
struct Figures {
    names: Vec<(&'static str, Vec<f64>)>,
}

impl Figures {
    fn add(&mut self, name: &'static str, time: Duration) {
        self.push(name, time.as_secs_f64() * 1000.0);
    }

    fn add_bytes(&mut self, name: &'static str, bytes: u64) {
        #[expect(clippy::cast_precision_loss, reason = "memory in MB needs no 52 bits")]
        self.push(name, bytes as f64 / 1e6);
    }

    fn push(&mut self, name: &'static str, value: f64) {
        match self.names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.names.push((name, vec![value])),
        }
    }

    fn median(&self, name: &str) -> Option<f64> {
        let mut values = self.names.iter().find(|(known, _)| *known == name)?.1.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    fn print(&self) {
        let reference = self.median("reference").unwrap_or(f64::NAN);
        for (name, _) in &self.names {
            let value = self.median(name).unwrap_or(f64::NAN);
            match *name {
                "resident memory" => println!("{:<58} {value:>8.1} MB", name),
                _ => println!("{:<58} {value:>10.1} {:>21.2}x", name, value / reference),
            }
        }
        println!();
        for (name, values) in &self.names {
            let median = self.median(name);
            println!("{}", serde_json::json!({"name": name, "median": median, "all": values}));
        }
    }
}
