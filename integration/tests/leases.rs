//! Leases under load and under attack: many at once, lost, deleted, changed by the thousand. Needs root.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, EtcdOptions, Flanneld, Lab, Member, QUICK, SLOW, SUBNETS, WIDE_CONFIG,
    eventually, in_lab,
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
                ensure!(daemon.log()?.contains("no network config"));
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
        let members = lab.wait_for_mesh(&all)?;
        println!("and a full mesh after {:?}", started.elapsed());
        let subnets: BTreeSet<&str> = members
            .iter()
            .map(|member| member.subnet.as_str())
            .collect();
        ensure!(members.len() == 100 && subnets.len() == 100, "{members:?}");
        ensure!(
            lab.etcd.leases()?.len() == 100,
            "one lease of etcd for each host: {:?}",
            lab.etcd.leases()?
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
                .map(|n| Member::invented(n).lease())
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
        lab.host(1).ensure_programmed(&lab.etcd.members()?)
    })
}

/// What host 1 writes as `alpha`.
fn alpha() -> Member {
    Member {
        subnet: "10.5.40.0/24".into(),
        vtep: [10, 5, 40, 0].into(),
        public_ip: "10.99.1.1".into(),
        mac: "02:aa:00:00:00:01".into(),
    }
}

/// Writes that on a new lease of etcd, of so many seconds.
fn hang_on_lease(lab: &Lab, seconds: u32) -> Result<i64> {
    let lease = lab.etcd.grant_lease(seconds)?;
    let (key, value) = alpha().lease();
    let value = value.replace("}}", r#"},"NodeID":"alpha"}"#);
    lab.etcd.put_with_lease(&key, &value, lease)?;
    Ok(lease)
}

fn start_alpha(lab: &Lab) -> Result<Flanneld> {
    lab.host(1).flanneld().arg("--node-id=alpha").start_ready()
}

/// Nothing is there but that lease of etcd, and the key as it was at that revision.
fn ensure_untouched(lab: &Lab, lease: i64, revision: i64) -> Result<()> {
    ensure!(lab.etcd.leases()? == [lease], "{:?}", lab.etcd.leases()?);
    ensure!(
        lab.etcd.revision()? == revision && lab.etcd.members()? == [alpha()],
        "the key was written"
    );
    Ok(())
}

#[test]
fn twenty_restarts_leave_one_lease_and_an_untouched_key() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        // Longer than any machine needs from one start to the next.
        let lease = hang_on_lease(lab, 120)?;
        let revision = lab.etcd.revision()?;
        for _ in 0..20 {
            start_alpha(lab)?.kill()?;
        }
        ensure_untouched(lab, lease, revision)
    })
}

#[test]
fn a_hundred_renewals_leave_one_lease_and_an_untouched_key() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = hang_on_lease(lab, 120)?;
        let _daemon = start_alpha(lab)?;
        // A lease of three seconds is renewed about each second. A start could take longer than that.
        let lease = hang_on_lease(lab, 3)?;
        lab.etcd.revoke_lease(first)?;
        let revision = lab.etcd.revision()?;
        let renewals = || lab.etcd.metric(&["etcd_debugging_lease_renewed_total"]);
        let before = renewals()?;
        eventually(Duration::from_secs(300), "100 renewals", || {
            // One of ours is two for etcd: the library asks once by itself.
            let renewed = (renewals()? - before) / 2;
            ensure!(renewed >= 100, "{renewed}");
            Ok(())
        })?;
        ensure_untouched(lab, lease, revision)
    })
}

