//! Hosts that lack something, or have something in the way.

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, QUICK, SLOW, eventually, in_lab, messages};

use super::Mistaken;

#[test]
fn what_a_host_lacks_is_in_the_status_with_the_cure() -> Result<()> {
    in_lab(3, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let taken = lab.host(1);
        let _other = taken.start(
            &[&integration::tool("whoami")?, "serve", "8472"],
            &[],
            "other",
        )?;
        eventually(QUICK, "the other program", || {
            taken.sh("ss -Huln sport = :8472 | grep -q 8472")
        })?;
        let port = Mistaken::start(taken, "UDP 8472 is taken", 1, &[])?;
        lab.host(2).sh("echo 0 > /proc/sys/net/ipv4/ip_forward")?;
        let forward = Mistaken::start(lab.host(2), "ip_forward is 0", 1, &[])?;
        let bare = lab.host(3);
        bare.sh("mkdir /run/nft; ln -s $(command -v nft) /run/nft/")?;
        let no_iptables = bare.flanneld().env("PATH", "/run/nft").start()?;
        port.wait_for("KernelInSync", &[messages::UDP_PORT_IN_USE, "ss -ulnp"])?;
        forward.wait_for(
            "HostFit",
            &[messages::IP_FORWARD_IS_0, "sysctl -w net.ipv4.ip_forward=1"],
        )?;
        let state = forward.status(&[])?;
        ensure!(!state.contains(messages::STATUS_READY), "{state}");
        let line = eventually(SLOW, "the choice of the tool", || {
            let log = no_iptables.log()?;
            let line = log
                .lines()
                .find(|line| line.contains(messages::RULES_ARE_IN_PLACE));
            line.map(str::to_owned)
                .ok_or_else(|| anyhow::anyhow!("{log}"))
        })?;
        println!("figure: iptables is missing | {line}");
        ensure!(line.contains("iptables is not installed"), "{line}");
        Ok(())
    })
}
