//! Shows the main job: three hosts, a real etcd, `flanneld` on each, pods that reach each other. It fails unless everything
//! that it shows works. With `KEEP=1` it stays up until Enter is pressed. Needs root.

use std::io::{IsTerminal as _, stdin, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Flanneld, Host, Lab, Ping, Pod, in_lab};

fn main() -> Result<()> {
    let started = Instant::now();
    in_lab(3, |lab| {
        let mut overlay = join(lab)?;
        show_leases(lab)?;
        show_hosts(lab)?;
        ping_all(lab, &overlay.pods)?;
        answer_a_miss(lab, &overlay.pods)?;
        restart_under_load(lab, &mut overlay)?;
        leave_and_join(lab, &mut overlay)?;
        title("Everything worked");
        println!("    in {:.1} s", started.elapsed().as_secs_f64());
        keep(lab)
    })
}

/// What runs on the hosts, by number from 1.
struct Overlay {
    daemons: Vec<Flanneld>,
    pods: Vec<Pod>,
}

/// Writes the network's configuration and starts a daemon and a pod on each host.
fn join(lab: &Lab) -> Result<Overlay> {
    title("Three hosts on one network, an etcd, and the key that configures the overlay");
    for host in lab.hosts() {
        println!("    {:<8} {}", host.name(), host.address());
    }
    println!("    {:<8} {}\n", "etcd", lab.etcd.endpoint());
    command("etcd", &format!("etcdctl put {CONFIG_KEY} '{CONFIG}'"));
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    let mut daemons = Vec::new();
    for host in lab.hosts() {
        command(
            host.name(),
            "flanneld --etcd-endpoints=http://10.99.0.1:2379 --iface=eth0 --ip-masq",
        );
        let started = Instant::now();
        daemons.push(host.flanneld().start_ready()?);
        note(&format!(
            "READY=1 after {} ms",
            started.elapsed().as_millis()
        ));
    }
    lab.wait_for_mesh(&[1, 2, 3])?;
    let pods = lab
        .hosts()
        .iter()
        .map(start_pod)
        .collect::<Result<Vec<_>>>()?;
    Ok(Overlay { daemons, pods })
}

/// A bridge with the leased address, as Docker makes it, and a pod on it.
fn start_pod(host: &Host) -> Result<Pod> {
    host.docker0()?;
    host.pod()
}

fn show_leases(lab: &Lab) -> Result<()> {
    title("Each host has leased a subnet");
    command("etcd", "etcdctl get --prefix /coreos.com/network");
    indent(&lab.etcd.ctl(&["get", "--prefix", "/coreos.com/network"])?);
    Ok(())
}

fn show_hosts(lab: &Lab) -> Result<()> {
    for host in lab.hosts() {
        title(&format!("The overlay on {}", host.name()));
        for line in [
            "cat /run/flannel/subnet.env",
            "ip -d link show flannel.1",
            "ip -4 address show flannel.1",
            "ip route",
            "ip neigh show dev flannel.1",
            "bridge fdb show dev flannel.1",
        ] {
            run(host, line)?;
        }
    }
    title("The packet filter rules, and the setting that makes the kernel report misses");
    run(lab.host(1), "nft list table ip flannel.1")?;
    run(lab.host(1), "iptables -S FORWARD")?;
    run(
        lab.host(1),
        "cat /proc/sys/net/ipv4/neigh/flannel.1/app_solicit",
    )
}

fn ping_all(lab: &Lab, pods: &[Pod]) -> Result<()> {
    title("Every pod reaches every pod");
    println!(
        "    {:<24}{}",
        "round trip in ms",
        pods.iter()
            .map(|pod| format!("{:>14}", pod.address()))
            .collect::<String>()
    );
    for (from, host) in pods.iter().zip(lab.hosts()) {
        print!(
            "    {:<24}",
            format!("{} on {}", from.address(), host.name())
        );
        for to in pods {
            print!("{:>14}", round_trip(from, to)?);
        }
        println!();
    }
    Ok(())
}

