//! Keys and values that are no leases, or are meant to do harm.

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Etcd, Flanneld, Host, Lease, QUICK, SUBNETS, eventually, in_lab, messages,
};

/// A key, a value, and words of the reason why it is ignored.
type Unusable = (String, String, &'static str);

/// Keys and values that must not harm the overlay.
fn hostile() -> Vec<Unusable> {
    let key = |name: &str| format!("{SUBNETS}{name}");
    let lease = |ip: &str, mac: &str, vni: u32| {
        format!(
            r#"{{"PublicIP":"{ip}","BackendType":"vxlan","BackendData":{{"VNI":{vni},"VtepMAC":"{mac}"}}}}"#
        )
    };
    let (good, ip) = ("02:aa:00:00:00:63", "10.98.0.9");
    let by_key = ["8.8.8.0-24", "0.0.0.0-0", "10.5.0.0-16"]
        .map(|n| (key(n), lease(ip, good, 1), messages::NOT_INSIDE_THE_NETWORK));
    let no_key = [
        "10.5.999.0-24",
        "x",
        "10.5.1.0-24-24",
        "\u{1b}[2J",
        "10.5.40.0-33",
        "",
    ];
    let no_key = no_key.map(|name| {
        (
            key(name),
            lease(ip, good, 1),
            messages::EXPECTED_A_KEY_SUCH_AS,
        )
    });
    let values = [
        (
            lease(ip, "01:00:5e:00:00:01", 1),
            messages::NOT_THE_ADDRESS_OF_A_DEVICE,
        ),
        (
            lease(ip, "00:00:00:00:00:00", 1),
            messages::NOT_THE_ADDRESS_OF_A_DEVICE,
        ),
        (lease(ip, "02:0f:1a:00:00:01", 1), messages::IS_OUR_OWN),
        (lease("10.99.1.1", good, 1), messages::IS_OUR_OWN),
        (
            lease("0.0.0.0", good, 1),
            messages::NOT_THE_ADDRESS_OF_A_HOST,
        ),
        (lease("224.0.0.1", good, 1), messages::MULTICAST),
        (lease("127.0.0.1", good, 1), messages::LOOPBACK),
        (lease("10.5.77.7", good, 1), messages::INSIDE_THE_OVERLAY),
        (lease(ip, good, 2), messages::VNI_IS_2_OURS_IS_1),
        ("garbage".to_owned(), messages::FAILED_TO_READ_THE_VALUE),
        (
            r#"{"PublicIP":[],"BackendType":{},"NodeID":{"a":[]}}"#.to_owned(),
            messages::FAILED_TO_READ_THE_VALUE,
        ),
        ("[".repeat(2000), messages::FAILED_TO_READ_THE_VALUE),
        ("x".repeat(1_400_000), messages::LONGER_THAN_4096_BYTES),
        (
            r#"{"PublicIP":"10.98.0.9","BackendType":"udp","BackendData":null}"#.to_owned(),
            messages::BACKEND_IS_UDP,
        ),
    ];
    let values = (100..)
        .zip(values)
        .map(|(n, (value, why))| (key(&format!("10.5.{n}.0-24")), value, why));
    by_key.into_iter().chain(no_key).chain(values).collect()
}

fn put_all(etcd: &Etcd, keys: &[Unusable]) -> Result<()> {
    keys.iter().try_for_each(|(key, value, _)| {
        if value.len() > 100_000 {
            // Too long for a command line.
            etcd.load(&[(key.clone(), value.clone())], None)
        } else {
            etcd.put(key, value)
        }
    })
}

/// The ignored keys in the status of a host's daemon, with the reasons.
fn ignored(host: &Host) -> Result<serde_json::Map<String, serde_json::Value>> {
    let status = host.flanneld().arg("status").arg("--json").finish()?;
    let report: serde_json::Value = serde_json::from_str(&status.stdout)?;
    Ok(report["ignored"].as_object().cloned().unwrap_or_default())
}

fn ensure_ignored(host: &Host, daemon: &Flanneld, keys: &[Unusable]) -> Result<()> {
    let ignored = eventually(QUICK, "all keys in status", || {
        let ignored = ignored(host)?;
        ensure!(
            ignored.len() == keys.len(),
            "{} of {}: {ignored:?}",
            ignored.len(),
            keys.len()
        );
        Ok(ignored)
    })?;
    for (key, _, why) in keys {
        let reason = ignored
            .get(key.trim_start_matches(SUBNETS))
            .and_then(serde_json::Value::as_str);
        ensure!(
            reason.is_some_and(|reason| reason.contains(why)),
            "{key}: {reason:?}, expected {why}"
        );
    }
    let log = daemon.log()?;
    let lines = log
        .lines()
        .filter(|line| line.contains(messages::IGNORING_A_LEASE))
        .count();
    ensure!(
        lines == keys.len() && !log.contains('\u{1b}'),
        "{lines} lines for {} keys:\n{log}",
        keys.len()
    );
    ensure!(host.routes("flannel.1")?.is_empty() && host.fdb("flannel.1")?.is_empty());
    ensure!(daemon.is_running());
    Ok(())
}

#[test]
fn unusable_keys_are_ignored_logged_once_and_shown_in_status() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let own = r#"{"PublicIP":"10.99.1.1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:0f:1a:00:00:01"}}"#;
        lab.etcd.put(&format!("{SUBNETS}10.5.40.0-24"), own)?;
        let overlapping = (
            format!("{SUBNETS}10.5.40.128-25"),
            Lease::invented(9).entry().1,
            messages::OVERLAPS_OUR_OWN,
        );
        let keys: Vec<_> = hostile().into_iter().chain([overlapping]).collect();
        // They are there before it starts: the list. They come while it runs: the watch.
        put_all(&lab.etcd, &keys)?;
        // It is not ready: all hosts with a usable value have another VNI or backend.
        let daemon = lab.host(1).flanneld().start()?;
        daemon.wait_for_log(messages::KERNEL_HOLDS_ALL)?;
        ensure_ignored(lab.host(1), &daemon, &keys)?;
        keys.iter()
            .try_for_each(|(key, _, _)| lab.etcd.delete(key))?;
        daemon.stop()?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        put_all(&lab.etcd, &keys)?;
        ensure_ignored(lab.host(1), &daemon, &keys)
    })
}

