//! Who reaches which port of a container, with the rules of flanneld beside those of the node's Docker.

use anyhow::{Result, ensure};
use integration::Rack;

use crate::web::{Client, PUBLISHED, UNPUBLISHED, Web, docker_version, outside};

/// From here on, Docker drops what does not come from its bridge, and closes unpublished ports whatever the policy is.
const DOCKER_GUARDS_CONTAINERS: (u32, u32) = (28, 0);

pub fn members_reach_all_ports_of_containers_and_others_the_published_ones(
    rack: &mut Rack,
) -> Result<()> {
    let node = rack.node(2);
    let (major, minor) = docker_version(node)?;
    println!(
        "figure: nodes of {} have Docker {major}.{minor}",
        rack.suite
    );
    let web = Web::start(node)?;
    web.wait_until_open(rack, &outside(rack, node)?)?;
    web.remove()
}

/// With the policy that Docker sets where it turned forwarding on itself. Docker before 28 lets a machine in that routes here,
/// to published ports; that is not ours to change.
pub fn a_machine_outside_reaches_no_more_than_docker_allows(rack: &mut Rack) -> Result<()> {
    let node = rack.node(2);
    let machine = outside(rack, node)?;
    let stranger = Client::Outside(&machine);
    let web = Web::start(node)?;
    let policy = node.sh("iptables -S FORWARD | head -n 1")?;
    node.sh("iptables -P FORWARD DROP")?;
    web.wait_until_open(rack, &machine)?;
    let [ping, published, unpublished] = web.direct()?;
    stranger.does_not_reach(ping)?;
    stranger.does_not_reach(unpublished)?;
    if docker_version(node)? < DOCKER_GUARDS_CONTAINERS {
        stranger.reaches(published)?;
    } else {
        stranger.does_not_reach(published)?;
    }
    node.sh(&format!("iptables {policy}"))?;
    web.remove()
}

/// The administrator's own rules come before ours.
pub fn docker_user_holds_over_the_overlay_and_for_published_ports(rack: &mut Rack) -> Result<()> {
    let node = rack.node(2);
    let machine = outside(rack, node)?;
    let (member, stranger) = (Client::Container(rack.node(1)), Client::Outside(&machine));
    let web = Web::start(node)?;
    web.wait_until_open(rack, &machine)?;
    let over_the_overlay = format!("DOCKER-USER -i flannel.1 -p tcp --dport {UNPUBLISHED} -j DROP");
    let from_outside = format!("DOCKER-USER -i eth1 -p tcp --dport {PUBLISHED} -j DROP");
    node.sh(&format!(
        "iptables -I {over_the_overlay}; iptables -I {from_outside}"
    ))?;
    member.does_not_reach(web.port(UNPUBLISHED)?)?;
    member.reaches(web.port(PUBLISHED)?)?;
    stranger.does_not_reach(web.published())?;
    let packets = node.sh("iptables -vxnL DOCKER-USER")?;
    let dropped = packets
        .lines()
        .filter(|line| line.contains("DROP") && !line.trim_start().starts_with("0 "));
    ensure!(dropped.count() == 2, "{packets}");
    node.sh(&format!(
        "iptables -D {over_the_overlay}; iptables -D {from_outside}"
    ))?;
    web.wait_until_open(rack, &machine)?;
    web.remove()
}
