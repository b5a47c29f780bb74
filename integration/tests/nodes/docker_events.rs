//! What happens to Docker, its rules and its containers, while packets pass.

use std::time::Instant;

use anyhow::{Result, ensure};
use integration::node::BOOT;
use integration::{Node, Rack, SLOW, eventually};

use crate::firewall::{BACK_TO_NFT, TO_LEGACY};
use crate::support::{C, lose_nothing, lose_nothing_between, wait_for_ping};
use crate::web::{Web, outside};

/// The node that something happens to.
const DISTURBED: usize = 2;
/// Pings that have no end on that node's containers.
const ELSEWHERE: &[(usize, usize)] = &[(1, 3), (3, 1)];
/// All pings between two nodes that this node's containers take part in, and some.
const EVERYWHERE: &[(usize, usize)] = &[(1, 2), (2, 3), (3, 1)];

/// Docker's drops in raw go along, and come back with the next start of a container: ours must be there by then.
pub fn flushing_the_raw_table_loses_no_packet(rack: &mut Rack) -> Result<()> {
    let node = rack.node(DISTURBED);
    let web = Web::start(node)?;
    let machine = outside(rack, node)?;
    lose_nothing(rack, "iptables -t raw -F", || {
        flush_raw(node, "iptables")?;
        node.sh("docker restart web")?;
        web.wait_until_open(rack, &machine)
    })?;
    web.remove()
}

fn flush_raw(node: &Node, iptables: &str) -> Result<()> {
    node.sh(&format!("{iptables} -t raw -F"))?;
    let flushed = Instant::now();
    eventually(SLOW, "our accept to be in front of Docker's drops", || {
        let chain = node.sh(&format!("{iptables} -t raw -S PREROUTING"))?;
        let before = chain.split_once("-j FLANNEL-RAW-DOCKER");
        ensure!(
            before.is_some_and(|(before, _)| !before.contains("DROP")),
            "{chain}"
        );
        Ok(())
    })?;
    let milliseconds = flushed.elapsed().as_millis();
    println!("figure: {iptables} -t raw -F: our accept is back after {milliseconds} ms");
    Ok(())
}

pub fn a_restarted_container_and_a_new_network_disturb_nobody(rack: &mut Rack) -> Result<()> {
    let node = rack.node(DISTURBED);
    let web = Web::start(node)?;
    let machine = outside(rack, node)?;
    lose_nothing(rack, "docker restart, docker network create", || {
        node.sh("docker restart web")?;
        right_again(rack, "docker restart", || {
            web.wait_until_open(rack, &machine)
        })?;
        node.sh(
            "docker network create other; docker run --rm --network=other lab /bin/busybox true",
        )?;
        web.wait_until_open(rack, &machine)?;
        node.sh("docker network rm other").map(drop)
    })?;
    web.remove()
}

/// The containers of the node end, and start again.
pub fn a_restart_of_docker_disturbs_no_other_node(rack: &mut Rack) -> Result<()> {
    restarts_with_keys(rack, "restart of Docker", "{}", ELSEWHERE)
}

pub fn a_restart_of_docker_with_live_restore_loses_no_packet(rack: &mut Rack) -> Result<()> {
    let keys = r#"{"live-restore": true}"#;
    restarts_with_keys(rack, "restart of Docker, live-restore", keys, EVERYWHERE)
}

/// Its rules in nat are others then.
pub fn without_the_userland_proxy_all_is_reached(rack: &mut Rack) -> Result<()> {
    let keys = r#"{"userland-proxy": false}"#;
    restarts_with_keys(
        rack,
        "restart of Docker, userland-proxy=false",
        keys,
        ELSEWHERE,
    )
}

/// Restarts the Docker of a node that has these keys in daemon.json, while others ping.
fn restarts_with_keys(rack: &Rack, what: &str, keys: &str, paths: &[(usize, usize)]) -> Result<()> {
    let node = rack.node(DISTURBED);
    let web = Web::start(node)?;
    let machine = outside(rack, node)?;
    // A reload is enough for live-restore, which has to be in force before the restart.
    node.sh(&format!(
        "mkdir -p /etc/docker; echo '{keys}' > /etc/docker/daemon.json; systemctl reload docker"
    ))?;
    lose_nothing_between(rack, paths, what, || {
        node.sh_within(BOOT, "systemctl restart docker")?;
        right_again(rack, what, || web.wait_until_open(rack, &machine))
    })?;
    web.remove()?;
    node.sh_within(BOOT, "rm /etc/docker/daemon.json; systemctl restart docker")
        .map(drop)
}

/// Waits until the container that the disturbed node has answers others, then for all the rest.
fn right_again(rack: &Rack, what: &str, rest: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    let node = rack.node(DISTURBED);
    let address = eventually(SLOW, "the container to run", || node.container_address(C))?;
    wait_for_ping(rack.node(1), address, SLOW)?;
    let answered = started.elapsed().as_millis();
    rest()?;
    println!("figure: {what}: a container of the node answers {answered} ms after the command");
    Ok(())
}

/// Docker's chains and ours are in the older variety then.
pub fn with_iptables_legacy_all_is_reached(rack: &mut Rack) -> Result<()> {
    let node = rack.node(DISTURBED);
    node.sh_within(BOOT, TO_LEGACY)?;
    let web = Web::start(node)?;
    let machine = outside(rack, node)?;
    right_again(rack, "change to iptables-legacy", || {
        web.wait_until_open(rack, &machine)
    })?;
    lose_nothing(rack, "iptables-legacy -t raw -F", || {
        flush_raw(node, "iptables-legacy")?;
        node.sh("docker restart web")?;
        web.wait_until_open(rack, &machine)
    })?;
    web.remove()?;
    node.sh_within(BOOT, BACK_TO_NFT).map(drop)
}
