//! A host joins: what it then has in etcd, in the kernel and in its files is what the contract with Go flannel says, and
//! packets cross. Needs root.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Lab, Ping, QUICK, SUBNETS, eventually, in_lab, messages};

/// One answered packet from each pod to each other, and none lost: routes are there before they are needed.
fn ping_all(lab: &Lab) -> Result<()> {
    lab.hosts()
        .iter()
        .try_for_each(integration::Host::docker0)?;
    let pods = lab
        .hosts()
        .iter()
        .map(integration::Host::pod)
        .collect::<Result<Vec<_>>>()?;
    for from in &pods {
        for to in &pods {
            from.run(&["ping", "-c1", "-W5", &to.address().to_string()])?;
        }
    }
    Ok(())
}

#[test]
fn pods_of_three_hosts_reach_each_other() -> Result<()> {
    in_lab(3, |lab| {
        let _daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2, 3])?;
        ping_all(lab)
    })
}

#[test]
fn the_largest_vni_works_with_a_device_name_without_a_dot() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(
            CONFIG_KEY,
            r#"{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":16777215}}"#,
        )?;
        let hosts = lab.hosts().iter();
        let _daemons = hosts
            .map(|host| host.flanneld().arg("--ip-masq").start_ready())
            .collect::<Result<Vec<_>>>()?;
        for host in lab.hosts() {
            eventually(QUICK, "the route to the other host", || {
                ensure!(host.routes("flannel16777215")?.len() == 1);
                Ok(())
            })?;
            ensure!(host.link("flannel16777215")?.number("id") == Some(16_777_215));
        }
        ping_all(lab)
    })
}

#[test]
fn the_kernel_holds_what_the_contract_says() -> Result<()> {
    in_lab(2, |lab| {
        let _daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        for host in lab.hosts() {
            let own = lab.lease(host.number())?;
            let link = host.link("flannel.1")?;
            ensure!(
                link.kind == "vxlan" && link.up && link.mtu == 1450,
                "{link:?}"
            );
            ensure!(
                link.mac == own.mac && link.addresses_v4() == [format!("{}/32", own.vtep)],
                "{link:?}"
            );
            ensure!(
                link.number("id") == Some(1) && link.number("port") == Some(8472),
                "{link:?}"
            );
            ensure!(
                link.text("local") == Some(own.public_ip.as_str()),
                "{link:?}"
            );
            ensure!(link.text("link") == Some("eth0"), "{link:?}");
            ensure!(
                link.data.get("learning").is_none_or(|on| on == false),
                "{link:?}"
            );
            ensure!(host.sysctl("net/ipv4/neigh/flannel.1/app_solicit")? == "3");
            ensure!(host.sysctl("net/ipv6/conf/flannel.1/accept_ra")? == "0");
            // Metric 0, as Go flannel's routes: another program cannot add one that is preferred.
            let routes = host.routes("flannel.1")?;
            ensure!(routes.values().all(|route| route.metric == 0), "{routes:?}");
        }
        Ok(())
    })
}

#[test]
fn etcd_holds_what_flannel_would_write() -> Result<()> {
    in_lab(1, |lab| {
        let _daemons = lab.start_all()?;
        let keys = lab.etcd.get_prefix(SUBNETS)?;
        ensure!(keys.len() == 1, "{keys:?}");
        let mac = lab.host(1).link("flannel.1")?.mac;
        // The very bytes of flannel v0.20.2, but for the addresses, and one key more.
        let expected = format!(
            r#"{{"PublicIP":"10.99.1.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{mac}"}}"#
        );
        let rest = keys[0]
            .value
            .strip_prefix(&expected)
            .and_then(|rest| rest.strip_prefix(r#","NodeID":""#));
        let id = rest
            .and_then(|rest| rest.strip_suffix(r#""}"#))
            .context("no node id at the end")?;
        ensure!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{keys:?}"
        );
        let subnet = lab.host(1).subnet_env("FLANNEL_SUBNET")?;
        ensure!(
            keys[0].key == format!("{SUBNETS}{}", subnet.replace(".1/", ".0-")),
            "{keys:?} {subnet}"
        );
        let left = lab.etcd.lease_seconds_left(keys[0].lease)?;
        ensure!((86_000..=86_400).contains(&left), "{left}");
        ensure!(
            lab.etcd.etcd_leases()?.len() == 1,
            "one lease of etcd for one host"
        );
        Ok(())
    })
}

#[test]
fn files_say_what_docker_needs() -> Result<()> {
    in_lab(1, |lab| {
        let _daemons = lab.start_all()?;
        let host = lab.host(1);
        let leases = lab.etcd.leases()?;
        let gateway = leases[0].subnet.replace(".0/", ".1/");
        let env = host.read("/run/flannel/subnet.env")?;
        let expected = format!(
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET={gateway}\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
        );
        ensure!(env == expected, "{env}");
        // As a shell and systemd would read it.
        let opts = host.sh(". /run/flannel/docker_opts.env; echo $DOCKER_OPTS")?;
        ensure!(
            opts.trim() == format!("--bip={gateway} --mtu=1450 --ip-masq=false"),
            "{opts}"
        );
        let mode = host
            .path("/run/flannel/subnet.env")
            .metadata()?
            .permissions()
            .mode();
        ensure!(mode & 0o777 == 0o644, "{mode:o}");
        Ok(())
    })
}

#[test]
fn rules_are_in_place_and_the_accept_is_first() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        host.sh("iptables -P FORWARD DROP; iptables -A FORWARD -j REJECT")?;
        let _daemon = host.flanneld().start_ready()?;
        let forward = host.sh("iptables -S FORWARD")?;
        let first = forward.lines().nth(1).unwrap_or_default();
        ensure!(
            first == "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD",
            "{forward}"
        );
        let table = host.sh("nft list table ip flannel.1")?;
        ensure!(
            table.matches("masquerade fully-random").count() == 2,
            "{table}"
        );
        Ok(())
    })
}

