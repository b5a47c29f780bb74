//! Rules that others remove come back, and nothing of others is touched.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{Iptables, QUICK, SLOW, eventually, in_lab, messages};

use super::{OTHERS, lines, populate, repair_times, repaired, start};

/// What a reload of firewalld does: it replaces all rules by its own.
const RELOAD: &str = "printf '*filter\\n:FORWARD DROP\\n-A FORWARD -j REJECT\\nCOMMIT\\n*nat\\nCOMMIT\\n' | iptables-nft-restore";

/// The next poll comes later than the end of the test: what comes back does so by event.
fn comes_back(firewall: &str, damages: &[&str]) -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        populate(host, Iptables::Nft)?;
        let daemon = start(lab, &[firewall, "--iptables-resync=3600"])?;
        for damage in damages {
            let (median, longest) = repair_times(host, Iptables::Nft, damage, 5)?;
            let (median, longest) = (median.as_millis(), longest.as_millis());
            println!(
                "figure: {firewall}: {damage}: back after {median} ms, {longest} ms at the longest"
            );
        }
        let log = daemon.log()?;
        ensure!(
            !lines(&log, messages::REPAIRED_THE_RULES).is_empty(),
            "{log}"
        );
        Ok(())
    })
}

#[test]
fn rules_in_nftables_come_back_at_once() -> Result<()> {
    comes_back(
        "--firewall=nftables",
        &[
            "nft delete table ip flannel.1",
            "nft flush chain ip flannel.1 postrouting",
            "nft flush table ip flannel.1",
            "nft add rule ip flannel.1 postrouting accept",
            "iptables -F",
            "iptables -F FLANNEL-FWD",
            "iptables -D FORWARD 1",
            "iptables -I FORWARD -j REJECT",
            RELOAD,
            "nft flush ruleset",
        ],
    )
}

#[test]
fn rules_in_iptables_nft_come_back_at_once() -> Result<()> {
    comes_back(
        "--firewall=iptables",
        &[
            "iptables -t nat -F",
            "iptables -t nat -F FLANNEL-POSTRTG",
            "iptables -t raw -F",
            "iptables -F",
            "iptables -I FORWARD -j REJECT",
            RELOAD,
            "nft flush ruleset",
        ],
    )
}

#[test]
fn rules_in_iptables_legacy_come_back_by_polling() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        populate(host, Iptables::Legacy)?;
        let _daemon = start(lab, &["--firewall=iptables", "--iptables-resync=1"])?;
        for damage in [
            "iptables-legacy -F",
            "iptables-legacy -t nat -F",
            "iptables-legacy -I FORWARD -j REJECT",
        ] {
            let (median, _) = repair_times(host, Iptables::Legacy, damage, 1)?;
            println!(
                "figure: legacy: {damage}: back after {} ms",
                median.as_millis()
            );
        }
        Ok(())
    })
}

#[test]
fn iptables_legacy_is_polled_while_others_change_nftables_all_the_time() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        populate(host, Iptables::Legacy)?;
        let _daemon = start(lab, &["--iptables-resync=1"])?;
        let churn = "while :; do nft add table inet busy; nft delete table inet busy; done";
        let _churn = host.start(&["sh", "-c", churn], &[], "churn")?;
        // The first may be found by the look that follows the start.
        let (time, _) = repair_times(host, Iptables::Legacy, "iptables-legacy -F FLANNEL-FWD", 3)?;
        println!(
            "figure: legacy, beside changes of others: back after {} ms",
            time.as_millis()
        );
        Ok(())
    })
}

#[test]
fn repairs_touch_nothing_of_others() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        for iptables in [Iptables::Nft, Iptables::Legacy] {
            populate(host, iptables)?;
        }
        host.sh("nft add table inet firewalld; nft add chain inet firewalld x")?;
        let others = || host.sh(&format!("{OTHERS} | grep -v -i flannel"));
        let before = others()?;
        for firewall in ["--firewall=nftables", "--firewall=iptables"] {
            let daemon = start(lab, &[firewall, "--iptables-resync=1"])?;
            repaired(host, Iptables::Nft, "nft flush chain ip filter FLANNEL-FWD")?;
            repaired(host, Iptables::Legacy, "iptables-legacy -F FLANNEL-FWD")?;
            daemon.kill()?;
        }
        host.flanneld().arg("cleanup").finish()?.success()?;
        ensure!(others()? == before, "{}\n--- before:\n{before}", others()?);
        Ok(())
    })
}

#[test]
fn a_program_that_removes_our_rules_every_time_slows_repairs_down_and_is_logged_once() -> Result<()>
{
    in_lab(1, |lab| {
        let host = lab.host(1);
        let daemon = start(lab, &[])?;
        let fight = "while :; do nft delete table ip flannel.1 2>/dev/null; done";
        let fighter = host.start(&["sh", "-c", fight], &[], "fighter")?;
        eventually(SLOW, "the daemon to give way", || {
            ensure!(daemon.log()?.contains(messages::KEEPS_UNDOING_THE_RULES));
            Ok(())
        })?;
        // A try may succeed or fail.
        let tries = || {
            let log = daemon.log()?;
            Ok::<usize, anyhow::Error>(lines(&log, messages::RULE_OPERATIONS).len())
        };
        let (before, since) = (tries()?, Instant::now());
        eventually(SLOW, "three tries more", || {
            ensure!(tries()? >= before + 3);
            Ok(())
        })?;
        let took = since.elapsed();
        fighter.kill()?;
        eventually(QUICK, "the table", || {
            host.sh("nft list table ip flannel.1")
        })?;
        let log = daemon.log()?;
        let told = lines(&log, messages::REPAIRED_THE_RULES).len() + lines(&log, "WARN").len();
        ensure!(told <= 7, "{told} lines:\n{log}");
        ensure!(
            took > Duration::from_secs(3),
            "{took:?} for three tries: that is no back-off"
        );
        Ok(())
    })
}
