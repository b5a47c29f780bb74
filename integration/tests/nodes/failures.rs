//! Failures of the daemon, which Docker and its containers outlive: nobody types a command about Docker to mend them.

use std::time::Instant;

use anyhow::{Result, ensure};
use integration::node::BOOT;
use integration::{Node, Rack, SLOW, eventually, messages};

use crate::support::{C, subnet, wait_for_status, wait_until_inactive};

/// As after a boot: neither runs, no subnet was leased yet, and no start has been counted.
const AS_AFTER_A_BOOT: &str = "systemctl stop docker.socket docker flanneld; ip link delete docker0
    rm /run/flannel/docker_opts.env /run/flannel/subnet.env; systemctl reset-failed
    cp /etc/default/flanneld /root/defaults";
/// Starts both, as a boot does.
const START: &str = "systemctl start --no-block flanneld docker";

/// The CA file is on a disk that is mounted late.
pub fn docker_comes_up_after_a_file_that_was_late(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    let authority = rcgen::generate_simple_self_signed(["etcd".to_owned()])?;
    node.sh(&format!(
        "{AS_AFTER_A_BOOT}; echo FLANNELD_ETCD_CAFILE=/run/late.pem >> /etc/default/flanneld; {START}"
    ))?;
    eventually(SLOW, "three failed starts of the daemon", || {
        let restarts = node.sh("systemctl show flanneld -P NRestarts")?;
        ensure!(restarts.trim().parse::<u32>()? >= 3, "{restarts}");
        Ok(())
    })?;
    wait_until_held(node)?;
    let mended = Instant::now();
    std::fs::write(node.path("/run/late.pem")?, authority.cert.pem())?;
    docker_comes_up(rack, "the CA file is there", mended)?;
    node.sh("mv /root/defaults /etc/default/flanneld; rm /run/late.pem; systemctl restart flanneld")
        .map(drop)
}

/// A command line that does not work: the daemon is not started again by itself.
pub fn docker_comes_up_after_a_typo_is_mended(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    node.sh(&format!(
        "{AS_AFTER_A_BOOT}; echo FLANNELD_IP_MASQ=yes >> /etc/default/flanneld; {START}"
    ))?;
    wait_until_held(node)?;
    ensure!(
        node.sh("systemctl show flanneld -P ExecMainStatus")?.trim() == "64",
        "the typo is no error"
    );
    let loud = node.sh("journalctl -b -p err -o cat -u flanneld")?;
    ensure!(loud.contains(messages::IN_THE_VARIABLE), "{loud}");
    // Each of these starts is refused for the same reason, and none is too many.
    for _ in 0..5 {
        node.sh("! systemctl restart docker")?;
        wait_until_held(node)?;
    }
    let log = node.sh("journalctl -b -p err -o cat -u docker")?;
    let reasons = log.matches(messages::NOT_LEASED_YET).count();
    ensure!(reasons >= 6, "{reasons} reasons: {log}");
    // A client waits for Docker rather than starting it again and again.
    node.sh("systemd-run --quiet --unit=client docker ps")?;
    wait_until_held(node)?;
    let mended = Instant::now();
    node.sh("mv /root/defaults /etc/default/flanneld; systemctl restart flanneld")?;
    docker_comes_up(rack, "a typo is mended", mended)?;
    let log = node.sh("journalctl -b -u docker -u docker.socket -o cat")?;
    ensure!(!log.contains("repeated too quickly"), "{log}");
    Ok(())
}

/// Whoever stops Docker while it waits does not get it back with the daemon.
pub fn docker_that_was_stopped_stays_stopped(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    node.sh(&format!(
        "{AS_AFTER_A_BOOT}; echo FLANNELD_IP_MASQ=yes >> /etc/default/flanneld; {START}"
    ))?;
    wait_until_held(node)?;
    node.sh("systemctl stop docker docker.socket; mv /root/defaults /etc/default/flanneld; systemctl start flanneld")?;
    wait_for_status(node, "ready")?;
    // What is started when the file appears has ended, and nobody has started Docker.
    wait_until_inactive(node, "flanneld-docker.service")?;
    let state = node.sh("systemctl list-jobs --no-pager; systemctl show docker -P ActiveState")?;
    ensure!(
        state.contains("No jobs") && state.contains("inactive"),
        "{state}"
    );
    node.sh_within(BOOT, "systemctl start docker").map(drop)
}

/// Waits until Docker was refused once and waits for the lease.
fn wait_until_held(node: &Node) -> Result<()> {
    eventually(SLOW, "Docker to wait for the lease", || {
        let state = node
            .sh("systemctl show docker -P SubState; systemctl status docker --no-pager || true")?;
        ensure!(
            state.starts_with("start-pre") && state.contains(messages::DOCKER_WAITS),
            "{state}"
        );
        Ok(())
    })
}

/// Waits until Docker and its container are there, and prints how long that took.
fn docker_comes_up(rack: &Rack, what: &str, since: Instant) -> Result<()> {
    let node = rack.node(1);
    let address = eventually(BOOT, "Docker and its container", || {
        ensure!(node.sh("systemctl show docker -P ActiveState")?.trim() == "active");
        node.container_address(C)
    })?;
    println!(
        "figure: {what}: Docker and its container are up after {:.1} s",
        since.elapsed().as_secs_f64()
    );
    let docker0 = node.sh("ip -4 address show docker0")?;
    let leased = subnet(node)?;
    let prefix = leased.split(".1/").next().unwrap_or_default();
    ensure!(
        docker0.contains(&leased) && address.to_string().starts_with(prefix),
        "{leased}: {address}, {docker0}"
    );
    Ok(())
}
