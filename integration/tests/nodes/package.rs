//! The package: upgrade, removal, purge, and the migration from another flanneld.

use anyhow::{Result, ensure};
use integration::node::BOOT;
use integration::package::package;
use integration::{Node, Rack, messages};

use crate::support::{DOCKER_SINCE, lose_nothing, main_pid, provision, recipe, wait_for_successor};

/// The package that all nodes have.
const PACKAGE: &str = "/root/flanneld.deb";
/// How to come from Go flannel, as the package and the documentation name it.
const MIGRATION: &str = "docs/how-to/migrate-from-go-flannel.md";

pub fn an_upgrade_loses_no_packet(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    node.put(&package(rack.dir(), "0.1.1")?, "/root/next.deb")?;
    // A newer file of options, as every new option makes it; dpkg would ask which one counts.
    node.sh("dpkg-deb -R /root/next.deb /root/next; echo '#FLANNELD_NEW=' >> /root/next/etc/default/flanneld
             dpkg-deb -Zgzip -b /root/next /root/next.deb; sort /etc/default/flanneld > /root/options")?;
    lose_nothing(rack, "upgrade of the package", || {
        let old = main_pid(node)?;
        provision(rack, node, "/root/next.deb")?;
        ensure!(node.sh("dpkg-query -f '${Version}' -W flanneld")? == "0.1.1");
        node.sh("sort /etc/default/flanneld | diff /root/options -")?;
        wait_for_successor(node, old)?;
        ensure!(main_pid(node)? != old, "the old daemon still runs");
        Ok(())
    })?;
    // Its file of options goes along: the other tests of the package install without questions.
    provision(rack, node, PACKAGE)
}

pub fn a_removal_leaves_containers_connected(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    lose_nothing(rack, "removal of the package", || {
        let printed = node.sh_within(BOOT, "dpkg --remove flanneld")?;
        ensure!(
            printed.contains(messages::STAY_IN_PLACE) && printed.contains("apt purge"),
            "{printed}"
        );
        ensure!(
            node.sh("test ! -e /usr/sbin/flanneld; ip link show flannel.1")?
                .contains("UP")
        );
        Ok(())
    })?;
    provision(rack, node, PACKAGE)
}

pub fn an_installation_after_a_removal_starts_what_is_enabled(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    node.sh_within(BOOT, "dpkg --remove flanneld")?;
    let printed = install(node)?;
    ensure!(!printed.contains(messages::NOT_STARTED), "{printed}");
    node.sh("systemctl is-active flanneld flanneld-docker.path")
        .map(drop)
}

fn install(node: &Node) -> Result<String> {
    node.sh_within(BOOT, &format!("dpkg --install {PACKAGE} 2>&1"))
}

fn purge(node: &Node) -> Result<()> {
    node.sh_within(BOOT, "dpkg --remove flanneld; dpkg --purge flanneld")
        .map(drop)
}

pub fn a_purge_leaves_nothing(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    purge(node)?;
    let left = node.sh(
        "ip -o link show type vxlan; ip route show proto 102
         ls -d /run/flannel /var/lib/flannel /var/lib/flanneld-purge /etc/default/flanneld 2>/dev/null || true
         find /etc/systemd/system -name 'flanneld*'
         nft list tables | grep flannel || true; iptables-save | grep -i flannel || true; getent passwd flanneld || true",
    )?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    node.sh_within(BOOT, "systemctl reset-failed; systemctl restart docker")?;
    node.wait_running()?;
    provision(rack, node, PACKAGE)
}

/// The unit of another flanneld with our name is not overwritten; the block of commands in [`MIGRATION`] moves it away.
pub fn the_migration_from_another_flanneld_touches_no_docker(rack: &mut Rack) -> Result<()> {
    let node = rack.node(2);
    purge(node)?;
    node.sh_within(BOOT, "systemctl restart docker")?;
    let unit = "/usr/lib/systemd/system/flanneld.service";
    let other = r"[Service]\nExecStart=/bin/sleep infinity\n[Install]\nRequiredBy=docker.service\n";
    node.sh(&format!(
        "printf '{other}' > {unit}; systemctl daemon-reload; systemctl enable --now flanneld"
    ))?;
    let refused = node.sh_within(
        BOOT,
        &format!("dpkg --install {PACKAGE} 2>&1 || true; systemctl is-active docker"),
    )?;
    ensure!(
        refused.contains(MIGRATION) && node.sh(&format!("cat {unit}"))?.contains("sleep"),
        "{refused}"
    );

    let recipe =
        recipe(MIGRATION)?.replace("cd /etc/systemd/system ", "cd /usr/lib/systemd/system ");
    let before = node.sh(DOCKER_SINCE)?;
    node.sh(&recipe)?;
    let printed = install(node)?;
    ensure!(
        printed.contains(messages::NOT_STARTED) && !printed.contains(messages::OVERRIDES_OURS),
        "{printed}"
    );
    ensure!(node.sh(DOCKER_SINCE)? == before, "Docker was restarted");
    let moved = "/usr/lib/systemd/system/go-flanneld.service";
    node.sh(&format!(
        "test -e {moved}; rm {moved}; systemctl daemon-reload"
    ))?;
    provision(rack, node, PACKAGE)
}
