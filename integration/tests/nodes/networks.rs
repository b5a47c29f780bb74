//! Networks of Docker's users inside the subnet, in the two ways of docs/how-to/docker-networks.md.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use integration::node::BOOT;
use integration::package::in_repository;
use integration::{Node, QUICK, Rack, SLOW, eventually, messages};

use crate::support::{C, DOCKER_SINCE, settled, subnet, wait_until_inactive};
use crate::web::docker_version;

/// The nodes that have such networks; the third has docker0 alone.
const NODES: [usize; 2] = [1, 2];
/// Docker before this has no `--default-network-opt`.
const DOCKER_WITH_DEFAULT_OPTIONS: (u32, u32) = (24, 0);
const GUIDE: &str = "docs/how-to/docker-networks.md";

/// Prints the address of each client.
const SERVE: &str = "echo hello > /index.html; exec /bin/busybox httpd -f -vv -p 80 -h /";
const GET: &str =
    r#"exec 3<>"/dev/tcp/$0/80"; printf 'GET / HTTP/1.0\r\n\r\n' >&3; grep -q hello <&3"#;

/// A compose file as users write it, with no word about networks.
const COMPOSE: &str = r#"version: "3.5"
services:
  web:
    image: lab
    restart: always
    stop_signal: KILL
    command: ["/bin/sh", "-c", "SERVE"]
"#;

pub fn compose_has_networks_in_half_of_the_subnet(rack: &mut Rack) -> Result<()> {
    if docker_version(rack.node(1))? < DOCKER_WITH_DEFAULT_OPTIONS {
        return a_docker_that_is_too_old_is_not_restarted(rack);
    }
    let shell = block(1)?;
    for node in NODES.map(|number| rack.node(number)) {
        node.sh(&shell)?;
        wait_for_option(node, "--default-address-pool")?;
        let compose = COMPOSE.replace("SERVE", SERVE);
        node.sh_within(
            BOOT,
            &format!(
                "mkdir -p /root/shop; cat > /root/shop/compose.yml <<'END'\n{compose}END\n
                 cd /root/shop; docker-compose -f compose.yml up -d"
            ),
        )?;
    }
    let name = |node: &Node| {
        let name = node.sh("docker ps --format '{{.Names}}' --filter name=shop")?;
        anyhow::Ok(name.trim().to_owned())
    };
    let [first, second] = NODES.map(|number| name(rack.node(number)));
    all_is_well(rack, [&first?, &second?])?;
    for node in NODES.map(|number| rack.node(number)) {
        let address = address_of(node, &name(node)?)?;
        ensure!(
            address.octets()[3] > 128,
            "{address} is not in the second half"
        );
        // Of docker0's half, too.
        rack.node(3).run_in(
            C,
            &[
                "ping",
                "-c1",
                "-W5",
                &node.container_address(C)?.to_string(),
            ],
        )?;
        node.sh_within(BOOT, "cd /root/shop; docker-compose -f compose.yml down")?;
        back_to_docker0(node)?;
    }
    settled(rack)
}

/// It would end, and not start again.
fn a_docker_that_is_too_old_is_not_restarted(rack: &Rack) -> Result<()> {
    let node = rack.node(1);
    let before = (node.sh(DOCKER_SINCE)?, node.container_address(C)?);
    node.sh(&block(1)?)?;
    eventually(SLOW, "a message of flanneld-docker.service", || {
        let journal = node.sh("journalctl -b -o cat -p warning -u flanneld-docker")?;
        ensure!(
            journal.contains(messages::DOCKER_DOES_NOT_TAKE_THE_OPTIONS),
            "{journal}"
        );
        Ok(())
    })?;
    back_to_docker0(node)?;
    wait_until_inactive(node, "flanneld-docker.service")?;
    let after = (node.sh(DOCKER_SINCE)?, node.container_address(C)?);
    ensure!(after == before, "{before:?} became {after:?}");
    settled(rack)
}

