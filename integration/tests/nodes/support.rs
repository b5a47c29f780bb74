//! What the tests of nodes share: a container on each node, and the ping that must not lose a packet.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::{Node, Ping, QUICK, Rack, SLOW, eventually, messages};

/// Between two packets of a ping: what takes longer than this is noticed.
const TICK: Duration = Duration::from_millis(10);
/// The container of each node.
pub const C: &str = "pod";
/// Starts of Docker, by which a restart shows.
pub const DOCKER_SINCE: &str = "systemctl show docker -P ActiveEnterTimestampMonotonic -P MainPID";

/// Starts a container on each node.
pub fn prepare(rack: &Rack) -> Result<()> {
    rack.nodes()
        .iter()
        .try_for_each(|node| node.run_container(C).map(drop))
}

/// Waits until each node runs, its daemon is ready, and its container has an address.
pub fn settled(rack: &Rack) -> Result<()> {
    for node in rack.nodes() {
        node.wait_running()?;
        eventually(SLOW, format_args!("{} to be ready", node.name()), || {
            let status = node.sh("flanneld status")?;
            ensure!(status.contains(messages::STATUS_READY), "{status}");
            node.container_address(C)
        })?;
    }
    Ok(())
}

/// The subnet that the node leased, as the address of its bridge.
pub fn subnet(node: &Node) -> Result<String> {
    let subnet = node.sh(". /run/flannel/subnet.env; echo $FLANNEL_SUBNET")?;
    Ok(subnet.trim().to_owned())
}

/// The process id of the daemon.
pub fn main_pid(node: &Node) -> Result<u32> {
    let pid = node.sh("systemctl show flanneld -P MainPID")?;
    Ok(pid.trim().parse()?)
}

/// Waits until another process than `old` is the daemon, and ready.
pub fn wait_for_successor(node: &Node, old: u32) -> Result<()> {
    eventually(SLOW, "the next daemon", || {
        let state = node.sh("systemctl show flanneld -P ActiveState")?;
        ensure!(
            state.trim() == "active" && main_pid(node)? != old,
            "flanneld is {state}"
        );
        Ok(())
    })
}

/// Pings from each node to the next while `act` runs. No packet may be lost, and neither Docker nor a container may restart.
pub fn lose_nothing(rack: &Rack, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = starts(rack)?;
    let last = rack.nodes().len();
    let paths: Vec<(usize, usize)> = (1..=last).map(|from| (from, from % last + 1)).collect();
    lose_nothing_between(rack, &paths, what, act)?;
    ensure!(
        starts(rack)? == before,
        "{what}: Docker or a container was restarted"
    );
    Ok(())
}

/// Runs `act` while each pair of nodes pings between its containers, and fails if a packet is lost.
pub fn lose_nothing_between(
    rack: &Rack,
    paths: &[(usize, usize)],
    what: &str,
    act: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let pings = paths
        .iter()
        .map(|&(from, to)| {
            let target = rack.node(to).container_address(C)?;
            rack.node(from).ping_from(C, target, TICK)
        })
        .collect::<Result<Vec<Ping>>>()?;
    pings.iter().try_for_each(Ping::wait_for_answer)?;
    act().with_context(|| what.to_owned())?;
    pings.iter().try_for_each(Ping::wait_for_answer)?;
    let (mut sent, mut lost) = (0, 0);
    for ping in pings {
        let report = ping.finish()?;
        sent += report.sent;
        lost += report.lost();
    }
    println!("figure: {what}: {lost} of {sent} packets lost");
    ensure!(lost == 0, "{what}: {lost} of {sent} packets lost");
    Ok(())
}

/// When Docker and the container of each node were started.
fn starts(rack: &Rack) -> Result<Vec<String>> {
    rack.nodes()
        .iter()
        .map(|node| Ok(node.sh(DOCKER_SINCE)? + &node.inspect(C, "{{.State.StartedAt}}")?))
        .collect()
}

/// The first block of shell commands in a file of the documentation.
pub fn recipe(file: &str) -> Result<String> {
    let text = std::fs::read_to_string(integration::package::in_repository(file))?;
    let block = text
        .split("```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    block
        .map(str::to_owned)
        .with_context(|| format!("{file} has no block of shell commands"))
}

/// Waits until a node's daemon tells systemd this status.
pub fn wait_for_status(node: &Node, status: &str) -> Result<()> {
    eventually(SLOW, format_args!("the status {status:?}"), || {
        let found = node.sh("systemctl show flanneld -P StatusText")?;
        ensure!(found.trim() == status, "{found}");
        Ok(())
    })
}

/// Makes a node what it was when it had just been provisioned.
pub fn provision(rack: &Rack, node: &Node, package: &str) -> Result<()> {
    let etcd = rack.etcd.address();
    node.sh_within(
        integration::node::BOOT,
        &format!("bash /root/provision.sh node {package} {etcd}"),
    )
    .map(drop)
}

/// Waits until a container answers another node, which needs the network and Docker.
pub fn wait_for_ping(from: &Node, address: Ipv4Addr, deadline: Duration) -> Result<()> {
    let address = address.to_string();
    eventually(deadline, format_args!("an answer from {address}"), || {
        from.run_in(C, &["ping", "-c1", "-W1", &address]).map(drop)
    })
}

/// Waits until a unit that was started for a moment has ended.
pub fn wait_until_inactive(node: &Node, unit: &str) -> Result<()> {
    eventually(QUICK, format_args!("the end of {unit}"), || {
        let state = node.sh(&format!("systemctl show {unit} -P ActiveState"))?;
        ensure!(state.starts_with("inactive"), "{state}");
        Ok(())
    })
}