/// Keys and values that nobody should be able to harm us with, and a word of the reason.
fn hostile() -> Vec<(String, String, &'static str)> {
    let key = |name: &str| format!("{SUBNETS}{name}");
    let lease = |ip: &str, mac: &str, vni: u32| {
        format!(
            r#"{{"PublicIP":"{ip}","BackendType":"vxlan","BackendData":{{"VNI":{vni},"VtepMAC":"{mac}"}}}}"#
        )
    };
    let (good, ip) = ("02:aa:00:00:00:63", "10.98.0.9");
    let by_key = ["8.8.8.0-24", "0.0.0.0-0", "10.5.0.0-16"]
        .map(|n| (key(n), lease(ip, good, 1), "not inside the network"));
    let no_key = [
        "10.5.999.0-24",
        "x",
        "10.5.1.0-24-24",
        "\u{1b}[2J",
        "10.5.40.0-33",
        "",
    ];
    let no_key = no_key.map(|name| (key(name), lease(ip, good, 1), "expected a key such as"));
    let values = [
        (
            lease(ip, "01:00:5e:00:00:01", 1),
            "not the address of a device",
        ),
        (
            lease(ip, "00:00:00:00:00:00", 1),
            "not the address of a device",
        ),
        (lease(ip, "02:0f:1a:00:00:01", 1), "is our own"),
        (lease("10.99.1.1", good, 1), "is our own"),
        (lease("0.0.0.0", good, 1), "not the address of a host"),
        (lease("224.0.0.1", good, 1), "multicast"),
        (lease("127.0.0.1", good, 1), "loopback"),
        (lease("10.5.77.7", good, 1), "inside the overlay"),
        (lease(ip, good, 2), "VNI is 2, ours is 1"),
        ("garbage".to_owned(), "failed to read the value"),
        (
            r#"{"PublicIP":[],"BackendType":{},"NodeID":{"a":[]}}"#.to_owned(),
            "failed to read the value",
        ),
        ("[".repeat(2000), "failed to read the value"),
        ("x".repeat(1_400_000), "longer than 4096 bytes"),
        (
            r#"{"PublicIP":"10.98.0.9","BackendType":"udp","BackendData":null}"#.to_owned(),
            "backend is \"udp\"",
        ),
    ];
    let values = (100..)
        .zip(values)
        .map(|(n, (value, why))| (key(&format!("10.5.{n}.0-24")), value, why));
    by_key.into_iter().chain(no_key).chain(values).collect()
}

#[test]
fn what_strangers_write_is_ignored_said_once_and_shown_in_status() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let mine = |value: &str| {
            format!(r#"{{"PublicIP":"10.99.1.1","BackendType":"vxlan","BackendData":{value}}}"#)
        };
        lab.etcd.put(
            &format!("{SUBNETS}10.5.40.0-24"),
            &mine(r#"{"VNI":1,"VtepMAC":"02:0f:1a:00:00:01"}"#),
        )?;
        let overlapping = (
            format!("{SUBNETS}10.5.40.128-25"),
            Member::invented(9).lease().1,
            "overlaps our own",
        );
        let all: Vec<_> = hostile().into_iter().chain([overlapping]).collect();
        let put_all = || {
            all.iter()
                .try_for_each(|(key, value, _)| match value.len() > 100_000 {
                    // Too long for a command line.
                    true => lab.etcd.load(&[(key.clone(), value.clone())], None),
                    false => lab.etcd.put(key, value),
                })
        };
        let check = |daemon: &Flanneld| -> Result<()> {
            let status = || lab.host(1).flanneld().arg("status").arg("--json").finish();
            let ignored = eventually(QUICK, "all keys in status", || {
                let report: serde_json::Value = serde_json::from_str(&status()?.stdout)?;
                let ignored = report["ignored"].as_object().cloned().unwrap_or_default();
                ensure!(
                    ignored.len() == all.len(),
                    "{} of {}: {ignored:?}",
                    ignored.len(),
                    all.len()
                );
                Ok(ignored)
            })?;
            for (key, _, why) in &all {
                let reason = ignored
                    .get(key.trim_start_matches(SUBNETS))
                    .and_then(|reason| reason.as_str());
                ensure!(
                    reason.is_some_and(|reason| reason.contains(why)),
                    "{key}: {reason:?}, expected {why}"
                );
            }
            let log = daemon.log()?;
            let said = log
                .lines()
                .filter(|line| line.contains("a lease: ") || line.contains("no peer of ours"))
                .count();
            ensure!(
                said == all.len() && !log.contains('\u{1b}'),
                "{said} lines for {} keys:\n{log}",
                all.len()
            );
            ensure!(
                lab.host(1).routes("flannel.1")?.is_empty()
                    && lab.host(1).fdb("flannel.1")?.is_empty()
            );
            ensure!(daemon.is_running());
            Ok(())
        };
        // They are there before it starts: the list. They come while it runs: the watch.
        put_all()?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        check(&daemon)?;
        all.iter()
            .try_for_each(|(key, _, _)| lab.etcd.delete(key))?;
        daemon.stop()?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        put_all()?;
        check(&daemon)
    })
}