pub fn a_network_of_ones_own_has_the_whole_subnet(rack: &mut Rack) -> Result<()> {
    let shell = block(2)?;
    for node in NODES.map(|number| rack.node(number)) {
        node.sh("docker rm --force pod")?;
        node.sh_within(BOOT, &shell)?;
        let run = |name: &str| {
            node.sh(&format!(
                "docker run --detach --restart=always --stop-signal=KILL --name={name} --network=pods \
                     lab /bin/sh -c '{SERVE}'"
            ))
        };
        run("own")?;
        // The network is kept.
        node.sh_within(BOOT, "systemctl restart docker")?;
    }
    all_is_well(rack, ["own", "own"])?;
    for node in NODES.map(|number| rack.node(number)) {
        node.sh("docker rm --force own; docker network rm pods")?;
        back_to_docker0(node)?;
        node.run_container(C)?;
    }
    settled(rack)
}

/// The block of shell commands with this number in the guide, counted from 1.
fn block(number: usize) -> Result<String> {
    let text = std::fs::read_to_string(in_repository(GUIDE))?;
    let block = text.split("```sh\n").nth(number);
    let block = block.and_then(|rest| rest.split("```").next());
    block
        .map(str::to_owned)
        .with_context(|| format!("{GUIDE} has no such block of commands"))
}

fn wait_for_option(node: &Node, option: &str) -> Result<()> {
    eventually(SLOW, format_args!("Docker to run with {option}"), || {
        node.sh(&format!(
            "grep -q -e '{option}' /run/flanneld-docker.env; systemctl --quiet is-active docker"
        ))
    })
    .map(drop)
}

fn back_to_docker0(node: &Node) -> Result<()> {
    node.sh("sed -i 's/^FLANNELD_DOCKER_NETWORKS=/#&/' /etc/default/flanneld; systemctl restart flanneld")?;
    let option = format!("--bip={} ", subnet(node)?);
    wait_for_option(node, &option)
}

fn address_of(node: &Node, container: &str) -> Result<Ipv4Addr> {
    let address = node.inspect(
        container,
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
    )?;
    address
        .parse()
        .with_context(|| format!("{container} has the address {address:?}"))
}

/// Both ways between containers of these names on [`NODES`]: the address, the MTU, a connection, and whom it comes from;
/// and the way out.
fn all_is_well(rack: &Rack, names: [&str; 2]) -> Result<()> {
    // It has no route to containers: only what is masqueraded is answered.
    let machine = rack.machine_outside()?;
    let internet = "192.168.56.200";
    let ends = [0, 1].map(|index| (rack.node(NODES[index]), names[index]));
    for ((node, name), (peer, peer_name)) in [(ends[0], ends[1]), (ends[1], ends[0])] {
        let (address, target) = (address_of(node, name)?, address_of(peer, peer_name)?);
        let prefix = subnet(node)?.replace(".1/24", ".");
        ensure!(
            address.to_string().starts_with(&prefix),
            "{address} is not in the subnet of {}",
            node.name()
        );
        let target = target.to_string();
        let ask = |argv: &[&str]| node.run_in(name, argv);
        eventually(QUICK, format_args!("{target} to answer {address}"), || {
            ask(&["ping", "-c1", "-W2", "-Mdo", "-s", "1422", &target])?;
            ask(&["timeout", "2", "bash", "-euc", GET, &target])
        })?;
        ensure!(
            ask(&["ping", "-c1", "-W2", "-Mdo", "-s", "1423", &target]).is_err(),
            "a packet that is too large passes"
        );
        let clients = peer.sh(&format!("docker logs {peer_name} 2>&1"))?;
        ensure!(
            clients.contains(&address.to_string()),
            "{address} asked: {clients}"
        );
        ask(&["ping", "-c1", "-W5", internet]).context("the way out")?;
        // A container of a node without such networks.
        rack.node(3).run_in(C, &["ping", "-c1", "-W5", &target])?;
    }
    drop(machine);
    Ok(())
}
