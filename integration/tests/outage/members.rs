//! Some members of etcd do not answer, or answer that they are full.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Etcd, EtcdOptions, Ping, QUICK, SLOW, endpoints, eventually, in_lab,
    messages,
};

use super::{unknown_peers, wait_for_state};

#[test]
fn survives_a_cluster_that_has_lost_its_leader() -> Result<()> {
    in_lab(2, |lab| {
        let cluster = lab.start_etcd_cluster(3)?;
        let urls = format!("--etcd-endpoints={}", endpoints(&cluster));
        cluster[0].put(CONFIG_KEY, CONFIG)?;
        let start = |host: u8| lab.host(host).flanneld().arg(&urls).start_ready();
        let daemons = [start(1)?, start(2)?];
        let (from, to) = lab.two_pods()?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(20))?;
        ping.wait_for_answer()?;
        cluster[1].kill()?;
        cluster[2].kill()?;
        wait_for_state(lab.host(1), messages::DEGRADED)?;
        cluster[1].launch()?;
        cluster[2].launch()?;
        cluster.iter().try_for_each(Etcd::wait_ready)?;
        let new = unknown_peers(&cluster[0])?;
        cluster[0].put_each(&new)?;
        eventually(QUICK, "the changes", || {
            lab.host(1).ensure_programmed(&cluster[0].leases()?)
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
        // The two other members elect a leader, so that the hung one is none.
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
fn an_etcd_out_of_space_stops_new_hosts_and_no_others() -> Result<()> {
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
        // A new host cannot join, and logs why.
        let second = lab.host(2).flanneld().arg(&url).start()?;
        second.wait_for_log("database space exceeded")?;
        // Nor can a key that is gone be created again, and that is told.
        let key = etcd.lease_at(lab.host(1).address())?.entry().0;
        etcd.delete(&key)?;
        let message = lab
            .host(1)
            .wait_for_problem(SLOW, "LeaseHeld", "LeaseMissing")?;
        ensure!(message.contains(&key), "{message}");
        etcd.ctl(&["del", "--prefix", "/junk"])?;
        etcd.compact()?;
        etcd.ctl(&["defrag"])?;
        etcd.ctl(&["alarm", "disarm"])?;
        second.wait_ready()?;
        lab.host(1).wait_for_condition(SLOW, "LeaseHeld")?;
        eventually(QUICK, "the mesh", || {
            lab.host(1).ensure_programmed(&etcd.leases()?)
        })?;
        ensure!(
            etcd.etcd_leases()?.len() == 2,
            "tries that failed leave no lease of etcd behind"
        );
        Ok(())
    })
}
