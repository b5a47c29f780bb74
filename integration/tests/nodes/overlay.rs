//! What containers see of the overlay.

use anyhow::{Result, ensure};
use integration::{QUICK, Rack, SUBNETS, eventually};

use crate::support::{C, subnet};

/// Alone or first, it sends the first packets that cross the overlay.
pub fn the_first_ping_between_containers_of_any_two_nodes_is_answered(
    rack: &mut Rack,
) -> Result<()> {
    let addresses = rack
        .nodes()
        .iter()
        .map(|node| node.container_address(C))
        .collect::<Result<Vec<_>>>()?;
    for node in rack.nodes() {
        for address in &addresses {
            node.run_in(C, &["ping", "-c1", "-W5", &address.to_string()])?;
        }
    }
    Ok(())
}

pub fn docker_has_the_subnet_that_the_node_leased(rack: &mut Rack) -> Result<()> {
    let leases = rack.etcdctl(&format!("get --prefix {SUBNETS}"))?;
    for node in rack.nodes() {
        // Not the address that eth0, with the default route, has on every node.
        ensure!(
            leases.contains(&format!("\"PublicIP\":\"{}\"", node.address())),
            "{leases}"
        );
        let subnet = subnet(node)?;
        ensure!(
            leases.contains(&subnet.replace(".1/", ".0-")),
            "{subnet} {leases}"
        );
        let docker0 = node.sh("ip -4 address show dev docker0")?;
        ensure!(docker0.contains(&format!("inet {subnet} ")), "{docker0}");
        node.wait_running()?;
    }
    ensure!(
        leases.matches("\"PublicIP\"").count() == rack.nodes().len(),
        "{leases}"
    );
    Ok(())
}

/// 28 bytes of the 1450 are headers of IP and ICMP.
pub fn a_full_packet_passes_and_one_byte_more_does_not(rack: &mut Rack) -> Result<()> {
    let target = rack.node(2).container_address(C)?.to_string();
    let ping = |size| {
        rack.node(1)
            .run_in(C, &["ping", "-c1", "-W5", "-Mdo", "-s", size, &target])
    };
    ping("1422")?;
    let larger = ping("1423")
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(
        larger.contains("mtu"),
        "a packet that is too large: {larger}"
    );
    Ok(())
}

/// As vagrant/README.md shows it.
pub fn a_node_port_answers_through_the_node_that_was_asked(rack: &mut Rack) -> Result<()> {
    let web = "echo hello > /index.html; exec /bin/busybox httpd -f -p 80 -h /";
    rack.node(2)
        .sh(&format!("docker run -d --name=web lab /bin/sh -c '{web}'"))?;
    let pod = rack.node(2).container_address("web")?;
    let rule = format!("PREROUTING -p tcp --dport 28888 -j DNAT --to-destination {pod}:80");
    rack.node(1).sh(&format!("iptables -t nat -A {rule}"))?;
    let (client, asked) = (rack.node(3), rack.node(1).address());
    let get =
        format!("exec 3<>/dev/tcp/{asked}/28888; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    eventually(QUICK, "the web server", || {
        let page = client.sh(&format!("timeout 3 bash -c \"{get}\""))?;
        ensure!(page.contains("hello"), "{page}");
        Ok(())
    })?;
    rack.node(1).sh(&format!("iptables -t nat -D {rule}"))?;
    rack.node(2).sh("docker rm --force web").map(drop)
}
