//! etcd answers, and its data is gone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Lab, Ping, SLOW, SUBNETS, eventually, in_lab, messages};

use super::unknown_peers;

/// Six hosts that lose etcd's data in some way under ping.
fn heals(what: &str, lose: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    in_lab(6, |lab| {
        let all: Vec<u8> = (1..=6).collect();
        let daemons = lab.start_all()?;
        let before = lab.wait_for_mesh(&all)?;
        let (from, to) = lab.two_pods()?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(10))?;
        ping.wait_for_answer()?;
        let lost = Instant::now();
        lose(lab)?;
        eventually(SLOW, "all leases", || {
            ensure!(lab.etcd.leases()? == before);
            Ok(())
        })?;
        println!("{what}: all leases were back after {:?}", lost.elapsed());
        ensure!(lab.wait_for_mesh(&all)? == before);
        let report = ping.finish()?;
        ensure!(
            report.lost() == 0 && daemons.iter().all(|daemon| daemon.is_running()),
            "{report:?}"
        );
        ensure!(
            lab.etcd.etcd_leases()?.len() == 6,
            "{:?}",
            lab.etcd.etcd_leases()?
        );
        Ok(())
    })
}

#[test]
fn an_etcd_whose_keys_were_all_deleted_heals_without_a_lost_packet() -> Result<()> {
    heals("emptied", |lab| {
        lab.etcd.ctl(&["del", "--prefix", ""]).map(drop)
    })
}

#[test]
fn an_etcd_that_starts_over_with_nothing_heals_without_a_lost_packet() -> Result<()> {
    heals("made anew", |lab| lab.etcd.restart_empty())
}

#[test]
fn an_etcd_restored_from_an_old_backup_gets_all_leases_back() -> Result<()> {
    in_lab(6, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = lab.host(1).flanneld().start_ready()?;
        lab.etcd.backup("early")?;
        let others = (2..=6)
            .map(|n| lab.host(n).flanneld().start_ready())
            .collect::<Result<Vec<_>>>()?;
        let all: Vec<u8> = (1..=6).collect();
        let before = lab.wait_for_mesh(&all)?;
        let (from, to) = lab.two_pods()?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(10))?;
        ping.wait_for_answer()?;
        // Revisions go back: a watch from the last known one would wait for ever.
        lab.etcd.restore("early")?;
        eventually(SLOW, "all leases", || {
            ensure!(lab.etcd.leases()? == before);
            Ok(())
        })?;
        ensure!(lab.wait_for_mesh(&all)? == before);
        let report = ping.finish()?;
        ensure!(
            report.lost() == 0 && first.is_running() && others.len() == 5,
            "{report:?}"
        );
        Ok(())
    })
}

#[test]
fn peers_that_do_not_come_back_in_time_are_removed() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = lab
            .host(1)
            .flanneld()
            .arg("--removal-grace=20")
            .start_ready()?;
        lab.etcd.put_each(&unknown_peers(&lab.etcd)?[..8])?;
        let leases = lab.wait_for_mesh(&[1])?;
        let own = lab.lease(1)?;
        lab.etcd.delete_prefix(SUBNETS)?;
        daemon.wait_for_log(messages::PEERS_HAVE_VANISHED)?;
        // Their entries are still there, and go later. The grace leaves a slow machine the time to look.
        lab.host(1).ensure_programmed(&leases)?;
        ensure!(
            lab.host(1)
                .flanneld()
                .arg("status")
                .finish()?
                .stdout
                .contains(messages::EIGHT_GONE)
        );
        eventually(SLOW, "the end of the peers", || {
            lab.host(1).ensure_programmed(std::slice::from_ref(&own))
        })?;
        daemon.wait_for_log(messages::REMOVING_EIGHT)
    })
}

#[test]
fn an_etcd_emptied_while_the_daemon_was_down_removes_no_peers() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        lab.etcd.put_each(&unknown_peers(&lab.etcd)?[..8])?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        let leases = lab.wait_for_mesh(&[1])?;
        lab.host(1).wait_for_snapshot()?;
        daemon.kill()?;
        lab.etcd.delete_prefix(SUBNETS)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        lab.host(1).ensure_programmed(&leases)?;
        daemon.wait_for_log(messages::PEERS_HAVE_VANISHED)
    })
}
