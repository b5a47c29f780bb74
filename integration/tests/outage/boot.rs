//! A start without etcd, from the snapshot.

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, SLOW, SNAPSHOT, eventually, in_lab, messages};

use super::{state, wait_for_state};

#[test]
fn a_boot_while_etcd_is_away_comes_up_from_the_last_known_state() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = lab.host(1).flanneld().start_ready()?;
        let _second = lab.host(2).flanneld().start_ready()?;
        let leases = lab.wait_for_mesh(&[1, 2])?;
        // What it has just learned is on the disk before it ends.
        first.stop()?;
        lab.etcd.stop()?;
        lab.reboot(1)?;
        let first = lab.host(1).flanneld().arg("--ip-masq").start_ready()?;
        ensure!(
            state(lab.host(1))?.contains(messages::DEGRADED_ETCD),
            "{}",
            state(lab.host(1))?
        );
        lab.host(1).ensure_programmed(&leases)?;
        ensure!(
            lab.host(1).sh("nft list ruleset")?.contains("masquerade"),
            "rules as well"
        );
        let (from, to) = lab.two_pods()?;
        from.run(&["ping", "-c3", "-i0.05", "-W5", &to.address().to_string()])?;
        lab.etcd.start()?;
        wait_for_state(lab.host(1), messages::READY)?;
        ensure!(lab.wait_for_mesh(&[1, 2])? == leases);
        drop(first);
        Ok(())
    })
}

#[test]
fn a_boot_without_etcd_and_without_names_takes_the_interface_of_the_last_run() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        host.sh("echo '10.99.0.1 etcd.example' >> /etc/hosts")?;
        let start = || {
            let by_name = "--etcd-endpoints=http://etcd.example:2379";
            lab.host(1)
                .flanneld()
                .without("--iface")
                .arg(by_name)
                .start_ready()
        };
        let daemon = start()?;
        host.wait_for_snapshot()?;
        daemon.stop()?;
        lab.etcd.stop()?;
        host.sh("ip link del flannel.1; grep -v etcd.example /etc/hosts > /run/hosts; cat /run/hosts > /etc/hosts")?;
        let daemon = start()?;
        ensure!(
            daemon.log()?.contains(messages::INTERFACE_OF_THE_LAST_RUN),
            "{}",
            daemon.log()?
        );
        ensure!(host.link("flannel.1").is_ok());
        Ok(())
    })
}

#[test]
fn a_snapshot_that_is_damaged_or_of_another_node_is_ignored() -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        let both = || -> Result<Vec<String>> {
            lab.hosts().iter().map(|host| host.read(SNAPSHOT)).collect()
        };
        let texts = eventually(SLOW, "the snapshots", both)?;
        daemons
            .iter()
            .try_for_each(|daemon| daemon.stop().map(drop))?;
        lab.etcd.stop()?;
        let damaged = texts[0].replacen("10.99.1.1", "10.99.1.9", 1);
        let write = |text: &str| format!("cat > {SNAPSHOT} <<'EOF'\n{text}EOF");
        let no_text = format!("printf '\\377' > {SNAPSHOT}");
        let bad = [
            (write(&damaged), messages::CHECKSUM_IS_WRONG),
            (write(&texts[1]), messages::BELONGS_TO_NODE),
            (no_text, messages::NO_UTF_8),
        ];
        for (put, reason) in bad {
            lab.host(1).sh(&put)?;
            let daemon = lab.host(1).flanneld().start()?;
            daemon.wait_for_log(reason)?;
            ensure!(
                daemon.log()?.contains(messages::IGNORING_THE_SNAPSHOT),
                "{}",
                daemon.log()?
            );
            wait_for_state(lab.host(1), messages::WAITING_FOR_A_LEASE)?;
            ensure!(!daemon.told().contains(&"READY=1".to_owned()));
            daemon.kill()?;
        }
        Ok(())
    })
}