#[test]
fn a_changed_configuration_is_explained_and_waits_for_a_restart() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        let before = lab.etcd.members()?;
        let changes = [
            (
                r#"{"Network":"10.6.0.0/16"}"#,
                "Network 10.5.0.0/16 -> 10.6.0.0/16: a restart would take a subnet of the new",
            ),
            (
                r#"{"Network":"10.5.0.0/16","SubnetLen":26}"#,
                "SubnetLen 24 -> 26: a restart would",
            ),
            (
                r#"{"Network":"10.5.0.0/16","Backend":{"VNI":7}}"#,
                "Backend.VNI 1 -> 7: a restart would make the device flannel.7",
            ),
            (
                r#"{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}"#,
                "the network config is unusable now",
            ),
        ];
        for (config, said) in changes {
            lab.etcd.put(CONFIG_KEY, config)?;
            eventually(QUICK, said, || {
                let log = daemon.log()?;
                ensure!(log.contains(said), "{log}");
                Ok(())
            })?;
        }
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _second = lab.host(2).flanneld().start_ready()?;
        ensure!(
            lab.wait_for_mesh(&[1, 2])?
                .iter()
                .any(|member| *member == before[0])
        );
        Ok(())
    })
}

#[test]
fn a_thousand_changes_one_by_one_and_in_transactions_all_arrive() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        let leases = |from: u16, to: u16, host: &str| {
            let moved = |n| Member {
                public_ip: format!("{host}.{}.{}", n >> 8, n & 255),
                ..Member::invented(n)
            };
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
        lab.etcd.load(
            &(1..=4000)
                .map(|n| Member::invented(n).lease())
                .collect::<Vec<_>>(),
            None,
        )?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        lab.host(1).ensure_programmed(&lab.etcd.members()?)
    })
}

/// The promise; a tenth of it is usual.
const BACK: Duration = Duration::from_secs(1);

#[test]
fn its_own_key_deleted_by_hand_is_back_at_once_with_the_same_subnet() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _daemons = [
            lab.host(1).flanneld().start_ready()?,
            lab.host(2).flanneld().start_ready()?,
        ];
        let before = lab.wait_for_mesh(&[1, 2])?;
        let deleted = Instant::now();
        lab.etcd.delete_prefix(SUBNETS)?;
        eventually(QUICK, "both keys", || {
            ensure!(lab.etcd.members()? == before);
            Ok(())
        })?;
        let took = deleted.elapsed();
        println!("both keys were back after {took:?}");
        ensure!(took < BACK, "promised within {BACK:?}: {took:?}");
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
        ensure!(
            log.matches("etcd fails us").count() <= 2,
            "one line for each change of state:\n{log}"
        );
        Ok(())
    })
}

#[test]
fn goes_on_to_another_member_when_one_is_dead() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let other = lab.start_etcd(EtcdOptions::new("other", 3379))?;
        let endpoints = format!(
            "--etcd-endpoints=http://10.99.0.1:9,{}",
            lab.etcd.endpoint()
        );
        let started = Instant::now();
        let _daemon = lab.host(1).flanneld().arg(&endpoints).start_ready()?;
        println!(
            "ready after {:?} though the first member is dead",
            started.elapsed()
        );
        ensure!(started.elapsed() < Duration::from_secs(30));
        drop(other);
        Ok(())
    })
}