#[test]
fn a_peer_whose_lease_is_damaged_stays_as_last_known() -> Result<()> {
    in_lab(1, |lab| {
        // The host itself takes none of the subnets below.
        let config = r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.100.0"}"#;
        lab.etcd.put(CONFIG_KEY, config)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        let peers = [40, 41, 42, 43].map(Lease::numbered);
        let entries = peers.each_ref().map(Lease::entry);
        for (key, value) in &entries {
            lab.etcd.put(key, value)?;
        }
        let known = lab.wait_for_mesh(&[1])?;
        let bad_mac = entries[3].1.replace("02:aa", "01:aa");
        for ((key, _), value) in entries.iter().zip(["", "garbage", "{}", &bad_mac]) {
            lab.etcd.put(key, value)?;
        }
        let kept = |count: usize| {
            let status = lab.host(1).flanneld().arg("status").finish()?;
            let found = status.stdout.matches(messages::KEPT_AS_LAST_KNOWN).count();
            ensure!(found == count, "{found} are kept: {status:?}");
            Ok(())
        };
        eventually(QUICK, "the status to name all", || kept(4))?;
        lab.host(1).ensure_programmed(&known)?;
        // A restart knows them from the snapshot.
        lab.host(1).wait_for_snapshot()?;
        daemon.stop()?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        eventually(QUICK, "the status to name all again", || kept(4))?;
        lab.host(1).ensure_programmed(&known)?;
        // A statement, a deletion and a cure.
        lab.etcd
            .put(&entries[0].0, &entries[0].1.replace("vxlan", "udp"))?;
        lab.etcd.delete(&entries[1].0)?;
        for (key, value) in &entries[2..] {
            lab.etcd.put(key, value)?;
        }
        let rest: Vec<Lease> = known
            .iter()
            .filter(|lease| **lease != peers[0] && **lease != peers[1])
            .cloned()
            .collect();
        eventually(QUICK, "two peers to go", || {
            kept(0)?;
            lab.host(1).ensure_programmed(&rest)
        })
    })
}
