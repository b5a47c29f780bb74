//! etcd that is down, frozen, cut off, full, emptied or restored: packets do not notice, and afterwards everything is
//! known. Needs root.

mod boot;
mod emptied;
mod members;
mod unreachable;

use anyhow::{Result, ensure};
use integration::{Etcd, Host, Lease, SLOW, eventually};

/// The state that the daemon of a host reports.
fn state(host: &Host) -> Result<String> {
    let status = host.flanneld().arg("status").arg("--json").finish()?;
    ensure!(status.status.success(), "{status:?}");
    let report: serde_json::Value = serde_json::from_str(&status.stdout)?;
    Ok(report["state"].as_str().unwrap_or_default().to_owned())
}

fn wait_for_state(host: &Host, text: &str) -> Result<()> {
    eventually(SLOW, format!("the state {text:?}"), || {
        let state = state(host)?;
        ensure!(state.contains(text), "{state}");
        Ok(())
    })
}

/// Twenty leases of peers that are not in etcd yet, in subnets that no host has.
fn unknown_peers(etcd: &Etcd) -> Result<Vec<(String, String)>> {
    let taken = etcd.leases()?;
    let free = (1..=250)
        .map(|number| Lease::numbered(number).entry())
        .filter(|(key, _)| !taken.iter().any(|lease| lease.entry().0 == *key));
    Ok(free.take(20).collect())
}
