//! etcd that is down, frozen, cut off, full, emptied or restored: packets do not notice, and afterwards everything is
//! known. Needs root.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Etcd, EtcdOptions, Host, Lab, Member, Ping, Pod, QUICK, SLOW, SNAPSHOT,
    SUBNETS, endpoints, eventually, in_lab,
};

const ETCD: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// How the daemon of a host says that it is.
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

fn pods(lab: &Lab) -> Result<(Pod, Pod)> {
    lab.hosts().iter().try_for_each(Host::docker0)?;
    Ok((lab.host(1).pod()?, lab.host(2).pod()?))
}

fn peer(number: u8) -> (String, String) {
    let vtep = Ipv4Addr::new(10, 5, number, 0);
    Member {
        subnet: format!("{vtep}/24"),
        vtep,
        ..Member::invented(number.into())
    }
    .lease()
}

/// Peers of which nothing is known yet, in subnets that no daemon has.
fn unknown_peers(etcd: &Etcd) -> Result<Vec<(String, String)>> {
    let taken = etcd.members()?;
    let free = (1..=250)
        .map(peer)
        .filter(|(key, _)| !taken.iter().any(|member| member.lease().0 == *key));
    Ok(free.take(20).collect())
}

/// The promise for changes of the meantime; a sixth of it is usual.
const KNOWN: Duration = Duration::from_secs(2);

/// Two hosts under ping while `fail` and then `mend` happens to etcd; afterwards a change of the meantime is known in time.
fn survives(
    what: &str,
    within: Duration,
    fail: impl FnOnce(&Lab) -> Result<()>,
    mend: impl FnOnce(&Lab) -> Result<()>,
) -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemons = [
            lab.host(1).flanneld().start_ready()?,
            lab.host(2).flanneld().start_ready()?,
        ];
        lab.wait_for_mesh(&[1, 2])?;
        let (from, to) = pods(lab)?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(20))?;
        ping.wait_for_answer()?;
        fail(lab)?;
        daemons[0].wait_for_log("etcd fails us")?;
        wait_for_state(lab.host(1), "degraded: etcd fails us since ")?;
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
            .try_for_each(|host| wait_for_state(host, "ready"))?;
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
            .try_for_each(|host| lab.underlay.cut(ETCD, host.address()))?;
        // What the others do meanwhile, compacted away besides.
        lab.etcd.put_each(&unknown_peers(&lab.etcd)?[..10])?;
        lab.etcd.compact()
    };
    // Where the kernels' repetitions decide, a slow machine may need longer; `cut_off.rs` measures that alone.
    survives("cut off", SLOW, cut, |lab| {
        let strangers = lab
            .etcd
            .members()?
            .into_iter()
            .filter(|member| !member.public_ip.starts_with("10.99.1."));
        strangers
            .take(5)
            .try_for_each(|member| lab.etcd.delete(&member.lease().0))?;
        lab.underlay.heal()
    })
}

#[test]
fn survives_a_cluster_that_has_lost_its_leader() -> Result<()> {
    in_lab(2, |lab| {
        let cluster = lab.start_etcd_cluster(3)?;
        let urls = format!("--etcd-endpoints={}", endpoints(&cluster));
        cluster[0].put(CONFIG_KEY, CONFIG)?;
        let start = |host: u8| lab.host(host).flanneld().arg(&urls).start_ready();
        let daemons = [start(1)?, start(2)?];
        let (from, to) = pods(lab)?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(20))?;
        ping.wait_for_answer()?;
        cluster[1].kill()?;
        cluster[2].kill()?;
        wait_for_state(lab.host(1), "degraded")?;
        cluster[1].launch()?;
        cluster[2].launch()?;
        cluster.iter().try_for_each(Etcd::wait_ready)?;
        let new = unknown_peers(&cluster[0])?;
        cluster[0].put_each(&new)?;
        eventually(QUICK, "the changes", || {
            lab.host(1).ensure_programmed(&cluster[0].members()?)
        })?;
        let report = ping.finish()?;
        ensure!(
            report.lost() == 0 && daemons.iter().all(|daemon| daemon.is_running()),
            "{report:?}"
        );
        Ok(())
    })
}

