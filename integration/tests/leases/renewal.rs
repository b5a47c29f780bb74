//! Restarts and renewals leave the lease as it is.

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Flanneld, Lab, Lease, SLOW, eventually, in_lab};

/// The lease of host 1, with the node id `alpha`.
fn alpha() -> Lease {
    Lease {
        subnet: "10.5.40.0/24".into(),
        vtep: [10, 5, 40, 0].into(),
        public_ip: "10.99.1.1".into(),
        mac: "02:aa:00:00:00:01".into(),
    }
}

/// Writes that lease, attached to a new etcd lease of so many seconds.
fn put_on_etcd_lease(lab: &Lab, seconds: u32) -> Result<i64> {
    let lease = lab.etcd.grant_lease(seconds)?;
    let (key, value) = alpha().entry();
    let value = value.replace("}}", r#"},"NodeID":"alpha"}"#);
    lab.etcd.put_with_lease(&key, &value, lease)?;
    Ok(lease)
}

fn start_alpha(lab: &Lab) -> Result<Flanneld> {
    lab.host(1).flanneld().arg("--node-id=alpha").start_ready()
}

/// Checks that etcd has that etcd lease alone, and the key as it was at that revision.
fn ensure_untouched(lab: &Lab, lease: i64, revision: i64) -> Result<()> {
    ensure!(
        lab.etcd.etcd_leases()? == [lease],
        "{:?}",
        lab.etcd.etcd_leases()?
    );
    ensure!(
        lab.etcd.revision()? == revision && lab.etcd.leases()? == [alpha()],
        "the key was written"
    );
    Ok(())
}

#[test]
fn twenty_restarts_leave_one_lease_and_an_untouched_key() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        // Longer than any machine needs from one start to the next.
        let lease = put_on_etcd_lease(lab, 120)?;
        let revision = lab.etcd.revision()?;
        for _ in 0..20 {
            start_alpha(lab)?.kill()?;
        }
        ensure_untouched(lab, lease, revision)
    })
}

#[test]
fn renewals_leave_one_lease_and_an_untouched_key() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = put_on_etcd_lease(lab, 120)?;
        let _daemon = start_alpha(lab)?;
        // A lease of three seconds is renewed about each second. A start could take longer than that.
        let lease = put_on_etcd_lease(lab, 3)?;
        lab.etcd.revoke_lease(first)?;
        let revision = lab.etcd.revision()?;
        let renewals = || lab.etcd.metric(&["etcd_debugging_lease_renewed_total"]);
        let before = renewals()?;
        // That it goes on for long, unit tests show on a paused clock; a few show that etcd takes them.
        eventually(SLOW, "5 renewals", || {
            let renewed = renewals()? - before;
            ensure!(renewed >= 5, "{renewed}");
            Ok(())
        })?;
        ensure_untouched(lab, lease, revision)
    })
}
