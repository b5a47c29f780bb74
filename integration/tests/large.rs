//! Values of strangers below our prefix, of any size: none of them may keep us from our peers. Needs root.

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use integration::{
    CONFIG, CONFIG_KEY, Etcd, EtcdOptions, Flanneld, Lab, Lease, SLOW, SUBNETS, eventually, in_lab,
    messages,
};

/// More than etcd takes unless it is told to.
const TEN_MB: usize = 10_000_000;

/// An etcd that takes values of 40 MB.
fn patient_etcd(lab: &Lab) -> Result<Etcd> {
    let args = [
        "--max-request-bytes=40000000",
        "--quota-backend-bytes=2000000000",
    ]
    .map(str::to_owned)
    .to_vec();
    let etcd = lab.start_etcd(EtcdOptions {
        args,
        ..EtcdOptions::new("patient", 3379)
    })?;
    etcd.put(CONFIG_KEY, CONFIG)?;
    Ok(etcd)
}

/// Puts a value of that many bytes. `etcdctl` sends 2 MiB at most, etcd's HTTP gateway whatever it gets.
fn put_large(lab: &Lab, key: &str, bytes: usize) -> Result<()> {
    let (key, value) = (BASE64.encode(key), BASE64.encode(vec![b'x'; bytes]));
    let body = format!(r#"{{"key":"{key}","value":"{value}"}}"#);
    let head = format!(
        "POST /v3/kv/put HTTP/1.0\r\nHost: etcd\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let script = "exec 3<>/dev/tcp/10.99.0.1/3379; cat >&3; cat <&3";
    let answer = lab
        .underlay
        .finish(&["bash", "-c", script], &(head + &body))?
        .success()?;
    ensure!(answer.contains("\"revision\""), "{answer}");
    Ok(())
}

fn key(number: u8) -> String {
    format!("{SUBNETS}10.5.{number}.0-24")
}

fn ignores(daemon: &Flanneld, number: u8) -> Result<()> {
    eventually(SLOW, format_args!("a warning for {number}"), || {
        let (log, name) = (daemon.log()?, format!("10.5.{number}.0-24"));
        let warning = |line: &&str| {
            line.contains("WARN")
                && line.contains(messages::IGNORING_A_LEASE)
                && line.contains(&name)
        };
        ensure!(log.lines().filter(warning).count() == 1, "{log}");
        Ok(())
    })
}

#[test]
fn large_foreign_values_do_not_hide_peers() -> Result<()> {
    in_lab(1, |lab| {
        let etcd = patient_etcd(lab)?;
        (20..28).try_for_each(|number| put_large(lab, &key(number), TEN_MB))?;
        // Larger than any answer that we take.
        put_large(lab, &key(30), 3 * TEN_MB)?;
        for number in [10, 25, 29, 31, 40] {
            let (key, value) = Lease::numbered(number).entry();
            etcd.put(&key, &value)?;
        }
        put_large(lab, &key(25), TEN_MB)?;
        let daemon = lab
            .host(1)
            .flanneld()
            .arg(&format!("--etcd-endpoints={}", etcd.endpoint()))
            .start_ready()?;
        [10, 29, 31, 40]
            .iter()
            .try_for_each(|&number| lab.host(1).wait_for_route(&Lease::numbered(number)))?;
        (20..28)
            .chain([30])
            .try_for_each(|number| ignores(&daemon, number))?;
        let peak = daemon.peak_resident_bytes()?;
        ensure!(peak < 100 << 20, "{} MiB for a list of 120 MB", peak >> 20);
        Ok(())
    })
}

#[test]
fn a_watch_survives_a_large_put() -> Result<()> {
    in_lab(1, |lab| {
        let etcd = patient_etcd(lab)?;
        let daemon = lab
            .host(1)
            .flanneld()
            .arg(&format!("--etcd-endpoints={}", etcd.endpoint()))
            .start_ready()?;
        put_large(lab, &key(20), TEN_MB)?;
        ignores(&daemon, 20)?;
        let (own, value) = Lease::numbered(10).entry();
        etcd.put(&own, &value)?;
        lab.host(1).wait_for_route(&Lease::numbered(10))?;
        ensure!(
            !daemon.log()?.contains(messages::ETCD_IS_UNREACHABLE),
            "the watch went on"
        );
        // One event that is larger than any answer that we take: the watch ends, the next one begins after it.
        put_large(lab, &key(30), 3 * TEN_MB)?;
        ignores(&daemon, 30)?;
        let (own, value) = Lease::numbered(11).entry();
        etcd.put(&own, &value)?;
        lab.host(1).wait_for_route(&Lease::numbered(11))
    })
}
