//! What setups leave behind: that of Go flannel when the package comes, and ours when it goes.

use anyhow::{Result, ensure};
use integration::node::BOOT;
use integration::{Node, QUICK, Rack, eventually, messages};

use crate::support::{C, provision, recipe, settled, subnet};

/// The package that all nodes have.
const PACKAGE: &str = "/root/flanneld.deb";
/// How to give Docker its own bridge again, after a removal.
const UNINSTALL: &str = "docs/how-to/uninstall.md";

fn install(node: &Node) -> Result<String> {
    let command = format!("dpkg --force-confold --install {PACKAGE} 2>&1");
    node.sh_within(BOOT, &command)
}

/// A drop-in of an older setup hides the options of the package.
pub fn a_drop_in_of_go_flannel_is_named(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    let printed = install(node)?;
    ensure!(
        !printed.contains(messages::CONNECTS_DOCKER_TO_GO_FLANNEL),
        "our own files are named: {printed}"
    );
    let folder = "/etc/systemd/system/docker.service.d";
    for (file, line) in [
        ("flannel.conf", "EnvironmentFile=/run/flannel/docker"),
        ("script.conf", "ExecStartPre=/opt/bin/mk-docker-opts.sh -c"),
        ("old.conf", "ExecStartPost=/bin/echo flannel.service"),
    ] {
        let path = format!("{folder}/{file}");
        node.sh(&format!(
            "mkdir -p {folder}; printf '[Service]\\n{line}\\n' > {path}"
        ))?;
        let printed = install(node)?;
        node.sh(&format!("rm {path}; systemctl daemon-reload"))?;
        ensure!(
            printed.contains(&format!(
                "{path} {}",
                messages::CONNECTS_DOCKER_TO_GO_FLANNEL
            )) && printed.contains(line),
            "{printed}"
        );
    }
    Ok(())
}

/// Lines of the guides for RHEL and CoreOS, which the unit cannot run.
pub fn drop_ins_that_keep_the_unit_from_starting_are_named(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    let folder = "/etc/systemd/system/flanneld.service.d";
    let path = format!("{folder}/10-old.conf");
    for (line, cure) in [
        (
            "ExecStartPre=/sbin/modprobe ip_tables",
            "/etc/modules-load.d/flanneld.conf",
        ),
        (
            "ExecStartPost=/usr/libexec/flannel/mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker",
            "remove the line",
        ),
        (
            "EnvironmentFile=/etc/sysconfig/flanneld",
            "begin the value with -",
        ),
    ] {
        let printed = node.sh(&format!(
            "mkdir -p {folder}; printf '[Service]\\n{line}\\n' > {path}; systemctl daemon-reload
             systemctl restart flanneld && echo started || true"
        ))?;
        ensure!(!printed.contains("started"), "it starts with {line}");
        let sentence = format!("{path}: {line} keeps flanneld from starting: ");
        eventually(QUICK, line, || {
            let status = node.sh("flanneld status 2>&1 || true")?;
            ensure!(
                status.contains(&sentence) && status.contains(cure),
                "{status}"
            );
            Ok(())
        })?;
        node.sh("systemctl stop flanneld")?;
        let printed = install(node)?;
        ensure!(
            printed.contains(&format!("flanneld: {sentence}")),
            "{printed}"
        );
        node.sh_within(
            BOOT,
            &format!("rm {path}; systemctl daemon-reload; systemctl start flanneld"),
        )?;
    }
    settled(rack)
}

/// The block of commands in [`UNINSTALL`], as it stands there; removal and purge name the same key.
pub fn docker_has_an_address_of_its_own_again_after_a_purge(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    let leased = subnet(node)?;
    let commands = recipe(UNINSTALL)?;
    ensure!(commands.contains(messages::BIP_OF_ITS_OWN), "{commands}");
    let docker0 = || node.sh("ip -4 address show docker0");
    for step in ["remove", "purge"] {
        let printed = node.sh_within(BOOT, &format!("dpkg --{step} flanneld 2>&1"))?;
        ensure!(printed.contains(messages::BIP_OF_ITS_OWN), "{printed}");
    }
    node.sh_within(BOOT, "systemctl restart docker")?;
    ensure!(
        docker0()?.contains(&leased),
        "a restart of Docker is enough: say so in {UNINSTALL}"
    );
    node.sh_within(BOOT, &commands)?;
    let address = docker0()?;
    ensure!(
        address.contains("172.17.0.1/16") && !address.contains(&leased),
        "{address}"
    );
    // The container has an address on it.
    node.container_address(C)?;
    let lock = node.sh("test ! -e /run/xtables.lock || stat -c '%U %G %a' /run/xtables.lock")?;
    ensure!(["", "root root 600"].contains(&lock.trim()), "{lock}");
    node.sh("rm /etc/docker/daemon.json")?;
    provision(rack, node, PACKAGE)
}
