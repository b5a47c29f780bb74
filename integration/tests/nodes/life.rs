//! Boots of a node.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Result, ensure};
use integration::node::BOOT;
use integration::{Node, Rack, SLOW, messages};

use crate::support::{C, subnet, wait_for_ping, wait_for_status};

/// The subnet, the VTEP MAC and the address of the container.
fn addresses(node: &Node) -> Result<(String, String, Ipv4Addr)> {
    let mac = node.sh("cat /sys/class/net/flannel.1/address")?;
    Ok((subnet(node)?, mac, node.container_address(C)?))
}

/// The device and the FDB of a node.
fn entries(node: &Node) -> Result<String> {
    node.sh("ip link show flannel.1; bridge fdb show dev flannel.1")
}

pub fn a_reboot_keeps_addresses_and_changes_nothing_on_peers(rack: &mut Rack) -> Result<()> {
    let before = addresses(rack.node(1))?;
    let entries_before = entries(rack.node(2))?;
    // Not IPv6, whose multicast neighbours come and go by themselves.
    let monitor =
        rack.node(2)
            .netns()?
            .start(&["ip", "-4", "monitor", "route", "neigh"], &[], "monitor")?;
    rack.node_mut(1).power_off()?;
    let power_on = Instant::now();
    rack.node_mut(1).boot()?;
    wait_for_ping(rack.node(2), before.2, BOOT)?;
    println!(
        "figure: boot to first ping of a container: {:.1} s",
        power_on.elapsed().as_secs_f64()
    );
    let node = rack.node(1);
    node.wait_running()?;
    let after = addresses(node)?;
    ensure!(after == before, "{before:?} became {after:?}");
    let events = monitor.log()?;
    ensure!(
        !events.contains("flannel.1") && entries(rack.node(2))? == entries_before,
        "a peer changed something: {events}"
    );
    Ok(())
}

pub fn a_boot_without_etcd_brings_containers_up(rack: &mut Rack) -> Result<()> {
    rack.etcd.sh("systemctl stop etcd")?;
    let (subnet_before, target) = (subnet(rack.node(1))?, rack.node(2).container_address(C)?);
    rack.node_mut(1).reboot()?;
    let node = rack.node(1);
    node.wait_running()?;
    ensure!(subnet(node)? == subnet_before);
    wait_for_ping(node, target, SLOW)?;
    let status = node.sh("systemctl show flanneld -P StatusText")?;
    ensure!(status.contains(messages::DEGRADED), "{status}");
    rack.etcd.sh("systemctl start etcd")?;
    wait_for_status(node, messages::READY)
}
