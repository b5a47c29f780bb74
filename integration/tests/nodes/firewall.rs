//! The packet filter on a node: of firewalld and of ufw, and one without nft whose iptables takes a lock that belongs to
//! root.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use integration::node::BOOT;
use integration::{Node, Rack, SLOW, eventually, messages};

use crate::support::{C, wait_for_ping};

/// With the drop-in that the package offers. Docker's chains go along: where they are decides which iptables it is.
pub const TO_LEGACY: &str =
    "systemctl stop docker.socket docker; nft flush ruleset; mv /usr/sbin/nft /usr/sbin/nft.away
    update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy
    install -D -m 0644 /usr/share/doc/flanneld/iptables-legacy.conf \
        /etc/systemd/system/flanneld.service.d/iptables-legacy.conf
    systemctl daemon-reload; systemctl restart flanneld; systemctl start docker";

pub const BACK_TO_NFT: &str = "systemctl stop docker.socket docker flanneld
    for table in filter nat mangle raw; do iptables-legacy -t $table -F; iptables-legacy -t $table -X; done
    iptables-legacy -P FORWARD ACCEPT
    mv /usr/sbin/nft.away /usr/sbin/nft; update-alternatives --quiet --set iptables /usr/sbin/iptables-nft
    rm /etc/systemd/system/flanneld.service.d/iptables-legacy.conf
    systemctl daemon-reload; systemctl start flanneld; systemctl start docker";

pub fn iptables_legacy_works_without_root(rack: &mut Rack) -> Result<()> {
    let node = rack.node(3);
    node.sh(TO_LEGACY)?;
    let rules =
        node.sh("iptables-legacy -S FLANNEL-FWD; iptables-legacy -t nat -S FLANNEL-POSTRTG")?;
    ensure!(
        rules.contains("ACCEPT") && rules.contains("MASQUERADE"),
        "{rules}"
    );
    // Docker came after us and put its own first: that is found by polling. Only the administrator's rules come before ours.
    eventually(SLOW, "our accept to be right behind DOCKER-USER", || {
        let chain = node.sh("iptables-legacy -S FORWARD")?;
        let first = chain
            .lines()
            .find(|line| line.starts_with("-A") && !line.ends_with("-j DOCKER-USER"))
            .unwrap_or_default();
        ensure!(first.ends_with("-j FLANNEL-FWD"), "{chain}");
        Ok(())
    })?;
    let process = node.sh(
        "ps -o user= -p $(systemctl show flanneld -P MainPID); systemd-analyze security flanneld",
    )?;
    ensure!(
        process.starts_with("flanneld") && !process.contains("UNSAFE"),
        "{process}"
    );
    node.sh(BACK_TO_NFT).map(drop)
}

pub fn firewalld_is_named_and_cured_by_the_commands_of_the_message(rack: &mut Rack) -> Result<()> {
    let start = "systemctl start firewalld";
    let stop = "systemctl stop firewalld; rm -f /etc/firewalld/zones/*; systemctl restart docker";
    is_named_and_cured(rack, "firewalld", start, stop)
}

pub fn ufw_is_named_and_cured_by_the_commands_of_the_message(rack: &mut Rack) -> Result<()> {
    let stop = "ufw --force reset; ufw --force disable; rm -f /etc/ufw/*.rules.*";
    is_named_and_cured(rack, "ufw", "ufw --force enable", stop)
}

/// Starts a firewall, runs the commands that the status of the daemon then ends with, and pings.
fn is_named_and_cured(rack: &Rack, firewall: &str, start: &str, stop: &str) -> Result<()> {
    let (node, other) = (rack.node(1), rack.node(2));
    let target = other.container_address(C)?;
    node.sh_within(BOOT, start)?;
    let started = Instant::now();
    let message = eventually(SLOW, format_args!("{firewall} to be named"), || {
        problem(node)?.with_context(|| format!("{firewall} is not named"))
    })?;
    let milliseconds = started.elapsed().as_millis();
    println!("figure: {firewall} is named after {milliseconds} ms: {message}");
    ensure!(message.contains(firewall), "{message}");
    let cure = message.rsplit("; ").next().unwrap_or_default();
    node.sh_within(BOOT, cure)?;
    let cured = Instant::now();
    eventually(SLOW, "the cure to be known", || {
        let status = node.sh("flanneld status")?;
        ensure!(status.contains(messages::STATUS_READY), "{status}");
        Ok(())
    })?;
    println!(
        "figure: {firewall}: ready {} ms after the cure",
        cured.elapsed().as_millis()
    );
    wait_for_ping(node, target, SLOW)?;
    wait_for_ping(other, node.container_address(C)?, SLOW)?;
    node.sh_within(BOOT, stop).map(drop)
}

/// The message of the condition `HostFit`, if it is false.
fn problem(node: &Node) -> Result<Option<String>> {
    let status = node.sh("flanneld status")?;
    let line = status.lines().find(|line| line.contains("HostFit"));
    let line = line.context("a line for HostFit")?;
    let is_false = line.contains(" False ");
    // A long message stands in the line of the state only, and there is no other problem.
    let state = status.lines().next().unwrap_or_default();
    let message = state
        .strip_prefix("state:")
        .map(|message| message.trim().to_owned());
    Ok(message.filter(|_| is_false))
}
