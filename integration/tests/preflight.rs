//! Warnings about a host on which the overlay cannot work, and checksum offload. Needs root.

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Flanneld, Host, QUICK, eventually, in_lab, messages};

#[test]
fn warns_once_about_each_setting_of_the_host_that_breaks_the_overlay() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let sentences = [
            messages::IP_FORWARD_IS_0,
            messages::RP_FILTER_IS_STRICT,
            messages::BRIDGE_NF_IS_0,
            messages::OTHER_DEVICE_HAS_VNI,
        ];
        host.sh(
            "cd /proc/sys/net; echo 1 > ipv4/conf/all/rp_filter; echo 0 > ipv4/ip_forward
             echo 0 > bridge/bridge-nf-call-iptables
             ip link add vxlan.other type vxlan id 1 dstport 8472 dev eth0",
        )?;
        let daemon = host.flanneld().start()?;
        eventually(QUICK, "all sentences, once each", || {
            let log = daemon.log()?;
            for sentence in sentences {
                let warnings = log.lines().filter(|line| line.contains("WARN"));
                ensure!(
                    warnings.filter(|line| line.contains(sentence)).count() == 1,
                    "{sentence}: {log}"
                );
            }
            Ok(())
        })?;
        daemon.kill()?;
        host.sh("cd /proc/sys/net; echo 0 > ipv4/conf/all/rp_filter; echo 0 > ipv4/conf/default/rp_filter
             echo 0 > ipv4/conf/eth0/rp_filter; echo 1 > ipv4/ip_forward; echo 1 > bridge/bridge-nf-call-iptables
             ip link del vxlan.other")?;
        let fit = host.flanneld().start_ready()?;
        let log = fit.log()?;
        ensure!(!log.contains("WARN"), "{log}");
        Ok(())
    })
}

#[test]
fn warns_at_every_start_that_another_program_has_the_port() -> Result<()> {
    for (place, sentence) in [
        ("8472", messages::PORT_IS_TAKEN),
        ("[::]:8472", messages::PORT_MAY_BE_TAKEN),
    ] {
        in_lab(1, |lab| {
            let host = lab.host(1);
            lab.etcd.put(CONFIG_KEY, CONFIG)?;
            let other = host.start(
                &[&integration::tool("whoami")?, "serve", place],
                &[],
                "other",
            )?;
            eventually(QUICK, "the other program", || {
                host.sh("ss -Huln sport = :8472 | grep -q 8472")
            })?;
            // The second start finds the device that the first one has made and could not bring up.
            warns_while_the_device_is_down(host, sentence)?.kill()?;
            let daemon = warns_while_the_device_is_down(host, sentence)?;
            other.kill()?;
            daemon.wait_ready()
        })?;
    }
    Ok(())
}

#[test]
fn warns_that_a_device_for_all_vnis_has_the_port() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        // What Cilium makes; Open vSwitch makes vxlan_sys_8472 like this.
        host.sh("ip link add cilium_vxlan type vxlan external dstport 8472; ip link set cilium_vxlan up")?;
        let sentence = messages::CILIUM_DIFFERS;
        let daemon = warns_while_the_device_is_down(host, sentence)?;
        host.sh("ip link del cilium_vxlan")?;
        daemon.wait_ready()
    })
}

/// Starts a daemon and checks its warning, and that the warning is true: the kernel refuses to bring our device up.
fn warns_while_the_device_is_down(host: &Host, sentence: &str) -> Result<Flanneld> {
    let daemon = host.flanneld().start()?;
    daemon.wait_for_log(&format!("WARN {sentence}"))?;
    eventually(QUICK, "our device, which cannot be brought up", || {
        let up = host.finish(&["ip", "link", "set", "flannel.1", "up"], "")?;
        ensure!(
            !up.status.success() && up.stderr.contains("Address already in use"),
            "{up:?}"
        );
        Ok(())
    })?;
    Ok(daemon)
}

#[test]
fn checksum_offload_stays_off_when_the_device_is_recreated_or_changed() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let is = |value: &'static str| {
            eventually(QUICK, format_args!("checksum offload {value}"), || {
                let features = host.run(&["ethtool", "-k", "flannel.1"])?;
                ensure!(
                    features.contains(&format!("tx-checksum-ip-generic: {value}")),
                    "{features}"
                );
                Ok(())
            })
        };
        let keep = host.flanneld().start_ready()?;
        is("on")?;
        keep.kill()?;
        let _off = host
            .flanneld()
            .arg("--tx-checksum-offload=off")
            .start_ready()?;
        is("off")?;
        host.sh("ip link del flannel.1")?;
        is("off")?;
        // An operator turns it on again: the kernel reports it, and the daemon turns it off.
        host.sh("ethtool -K flannel.1 tx-checksum-ip-generic on")?;
        is("off")
    })
}