#[test]
fn one_dead_and_one_hung_member_cost_one_time_out_at_most() -> Result<()> {
    in_lab(1, |lab| {
        let cluster = lab.start_etcd_cluster(3)?;
        cluster[2].put(CONFIG_KEY, CONFIG)?;
        // The hung one is no leader any more when it matters: the others elect one of themselves.
        cluster[0].freeze()?;
        eventually(SLOW, "a leader among the others", || {
            cluster[2].put("/probe", "")
        })?;
        let urls = format!(
            "--etcd-endpoints=http://10.99.0.1:9,{}",
            endpoints(&cluster)
        );
        let began = Instant::now();
        let daemon = lab.host(1).flanneld().arg(&urls).start_ready()?;
        println!(
            "ready after {:?} with one member dead and one hung",
            began.elapsed()
        );
        ensure!(
            began.elapsed() < Duration::from_secs(10),
            "more than one time-out: {:?}",
            began.elapsed()
        );
        cluster[0].thaw()?;
        drop(daemon);
        Ok(())
    })
}

#[test]
fn an_etcd_out_of_space_keeps_nobody_from_going_on() -> Result<()> {
    in_lab(2, |lab| {
        let small = EtcdOptions {
            args: vec!["--quota-backend-bytes=16777216".into()],
            ..EtcdOptions::new("small", 3379)
        };
        let etcd = lab.start_etcd(small)?;
        etcd.put(CONFIG_KEY, CONFIG)?;
        let url = format!("--etcd-endpoints={}", etcd.endpoint());
        let first = lab.host(1).flanneld().arg(&url).start_ready()?;
        let junk = "x".repeat(100_000);
        let full = (0..400)
            .map(|number| etcd.put(&format!("/junk/{number}"), &junk))
            .find_map(Result::err);
        ensure!(full.is_some_and(|error| format!("{error:#}").contains("space exceeded")));
        // A restart writes nothing, so that it needs no space.
        first.kill()?;
        let _first = lab.host(1).flanneld().arg(&url).start_ready()?;
        // Who is new cannot join, and says why.
        let second = lab.host(2).flanneld().arg(&url).start()?;
        second.wait_for_log("database space exceeded")?;
        etcd.ctl(&["del", "--prefix", "/junk"])?;
        etcd.compact()?;
        etcd.ctl(&["defrag"])?;
        etcd.ctl(&["alarm", "disarm"])?;
        second.wait_ready()?;
        eventually(QUICK, "the mesh", || {
            lab.host(1).ensure_programmed(&etcd.members()?)
        })?;
        ensure!(
            etcd.leases()?.len() == 2,
            "tries that failed leave no lease of etcd behind"
        );
        Ok(())
    })
}

#[test]
fn a_boot_while_etcd_is_away_comes_up_from_the_last_known_state() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = lab.host(1).flanneld().start_ready()?;
        let _second = lab.host(2).flanneld().start_ready()?;
        let members = lab.wait_for_mesh(&[1, 2])?;
        // What it has just learned is on the disk before it ends.
        first.stop()?;
        lab.etcd.stop()?;
        lab.reboot(1)?;
        let first = lab.host(1).flanneld().arg("--ip-masq").start_ready()?;
        ensure!(
            state(lab.host(1))?.contains("degraded: etcd "),
            "{}",
            state(lab.host(1))?
        );
        lab.host(1).ensure_programmed(&members)?;
        ensure!(
            lab.host(1).sh("nft list ruleset")?.contains("masquerade"),
            "rules as well"
        );
        let (from, to) = pods(lab)?;
        from.run(&["ping", "-c3", "-i0.05", "-W5", &to.address().to_string()])?;
        lab.etcd.start()?;
        wait_for_state(lab.host(1), "ready")?;
        ensure!(lab.wait_for_mesh(&[1, 2])? == members);
        drop(first);
        Ok(())
    })
}

#[test]
fn a_boot_without_etcd_and_without_names_takes_the_interface_of_the_last_run() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        host.sh("echo '10.99.0.1 etcd.example' >> /etc/hosts")?;
        let start = || {
            let by_name = "--etcd-endpoints=http://etcd.example:2379";
            lab.host(1)
                .flanneld()
                .without("--iface")
                .arg(by_name)
                .start_ready()
        };
        let daemon = start()?;
        host.wait_for_snapshot()?;
        daemon.stop()?;
        lab.etcd.stop()?;
        host.sh("ip link del flannel.1; grep -v etcd.example /etc/hosts > /run/hosts; cat /run/hosts > /etc/hosts")?;
        let daemon = start()?;
        ensure!(
            daemon
                .log()?
                .contains("taking the external interface of the last run"),
            "{}",
            daemon.log()?
        );
        ensure!(host.link("flannel.1").is_ok());
        Ok(())
    })
}

