//! What happens when others overwrite the key of a host while pods run in its subnet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Lab, Lease, Ping, QUICK, SLOW, SUBNETS, eventually, in_lab,
    messages,
};

/// Another host's lease for the same subnet.
fn thief(of: &Lease) -> Lease {
    Lease {
        public_ip: "10.99.1.9".into(),
        mac: "02:aa:00:00:00:09".into(),
        ..of.clone()
    }
}

/// Values that a script, a hand or a sick etcd puts in the place of a lease.
fn spoilt(lease: &Lease) -> [(&'static str, String); 8] {
    let thiefs = thief(lease).entry().1;
    [
        ("nothing", String::new()),
        ("no JSON", "not json".into()),
        ("an empty object", "{}".into()),
        ("no address", r#"{"BackendType":"vxlan"}"#.into()),
        ("udp", thiefs.replace("vxlan", "udp")),
        ("another host", thiefs.clone()),
        ("another VNI", thiefs.replace(r#""VNI":1"#, r#""VNI":7"#)),
        (
            "another host with a node id",
            thiefs.replace("}}", r#"},"NodeID":"beta"}"#),
        ),
    ]
}

/// What must not change on a host whose key is overwritten.
fn state(lab: &Lab, host: u8) -> Result<String> {
    let host = lab.host(host);
    let files = host.sh("stat -c '%i %y' /run/flannel/subnet.env")?;
    let device = host.sh("ip -o -4 address show dev flannel.1")?;
    Ok(format!("{files}{device}"))
}

fn is_ready(daemon: &Flanneld) -> bool {
    let told = daemon.told();
    let mut states = told.iter().filter(|line| line.starts_with("STATUS="));
    states
        .next_back()
        .is_some_and(|line| line == "STATUS=ready")
}

#[test]
fn whatever_overwrites_the_key_of_a_running_host_is_overwritten() -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        let leases = lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = lab.two_pods()?;
        let there = Ping::start(&from, to.address(), Duration::from_millis(20))?;
        let back = Ping::start(&to, from.address(), Duration::from_millis(20))?;
        there.wait_for_answer()?;
        let before = [state(lab, 1)?, state(lab, 2)?];
        let told = [daemons[0].told(), daemons[1].told()];
        let mut slowest = Duration::ZERO;
        for (number, (what, value)) in spoilt(&lab.lease(1)?).into_iter().enumerate() {
            // A host answers a few writes at once, so the hosts take turns.
            let host = if number % 2 == 0 { 1 } else { 2 };
            let lease = lab.lease(host)?;
            let key = lease.entry().0;
            let ours = lab.etcd.get(&key)?.context("the key is gone")?;
            let value = match (host, value.is_empty()) {
                (1, _) | (_, true) => value,
                _ => value.replace("10.99.1.9", "10.99.1.8"),
            };
            // With the etcd lease of the key, and without one.
            if number % 4 < 2 {
                lab.etcd.ctl(&["put", "--ignore-lease", &key, &value])?;
            } else {
                lab.etcd.put(&key, &value)?;
            }
            let written = Instant::now();
            eventually(QUICK, format_args!("our value instead of {what}"), || {
                ensure!(lab.etcd.get(&key)?.as_ref() == Some(&ours));
                Ok(())
            })?;
            slowest = slowest.max(written.elapsed());
        }
        println!("figure: written back after {slowest:?} at most, a call of etcdctl included");
        there.wait_for_answer()?;
        back.wait_for_answer()?;
        let (there, back) = (there.finish()?, back.finish()?);
        println!(
            "figure: lost {} of {} and {} of {} packets, longest gaps {:?} and {:?}",
            there.lost(),
            there.sent,
            back.lost(),
            back.sent,
            there.max_gap(),
            back.max_gap()
        );
        ensure!(lab.wait_for_mesh(&[1, 2])? == leases);
        ensure!(
            [state(lab, 1)?, state(lab, 2)?] == before,
            "files or device"
        );
        ensure!(lab.etcd.etcd_leases()?.len() == 2);
        for daemon in &daemons {
            let log = daemon.log()?;
            ensure!(log.contains(messages::KEY_OVERWRITTEN), "{log}");
            ensure!(is_ready(daemon), "{:?}", daemon.told());
        }
        ensure!(
            [daemons[0].told(), daemons[1].told()] == told,
            "the state has changed meanwhile"
        );
        // A value that another host could have sends the packets there for the moment of one write.
        ensure!(there.lost() + back.lost() <= 2, "{there:?} {back:?}");
        Ok(())
    })
}

/// Writes that value over the key every 100 ms, on an etcd lease or on none, until `done` succeeds.
fn write_until<T>(
    lab: &Lab,
    (key, value): &(String, String),
    lease: Option<i64>,
    what: &str,
    done: impl FnMut() -> Result<T>,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<u32> {
            let mut writes = 0;
            while !stop.load(Ordering::Relaxed) {
                match lease {
                    Some(lease) => lab.etcd.put_with_lease(key, value, lease)?,
                    None => lab.etcd.put(key, value)?,
                }
                writes += 1;
                integration::wait::pass(Duration::from_millis(100));
            }
            Ok(writes)
        });
        let result = eventually(SLOW, what, done);
        stop.store(true, Ordering::Relaxed);
        let writes = writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        println!("figure: our key was overwritten {writes} times until: {what}");
        result
    })
}

