//! `--peers=on-demand`: the layout of flannel 0.5.5, and misses that are answered before a packet is lost. Needs root.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Host, Lab, Ping, Pod, QUICK, SLOW, eventually, in_lab, messages,
};

/// Two hosts, the first on demand, with a pod on each.
fn two_pods(lab: &Lab, idle: &str) -> Result<(Vec<Flanneld>, Pod, Pod)> {
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    let daemons = vec![
        lab.host(1)
            .flanneld()
            .arg("--peers=on-demand")
            .arg(idle)
            .start_ready()?,
        lab.host(2).flanneld().start_ready()?,
    ];
    eventually(QUICK, "the peer", || {
        ensure!(
            lab.host(1).fdb("flannel.1")?.len() == 1 && lab.host(2).routes("flannel.1")?.len() == 1
        );
        Ok(())
    })?;
    let (from, to) = lab.two_pods()?;
    Ok((daemons, from, to))
}

/// `address mac state` of each neighbour.
fn neighbours(host: &Host) -> Result<Vec<String>> {
    let all = host.neighbours("flannel.1")?;
    Ok(all
        .iter()
        .map(|(ip, n)| format!("{ip} {} {}", n.lladdr.as_deref().unwrap_or("-"), n.state))
        .collect())
}

#[test]
fn has_the_classic_layout_and_a_neighbour_per_pod_from_the_first_packet_on() -> Result<()> {
    in_lab(2, |lab| {
        let (_daemons, from, to) = two_pods(lab, "--peers-idle=600")?;
        let routes = lab.host(1).routes("flannel.1")?;
        ensure!(
            routes.keys().collect::<Vec<_>>() == ["10.5.0.0/16"],
            "{routes:?}"
        );
        ensure!(neighbours(lab.host(1))?.is_empty());
        for _ in 0..2 {
            from.run(&["ping", "-c1", "-W5", &to.address().to_string()])?;
        }
        let expected = [format!("{} {} PERMANENT", to.address(), lab.lease(2)?.mac)];
        ensure!(
            neighbours(lab.host(1))? == expected,
            "{:?}",
            neighbours(lab.host(1))?
        );
        Ok(())
    })
}

#[test]
fn a_neighbour_follows_its_peer_and_goes_with_it() -> Result<()> {
    in_lab(2, |lab| {
        let (_daemons, from, to) = two_pods(lab, "--peers-idle=600")?;
        from.run(&["ping", "-c1", "-W5", &to.address().to_string()])?;
        let peer = lab.lease(2)?;
        let mut moved = peer.clone();
        moved.mac = "02:00:00:00:00:42".into();
        // The peer's own daemon would put its lease right again.
        lab.host(2).sh("ip link set eth0 down")?;
        let (key, value) = moved.entry();
        lab.etcd.put(&key, &value)?;
        let expect = |expected: Vec<String>| {
            eventually(QUICK, "the neighbours", || {
                ensure!(
                    neighbours(lab.host(1))? == expected,
                    "{:?}",
                    neighbours(lab.host(1))?
                );
                Ok(())
            })
        };
        expect(vec![format!(
            "{} 02:00:00:00:00:42 PERMANENT",
            to.address()
        )])?;
        lab.etcd.delete(&key)?;
        expect(Vec::new())?;
        ensure!(lab.host(1).fdb("flannel.1")?.is_empty());
        Ok(())
    })
}

#[test]
fn used_neighbours_stay_and_idle_ones_are_removed() -> Result<()> {
    in_lab(2, |lab| {
        let (daemons, from, to) = two_pods(lab, "--peers-idle=2")?;
        let quiet = lab.host(2).pod()?;
        from.run(&["ping", "-c1", "-W5", &quiet.address().to_string()])?;
        let ping = Ping::start(&from, to.address(), Duration::from_millis(20))?;
        ping.wait_for_answer()?;
        ensure!(neighbours(lab.host(1))?.len() == 2);
        eventually(SLOW, "the unused one to go", || {
            let left = neighbours(lab.host(1))?;
            ensure!(
                left.len() == 1 && left[0].starts_with(&format!("{} ", to.address())),
                "{left:?}"
            );
            Ok(())
        })?;
        // Several rounds of doubt later the used one is there, and no packet was lost.
        eventually(SLOW, "some rounds", || {
            let rounds = daemons[0].log()?.matches(messages::NUD_STALE).count();
            ensure!(rounds >= 4, "{rounds}");
            Ok(())
        })?;
        let report = ping.finish()?;
        ensure!(report.lost() == 0, "{report:?}");
        let left = neighbours(lab.host(1))?;
        ensure!(
            left.iter()
                .any(|line| line.starts_with(&format!("{} ", to.address()))),
            "{left:?}"
        );
        Ok(())
    })
}

#[test]
fn two_hundred_first_packets_are_all_answered() -> Result<()> {
    in_lab(2, |lab| {
        let (_daemons, from, to) = two_pods(lab, "--peers-idle=600")?;
        // One pod with many addresses stands for many pods.
        let base = to.address().octets();
        let address = |last: u8| format!("{}.{}.{}.{last}", base[0], base[1], base[2]);
        for last in 10..210 {
            to.run(&[
                "ip",
                "address",
                "add",
                &format!("{}/32", address(last)),
                "dev",
                "eth0",
            ])?;
        }
        for last in 10..210 {
            from.run(&["ping", "-c1", "-W2", &address(last)])?;
        }
        ensure!(neighbours(lab.host(1))?.len() == 200);
        Ok(())
    })
}

#[test]
fn a_restart_keeps_the_neighbours_that_are_there() -> Result<()> {
    in_lab(2, |lab| {
        let (daemons, from, to) = two_pods(lab, "--peers-idle=600")?;
        from.run(&["ping", "-c1", "-W5", &to.address().to_string()])?;
        let before = neighbours(lab.host(1))?;
        daemons[0].kill()?;
        let _again = lab
            .host(1)
            .flanneld()
            .arg("--peers=on-demand")
            .start_ready()?;
        ensure!(neighbours(lab.host(1))? == before);
        Ok(())
    })
}