#[test]
fn a_snapshot_that_is_damaged_or_anothers_is_not_used() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemons = [
            lab.host(1).flanneld().start_ready()?,
            lab.host(2).flanneld().start_ready()?,
        ];
        lab.wait_for_mesh(&[1, 2])?;
        let both = || -> Result<Vec<String>> {
            lab.hosts().iter().map(|host| host.read(SNAPSHOT)).collect()
        };
        let texts = eventually(SLOW, "the snapshots", both)?;
        daemons
            .iter()
            .try_for_each(|daemon| daemon.stop().map(drop))?;
        lab.etcd.stop()?;
        let damaged = texts[0].replacen("10.99.1.1", "10.99.1.9", 1);
        let write = |text: &str| format!("cat > {SNAPSHOT} <<'EOF'\n{text}EOF");
        let no_text = format!("printf '\\377' > {SNAPSHOT}");
        let bad = [
            (write(&damaged), "checksum is wrong"),
            (write(&texts[1]), "belongs to node"),
            (no_text, "did not contain valid UTF-8"),
        ];
        for (put, reason) in bad {
            lab.host(1).sh(&put)?;
            let daemon = lab.host(1).flanneld().start()?;
            daemon.wait_for_log(reason)?;
            ensure!(
                daemon.log()?.contains("ignoring the last known state"),
                "{}",
                daemon.log()?
            );
            wait_for_state(lab.host(1), "waiting for a lease: etcd fails us")?;
            ensure!(!daemon.told().contains(&"READY=1".to_owned()));
            daemon.kill()?;
        }
        Ok(())
    })
}

/// Six hosts that lose etcd's data in some way under ping.
fn heals(what: &str, lose: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    in_lab(6, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let all: Vec<u8> = (1..=6).collect();
        let daemons = lab
            .hosts()
            .iter()
            .map(|host| host.flanneld().start_ready())
            .collect::<Result<Vec<_>>>()?;
        let before = lab.wait_for_mesh(&all)?;
        let (from, to) = pods(lab)?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(10))?;
        ping.wait_for_answer()?;
        let lost = Instant::now();
        lose(lab)?;
        eventually(SLOW, "all leases", || {
            ensure!(lab.etcd.members()? == before);
            Ok(())
        })?;
        println!("{what}: all leases were back after {:?}", lost.elapsed());
        ensure!(lab.wait_for_mesh(&all)? == before);
        let report = ping.finish()?;
        ensure!(
            report.lost() == 0 && daemons.iter().all(|daemon| daemon.is_running()),
            "{report:?}"
        );
        ensure!(lab.etcd.leases()?.len() == 6, "{:?}", lab.etcd.leases()?);
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
fn an_etcd_restored_from_a_backup_of_before_gets_all_leases_back() -> Result<()> {
    in_lab(6, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let first = lab.host(1).flanneld().start_ready()?;
        lab.etcd.backup("early")?;
        let others = (2..=6)
            .map(|n| lab.host(n).flanneld().start_ready())
            .collect::<Result<Vec<_>>>()?;
        let all: Vec<u8> = (1..=6).collect();
        let before = lab.wait_for_mesh(&all)?;
        let (from, to) = pods(lab)?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(10))?;
        ping.wait_for_answer()?;
        // Revisions go back: a watch from the last known one would wait for ever.
        lab.etcd.restore("early")?;
        eventually(SLOW, "all leases", || {
            ensure!(lab.etcd.members()? == before);
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
fn peers_that_do_not_come_back_in_time_go() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = lab
            .host(1)
            .flanneld()
            .arg("--removal-grace=20")
            .start_ready()?;
        lab.etcd.put_each(&unknown_peers(&lab.etcd)?[..8])?;
        let members = lab.wait_for_mesh(&[1])?;
        let own = members
            .iter()
            .find(|member| member.public_ip == "10.99.1.1")
            .context("no lease of ours")?;
        lab.etcd.delete_prefix(SUBNETS)?;
        daemon.wait_for_log("peers have vanished from etcd at once")?;
        // They are there still, and then they are not. The grace leaves a slow machine the time to look.
        lab.host(1).ensure_programmed(&members)?;
        ensure!(
            lab.host(1)
                .flanneld()
                .arg("status")
                .finish()?
                .stdout
                .contains("8 of them gone from etcd")
        );
        eventually(SLOW, "the others to go", || {
            lab.host(1).ensure_programmed(std::slice::from_ref(own))
        })?;
        daemon.wait_for_log("removing the peers that have not come back to etcd gone=8")
    })
}

#[test]
fn an_etcd_that_was_emptied_while_the_daemon_was_down_takes_no_peers_along() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        lab.etcd.put_each(&unknown_peers(&lab.etcd)?[..8])?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        let members = lab.wait_for_mesh(&[1])?;
        lab.host(1).wait_for_snapshot()?;
        daemon.kill()?;
        lab.etcd.delete_prefix(SUBNETS)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        lab.host(1).ensure_programmed(&members)?;
        daemon.wait_for_log("peers have vanished from etcd at once")
    })
}