#[test]
fn a_script_that_overwrites_a_key_in_a_loop_is_named_and_does_not_get_the_subnet() -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        let before = lab.wait_for_mesh(&[1, 2])?;
        let entry = thief(&lab.lease(1)?).entry();
        write_until(lab, &entry, None, "the writer to be named", || {
            let log = daemons[0].log()?;
            ensure!(log.contains(messages::KEEPS_OVERWRITING), "{log}");
            let status = lab.host(1).flanneld().arg("status").finish()?;
            ensure!(
                status.stdout.contains(messages::KEEPS_OVERWRITING)
                    && status.stdout.contains("at 10.99.1.9"),
                "{status:?}"
            );
            Ok(())
        })?;
        // A new value each time does not fill the log either.
        for number in 0..20 {
            lab.etcd.put(&entry.0, &format!("garbage {number}"))?;
        }
        let ended = Instant::now();
        eventually(SLOW, "the key to be ours", || {
            ensure!(lab.etcd.leases()? == before);
            Ok(())
        })?;
        println!(
            "figure: our value was back {:?} after the last write",
            ended.elapsed()
        );
        lab.wait_for_mesh(&[1, 2])?;
        let log = daemons[0].log()?;
        ensure!(log.matches(messages::LEASE_ACQUIRED).count() == 1, "{log}");
        ensure!(
            log.matches(messages::KEEPS_OVERWRITING).count() == 1,
            "{log}"
        );
        ensure!(log.matches(messages::KEY_OVERWRITTEN).count() == 1, "{log}");
        Ok(())
    })
}

#[test]
fn a_host_that_has_created_the_key_after_ours_expired_keeps_it() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(
            CONFIG_KEY,
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.4.0","SubnetMax":"10.5.4.0"}"#,
        )?;
        let first = lab
            .host(1)
            .flanneld()
            .arg("--node-id=alpha")
            .start_ready()?;
        first.freeze()?;
        for lease in lab.etcd.etcd_leases()? {
            lab.etcd.revoke_lease(lease)?;
        }
        let _second = lab.host(2).flanneld().arg("--node-id=beta").start_ready()?;
        first.thaw()?;
        first.wait_for_log(messages::SUBNET_HELD_BY_BETA)?;
        let leases = lab.etcd.leases()?;
        ensure!(
            leases.len() == 1 && leases[0].public_ip == "10.99.1.2",
            "{leases:?}"
        );
        ensure!(!is_ready(&first) && first.is_running());
        Ok(())
    })
}

#[test]
fn a_daemon_that_starts_takes_its_subnet_back_from_a_value_that_names_nobody() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        let before = lab.etcd.leases()?;
        lab.host(1).wait_for_snapshot()?;
        daemon.kill()?;
        for key in lab.etcd.get_prefix(SUBNETS)? {
            lab.etcd.ctl(&["put", "--ignore-lease", &key.key, "{}"])?;
        }
        let _daemon = lab.host(1).flanneld().start_ready()?;
        eventually(QUICK, "our lease", || {
            ensure!(lab.etcd.leases()? == before);
            Ok(())
        })?;
        ensure!(lab.etcd.etcd_leases()?.len() == 1);
        Ok(())
    })
}

#[test]
fn a_host_that_keeps_its_own_etcd_lease_and_undoes_our_writes_gets_the_subnet() -> Result<()> {
    in_lab(2, |lab| {
        let daemons = lab.start_all()?;
        let before = lab.lease(1)?;
        let thief = thief(&before);
        let lease = lab.etcd.grant_lease(600)?;
        write_until(lab, &thief.entry(), Some(lease), "another subnet", || {
            let now = lab.lease(1)?;
            ensure!(
                now.subnet != before.subnet && now.mac == before.mac,
                "{now:?}"
            );
            let gateway = format!("{}/24", std::net::Ipv4Addr::from(u32::from(now.vtep) + 1));
            ensure!(lab.host(1).subnet_env("FLANNEL_SUBNET")? == gateway);
            Ok(())
        })?;
        lab.wait_for_mesh(&[1, 2])?;
        let log = daemons[0].log()?;
        ensure!(
            log.contains(messages::KEY_OVERWRITTEN) && log.contains("at 10.99.1.9"),
            "{log}"
        );
        ensure!(log.contains(messages::SUBNET_HELD_BY_ANOTHER), "{log}");
        ensure!(daemons.iter().all(|daemon| daemon.is_running()));
        let (key, value) = thief.entry();
        ensure!(lab.etcd.get(&key)?.as_ref() == Some(&value));
        Ok(())
    })
}
