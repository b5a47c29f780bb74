//! Leases under load and under attack: many at once, lost, deleted, changed by the thousand. Needs root.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, EtcdOptions, Flanneld, Member, QUICK, SUBNETS, WIDE_CONFIG, eventually, in_lab};

#[test]
fn twenty_daemons_started_at_once_get_distinct_subnets_and_a_full_mesh() -> Result<()> {
    in_lab(20, |lab| {
        // They all wait for the configuration, and all claim a subnet in the same instant.
        let daemons = lab.hosts().iter().map(|host| host.flanneld().start()).collect::<Result<Vec<_>>>()?;
        eventually(QUICK, "all to wait", || {
            for daemon in &daemons {
                ensure!(daemon.log()?.contains("no network config"));
            }
            Ok(())
        })?;
        // Few subnets, so that many want the same.
        lab.etcd.put(CONFIG_KEY, r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.24.0"}"#)?;
        daemons.iter().try_for_each(Flanneld::wait_ready)?;
        let all: Vec<u8> = (1..=20).collect();
        let members = lab.wait_for_mesh(&all)?;
        let subnets: BTreeSet<&str> = members.iter().map(|member| member.subnet.as_str()).collect();
        ensure!(members.len() == 20 && subnets.len() == 20, "{members:?}");
        ensure!(lab.etcd.leases()?.len() == 20, "one lease of etcd for each host: {:?}", lab.etcd.leases()?);
        Ok(())
    })
}

#[test]
fn a_thousand_changes_one_by_one_and_in_transactions_all_arrive() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        let leases = |from: u16, to: u16, host: &str| {
            let moved = |n| Member { public_ip: format!("{host}.{}.{}", n >> 8, n & 255), ..Member::invented(n) };
            (from..to).map(|n| moved(n).lease()).collect::<Vec<_>>()
        };
        lab.etcd.put_each(&leases(1000, 2000, "10.97"))?;
        lab.wait_for_mesh(&[1])?;
        // Transactions of 100 that change each of them, then one delete for all of another thousand.
        lab.etcd.load(&leases(1000, 2000, "10.96"), None)?;
        lab.etcd.load(&leases(2000, 3000, "10.96"), None)?;
        lab.etcd.delete_prefix(&format!("{SUBNETS}32.8."))?;
        let members = lab.wait_for_mesh(&[1])?;
        ensure!(members.len() == 2000 - 256 + 1, "{}", members.len());
        Ok(())
    })
}

#[test]
fn four_thousand_peers_are_there_when_it_says_that_it_is_ready() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        lab.etcd.load(&(1..=4000).map(|n| Member::invented(n).lease()).collect::<Vec<_>>(), None)?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        lab.host(1).ensure_programmed(&lab.etcd.members()?)
    })
}

#[test]
fn its_own_key_deleted_by_hand_is_back_at_once_with_the_same_subnet() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _daemons = [lab.host(1).flanneld().start_ready()?, lab.host(2).flanneld().start_ready()?];
        let before = lab.wait_for_mesh(&[1, 2])?;
        let deleted = Instant::now();
        lab.etcd.delete_prefix(SUBNETS)?;
        eventually(QUICK, "both keys", || {
            ensure!(lab.etcd.members()? == before);
            Ok(())
        })?;
        println!("both keys were back after {:?}", deleted.elapsed());
        lab.wait_for_mesh(&[1, 2])?;
        Ok(())
    })
}

#[test]
fn etcd_may_restart_and_changes_of_the_meantime_are_known() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        daemon.freeze()?;
        for number in 1..50 {
            let (key, value) = Member::invented(number).lease();
            lab.etcd.put(&key, &value)?;
        }
        // What happened before is not in etcd's history any more when the daemon asks for it.
        lab.etcd.compact()?;
        lab.etcd.restart()?;
        daemon.thaw()?;
        ensure!(lab.wait_for_mesh(&[1])?.len() == 50);
        ensure!(daemon.is_running());
        let log = daemon.log()?;
        ensure!(log.matches("etcd fails us").count() <= 2, "one line for each change of state:\n{log}");
        Ok(())
    })
}

#[test]
fn goes_on_to_another_member_when_one_is_dead() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let other = lab.start_etcd(EtcdOptions::new("other", 3379))?;
        let endpoints = format!("--etcd-endpoints=http://10.99.0.1:9,{}", lab.etcd.endpoint());
        let started = Instant::now();
        let _daemon = lab.host(1).flanneld().arg(&endpoints).start_ready()?;
        println!("ready after {:?} though the first member is dead", started.elapsed());
        ensure!(started.elapsed() < Duration::from_secs(30));
        drop(other);
        Ok(())
    })
}
