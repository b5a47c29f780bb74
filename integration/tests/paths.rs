//! Routes and rules of other programs that win over ours are named, and nothing of them is touched; what Go flannel or an
//! earlier VNI left goes. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Host, Lease, Ping, Pod, QUICK, SLOW, eventually, in_lab, messages,
};
use serde_json::Value;

/// Something that another program does to the host, and how it is undone.
struct Obstacle {
    name: &'static str,
    /// `PEER` is the subnet of the peer, `BASE` its first three octets.
    put: &'static str,
    undo: &'static str,
    /// What is said of it.
    named: &'static [&'static str],
    /// Whether all pings of pods are lost meanwhile.
    cuts_pods_off: bool,
}

const OBSTACLES: [Obstacle; 9] = [
    Obstacle {
        name: "static",
        put: "ip route replace PEER via 10.99.0.1 dev eth0",
        undo: "ip route del PEER via 10.99.0.1 dev eth0",
        named: &[
            "ip route show PEER",
            "ip route del PEER via 10.99.0.1 dev eth0",
        ],
        cuts_pods_off: true,
    },
    Obstacle {
        name: "a part",
        put: "ip route add unreachable BASE.128/25 metric 70000",
        undo: "ip route del unreachable BASE.128/25",
        named: &["ip route show BASE.128/25"],
        cuts_pods_off: false,
    },
    Obstacle {
        name: "blackhole",
        put: "ip route replace blackhole PEER",
        undo: "ip route del blackhole PEER",
        named: &["ip route del blackhole PEER"],
        cuts_pods_off: true,
    },
    Obstacle {
        name: "prohibit",
        put: "ip route replace prohibit PEER",
        undo: "ip route del prohibit PEER",
        named: &["ip route del prohibit PEER"],
        cuts_pods_off: true,
    },
    Obstacle {
        name: "connected (row 13)",
        // The bridge was there before the peer had its lease.
        put: "printf 'route del PEER dev flannel.1\\naddr add BASE.1/24 dev docker0\\n' | ip -batch -",
        undo: "ip addr del BASE.1/24 dev docker0",
        named: &[
            "docker0 has the address BASE.1/24",
            "ip addr del BASE.1/24 dev docker0",
        ],
        cuts_pods_off: true,
    },
    Obstacle {
        name: "connected, another bridge",
        put: "ip link add br7 type bridge; ip link set br7 up; ip addr add BASE.9/26 dev br7",
        undo: "ip link del br7",
        named: &["br7 has the address BASE.9/26"],
        cuts_pods_off: true,
    },
    Obstacle {
        name: "policy rule (row 6)",
        put: "ip route add blackhole 10.5.0.0/16 table 52; ip rule add pref 5270 lookup 52",
        undo: "ip rule del pref 5270; ip route flush table 52",
        named: &[
            "5270: from all lookup 52",
            "ip rule add to 10.5.0.0/16 lookup main pref 5269",
        ],
        cuts_pods_off: true,
    },
    Obstacle {
        name: "rule that prohibits, for pods alone",
        put: "ip rule add pref 90 iif docker0 to PEER prohibit",
        undo: "ip rule del pref 90",
        named: &["90: from all to PEER iif docker0 prohibit"],
        cuts_pods_off: true,
    },
    Obstacle {
        name: "rule for all but marked packets, to a VPN's default route",
        put: "ip route add default via 10.99.0.1 dev eth0 table 53; ip rule add pref 100 not fwmark 51820 lookup 53",
        undo: "ip rule del pref 100; ip route flush table 53",
        named: &[
            "100: not from all fwmark 0xca6c/0xffffffff lookup 53",
            "default via 10.99.0.1",
        ],
        cuts_pods_off: true,
    },
];

/// The condition `PathsClear`: its status and message.
fn paths(host: &Host) -> Result<(String, String)> {
    let status = host.flanneld().arg("status").arg("--json").finish()?;
    let report: Value = serde_json::from_str(&status.stdout)?;
    let conditions = report["conditions"].as_array().context("no conditions")?;
    let found = conditions.iter().find(|row| row["type"] == "PathsClear");
    let row = found.context("no PathsClear")?;
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("message")))
}

fn wait_for_named(host: &Host, texts: &[String]) -> Result<Duration> {
    let start = Instant::now();
    eventually(QUICK, format_args!("{texts:?}"), || {
        let (status, message) = paths(host)?;
        let all = texts.iter().all(|text| message.contains(text));
        ensure!(status == "False" && all, "{status} {message}");
        Ok(start.elapsed())
    })
}

