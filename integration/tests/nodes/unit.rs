//! The daemon as a unit of systemd: its journal, its rights, its reload and its watchdog.

use anyhow::{Context as _, Result, ensure};
use integration::{QUICK, Rack, eventually, messages};

use crate::support::{lose_nothing, main_pid, settled, wait_for_successor, wait_until_inactive};

/// The first start of a boot, with no file yet: other tests leave warnings behind, each in the journal of its own start.
pub fn the_journal_of_a_start_reads_well(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    node.sh(
        "systemctl stop flanneld; rm /run/flannel/subnet.env /run/flannel/docker_opts.env
         systemctl start flanneld",
    )?;
    settled(rack)?;
    let journal = |filter: &str| {
        node.sh(&format!(
            "journalctl -b -o cat {filter} \
                 _SYSTEMD_INVOCATION_ID=$(systemctl show flanneld -P InvocationID)"
        ))
    };
    let log = journal("")?;
    for line in [
        messages::EXTERNAL_INTERFACE_ETH1,
        messages::LEASE_ACQUIRED,
        messages::WROTE_THE_FILE,
        "\nready\n",
    ] {
        ensure!(log.contains(line), "no {line:?} in {log}");
    }
    let loud = journal("-p warning")?;
    ensure!(
        loud.trim().is_empty(),
        "a start that went well complains: {loud}"
    );
    let status = node.sh("systemctl status flanneld")?;
    ensure!(status.contains("Status: \"ready\""), "{status}");
    Ok(())
}

pub fn the_daemon_runs_without_root_and_with_two_capabilities(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    let status =
        node.sh("cat /proc/$(systemctl show flanneld -P MainPID)/status; id -u flanneld")?;
    let uid = status.lines().next_back().context("no uid")?;
    ensure!(
        uid != "0" && status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}")),
        "{status}"
    );
    // CAP_NET_ADMIN is bit 12, CAP_NET_RAW is bit 13.
    ensure!(
        status.contains("CapBnd:\t0000000000003000")
            && status.contains("CapEff:\t0000000000003000"),
        "{status}"
    );
    let analysis = node.sh("systemd-analyze security --no-pager flanneld.service")?;
    let verdict = analysis
        .lines()
        .find_map(|line| line.split_once("Overall exposure level for flanneld.service: "));
    let score: f64 = verdict
        .and_then(|(_, rest)| rest.split(' ').next())
        .context(analysis.clone())?
        .parse()?;
    println!("figure: systemd-analyze security: {score}");
    ensure!(score <= 2.0, "{analysis}");
    Ok(())
}

pub fn a_reload_puts_rules_and_files_back(rack: &mut Rack) -> Result<()> {
    let node = rack.node(1);
    let pid = main_pid(node)?;
    lose_nothing(rack, "rules and files removed, then a reload", || {
        node.sh("nft delete table ip flannel.1; rm /run/flannel/docker_opts.env; systemctl reload flanneld")?;
        eventually(QUICK, "rules and files", || {
            node.sh("nft list table ip flannel.1 | grep -q masquerade; grep -q bip /run/flannel/docker_opts.env")
        })?;
        // The file that went and came has started the unit that compares Docker's options.
        wait_until_inactive(node, "flanneld-docker.service")
    })?;
    ensure!(main_pid(node)? == pid, "a reload is no restart");
    Ok(())
}

/// With shorter times than those of the unit, which are for slow machines.
pub fn the_watchdog_ends_a_daemon_that_stands_still(rack: &mut Rack) -> Result<()> {
    let node = rack.node(2);
    node.sh("mkdir -p /run/systemd/system/flanneld.service.d
             printf '[Service]\\nWatchdogSec=3\\nTimeoutAbortSec=1\\n' > /run/systemd/system/flanneld.service.d/quick.conf
             systemctl daemon-reload; systemctl restart flanneld")?;
    let fed = || node.sh("systemctl show flanneld -P WatchdogTimestampMonotonic");
    let pid = main_pid(node)?;
    for _ in 0..3 {
        let before = fed()?;
        eventually(QUICK, "food for the watchdog", || {
            ensure!(fed()? != before);
            Ok(())
        })?;
    }
    ensure!(main_pid(node)? == pid, "a daemon that lives was ended");
    lose_nothing(rack, "freeze (SIGSTOP) until the watchdog ends it", || {
        node.sh(&format!("kill -STOP {pid}"))?;
        wait_for_successor(node, pid)
    })?;
    let journal = node.sh("journalctl -b -u flanneld -o cat")?;
    ensure!(journal.contains("Watchdog timeout"), "{journal}");
    node.sh("rm -r /run/systemd/system/flanneld.service.d; systemctl daemon-reload; systemctl restart flanneld")
        .map(drop)
}
