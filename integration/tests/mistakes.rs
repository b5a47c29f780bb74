//! Whether what the daemon was told makes sense: addresses, networks, variables and words that cannot be right. Needs root.

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, QUICK, eventually, in_lab, messages};

const HELD: &str = "LeaseHeld";

#[test]
fn a_public_ip_that_can_never_be_right_is_refused_at_once() -> Result<()> {
    in_lab(1, |lab| {
        for ip in ["0.0.0.0", "224.1.2.3", "255.255.255.255", "127.0.0.1"] {
            let option = format!("--public-ip={ip}");
            let refused = lab.host(1).flanneld().arg(&option).finish()?;
            ensure!(
                refused.status.code() == Some(64)
                    && refused.stderr.contains(&format!("PublicIP {ip} is ")),
                "{refused:?}"
            );
            println!("{}", refused.stderr);
        }
        ensure!(lab.etcd.get_prefix("/")?.is_empty());
        Ok(())
    })
}

#[test]
fn a_public_ip_that_peers_would_ignore_is_not_published() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let revision = lab.etcd.revision()?;
        for (option, reason) in [
            ("--public-ip=10.5.3.3", "PublicIpUnusable"),
            ("--iface=lo", "NoExternalInterface"),
        ] {
            let daemon = lab.host(1).flanneld().arg(option).start()?;
            let message = lab.host(1).wait_for_problem(QUICK, HELD, reason)?;
            println!("{option}: {message}");
            ensure!(lab.etcd.revision()? == revision, "nothing is written");
            ensure!(lab.host(1).link("flannel.1").is_err());
            daemon.stop()?;
        }
        // The interface gets an address: the daemon joins without a restart.
        let daemon = lab.host(1).flanneld().arg("--iface=lo").start()?;
        lab.host(1)
            .wait_for_problem(QUICK, HELD, "NoExternalInterface")?;
        lab.host(1).sh("ip address add 10.99.77.1/32 dev lo")?;
        lab.host(1).wait_for_condition(QUICK, HELD)?;
        ensure!(lab.etcd.lease_at("10.99.77.1").is_ok());
        drop(daemon);
        Ok(())
    })
}

#[test]
fn a_live_host_with_the_older_key_does_not_take_another_ones_public_ip() -> Result<()> {
    in_lab(3, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let node = |host: u8, id: &str| lab.host(host).flanneld().arg(&format!("--node-id={id}"));
        let first = node(1, "h1").start_ready()?;
        let before = lab.lease(1)?;
        let _second = node(2, "h2").start_ready()?;
        let third = node(3, "h3").start_ready()?;
        let mesh = lab.wait_for_mesh(&[1, 2, 3])?;
        lab.host(1).wait_for_snapshot()?;
        first.stop()?;
        let revision = lab.etcd.revision()?;
        let others = lab.host(3).address();
        let first = node(1, "h1")
            .arg(&format!("--public-ip={others}"))
            .start()?;
        let message = lab.host(1).wait_for_problem(QUICK, HELD, "Rival")?;
        println!("{message}");
        ensure!(
            message.starts_with(&format!("PublicIP {others} is in use by node h3")),
            "{message}"
        );
        ensure!(lab.etcd.revision()? == revision, "nothing is written");
        ensure!(lab.lease(1)? == before && lab.etcd.leases()?.len() == mesh.len());
        lab.host(3).wait_for_condition(QUICK, HELD)?;
        lab.wait_for_mesh(&[2, 3])?;
        ensure!(!third.log()?.contains(messages::IGNORING_A_LEASE));
        first.stop()?;
        let _first = node(1, "h1").start_ready()?;
        lab.wait_for_mesh(&[1, 2, 3]).map(drop)
    })
}

#[test]
fn a_network_that_is_the_underlay_is_refused_and_one_around_it_spares_the_hosts() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd
            .put(CONFIG_KEY, r#"{"Network":"10.99.0.0/16","SubnetLen":24}"#)?;
        let revision = lab.etcd.revision()?;
        let first = lab.host(1).flanneld().start()?;
        let message = lab
            .host(1)
            .wait_for_problem(QUICK, HELD, "NetworkOverlap")?;
        println!("{message}");
        ensure!(
            message.contains("10.99.0.0/16") && message.contains("eth0"),
            "{message}"
        );
        ensure!(lab.etcd.revision()? == revision && lab.host(1).link("flannel.1").is_err());
        // Only one subnet of this range is apart from the hosts.
        lab.etcd.put(
            CONFIG_KEY,
            r#"{"Network":"10.0.0.0/8","SubnetMin":"10.98.254.0","SubnetMax":"10.99.255.0"}"#,
        )?;
        first.wait_ready()?;
        let second = lab.host(2).flanneld().start_ready()?;
        let leases = lab.wait_for_mesh(&[1, 2])?;
        ensure!(
            leases
                .iter()
                .all(|lease| lease.subnet.starts_with("10.98.25")),
            "{leases:?}"
        );
        let log = second.log()?;
        ensure!(
            log.contains("Network 10.0.0.0/8 contains networks of this host: 10.99.0.0/16"),
            "{log}"
        );
        println!(
            "{}",
            log.lines()
                .find(|line| line.contains("contains networks"))
                .unwrap_or_default()
        );
        // A lease that overlaps the underlay subnet, as another client may write it.
        let thief = r#"{"PublicIP":"10.99.0.9","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:aa:00:00:00:09"}}"#;
        lab.etcd
            .put("/coreos.com/network/subnets/10.99.7.0-24", thief)?;
        second.wait_for_log("overlaps 10.99.0.0/16, the subnet of interface eth0")?;
        ensure!(
            !lab.host(2)
                .routes("flannel.1")?
                .contains_key("10.99.7.0/24")
        );
        lab.host(2).wait_for_condition(QUICK, HELD)
    })
}

