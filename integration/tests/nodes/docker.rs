//! Docker beside the daemon: whose word counts, and when it is restarted.

use anyhow::{Context as _, Result, ensure};
use integration::node::BOOT;
use integration::{QUICK, Rack, SLOW, SUBNETS, eventually, messages};

use crate::support::{C, subnet, wait_for_ping};

pub fn an_exec_start_of_the_administrator_wins_and_is_reported(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    let file = "/etc/systemd/system/docker.service.d/10-mine.conf";
    node.sh(&format!(
        "mkdir -p $(dirname {file})
         printf '[Service]\\nExecStart=\\nExecStart=dockerd -H fd:// --bip=10.77.0.1/24\\n' > {file}
         systemctl daemon-reload; systemctl restart docker"
    ))?;
    ensure!(
        node.sh("ip -4 address show docker0")?
            .contains("10.77.0.1/24"),
        "the administrator's word counts"
    );
    let warning = node.sh(&format!(
        "journalctl -b -p warning -o cat -u docker | grep '{}' | tail -n 1",
        messages::DOCKER0_DOES_NOT_HAVE_THE_ADDRESS
    ))?;
    ensure!(
        warning.contains(&subnet(node)?) && warning.trim().ends_with("docker.md"),
        "{warning}"
    );
    let printed = node.sh_within(BOOT, "dpkg --force-confold --install /root/flanneld.deb")?;
    ensure!(
        printed.contains(messages::EXEC_START_OF_YOUR_OWN),
        "{printed}"
    );
    node.sh(&format!(
        "rm {file}; systemctl daemon-reload; systemctl restart docker"
    ))?;
    let (subnet, docker0) = (subnet(node)?, node.sh("ip -4 address show docker0")?);
    ensure!(docker0.contains(&subnet), "{subnet} {docker0}");
    Ok(())
}

pub fn docker_starts_without_a_daemon_that_is_not_enabled(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    node.sh("systemctl disable --now flanneld; rm /run/flannel/docker_opts.env; systemctl restart docker")?;
    ensure!(
        node.sh("systemctl show flanneld -P ActiveState")?.trim() == "inactive",
        "Docker's start is not ours"
    );
    node.sh("systemctl enable --now flanneld; systemctl restart docker")
        .map(drop)
}

/// Another host lives in the subnet: the node takes another one.
pub fn a_new_subnet_restarts_docker_once(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    let starts = || node.sh("journalctl -b -u docker -o cat | grep -c '^Started docker'");
    let (old, before) = (subnet(node)?, starts()?);
    let key = format!("{SUBNETS}{}", old.replace(".1/", ".0-"));
    let other = r#"{"PublicIP":"192.168.56.99","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:aa:00:00:00:99"},"NodeID":"other"}"#;
    let granted = rack.etcdctl("lease grant 3600")?;
    let lease = granted
        .split(' ')
        .nth(1)
        .context("the number of an etcd lease")?;
    let address = eventually(BOOT, "Docker to follow", || {
        let new = subnet(node)?;
        if new == old {
            // A host that lives there has an etcd lease, and undoes each write of the node.
            rack.etcdctl(&format!("put --lease={lease} {key} '{other}'"))?;
        }
        ensure!(new != old, "the subnet is still {new}");
        let docker0 = node.sh("ip -4 address show dev docker0")?;
        ensure!(docker0.contains(&new), "{new}, but {docker0}");
        node.container_address(C)
    })?;
    wait_for_ping(rack.node(2), address, SLOW)?;
    node.sh("systemctl restart flanneld")?;
    let (before, after): (u32, u32) = (before.trim().parse()?, starts()?.trim().parse()?);
    ensure!(
        after == before + 1,
        "Docker was started {} times",
        after - before
    );
    rack.etcdctl(&format!("del {key}"))?;
    // The nodes remove that host a moment later, which the next test must not see.
    let old = old.replace(".1/", ".0/");
    rack.nodes().iter().try_for_each(|node| {
        eventually(
            QUICK,
            format_args!("{} to remove {old}", node.name()),
            || {
                let routes = node.sh("ip route show dev flannel.1")?;
                ensure!(!routes.contains(&old), "{routes}");
                Ok(())
            },
        )
    })
}
