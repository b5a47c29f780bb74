//! What users get, on machines that boot with systemd: the package, its units, Docker and its containers. Needs root, and
//! the base image of nodes, which the first run builds. Figures are printed; `--nocapture` shows them.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::node::BOOT;
use integration::package::{in_repository, package};
use integration::{Node, QUICK, Rack, SLOW, eventually, in_rack};

/// Between two packets of a ping: what takes longer than this is noticed.
const TICK: Duration = Duration::from_millis(10);
/// The container of each node.
const C: &str = "pod";
/// Starts of Docker, and of the container, by which a restart of either shows.
const DOCKER_SINCE: &str = "systemctl show docker -P ActiveEnterTimestampMonotonic -P MainPID";

#[test]
fn three_commands_make_an_overlay_and_disturbances_lose_no_packet() -> Result<()> {
    in_rack(3, |rack| {
        containers_reach_each_other(rack)?;
        docker_has_what_was_leased(rack)?;
        a_full_packet_passes_and_one_byte_more_does_not(rack)?;
        a_node_port_answers_through_the_node_that_was_asked(rack)?;
        the_journal_reads_well(rack.node(1))?;
        the_daemon_is_nobody_special(rack.node(1))?;
        a_reload_puts_rules_and_files_back(rack)?;
        disturbances_lose_nothing(rack)?;
        the_watchdog_ends_a_daemon_that_stands_still(rack)?;
        neighbours_leave_the_device_alone(rack)?;
        iptables_legacy_works_without_root(rack.node(3))?;
        the_cni_recipe_of_the_documentation_works(rack)
    })
}

#[test]
fn nodes_live_through_reboots_upgrades_and_removal() -> Result<()> {
    in_rack(2, |rack| {
        containers_reach_each_other(rack)?;
        a_reboot_changes_nothing_for_anybody(rack)?;
        a_boot_without_etcd_brings_containers_up(rack)?;
        a_new_subnet_restarts_docker_once(rack)?;
        an_upgrade_loses_nothing(rack)?;
        a_removal_leaves_containers_connected(rack)
    })
}

#[test]
fn docker_and_other_daemons_keep_what_is_theirs() -> Result<()> {
    in_rack(1, |rack| {
        let node = rack.node(1);
        an_exec_start_of_somebody_else_wins_and_is_told_of(node)?;
        docker_starts_without_a_daemon_that_is_not_enabled(node)?;
        an_installation_after_a_removal_starts_what_is_enabled(node)?;
        a_purge_leaves_nothing(node)?;
        the_way_from_another_flanneld_touches_no_docker(node)
    })
}

fn an_exec_start_of_somebody_else_wins_and_is_told_of(node: &Node) -> Result<()> {
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
    let warning =
        node.sh("journalctl -b -p warning -o cat -u docker | grep 'docker0 has not the address'")?;
    ensure!(
        warning.contains(&subnet(node)?) && warning.trim().ends_with("docker.md"),
        "{warning}"
    );
    let said = node.sh_within(BOOT, "dpkg --force-confold --install /root/flanneld.deb")?;
    ensure!(said.contains("ExecStart of your own"), "{said}");
    node.sh(&format!(
        "rm {file}; systemctl daemon-reload; systemctl restart docker"
    ))?;
    let (subnet, docker0) = (subnet(node)?, node.sh("ip -4 address show docker0")?);
    ensure!(docker0.contains(&subnet), "{subnet} {docker0}");
    Ok(())
}

fn docker_starts_without_a_daemon_that_is_not_enabled(node: &Node) -> Result<()> {
    node.sh("systemctl disable --now flanneld; rm /run/flannel/docker_opts.env; systemctl restart docker")?;
    ensure!(
        node.sh("systemctl show flanneld -P ActiveState")?.trim() == "inactive",
        "Docker's start is not ours"
    );
    node.sh("systemctl enable --now flanneld; systemctl restart docker")
        .map(drop)
}

