//! Many hosts at once, and many leases.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Instant;

use anyhow::{Result, ensure};
use integration::{
    CONFIG_KEY, Flanneld, Lease, SLOW, SUBNETS, WIDE_CONFIG, eventually, in_lab, messages,
};

#[test]
fn a_hundred_daemons_started_at_once_get_distinct_subnets_and_a_full_mesh() -> Result<()> {
    in_lab(100, |lab| {
        // They all wait for the configuration, and all claim a subnet in the same instant.
        let daemons = lab
            .hosts()
            .iter()
            .map(|host| host.flanneld().start())
            .collect::<Result<Vec<_>>>()?;
        eventually(SLOW, "all to wait", || {
            for daemon in &daemons {
                ensure!(daemon.log()?.contains(messages::NO_NETWORK_CONFIG));
            }
            Ok(())
        })?;
        // Few subnets, so that many want the same.
        let started = Instant::now();
        lab.etcd.put(
            CONFIG_KEY,
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.120.0"}"#,
        )?;
        daemons.iter().try_for_each(Flanneld::wait_ready)?;
        println!("100 daemons were ready after {:?}", started.elapsed());
        let all: Vec<u8> = (1..=100).collect();
        let leases = lab.wait_for_mesh(&all)?;
        println!("and a full mesh after {:?}", started.elapsed());
        let subnets: BTreeSet<&str> = leases.iter().map(|lease| lease.subnet.as_str()).collect();
        ensure!(leases.len() == 100 && subnets.len() == 100, "{leases:?}");
        ensure!(
            lab.etcd.etcd_leases()?.len() == 100,
            "one lease of etcd for each host: {:?}",
            lab.etcd.etcd_leases()?
        );
        ensure!(daemons.iter().all(|daemon| daemon.is_running()));
        Ok(())
    })
}

#[test]
fn a_start_with_five_thousand_leases_takes_a_handful_of_calls() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        lab.etcd.load(
            &(1..=5000)
                .map(|n| Lease::invented(n).entry())
                .collect::<Vec<_>>(),
            None,
        )?;
        let calls = || lab.etcd.metric(&["grpc_server_started_total"]);
        let before = calls()?;
        let first = lab.host(1).flanneld().start_ready()?;
        let fresh = calls()? - before;
        first.kill()?;
        let before = calls()?;
        let _again = lab.host(1).flanneld().start_ready()?;
        let restart = calls()? - before;
        println!("calls to etcd: {fresh} for a new lease, {restart} for one that is there");
        ensure!(fresh <= 6 && restart <= 5, "{fresh} {restart}");
        lab.host(1).ensure_programmed(&lab.etcd.leases()?)
    })
}

/// The entries of these invented leases, with addresses below `network`.
fn moved(numbers: Range<u16>, network: &str) -> Vec<(String, String)> {
    numbers
        .map(|number| Lease::moved(number, network).entry())
        .collect()
}

#[test]
fn a_thousand_changes_one_by_one_and_in_transactions_all_arrive() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        lab.etcd.put_each(&moved(1000..2000, "10.97"))?;
        lab.wait_for_mesh(&[1])?;
        // Transactions of 100 that change each of them, then one delete for all of another thousand.
        lab.etcd.load(&moved(1000..2000, "10.96"), None)?;
        lab.etcd.load(&moved(2000..3000, "10.96"), None)?;
        lab.etcd.delete_prefix(&format!("{SUBNETS}32.8."))?;
        let leases = lab.wait_for_mesh(&[1])?;
        ensure!(leases.len() == 2000 - 256 + 1, "{}", leases.len());
        Ok(())
    })
}

#[test]
fn ready_means_that_four_thousand_peers_are_programmed() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        lab.etcd.load(
            &(1..=4000)
                .map(|n| Lease::invented(n).entry())
                .collect::<Vec<_>>(),
            None,
        )?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        lab.host(1).ensure_programmed(&lab.etcd.leases()?)
    })
}
