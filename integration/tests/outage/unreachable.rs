//! The one etcd does not answer for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{Lab, Ping, SLOW, in_lab, messages, underlay};

use super::{unknown_peers, wait_for_state};

/// How soon changes of the meantime must be known; a sixth of it is usual.
const KNOWN: Duration = Duration::from_secs(2);

/// Two hosts under ping while `fail` and then `mend` happens to etcd; afterwards a change of the meantime is known in time.
fn survives(
    what: &str,
    within: Duration,
    fail: impl FnOnce(&Lab) -> Result<()>,
    mend: impl FnOnce(&Lab) -> Result<()>,
) -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(20))?;
        ping.wait_for_answer()?;
        fail(lab)?;
        daemons[0].wait_for_log(messages::ETCD_IS_UNREACHABLE)?;
        wait_for_state(lab.host(1), messages::DEGRADED_SINCE)?;
        let (used, began) = (daemons[0].cpu_time()?, Instant::now());
        // A new flow needs no etcd. Its packets also show how much time goes by.
        from.run(&["ping", "-c16", "-i0.2", "-W5", &to.address().to_string()])?;
        let used = daemons[0].cpu_time()?.saturating_sub(used);
        println!(
            "{what}: {used:?} of CPU in {:?} without etcd",
            began.elapsed()
        );
        ensure!(
            used.as_secs_f64() < 0.05 + 0.01 * began.elapsed().as_secs_f64(),
            "{used:?}: a hot loop"
        );
        mend(lab)?;
        let mended = Instant::now();
        lab.etcd.put_each(&unknown_peers(&lab.etcd)?)?;
        ensure!(lab.wait_for_mesh(&[1, 2])?.len() >= 22);
        let took = mended.elapsed();
        println!("{what}: all changes known {took:?} after it was over");
        ensure!(took < within, "promised within {within:?}: {took:?}");
        lab.hosts()
            .iter()
            .try_for_each(|host| wait_for_state(host, messages::READY))?;
        let report = ping.finish()?;
        ensure!(report.lost() == 0, "{report:?}");
        let log = daemons[0].log()?;
        let said = log
            .lines()
            .filter(|line| line.contains("etcd") && !line.contains("DEBUG"))
            .count();
        ensure!(said <= 4, "one line for each change of state:\n{log}");
        Ok(())
    })
}

#[test]
fn survives_an_etcd_that_is_down() -> Result<()> {
    survives(
        "stopped",
        KNOWN,
        |lab| lab.etcd.stop().map(drop),
        |lab| lab.etcd.start(),
    )
}

#[test]
fn survives_an_etcd_that_is_frozen() -> Result<()> {
    survives(
        "frozen",
        KNOWN,
        |lab| lab.etcd.freeze(),
        |lab| lab.etcd.thaw(),
    )
}

#[test]
fn survives_a_partition_and_knows_what_happened_beyond_it() -> Result<()> {
    let cut = |lab: &Lab| {
        lab.hosts()
            .iter()
            .try_for_each(|host| lab.underlay.cut(underlay::ADDRESS, host.address()))?;
        // What other hosts do meanwhile, and etcd then forgets the history of it.
        lab.etcd.put_each(&unknown_peers(&lab.etcd)?[..10])?;
        lab.etcd.compact()
    };
    // Where the kernels' repetitions decide, a slow machine may need longer; `cut_off.rs` measures that alone.
    survives("cut off", SLOW, cut, |lab| {
        let strangers = lab
            .etcd
            .leases()?
            .into_iter()
            .filter(|lease| !lease.public_ip.starts_with("10.99.1."));
        strangers
            .take(5)
            .try_for_each(|lease| lab.etcd.delete(&lease.entry().0))?;
        lab.underlay.heal()
    })
}
