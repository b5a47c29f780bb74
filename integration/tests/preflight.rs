//! What the daemon says of a host that is not fit, and the checksums of a network card that is not. Needs root.

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Flanneld, Host, QUICK, eventually, in_lab, messages};

#[test]
fn says_once_what_of_the_host_breaks_the_overlay_and_how_to_mend_it() -> Result<()> {
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
                ensure!(
                    log.matches(&format!("WARN {sentence}")).count() == 1,
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
fn says_that_a_program_has_the_port_at_every_start() -> Result<()> {
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
            says_while_the_device_is_down(host, sentence)?.kill()?;
            let daemon = says_while_the_device_is_down(host, sentence)?;
            other.kill()?;
            daemon.wait_ready()
        })?;
    }
    Ok(())
}

#[test]
fn says_that_a_device_which_takes_all_vnis_has_the_port() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        // What Cilium makes; Open vSwitch makes vxlan_sys_8472 like this.
        host.sh("ip link add cilium_vxlan type vxlan external dstport 8472; ip link set cilium_vxlan up")?;
        let sentence = messages::CILIUM_DIFFERS;
        let daemon = says_while_the_device_is_down(host, sentence)?;
        host.sh("ip link del cilium_vxlan")?;
        daemon.wait_ready()
    })
}

/// Starts a daemon that says the sentence, where it is true: the kernel refuses to bring our device up.
fn says_while_the_device_is_down(host: &Host, sentence: &str) -> Result<Flanneld> {
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
fn checksums_are_made_in_software_where_that_is_wanted_and_on_a_device_that_is_made_again()
-> Result<()> {
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
        // Somebody turns it on again: the kernel tells, and it is put right.
        host.sh("ethtool -K flannel.1 tx-checksum-ip-generic on")?;
        is("off")
    })
}
