//! Leases under load and under attack: many at once, lost, deleted, changed by the thousand. Needs root.

mod many;
mod overwritten;
mod renewal;
mod strangers;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, EtcdOptions, Lease, QUICK, SUBNETS, WIDE_CONFIG, eventually, in_lab,
    messages,
};

#[test]
fn a_changed_configuration_is_explained_and_waits_for_a_restart() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        let before = lab.etcd.leases()?;
        let changes = [
            (r#"{"Network":"10.6.0.0/16"}"#, messages::NETWORK_CHANGED),
            (
                r#"{"Network":"10.5.0.0/16","SubnetLen":26}"#,
                messages::SUBNET_LEN_CHANGED,
            ),
            (
                r#"{"Network":"10.5.0.0/16","Backend":{"VNI":7}}"#,
                messages::VNI_CHANGED,
            ),
            (
                r#"{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}"#,
                messages::CONFIG_CANNOT_BE_USED,
            ),
        ];
        for (config, said) in changes {
            lab.etcd.put(CONFIG_KEY, config)?;
            eventually(QUICK, said, || {
                let log = daemon.log()?;
                ensure!(log.contains(said), "{log}");
                Ok(())
            })?;
        }
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _second = lab.host(2).flanneld().start_ready()?;
        ensure!(
            lab.wait_for_mesh(&[1, 2])?
                .iter()
                .any(|lease| *lease == before[0])
        );
        Ok(())
    })
}

/// How soon a deleted lease must be back; a tenth of it is usual.
const BACK: Duration = Duration::from_secs(1);

#[test]
fn a_lease_deleted_by_hand_comes_back_at_once_with_the_same_subnet() -> Result<()> {
    in_lab(2, |lab| {
        let _daemons = lab.start_all()?;
        let before = lab.wait_for_mesh(&[1, 2])?;
        let deleted = Instant::now();
        lab.etcd.delete_prefix(SUBNETS)?;
        eventually(QUICK, "both keys", || {
            ensure!(lab.etcd.leases()? == before);
            Ok(())
        })?;
        let took = deleted.elapsed();
        println!("both keys were back after {took:?}");
        ensure!(took < BACK, "promised within {BACK:?}: {took:?}");
        lab.wait_for_mesh(&[1, 2])?;
        Ok(())
    })
}

#[test]
fn learns_what_changed_while_etcd_restarted_and_compacted() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        daemon.freeze()?;
        for number in 1..50 {
            let (key, value) = Lease::invented(number).entry();
            lab.etcd.put(&key, &value)?;
        }
        // What happened before is not in etcd's history any more when the daemon asks for it.
        lab.etcd.compact()?;
        lab.etcd.restart()?;
        daemon.thaw()?;
        ensure!(lab.wait_for_mesh(&[1])?.len() == 50);
        ensure!(daemon.is_running());
        let log = daemon.log()?;
        ensure!(
            log.matches(messages::ETCD_IS_UNREACHABLE).count() <= 2,
            "one line for each change of state:\n{log}"
        );
        Ok(())
    })
}

#[test]
fn goes_on_to_another_member_when_one_is_dead() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let other = lab.start_etcd(EtcdOptions::new("other", 3379))?;
        let endpoints = format!(
            "--etcd-endpoints=http://10.99.0.1:9,{}",
            lab.etcd.endpoint()
        );
        let started = Instant::now();
        let _daemon = lab.host(1).flanneld().arg(&endpoints).start_ready()?;
        println!(
            "ready after {:?} though the first member is dead",
            started.elapsed()
        );
        ensure!(started.elapsed() < Duration::from_secs(30));
        drop(other);
        Ok(())
    })
}