#[test]
fn without_nft_the_rules_go_through_iptables() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        host.sh(
            "mkdir /run/tools; for t in iptables-save iptables-restore; do ln -s $(command -v $t) /run/tools; done",
        )?;
        let _daemon = host.flanneld().env("PATH", "/run/tools").start_ready()?;
        let nat = host.sh("iptables -t nat -S")?;
        ensure!(
            nat.contains(
                "-A POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG"
            ),
            "{nat}"
        );
        ensure!(nat.matches("-A FLANNEL-POSTRTG").count() == 8, "{nat}");
        Ok(())
    })
}

#[test]
fn waits_for_a_configuration_and_says_what_is_wrong_with_a_bad_one() -> Result<()> {
    in_lab(1, |lab| {
        let daemon = lab.host(1).flanneld().start()?;
        let logged = |text: &'static str| {
            eventually(QUICK, text, || {
                let log = daemon.log()?;
                ensure!(log.matches(text).count() == 1, "{log}");
                Ok(())
            })
        };
        logged(messages::NO_NETWORK_CONFIG_YET)?;
        lab.etcd.put(CONFIG_KEY, r#"{"Network":"10.5.3.0/16"}"#)?;
        logged(messages::PROBABLY_MEANT_10_5)?;
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        daemon.wait_ready()
    })
}

#[test]
fn asks_for_its_previous_subnet_again() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        lab.host(1)
            .sh("mkdir /run/flannel; echo FLANNEL_SUBNET=10.5.77.1/24 > /run/flannel/subnet.env")?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        ensure!(lab.etcd.leases()?[0].subnet == "10.5.77.0/24");
        Ok(())
    })
}

#[test]
fn a_fourth_joins_and_one_leaves_and_nothing_stale_remains() -> Result<()> {
    in_lab(3, |lab| {
        let mut daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2, 3])?;
        lab.add_host()?;
        daemons.push(lab.host(4).flanneld().start_ready()?);
        lab.wait_for_mesh(&[1, 2, 3, 4])?;
        ping_all(lab)?;

        daemons.remove(1).stop()?;
        let left = lab.lease(2)?;
        lab.etcd.delete(&left.entry().0)?;
        let leases = lab.wait_for_mesh(&[1, 3, 4])?;
        ensure!(leases.len() == 3, "{leases:?}");
        Ok(())
    })
}

#[test]
fn answers_for_its_health_over_http() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        let daemon = host
            .flanneld()
            .arg("--healthz-ip=127.0.0.1")
            .arg("--healthz-port=8080")
            .start()?;
        let ask = |path: &str| {
            host.run(&[
                "bash",
                "-c",
                &format!("exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"),
            ])
        };
        let expect = |path: &'static str, status: &'static str, text: &'static str| {
            eventually(QUICK, path, || {
                let answer = ask(path)?;
                ensure!(answer.contains(status) && answer.contains(text), "{answer}");
                Ok(())
            })
        };
        expect("/healthz", "200 OK", "ok")?;
        expect(
            "/readyz",
            "503 Service Unavailable",
            messages::WAITING_FOR_A_NETWORK_CONFIG,
        )?;
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        daemon.wait_ready()?;
        expect("/readyz", "200 OK", messages::READY)
    })
}

#[test]
fn refuses_a_bad_command_line_before_it_touches_anything() -> Result<()> {
    in_lab(1, |lab| {
        let bad = lab.host(1).flanneld().arg("--kube-subnet-mgr").finish()?;
        ensure!(bad.status.code() == Some(64), "{bad:?}");
        ensure!(
            bad.stderr.contains(messages::KEEPS_ITS_LEASES_IN_ETCD),
            "{bad:?}"
        );
        ensure!(lab.host(1).link("flannel.1").is_err());
        Ok(())
    })
}