fn an_installation_after_a_removal_starts_what_is_enabled(node: &Node) -> Result<()> {
    node.sh_within(BOOT, "dpkg --remove flanneld")?;
    let said = node.sh_within(BOOT, "dpkg --install /root/flanneld.deb")?;
    ensure!(!said.contains("not started"), "{said}");
    node.sh("systemctl is-active flanneld flanneld-docker.path")
        .map(drop)
}

fn a_purge_leaves_nothing(node: &Node) -> Result<()> {
    node.sh_within(BOOT, "dpkg --remove flanneld; dpkg --purge flanneld")?;
    let left = node.sh(
        "ip -o link show type vxlan; ip route show proto 102
         ls -d /run/flannel /var/lib/flannel /var/lib/flanneld-purge /etc/default/flanneld 2>/dev/null || true
         find /etc/systemd/system -name 'flanneld*'
         nft list tables | grep flannel || true; iptables-save | grep -i flannel || true; getent passwd flanneld || true",
    )?;
    ensure!(left.trim().is_empty(), "left behind: {left}");
    node.sh_within(BOOT, "systemctl reset-failed; systemctl restart docker")?;
    node.wait_running()
}

/// The unit of another flanneld with our name is not written over; the block of commands in docs/migrate.md moves it away.
fn the_way_from_another_flanneld_touches_no_docker(node: &Node) -> Result<()> {
    let unit = "/usr/lib/systemd/system/flanneld.service";
    let other = r"[Service]\nExecStart=/bin/sleep infinity\n[Install]\nRequiredBy=docker.service\n";
    node.sh(&format!(
        "printf '{other}' > {unit}; systemctl daemon-reload; systemctl enable --now flanneld"
    ))?;
    let refused = node.sh_within(
        BOOT,
        "dpkg --install /root/flanneld.deb 2>&1 || true; systemctl is-active docker",
    )?;
    ensure!(
        refused.contains("docs/migrate.md") && node.sh(&format!("cat {unit}"))?.contains("sleep"),
        "{refused}"
    );

    let text = std::fs::read_to_string(in_repository("docs/migrate.md"))?;
    let recipe = text
        .split("```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("no recipe")?;
    let recipe = recipe.replace("cd /etc/systemd/system ", "cd /usr/lib/systemd/system ");
    let before = node.sh(DOCKER_SINCE)?;
    node.sh(&recipe)?;
    let said = node.sh_within(BOOT, "dpkg --install /root/flanneld.deb")?;
    ensure!(
        said.contains("not started") && !said.contains("stands before ours"),
        "{said}"
    );
    ensure!(node.sh(DOCKER_SINCE)? == before, "Docker was restarted");
    node.sh("test -e /usr/lib/systemd/system/go-flanneld.service")
        .map(drop)
}

/// The first ping between each two nodes is answered.
fn containers_reach_each_other(rack: &Rack) -> Result<()> {
    let addresses = rack
        .nodes()
        .iter()
        .map(|node| node.run_container(C))
        .collect::<Result<Vec<_>>>()?;
    for node in rack.nodes() {
        for address in &addresses {
            node.run_in(C, &["ping", "-c1", "-W5", &address.to_string()])?;
        }
    }
    Ok(())
}

fn docker_has_what_was_leased(rack: &Rack) -> Result<()> {
    let leases = rack.etcdctl("get --prefix /coreos.com/network/subnets/")?;
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

fn subnet(node: &Node) -> Result<String> {
    Ok(node
        .sh(". /run/flannel/subnet.env; echo $FLANNEL_SUBNET")?
        .trim()
        .to_owned())
}

/// 28 bytes of the 1450 are headers of IP and ICMP.
fn a_full_packet_passes_and_one_byte_more_does_not(rack: &Rack) -> Result<()> {
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
fn a_node_port_answers_through_the_node_that_was_asked(rack: &Rack) -> Result<()> {
    let web = "echo hello > /index.html; exec /bin/busybox httpd -f -p 80 -h /";
    rack.node(2)
        .sh(&format!("docker run -d --name=web lab /bin/sh -c '{web}'"))?;
    let pod = rack.node(2).container_address("web")?;
    rack.node(1).sh(&format!(
        "iptables -t nat -A PREROUTING -p tcp --dport 28888 -j DNAT --to-destination {pod}:80"
    ))?;
    let (client, asked) = (rack.node(3), rack.node(1).address());
    let get =
        format!("exec 3<>/dev/tcp/{asked}/28888; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    eventually(QUICK, "the web server", || {
        let page = client.sh(&format!("timeout 3 bash -c \"{get}\""))?;
        ensure!(page.contains("hello"), "{page}");
        Ok(())
    })?;
    rack.node(2).sh("docker rm --force web").map(drop)
}

fn the_journal_reads_well(node: &Node) -> Result<()> {
    let log = node.sh("journalctl -b -u flanneld -o cat")?;
    for line in [
        "external interface interface=\"eth1\"",
        "holding the lease",
        "wrote the file",
        "\nready\n",
    ] {
        ensure!(log.contains(line), "no {line:?} in {log}");
    }
    let loud = node.sh("journalctl -b -p warning -o cat _SYSTEMD_UNIT=flanneld.service")?;
    ensure!(
        loud.trim().is_empty(),
        "a start that went well complains: {loud}"
    );
    let status = node.sh("systemctl status flanneld")?;
    ensure!(status.contains("Status: \"ready\""), "{status}");
    Ok(())
}

fn the_daemon_is_nobody_special(node: &Node) -> Result<()> {
    let status =
        node.sh("cat /proc/$(systemctl show flanneld -P MainPID)/status; id -u flanneld")?;
    let uid = status.lines().next_back().context("no uid")?;
    ensure!(
        uid != "0" && status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}")),
        "{status}"
    );
    // CAP_NET_ADMIN is bit 12.
    ensure!(
        status.contains("CapBnd:\t0000000000001000")
            && status.contains("CapEff:\t0000000000001000"),
        "{status}"
    );
    let analysis = node.sh("systemd-analyze security --no-pager flanneld.service")?;
    let verdict = analysis
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for flanneld.service: "));
    let score: f64 = verdict
        .and_then(|(_, rest)| rest.split(' ').next())
        .context(analysis.clone())?
        .parse()?;
    println!("figure: systemd-analyze security: {score}");
    ensure!(score <= 2.0, "{analysis}");
    Ok(())
}

fn a_reload_puts_rules_and_files_back(rack: &Rack) -> Result<()> {
    let node = rack.node(1);
    let pid = main_pid(node)?;
    lose_nothing(rack, "rules and files removed, then a reload", || {
        node.sh("nft delete table ip flannel.1; rm /run/flannel/docker_opts.env; systemctl reload flanneld")?;
        eventually(QUICK, "rules and files", || {
            node.sh("nft list table ip flannel.1 | grep -q masquerade; grep -q bip /run/flannel/docker_opts.env")
        })?;
        // What the files' coming and going has started is over.
        eventually(QUICK, "the unit that compares Docker's options", || {
            let state = node.sh("systemctl show flanneld-docker.service -P ActiveState")?;
            ensure!(state.starts_with("inactive"), "{state}");
            Ok(())
        })
    })?;
    ensure!(main_pid(node)? == pid, "a reload is no restart");
    Ok(())
}

fn main_pid(node: &Node) -> Result<u32> {
    Ok(node
        .sh("systemctl show flanneld -P MainPID")?
        .trim()
        .parse()?)
}

/// Waits until another process than `old` is the daemon, and ready.
fn wait_for_successor(node: &Node, old: u32) -> Result<()> {
    eventually(SLOW, "the next daemon", || {
        let state = node.sh("systemctl show flanneld -P ActiveState")?;
        ensure!(
            state.trim() == "active" && main_pid(node)? != old,
            "flanneld is {state}"
        );
        Ok(())
    })
}

/// Does something while a ping runs from each node to the next; none is lost, and neither Docker nor containers restart.
fn lose_nothing(rack: &Rack, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let nodes = rack.nodes();
    let lives = || -> Result<Vec<String>> {
        nodes
            .iter()
            .map(|node| Ok(node.sh(DOCKER_SINCE)? + &node.inspect(C, "{{.State.StartedAt}}")?))
            .collect()
    };
    let before = lives()?;
    let to_next = |(number, node): (usize, &Node)| {
        let next: Ipv4Addr = nodes[(number + 1) % nodes.len()].container_address(C)?;
        node.ping_from(C, next, TICK)
    };
    let pings = nodes
        .iter()
        .enumerate()
        .map(to_next)
        .collect::<Result<Vec<_>>>()?;
    pings
        .iter()
        .try_for_each(integration::Ping::wait_for_answer)?;
    act().with_context(|| what.to_owned())?;
    pings
        .iter()
        .try_for_each(integration::Ping::wait_for_answer)?;
    let reports = pings
        .into_iter()
        .map(integration::Ping::finish)
        .collect::<Result<Vec<_>>>()?;
    let (sent, lost) = reports.iter().fold((0, 0), |(sent, lost), report| {
        (sent + report.sent, lost + report.lost())
    });
    println!("figure: {what}: {lost} of {sent} packets lost");
    ensure!(lost == 0, "{what}: {lost} of {sent} packets lost");
    ensure!(
        lives()? == before,
        "{what}: Docker or a container was restarted"
    );
    Ok(())
}

fn disturbances_lose_nothing(rack: &Rack) -> Result<()> {
    let node = rack.node(1);
    let ended_by = |command: &str| {
        let old = main_pid(node)?;
        node.sh(command)?;
        wait_for_successor(node, old)
    };
    lose_nothing(rack, "systemctl restart flanneld", || {
        ended_by("systemctl restart flanneld")
    })?;
    lose_nothing(rack, "kill -9", || {
        ended_by("kill -9 $(systemctl show flanneld -P MainPID)")
    })?;
    // As the kernel does it when memory is short: the whole control group at once.
    lose_nothing(rack, "out of memory", || {
        ended_by("systemctl kill --kill-whom=all --signal=KILL flanneld")
    })?;
    lose_nothing(rack, "restart of etcd", || {
        rack.etcd.sh("systemctl restart etcd")?;
        eventually(SLOW, "all daemons to be ready", || {
            rack.nodes().iter().try_for_each(|node| {
                let status = node.sh("flanneld status")?;
                ensure!(status.contains("state:     ready"), "{status}");
                Ok(())
            })
        })
    })
}

/// With shorter times than those of the unit, which are for slow machines.
fn the_watchdog_ends_a_daemon_that_stands_still(rack: &Rack) -> Result<()> {
    let node = rack.node(2);
    node.sh("mkdir -p /run/systemd/system/flanneld.service.d
             printf '[Service]\\nWatchdogSec=3\\nTimeoutAbortSec=1\\n' > /run/systemd/system/flanneld.service.d/quick.conf
             systemctl daemon-reload; systemctl restart flanneld")?;
    let fed = || node.sh("systemctl show flanneld -P WatchdogTimestampMonotonic");
    let pid = main_pid(node)?;
    for _ in 0..3 {
        let before = fed()?;
        eventually(QUICK, "food for the watchdog", || {
            ensure!(fed()? != before);
            Ok(())
        })?;
    }
    ensure!(main_pid(node)? == pid, "a daemon that lives was ended");
    lose_nothing(rack, "freeze (SIGSTOP) until the watchdog ends it", || {
        node.sh(&format!("kill -STOP {pid}"))?;
        wait_for_successor(node, pid)
    })?;
    let journal = node.sh("journalctl -b -u flanneld -o cat")?;
    ensure!(journal.contains("Watchdog timeout"), "{journal}");
    Ok(())
}

/// udev, systemd-networkd and NetworkManager run, look at the device again, and do not touch it.
fn neighbours_leave_the_device_alone(rack: &Rack) -> Result<()> {
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
    node.sh("systemctl stop NetworkManager").map(drop)
}

/// Without nft, and with the iptables that takes a lock which belongs to root; with the drop-in that the package offers.
fn iptables_legacy_works_without_root(node: &Node) -> Result<()> {
    // Docker's chains go along: where they are decides which iptables it is.
    node.sh("systemctl stop docker.socket docker; nft flush ruleset; mv /usr/sbin/nft /usr/sbin/nft.away
             update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy
             install -D -m 0644 /usr/share/doc/flanneld/iptables-legacy.conf \
                 /etc/systemd/system/flanneld.service.d/iptables-legacy.conf
             systemctl daemon-reload; systemctl restart flanneld; systemctl start docker")?;
    let rules =
        node.sh("iptables-legacy -S FLANNEL-FWD; iptables-legacy -t nat -S FLANNEL-POSTRTG")?;
    ensure!(
        rules.contains("ACCEPT") && rules.contains("MASQUERADE"),
        "{rules}"
    );
    // Docker came after us and put its own first: that is found by polling.
    eventually(SLOW, "our accept to be first", || {
        let chain = node.sh("iptables-legacy -S FORWARD")?;
        let first = chain
            .lines()
            .find(|line| line.starts_with("-A"))
            .unwrap_or_default();
        ensure!(first.contains("FLANNEL-FWD"), "{chain}");
        Ok(())
    })?;
    let process = node.sh(
        "ps -o user= -p $(systemctl show flanneld -P MainPID); systemd-analyze security flanneld",
    )?;
    ensure!(
        process.starts_with("flanneld") && !process.contains("UNSAFE"),
        "{process}"
    );
    Ok(())
}

/// The block of commands in docs/cni.md, as it stands there.
fn the_cni_recipe_of_the_documentation_works(rack: &Rack) -> Result<()> {
    let text = std::fs::read_to_string(in_repository("docs/cni.md"))?;
    let recipe = text
        .split("```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .context("no recipe")?;
    let node = rack.node(3);
    node.sh("systemctl stop docker.socket docker; ip link delete docker0")?;
    let config = node.path("/root/recipe.sh")?;
    std::fs::write(config, recipe)?;
    let target = rack.node(1).container_address(C)?;
    node.sh("bash -eu /root/recipe.sh; ip netns add pod")?;
    let added = node.sh(
        "export CNI_COMMAND=ADD CNI_CONTAINERID=pod CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni
         /usr/lib/cni/bridge < /etc/cni/net.d/10-flannel.conf",
    )?;
    let prefix = subnet(node)?.replace(".1/24", ".");
    ensure!(added.contains(&prefix), "{added}");
    node.sh(&format!(
        "ip netns exec pod ping -c1 -W5 -Mdo -s 1422 {target}"
    ))
    .map(drop)
}

fn a_reboot_changes_nothing_for_anybody(rack: &mut Rack) -> Result<()> {
    let mac = |node: &Node| node.sh("cat /sys/class/net/flannel.1/address");
    let before = (
        subnet(rack.node(1))?,
        mac(rack.node(1))?,
        rack.node(1).container_address(C)?,
    );
    // IPv6 has multicast neighbours of its own that come and go.
    let peer = |rack: &Rack| {
        rack.node(2)
            .sh("ip link show flannel.1; bridge fdb show dev flannel.1")
    };
    let seen = peer(rack)?;
    let monitor =
        rack.node(2)
            .netns()?
            .start(&["ip", "-4", "monitor", "route", "neigh"], &[], "monitor")?;
    rack.node_mut(1).power_off()?;
    let power_on = Instant::now();
    rack.node_mut(1).boot()?;
    let address = before.2.to_string();
    eventually(BOOT, "an answer from the container", || {
        rack.node(2).run_in(C, &["ping", "-c1", "-W1", &address])
    })?;
    println!(
        "figure: boot to first ping of a container: {:.1} s",
        power_on.elapsed().as_secs_f64()
    );
    let node = rack.node(1);
    node.wait_running()?;
    let after = (subnet(node)?, mac(node)?, node.container_address(C)?);
    ensure!(after == before, "{before:?} became {after:?}");
    let heard = monitor.log()?;
    ensure!(
        !heard.contains("flannel.1") && peer(rack)? == seen,
        "a peer changed something: {heard}"
    );
    Ok(())
}

fn a_boot_without_etcd_brings_containers_up(rack: &mut Rack) -> Result<()> {
    rack.etcd.sh("systemctl stop etcd")?;
    let (subnet_before, target) = (
        subnet(rack.node(1))?,
        rack.node(2).container_address(C)?.to_string(),
    );
    rack.node_mut(1).reboot()?;
    let node = rack.node(1);
    node.wait_running()?;
    ensure!(subnet(node)? == subnet_before);
    eventually(SLOW, "the container", || {
        node.run_in(C, &["ping", "-c1", "-W1", &target])
    })?;
    let status = node.sh("systemctl show flanneld -P StatusText")?;
    ensure!(status.contains("degraded"), "{status}");
    rack.etcd.sh("systemctl start etcd")?;
    eventually(SLOW, "etcd to be found", || {
        let status = node.sh("systemctl show flanneld -P StatusText")?;
        ensure!(status.trim() == "ready", "{status}");
        Ok(())
    })
}

/// Somebody else holds the subnet: the node takes another one.
fn a_new_subnet_restarts_docker_once(rack: &Rack) -> Result<()> {
    let node = rack.node(1);
    let starts = || node.sh("journalctl -b -u docker -o cat | grep -c '^Started docker'");
    let (old, before) = (subnet(node)?, starts()?);
    let key = format!("/coreos.com/network/subnets/{}", old.replace(".1/", ".0-"));
    let other = r#"{"PublicIP":"192.168.56.99","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:aa:00:00:00:99"},"NodeID":"other"}"#;
    rack.etcdctl(&format!("put {key} '{other}'"))?;
    let address = eventually(BOOT, "Docker to follow", || {
        let new = subnet(node)?;
        ensure!(new != old, "the subnet is still {new}");
        let docker0 = node.sh("ip -4 address show dev docker0")?;
        ensure!(docker0.contains(&new), "{new}, but {docker0}");
        node.container_address(C)
    })?;
    eventually(SLOW, "the container at its new address", || {
        rack.node(2)
            .run_in(C, &["ping", "-c1", "-W1", &address.to_string()])
    })?;
    node.sh("systemctl restart flanneld")?;
    let (before, after): (u32, u32) = (before.trim().parse()?, starts()?.trim().parse()?);
    ensure!(
        after == before + 1,
        "Docker was started {} times",
        after - before
    );
    Ok(())
}

fn an_upgrade_loses_nothing(rack: &Rack) -> Result<()> {
    let node = rack.node(1);
    node.put(&package(rack.dir(), "0.1.1")?, "/root/next.deb")?;
    // A newer file of options, as every new option makes it; dpkg would ask which one counts.
    node.sh("dpkg-deb -R /root/next.deb /root/next; echo '#FLANNELD_NEW=' >> /root/next/etc/default/flanneld
             dpkg-deb -b /root/next /root/next.deb; sort /etc/default/flanneld > /root/options")?;
    lose_nothing(rack, "upgrade of the package", || {
        let (old, etcd) = (main_pid(node)?, rack.etcd.address());
        node.sh_within(
            BOOT,
            &format!("bash /root/provision.sh node /root/next.deb {etcd}"),
        )?;
        ensure!(node.sh("dpkg-query -f '${Version}' -W flanneld")? == "0.1.1");
        node.sh("sort /etc/default/flanneld | diff /root/options -")?;
        wait_for_successor(node, old)?;
        ensure!(main_pid(node)? != old, "the old daemon still runs");
        Ok(())
    })
}

fn a_removal_leaves_containers_connected(rack: &Rack) -> Result<()> {
    let node = rack.node(1);
    lose_nothing(rack, "removal of the package", || {
        let said = node.sh_within(BOOT, "dpkg --remove flanneld")?;
        ensure!(
            said.contains("stay in place") && said.contains("apt purge"),
            "{said}"
        );
        ensure!(
            node.sh("test ! -e /usr/sbin/flanneld; ip link show flannel.1")?
                .contains("UP")
        );
        Ok(())
    })
}