fn wait_for_clear(host: &Host) -> Result<Duration> {
    let start = Instant::now();
    eventually(SLOW, "clear paths", || {
        let (status, message) = paths(host)?;
        ensure!(status == "True", "{status} {message}");
        Ok(start.elapsed())
    })
}

fn is_cut_off(from: &Pod, to: &Pod) -> bool {
    let target = to.address().to_string();
    from.run(&["ping", "-c1", "-W1", &target]).is_err()
}

#[test]
fn routes_and_rules_in_front_of_ours_are_named_until_they_go() -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let host = lab.host(1);
        let peer = lab.lease(2)?.subnet;
        let base = peer.trim_end_matches(".0/24");
        let fill = |text: &str| text.replace("PEER", &peer).replace("BASE", base);
        // The rules of wg-quick hide nothing: it asks the main table first, but for its default route.
        host.sh("ip route add blackhole default table 51820
                 ip rule add pref 30000 lookup main suppress_prefixlength 0
                 ip rule add pref 30001 not fwmark 51820 lookup 51820")?;
        wait_for_clear(host)?;
        for obstacle in OBSTACLES {
            let before = host.sh("ip -4 rule; ip -4 route show table all | sort")?;
            host.sh(&fill(obstacle.put))?;
            let texts: Vec<String> = obstacle.named.iter().map(|text| fill(text)).collect();
            let named = wait_for_named(host, &texts).context(obstacle.name)?;
            ensure!(!daemons[0].told().is_empty(), "systemd is told");
            ensure!(
                is_cut_off(&from, &to) == obstacle.cuts_pods_off,
                "{}: whether pods are cut off",
                obstacle.name
            );
            let unready = host.flanneld().arg("status").finish()?;
            ensure!(
                !unready.stdout.contains(messages::STATUS_READY),
                "{unready:?}"
            );
            host.sh(&fill(obstacle.undo))?;
            let cleared = wait_for_clear(host).context(obstacle.name)?;
            eventually(QUICK, "pods to reach each other", || {
                ensure!(!is_cut_off(&from, &to));
                Ok(())
            })?;
            let after = host.sh("ip -4 rule; ip -4 route show table all | sort")?;
            ensure!(before == after, "{}: {before}\n{after}", obstacle.name);
            println!(
                "figure: {}: named after {:.3} s, cleared after {:.3} s",
                obstacle.name,
                named.as_secs_f64(),
                cleared.as_secs_f64()
            );
        }
        Ok(())
    })
}