#[test]
fn a_packet_that_needs_an_address_waits_for_the_answer_and_is_not_lost() -> Result<()> {
    in_lab(2, |lab| {
        let _daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let peer = lab.lease(2)?;
        // The FDB entry first: should the repair come between, no neighbour stands without one.
        for _ in 0..20 {
            lab.host(1).sh(&format!(
                "bridge fdb del {mac} dev flannel.1 dst {ip} self; ip neigh del {vtep} dev flannel.1",
                vtep = peer.vtep,
                mac = peer.mac,
                ip = peer.public_ip
            ))?;
            from.run(&["ping", "-c1", "-W5", &to.address().to_string()])?;
        }
        lab.wait_for_mesh(&[1, 2])?;
        // Without the FDB entry alone the first packet is lost (the driver keeps none), the second is not.
        lab.host(1).sh(&format!(
            "bridge fdb del {} dev flannel.1 dst {} self",
            peer.mac, peer.public_ip
        ))?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(20))?;
        ping.wait_for_answer()?;
        let report = ping.finish()?;
        let first_answered = report.answers.keys().next().copied();
        ensure!(
            report.lost() == 0 && first_answered.is_some_and(|first| first <= 2),
            "{report:?}"
        );
        Ok(())
    })
}

#[test]
fn two_instances_on_one_host_keep_to_themselves() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        lab.etcd.put(
            "/blue/config",
            r#"{"Network":"10.6.0.0/16","Backend":{"VNI":7,"Port":8473}}"#,
        )?;
        let blue = || {
            host.flanneld()
                .arg("--etcd-prefix=/blue")
                .arg("--subnet-file=/run/flannel/blue.env")
        };
        let first = host.flanneld().start_ready()?;
        let second = blue().start_ready()?;
        ensure!(host.link("flannel.1")?.mtu == 1450 && host.link("flannel.7")?.mtu == 1450);
        ensure!(
            host.read("/run/flannel/blue.env")?
                .contains("FLANNEL_NETWORK=10.6.0.0/16")
        );
        ensure!(
            host.read("/run/flannel/blue.docker_opts.env")?
                .contains("--bip=10.6.")
        );
        let rules = host.sh(
            "nft list table ip flannel.1; nft list table ip flannel.7; iptables -S FLANNEL-FWD-7",
        )?;
        ensure!(
            rules.contains("10.5.0.0/16") && rules.contains("10.6.0.0/16"),
            "{rules}"
        );
        second.stop()?;

        // A configuration that gives both the same VNI is a mistake: the device stays with the first.
        lab.etcd
            .put("/blue/config", r#"{"Network":"10.6.0.0/16"}"#)?;
        let before = host.link("flannel.1")?.mac;
        let rules = || host.sh("nft list table ip flannel.1; iptables -S FLANNEL-FWD");
        let rules_before = rules()?;
        host.sh("rm /run/flannel/blue.*env")?;
        let mistaken = blue().start()?;
        eventually(QUICK, "the reason", || {
            let log = mistaken.log()?;
            ensure!(
                log.contains(messages::DEVICE_OF_THE_FIRST_INSTANCE),
                "{log}"
            );
            Ok(())
        })?;
        // Nor does it touch the device later, when a lease of its own network comes.
        let peer = r#"{"PublicIP":"10.98.0.9","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:aa:00:00:00:09"}}"#;
        lab.etcd.put("/blue/subnets/10.6.40.0-24", peer)?;
        lab.etcd.put("/blue/subnets/10.6.41.0-24", "no lease")?;
        eventually(QUICK, "the daemon to have read both", || {
            ensure!(mistaken.log()?.contains("10.6.41.0-24"));
            Ok(())
        })?;
        ensure!(host.fdb("flannel.1")?.is_empty() && host.routes("flannel.1")?.is_empty());
        ensure!(host.link("flannel.1")?.mac == before);
        // Nor the rules of the first, and it writes no files: containers would get addresses of a network that is not there.
        for _ in 0..20 {
            let now = rules()?;
            ensure!(now == rules_before, "{rules_before} became {now}");
            integration::wait::pass(Duration::from_millis(50));
        }
        ensure!(host.read("/run/flannel/blue.env").is_err());
        // Once the first is gone, it takes over.
        first.stop()?;
        host.sh("ip link del flannel.1; nft delete table ip flannel.1")?;
        mistaken.wait_ready()?;
        ensure!(host.read("/run/flannel/blue.env")?.contains("10.6."));
        Ok(())
    })
}