/// One packet, which must be answered.
fn round_trip(from: &Pod, to: &Pod) -> Result<String> {
    let answer = from.run(&["ping", "-c1", "-W5", &to.address().to_string()])?;
    let time = answer
        .split("time=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    time.map(str::to_owned)
        .with_context(|| format!("no time in {answer:?}"))
}

/// Deletes the entries of a peer: the next packet makes the kernel ask, and waits for the answer.
fn answer_a_miss(lab: &Lab, pods: &[Pod]) -> Result<()> {
    title(
        "A miss: the kernel asks for an unknown neighbour, flanneld answers, and the packet is not lost",
    );
    let peer = lab.lease(2)?;
    let host = lab.host(1);
    run(
        host,
        &format!(
            "bridge fdb del {} dev flannel.1 dst {} self",
            peer.mac, peer.public_ip
        ),
    )?;
    run(host, &format!("ip neigh del {} dev flannel.1", peer.vtep))?;
    let time = round_trip(&pods[0], &pods[1])?;
    note(&format!("the first packet was answered after {time} ms"));
    run(host, "ip neigh show dev flannel.1")?;
    lab.wait_for_mesh(&[1, 2, 3]).map(drop)
}

fn restart_under_load(lab: &Lab, overlay: &mut Overlay) -> Result<()> {
    title("kill -9 and a restart, under a running ping");
    let ping = Ping::start(
        &overlay.pods[0],
        overlay.pods[1].address(),
        Duration::from_millis(10),
    )?;
    ping.wait_for_answer()?;
    for _ in 0..10 {
        overlay.daemons[0].kill()?;
        overlay.daemons[0] = lab.host(1).flanneld().start_ready()?;
    }
    let report = ping.finish()?;
    note(&format!(
        "10 restarts: {} packets sent, {} lost",
        report.sent,
        report.lost()
    ));
    ensure!(report.lost() == 0, "packets were lost: {report:?}");
    Ok(())
}

fn leave_and_join(lab: &mut Lab, overlay: &mut Overlay) -> Result<()> {
    title("host2 leaves, host4 joins");
    let left = lab.lease(2)?;
    overlay.daemons.remove(1).stop()?;
    overlay.pods.remove(1);
    command("etcd", &format!("etcdctl del {}", left.entry().0));
    lab.etcd.delete(&left.entry().0)?;
    lab.wait_for_mesh(&[1, 3])?;
    lab.add_host()?;
    command(
        "host4",
        "flanneld --etcd-endpoints=http://10.99.0.1:2379 --iface=eth0 --ip-masq",
    );
    overlay.daemons.push(lab.host(4).flanneld().start_ready()?);
    overlay.pods.push(start_pod(lab.host(4))?);
    lab.wait_for_mesh(&[1, 3, 4])?;
    run(lab.host(1), "ip route show dev flannel.1")?;
    run(lab.host(1), "bridge fdb show dev flannel.1")?;
    let time = round_trip(&overlay.pods[0], &overlay.pods[2])?;
    note(&format!(
        "the pod of host1 reaches that of host4 in {time} ms; no entry of host2 is left"
    ));
    Ok(())
}

fn keep(lab: &Lab) -> Result<()> {
    if std::env::var_os("KEEP").is_none_or(|keep| keep.is_empty() || keep == "0") {
        return Ok(());
    }
    title("The hosts stay up. To look around:");
    for host in lab.hosts() {
        println!(
            "    {:<9} nsenter -t {} -n -m -u bash",
            host.name(),
            host.pid()
        );
    }
    println!(
        "    {:<9} nsenter -t {} -n -m -u etcdctl get --prefix /coreos.com/network",
        "etcd",
        lab.underlay.pid()
    );
    println!("    {:<9} {}", "logs", lab.dir().display());
    println!("    Press Enter to remove everything.");
    stdin()
        .read_line(&mut String::new())
        .context("failed to read input")?;
    Ok(())
}

fn run(host: &Host, line: &str) -> Result<()> {
    command(host.name(), line);
    indent(&host.sh(line)?);
    Ok(())
}

fn title(text: &str) {
    println!("\n{}", colored("1", &format!("=== {text}")));
}

fn command(whom: &str, line: &str) {
    println!("{}", colored("36", &format!("  {whom}# {line}")));
}

fn note(text: &str) {
    println!("{}", colored("32", &format!("    {text}")));
}

fn indent(text: &str) {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .for_each(|line| println!("    {}", line.trim_end()));
}

/// Adds colour on a terminal.
fn colored(code: &str, text: &str) -> String {
    if stdout().is_terminal() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