#[test]
fn the_command_that_is_named_clears_the_way() -> Result<()> {
    in_lab(2, |lab| {
        let _daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let host = lab.host(1);
        let peer = lab.lease(2)?.subnet;
        for put in [
            format!("ip route replace {peer} via 10.99.0.1 dev eth0"),
            format!("ip route replace unreachable {peer}"),
            format!("ip addr add {}/24 dev docker0", to.address()),
            "ip route add blackhole 10.5.0.0/16 table 52; ip rule add pref 5270 lookup 52"
                .to_owned(),
            "ip rule add pref 90 to 10.5.0.0/16 prohibit".to_owned(),
        ] {
            host.sh(&put)?;
            wait_for_named(host, &[])?;
            let (_, message) = paths(host)?;
            let (_, cure) = message
                .split_once("to clear the way: ")
                .context("no cure")?;
            let command = cure
                .rsplit_once(", or ")
                .map_or(cure, |(_, command)| command);
            host.sh(command).with_context(|| command.to_owned())?;
            wait_for_clear(host).with_context(|| format!("{put}: {command}"))?;
            eventually(QUICK, "pods to reach each other", || {
                ensure!(!is_cut_off(&from, &to), "{put}: {command}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

/// Row 5: what Go flannel leaves with `DirectRouting`, on a peer that checks the way back.
#[test]
fn direct_routes_of_go_flannel_are_taken_over_without_loss() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _second = lab.host(2).flanneld().start_ready()?;
        let first = lab.host(1).flanneld().start_ready()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let (host, peer) = (lab.host(1), lab.lease(2)?);
        lab.host(2)
            .sh("echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")?;
        let direct = format!(
            "ip route replace {} via {} dev eth0",
            peer.subnet, peer.public_ip
        );

        // While the daemon runs.
        let ping = Ping::start(&from, to.address(), Duration::from_millis(10))?;
        ping.wait_for_answer()?;
        let start = Instant::now();
        host.sh(&direct)?;
        let is_gone = || {
            let routes = host.sh(&format!("ip route show {}", peer.subnet))?;
            ensure!(!routes.contains("eth0"), "{routes}");
            Ok(start.elapsed())
        };
        let gone = eventually(QUICK, "the direct route to go", is_gone)?;
        ensure!(!is_cut_off(&from, &to));
        let report = ping.finish()?;
        println!(
            "figure: a direct route while the daemon runs: gone after {:.3} s, {} packets lost, longest gap {:?}",
            gone.as_secs_f64(),
            report.lost(),
            report.max_gap()
        );
        wait_for_clear(host)?;

        // Before it starts.
        first.stop()?;
        host.sh(&direct)?;
        let _again = host.flanneld().start_ready()?;
        eventually(QUICK, "the direct route to go", is_gone)?;
        ensure!(!is_cut_off(&from, &to));

        // The same by another gateway may be anybody's.
        host.sh(&format!(
            "ip route replace {} via 10.99.0.1 dev eth0",
            peer.subnet
        ))?;
        wait_for_named(host, std::slice::from_ref(&peer.subnet))?;
        ensure!(is_gone().is_err());
        Ok(())
    })
}

#[test]
fn a_route_that_another_program_adds_is_refused_by_the_kernel() -> Result<()> {
    in_lab(2, |lab| {
        let _daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let peer = lab.lease(2)?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(10))?;
        ping.wait_for_answer()?;
        for via in [peer.public_ip.as_str(), "10.99.0.1"] {
            let add = format!("ip route add {} via {via} dev eth0", peer.subnet);
            ensure!(lab.host(1).sh(&add).is_err(), "{add}");
        }
        let bridge = peer.subnet.replace(".0/24", ".77/24");
        lab.host(1)
            .sh(&format!("ip addr add {bridge} dev docker0"))?;
        from.run(&["ping", "-c3", "-i0.05", "-W5", &to.address().to_string()])?;
        let report = ping.finish()?;
        println!(
            "figure: a stranger's routes and bridge: {} packets lost",
            report.lost()
        );
        ensure!(report.lost() == 0, "{report:?}");
        Ok(())
    })
}

/// From routes with metrics of their own, which earlier versions had, and from those of Go flannel.
#[test]
fn an_upgrade_from_another_layout_of_routes_loses_no_packet() -> Result<()> {
    in_lab(2, |lab| {
        let _second = {
            lab.etcd.put(CONFIG_KEY, CONFIG)?;
            lab.host(2).flanneld().start_ready()?
        };
        let mut first = lab.host(1).flanneld().start_ready()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let (host, peer) = (lab.host(1), lab.lease(2)?);
        let route = format!("{} via {} dev flannel.1 onlink", peer.subnet, peer.vtep);
        for (name, layout) in [
            (
                "metrics",
                format!(
                    "ip route add {route} metric 143 proto 102; ip route del {route} metric 0 proto 102"
                ),
            ),
            ("Go flannel", format!("ip route replace {route}")),
        ] {
            first.stop()?;
            let ping = Ping::start(&from, to.address(), Duration::from_millis(5))?;
            ping.wait_for_answer()?;
            host.sh(&layout)?;
            first = host.flanneld().start_ready()?;
            lab.wait_for_mesh(&[1, 2])?;
            from.run(&["ping", "-c3", "-i0.05", "-W5", &to.address().to_string()])?;
            let report = ping.finish()?;
            println!(
                "figure: from {name}: {} packets lost of {}",
                report.lost(),
                report.sent
            );
            ensure!(report.lost() == 0, "{name}: {report:?}");
            let routes = host.sh(&format!("ip route show {}", peer.subnet))?;
            ensure!(
                routes.lines().count() == 1 && routes.contains("proto 102"),
                "{routes}"
            );
        }
        Ok(())
    })
}

/// Row 14.
#[test]
fn a_device_of_an_earlier_vni_goes_when_the_new_one_stands() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        for number in 40..50 {
            let (key, value) = Lease::numbered(number).entry();
            lab.etcd.put(&key, &value)?;
        }
        let first = host.flanneld().start_ready()?;
        lab.wait_for_mesh(&[1])?;
        first.stop()?;
        host.sh("ip link add flannel.8 type vxlan id 8 dev eth0 dstport 8480
                 ip link set flannel.8 alias 'flanneld /other'
                 ip link add flannel.9 type vxlan id 9 dev eth0 dstport 8490")?;
        lab.etcd.put(
            CONFIG_KEY,
            r#"{"Network":"10.5.0.0/16","Backend":{"VNI":7}}"#,
        )?;
        let start = Instant::now();
        let again = host.flanneld().start()?;
        // The other hosts have not restarted: that does not keep the old device here.
        host.wait_for_problem(QUICK, "HostFit", "ExcludesOthers")?;
        eventually(QUICK, "the old device to go", || {
            ensure!(host.link("flannel.1").is_err());
            Ok(())
        })?;
        println!(
            "figure: the old device went {:.3} s after the start",
            start.elapsed().as_secs_f64()
        );
        ensure!(host.link("flannel.7")?.up);
        ensure!(host.link("flannel.8").is_ok() && host.link("flannel.9").is_ok());
        let log = again.log()?;
        ensure!(
            log.matches(messages::REMOVING_AN_OLD_DEVICE).count() == 1,
            "{log}"
        );
        Ok(())
    })
}

/// Rows 4 and 21.
#[test]
fn a_daemon_whose_device_belongs_to_another_says_which_command_removes_it() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        lab.etcd
            .put("/other/network/config", r#"{"Network":"10.6.0.0/16"}"#)?;
        let first = host.flanneld().start_ready()?;
        first.stop()?;
        let before = host.link("flannel.1")?.mac;
        let other = host
            .flanneld()
            .arg("--etcd-prefix=/other/network")
            .arg("--subnet-file=/run/flannel/other.env");
        let other = other.start()?;
        other.wait_for_log(messages::REMOVE_THE_DEVICE)?;
        ensure!(host.link("flannel.1")?.mac == before);
        // The operator does as is said.
        let start = Instant::now();
        host.sh("ip link del flannel.1")?;
        other.wait_ready()?;
        println!(
            "figure: ready {:.3} s after the stale device was removed",
            start.elapsed().as_secs_f64()
        );
        ensure!(host.link("flannel.1")?.addresses_v4()[0].starts_with("10.6."));
        Ok(())
    })
}

