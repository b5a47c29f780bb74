//! What happens to a daemon, to etcd or to the device, while packets pass.

use anyhow::{Result, ensure};
use integration::{Rack, SLOW, eventually};

use crate::support::{lose_nothing, main_pid, settled, wait_for_successor};

/// Ends the daemon of node 1 by a command, and waits for the next one.
fn loses_nothing_when_ended_by(rack: &Rack, what: &str, command: &str) -> Result<()> {
    let node = rack.node(1);
    lose_nothing(rack, what, || {
        let old = main_pid(node)?;
        node.sh(command)?;
        wait_for_successor(node, old)
    })
}

pub fn a_restart_loses_no_packet(rack: &mut Rack) -> Result<()> {
    let command = "systemctl restart flanneld";
    loses_nothing_when_ended_by(rack, command, command)
}

pub fn kill_9_loses_no_packet(rack: &mut Rack) -> Result<()> {
    let command = "kill -9 $(systemctl show flanneld -P MainPID)";
    loses_nothing_when_ended_by(rack, "kill -9", command)
}

/// As the kernel does it when memory is short.
pub fn the_end_of_the_whole_control_group_loses_no_packet(rack: &mut Rack) -> Result<()> {
    let command = "systemctl kill --kill-whom=all --signal=KILL flanneld";
    loses_nothing_when_ended_by(rack, "out of memory", command)
}

pub fn a_restart_of_etcd_loses_no_packet(rack: &mut Rack) -> Result<()> {
    lose_nothing(rack, "restart of etcd", || {
        rack.etcd.sh("systemctl restart etcd")?;
        settled(rack)
    })
}

/// udev, systemd-networkd and NetworkManager run, look at the device again, and do not touch it.
pub fn network_managers_leave_the_device_alone(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    let device = "ip -o link show flannel.1 | grep -o 'link/ether [0-9a-f:]*'; ip -4 -o address show dev flannel.1;
                  ip route show dev flannel.1; bridge fdb show dev flannel.1; ip neigh show dev flannel.1";
    let before = node.sh(device)?;
    lose_nothing(rack, "udev, systemd-networkd and NetworkManager", || {
        node.sh("systemctl is-active systemd-udevd systemd-networkd
                 udevadm trigger --action=add /sys/class/net/flannel.1; udevadm settle
                 systemctl restart systemd-networkd
                 printf '[keyfile]\\nunmanaged-devices+=interface-name:eth*\\n' > /etc/NetworkManager/conf.d/lab.conf
                 systemctl start NetworkManager")?;
        eventually(SLOW, "all of them to leave it alone", || {
            let policy =
                node.sh("udevadm info --query=property --property=ID_NET_LINK_FILE /sys/class/net/flannel.1")?;
            ensure!(policy.contains("70-flannel.link"), "{policy}");
            let networkd = node.sh("networkctl --no-legend list flannel.1 docker0")?;
            ensure!(networkd.matches("unmanaged").count() == 2, "{networkd}");
            let manager = node.sh("nmcli -t -f DEVICE,STATE device")?;
            ensure!(
                manager.contains("flannel.1:unmanaged") && manager.contains("docker0:unmanaged"),
                "{manager}"
            );
            Ok(())
        })
    })?;
    ensure!(
        node.sh(device)? == before,
        "the device has changed: {before} {}",
        node.sh(device)?
    );
    node.sh("systemctl stop NetworkManager; rm /etc/NetworkManager/conf.d/lab.conf")
        .map(drop)
}
