//! Two hosts with a pod each that ping one another while something is done to the first host, and what came of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{Flanneld, FlanneldCommand, Host, Lab, Lease, Ping, Pod, QUICK, eventually};

/// Leaves the subnets from 10.5.100.0 on to peers that a test invents.
const CONFIG: &str = r#"{"Network":"10.5.0.0/16","SubnetMax":"10.5.99.0"}"#;

/// What pods may lose beyond what the underlay itself loses, with some room for a busy machine.
const MOST: Duration = Duration::from_millis(300);
const INTERVAL: Duration = Duration::from_millis(10);

/// The daemons and pods of two hosts.
pub struct Pair {
    pub daemon: Flanneld,
    _other: Flanneld,
    pods: (Pod, Pod),
    /// The lease of the first host at the start.
    pub lease: Lease,
}

/// How a disturbance went.
pub struct Outcome {
    /// Packets lost in each direction.
    lost: [u64; 2],
}

/// Starts both hosts; `options` changes the command line of the first.
pub fn start(
    lab: &Lab,
    options: impl FnOnce(FlanneldCommand<'_>) -> FlanneldCommand<'_>,
) -> Result<Pair> {
    lab.etcd.put(integration::CONFIG_KEY, CONFIG)?;
    lab.host(1)
        .sh("sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1")?;
    let first = lab.host(1).flanneld();
    let first = options(first).args(&["--healthz-ip=127.0.0.1", "--healthz-port=8080"]);
    let daemon = first.start()?;
    let other = lab.host(2).flanneld().start_ready()?;
    daemon.wait_ready()?;
    let lease = eventually(QUICK, "the lease of host 1", || {
        let other = lab.lease(2)?;
        let mut leases = lab.etcd.leases()?;
        leases.retain(|lease| lease.subnet != other.subnet);
        ensure!(leases.len() == 1, "{leases:?}");
        lab.host(1).wait_for_route(&other)?;
        lab.host(2).wait_for_route(&leases[0])?;
        Ok(leases.remove(0))
    })?;
    let pods = lab.two_pods()?;
    Ok(Pair {
        daemon,
        _other: other,
        pods,
        lease,
    })
}

impl Pair {
    /// Pings both ways, does something to the first host, waits until `right` holds and packets pass both ways again, and
    /// prints the figures.
    pub fn disturb(
        &self,
        what: &str,
        disturbance: impl FnOnce() -> Result<()>,
        mut right: impl FnMut() -> Result<()>,
    ) -> Result<Outcome> {
        let (one, two) = &self.pods;
        let pings = [
            Ping::start(one, two.address(), INTERVAL)?,
            Ping::start(two, one.address(), INTERVAL)?,
        ];
        pings.iter().try_for_each(Ping::wait_for_answer)?;
        disturbance()?;
        let started = Instant::now();
        eventually(QUICK, what, &mut right)?;
        let right_after = started.elapsed();
        pings.iter().try_for_each(Ping::wait_for_answer)?;
        let mut lost = [0; 2];
        let mut gaps = [Duration::ZERO; 2];
        for (number, ping) in pings.into_iter().enumerate() {
            let report = ping.finish()?;
            (lost[number], gaps[number]) = (report.lost(), report.max_gap());
        }
        println!(
            "figure: {what}: {} and {} of the packets lost at one each 10 ms, longest gaps {} and {} ms, right after {} ms",
            lost[0],
            lost[1],
            gaps[0].as_millis(),
            gaps[1].as_millis(),
            right_after.as_millis()
        );
        Ok(Outcome { lost })
    }

    /// Checks that the device of the first host uses this address and interface, that its lease has this PublicIP under the
    /// same subnet, and that the other host sends there.
    pub fn ensure_reached_at(&self, lab: &Lab, address: &str, interface: &str) -> Result<()> {
        let link = lab.host(1).link("flannel.1")?;
        ensure!(link.text("local") == Some(address), "{link:?}");
        ensure!(link.text("link") == Some(interface), "{link:?}");
        let lease = lab.etcd.lease_at(address)?;
        ensure!(
            lease.subnet == self.lease.subnet && lease.mac == self.lease.mac,
            "{lease:?}"
        );
        let fdb = lab.host(2).fdb("flannel.1")?;
        ensure!(
            fdb.len() == 1 && fdb[0].dst.as_deref() == Some(address),
            "{fdb:?}"
        );
        Ok(())
    }

    /// Checks that the daemon of the first host answers `/readyz` so: a status, and a part of the text.
    pub fn ensure_readyz(&self, lab: &Lab, status: &str, text: &str) -> Result<()> {
        ensure_readyz(lab.host(1), status, text)
    }
}

/// Checks that the daemon of a host answers `/readyz` so: a status, and a part of the text.
pub fn ensure_readyz(host: &Host, status: &str, text: &str) -> Result<()> {
    let ask =
        "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let answer = host.run(&["bash", "-c", ask])?;
    ensure!(answer.contains(status) && answer.contains(text), "{answer}");
    Ok(())
}

impl Outcome {
    /// Checks that pods lost no more than the underlay and a moment.
    pub fn ensure_short(&self) -> Result<()> {
        let most = (MOST.as_millis() / INTERVAL.as_millis()) as u64;
        ensure!(
            self.lost.iter().all(|lost| *lost <= most),
            "{:?} packets lost",
            self.lost
        );
        Ok(())
    }
}

/// Gives the first host a second interface, eth1 with 10.98.1.1/16, on a network from which the gateway 10.98.0.1 leads to
/// the first one.
pub fn add_second_interface(lab: &Lab) -> Result<()> {
    let pid = lab.host(1).pid();
    lab.underlay.sh(&format!(
        "ip link add br1 type bridge
         ip address add 10.98.0.1/16 dev br1
         ip link set br1 up
         ip link add second type veth peer name eth1 netns {pid}
         ip link set second master br1 up"
    ))?;
    lab.host(1).sh("ip address add 10.98.1.1/16 dev eth1
         ip link set eth1 up
         ip route add default via 10.98.0.1 metric 200")?;
    Ok(())
}