#[test]
fn of_two_daemons_that_start_at_once_with_one_vni_exactly_one_has_the_device() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        lab.etcd
            .put("/other/network/config", r#"{"Network":"10.6.0.0/16"}"#)?;
        for _ in 0..5 {
            let one = host.flanneld().start()?;
            let other = host
                .flanneld()
                .arg("--etcd-prefix=/other/network")
                .arg("--subnet-file=/run/flannel/other.env")
                .start()?;
            let both = [&one, &other];
            eventually(
                SLOW,
                "one to have the device, and the other to say so",
                || {
                    let told =
                        both.map(|daemon| daemon.told().iter().any(|line| line == "READY=1"));
                    let refused = both.map(|daemon| {
                        daemon
                            .log()
                            .is_ok_and(|log| log.contains(messages::REMOVE_THE_DEVICE))
                    });
                    ensure!(
                        told[0] != told[1] && refused == [told[1], told[0]],
                        "{told:?} {refused:?}"
                    );
                    Ok(())
                },
            )?;
            let addresses = host.link("flannel.1")?.addresses_v4().len();
            ensure!(addresses == 1, "{addresses} addresses");
            drop((one, other));
            host.sh("ip link del flannel.1")?;
        }
        Ok(())
    })
}

#[test]
fn settings_of_the_device_are_put_right_though_the_kernel_announces_no_change() -> Result<()> {
    in_lab(2, |lab| {
        let _daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let host = lab.host(1);
        for (setting, right, wrong) in [
            ("ipv4/neigh/flannel.1/app_solicit", "3", "0"),
            ("ipv6/conf/flannel.1/accept_ra", "0", "2"),
            ("ipv4/conf/flannel.1/forwarding", "1", "0"),
        ] {
            let ping = Ping::start(&from, to.address(), Duration::from_millis(20))?;
            ping.wait_for_answer()?;
            let path = format!("/proc/sys/net/{setting}");
            let start = Instant::now();
            host.sh(&format!("echo {wrong} > {path}"))?;
            let repaired = eventually(QUICK, &path, || {
                let value = host.sh(&format!("cat {path}"))?;
                ensure!(value.trim() == right, "{value}");
                Ok(start.elapsed())
            })?;
            ensure!(!is_cut_off(&from, &to));
            println!(
                "figure: {setting}: right after {:.3} s, {} packets lost",
                repaired.as_secs_f64(),
                ping.finish()?.lost()
            );
        }
        Ok(())
    })
}
