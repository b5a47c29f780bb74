//! etcd is reached, and is unwell.

use anyhow::{Context as _, Result, ensure};
use integration::{CONFIG, CONFIG_KEY, EtcdOptions, SLOW, endpoints, eventually, in_lab, messages};

use super::Mistaken;

#[test]
fn an_etcd_that_goes_away_and_comes_back_is_named_at_both_ends() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let running = Mistaken::start(lab.host(1), "etcd is stopped while it is watched", 1, &[])?;
        running.daemon.wait_ready()?;
        lab.etcd.stop()?;
        running.wait_for(
            "EtcdReachable",
            &["http://10.99.0.1:2379", messages::REFUSED],
        )?;
        let warnings = running.warnings("etcd")?;
        ensure!(
            (1..=3).contains(&warnings.len())
                && warnings.iter().all(|line| line.contains("10.99.0.1:2379")),
            "{warnings:?}"
        );
        for line in &warnings {
            ensure!(!line.contains("hyper") && !line.contains("Kind"), "{line}");
            println!("figure: the log of it | {line}");
        }
        lab.etcd.start()?;
        let log = eventually(SLOW, "the end of the outage", || {
            let log = running.daemon.log()?;
            let mut lines = log.lines();
            let end = lines.find(|line| line.contains(messages::ETCD_IS_REACHABLE_AGAIN));
            end.map(str::to_owned)
                .ok_or_else(|| anyhow::anyhow!("{log}"))
        })?;
        println!("figure: its end | {log}");
        ensure!(
            log.contains("endpoint=\"http://10.99.0.1:2379\" after="),
            "{log}"
        );
        Ok(())
    })
}

#[test]
fn an_etcd_that_stands_still_is_told_from_one_that_is_gone() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let running = Mistaken::start(lab.host(1), "etcd stands still", 1, &[])?;
        running.daemon.wait_ready()?;
        lab.etcd.freeze()?;
        running.wait_for("EtcdReachable", &["http://10.99.0.1:2379", "etcd hangs"])?;
        lab.etcd.thaw()
    })
}

#[test]
fn a_member_that_is_dead_and_a_cluster_without_a_quorum_are_named() -> Result<()> {
    in_lab(1, |lab| {
        let cluster = lab.start_etcd_cluster(3)?;
        cluster[0].put(CONFIG_KEY, CONFIG)?;
        let dead = "http://10.99.0.1:9";
        let urls = format!("--etcd-endpoints={dead},{}", endpoints(&cluster[..1]));
        let running = Mistaken::start(lab.host(1), "one of two endpoints is dead", 1, &[&urls])?;
        running.daemon.wait_ready()?;
        let warnings = running.warnings(messages::ENDPOINT_FAILED)?;
        ensure!(
            warnings.len() == 1 && warnings[0].contains(dead),
            "{warnings:?}"
        );
        println!("figure: one of two endpoints is dead | {}", warnings[0]);
        let status = running.status(&[])?;
        let answers = format!("  {} answers", cluster[0].endpoint());
        let failing = format!(
            "  {dead} failed when it was asked last: {}",
            messages::REFUSED
        );
        ensure!(
            status.contains(&answers) && status.contains(&failing),
            "{status}"
        );
        cluster[1].kill()?;
        cluster[2].kill()?;
        running.wait_for(
            "EtcdReachable",
            &[
                &cluster[0].endpoint(),
                dead,
                "etcdctl endpoint status --cluster",
            ],
        )?;
        Ok(())
    })
}

#[test]
fn a_full_etcd_is_named_with_the_cure() -> Result<()> {
    in_lab(1, |lab| {
        let small = EtcdOptions {
            args: vec!["--quota-backend-bytes=4194304".into()],
            ..EtcdOptions::new("small", 3379)
        };
        let etcd = lab.start_etcd(small)?;
        etcd.put(CONFIG_KEY, CONFIG)?;
        let junk = "x".repeat(100_000);
        let full = (0..100).find_map(|number| etcd.put(&format!("/junk/{number}"), &junk).err());
        let full = full.context("etcd took everything")?;
        ensure!(format!("{full:#}").contains("space exceeded"), "{full:#}");
        let url = format!("--etcd-endpoints={}", etcd.endpoint());
        let running = Mistaken::start(lab.host(1), "etcd is full", 1, &[&url])?;
        running.wait_for(
            "EtcdReachable",
            &[
                "http://10.99.0.1:3379",
                "etcdctl defrag; etcdctl alarm disarm",
            ],
        )?;
        Ok(())
    })
}