#[test]
fn words_variables_and_prefixes_are_understood_or_named() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        let wrong = host.flanneld().arg("statsu").finish()?;
        println!("{}", wrong.stderr);
        ensure!(
            wrong.status.code() == Some(64) && wrong.stderr.contains("did you mean \"status\"?")
        );
        let daemon = host
            .flanneld()
            .env("FLANNELD_IPMASQ", "hunter2")
            .env("FLANNELD_ETCD_ENDPOINT", "hunter2")
            .arg("--etcd-endpoints= http://10.99.0.1:2379/ , ")
            .arg("--etcd-prefix=coreos.com//network/")
            .start()?;
        daemon.wait_for_log(
            "etcdctl put /coreos.com/network/config '{\"Network\": \"10.5.0.0/16\"}'",
        )?;
        let log = daemon.log()?;
        for part in [
            "FLANNELD_IPMASQ sets no option and is ignored; did you mean FLANNELD_IP_MASQ?",
            "did you mean FLANNELD_ETCD_ENDPOINTS?",
            "prefix=\"/coreos.com/network\"",
        ] {
            ensure!(log.contains(part), "{log}");
        }
        ensure!(!log.contains("hunter2"), "{log}");
        println!("{log}");
        let config = format!("\u{feff}{CONFIG}");
        lab.etcd.put(CONFIG_KEY, &config)?;
        daemon.wait_ready()?;
        host.wait_for_snapshot()?;
        daemon.stop()?;
        // A device whose alias holds the prefix in another spelling, as earlier versions wrote it, still belongs to this daemon.
        host.sh("ip link set flannel.1 alias 'flanneld /coreos.com/network/'")?;
        let again = host.flanneld().start_ready()?;
        let status = host.flanneld().arg("status").finish()?;
        ensure!(
            status.stdout.contains("prefix /coreos.com/network:"),
            "{status:?}"
        );
        again.stop()?;
        let preview = host.flanneld().args(&["cleanup", "--dry-run"]).finish()?;
        ensure!(
            preview.stdout.contains("would remove device flannel.1")
                && preview
                    .stdout
                    .contains("would remove nftables table ip flannel.1")
                && preview
                    .stdout
                    .contains("would remove \"/run/flannel/subnet.env\""),
            "{preview:?}"
        );
        ensure!(host.link("flannel.1").is_ok() && host.read("/run/flannel/subnet.env").is_ok());
        let cleaned = host
            .flanneld()
            .args(&["cleanup", "--etcd-prefix=/coreos.com/network/"])
            .finish()?;
        println!("{}", cleaned.stdout);
        ensure!(
            cleaned
                .stdout
                .contains("etcdctl del /coreos.com/network/subnets/"),
            "{cleaned:?}"
        );
        eventually(QUICK, "the device to be gone", || {
            ensure!(host.link("flannel.1").is_err());
            Ok(())
        })
    })
}

#[test]
fn a_bridge_in_the_overlay_network_is_said_until_docker_has_our_options() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, r#"{"Network":"172.17.0.0/16"}"#)?;
        // As Docker makes it without options.
        host.sh(
            "ip link add docker0 type bridge; ip address add 172.17.0.1/16 dev docker0
             ip link set docker0 up",
        )?;
        let daemon = host.flanneld().start_ready()?;
        let wrong = "docker0 has 172.17.0.1/16, which shares addresses with Network 172.17.0.0/16";
        daemon.wait_for_log(wrong)?;
        let status = || Ok::<_, anyhow::Error>(host.flanneld().arg("status").finish()?.stdout);
        let text = status()?;
        ensure!(text.starts_with("state:     ready\n"), "{text}");
        ensure!(text.contains(&format!("warning:   {wrong}")), "{text}");
        ensure!(text.contains("systemctl restart docker"), "{text}");
        host.docker0()?;
        daemon.wait_for_log("no bridge shares addresses with other subnets")?;
        ensure!(!status()?.contains("warning:"), "{}", status()?);
        // A network that a user creates in the subnet of another host.
        host.sh(
            "ip link add br-0a1b2c3d4e5f type bridge; ip address add 172.17.250.1/24 dev br-0a1b2c3d4e5f",
        )?;
        daemon.wait_for_log("br-0a1b2c3d4e5f has 172.17.250.1/24")
    })
}
