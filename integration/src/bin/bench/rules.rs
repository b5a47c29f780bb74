//! What the rules of the packet filter cost packets between pods of two hosts, against none in the same run; what it costs
//! to track the outer packets, and to make checksums in software.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Host, Lab, Pod, QUICK, eventually};

use crate::figures::{Figures, Unit};

/// The row with which the others are compared.
pub(crate) const REFERENCE: &str = "round trip, no rules";
const ROUNDS: usize = 5;

/// Name, options of the daemon, and what is done on each host once all is in place and the daemon has ended.
const WAYS: [(&str, &[&str], &str); 6] = [
    (
        "no rules",
        &["--ip-masq=false", "--iptables-forward-rules=false"],
        "",
    ),
    ("nftables", &["--firewall=nftables"], ""),
    (
        "nftables, outer packets tracked",
        &["--firewall=nftables"],
        "nft delete chain ip flannel.1 prerouting; nft delete chain ip flannel.1 output",
    ),
    ("iptables-nft", &["--firewall=iptables"], ""),
    (
        "iptables-nft, outer packets tracked",
        &["--firewall=iptables"],
        "iptables -t raw -F",
    ),
    (
        "nftables, checksums in software",
        &["--firewall=nftables", "--tx-checksum-offload=off"],
        "",
    ),
];

/// Measures the cases by turns, so that other load on the machine affects all of them alike.
pub(crate) fn all(figures: &mut Figures) -> Result<()> {
    let lab = Lab::new(2)?;
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    start(&lab, &[], "")?;
    lab.hosts().iter().try_for_each(Host::docker0)?;
    let (from, to) = (lab.host(1).pod()?, lab.host(2).pod()?);
    let _server = to.start(&["iperf3", "--server"], &[], "iperf3")?;
    eventually(QUICK, "the server to listen", || {
        to.sh("ss -Hltn sport = :5201 | grep -q 5201")
    })?;
    for _ in 0..ROUNDS {
        for (name, options, then) in WAYS {
            start(&lab, options, then)?;
            measure(figures, name, &from, &to)?;
        }
    }
    Ok(())
}

/// Puts rules and device in place on both hosts, and ends the daemons, which would undo what is done next.
fn start(lab: &Lab, options: &[&str], then: &str) -> Result<()> {
    let start = |host: &Host| {
        // The last round may have turned it off, and to keep it means to leave it.
        host.sh(
            "ip link show flannel.1 >/dev/null 2>&1 && ethtool -K flannel.1 tx-checksum-ip-generic on tso on; true",
        )?;
        options
            .iter()
            .fold(host.flanneld().arg("-v=0"), |command, option| {
                command.arg(option)
            })
            .start_ready()
    };
    let daemons = lab.hosts().iter().map(start).collect::<Result<Vec<_>>>()?;
    lab.wait_for_mesh(&[1, 2])?;
    daemons.iter().try_for_each(|daemon| daemon.kill())?;
    lab.hosts()
        .iter()
        .try_for_each(|host| host.sh(then).map(drop))
}

fn measure(figures: &mut Figures, name: &str, from: &Pod, to: &Pod) -> Result<()> {
    let to = to.address().to_string();
    let ping = from.run(&["ping", "-q", "-c", "1000", "-i", "0.001", &to])?;
    ensure!(ping.contains(" 0% packet loss"), "{ping}");
    let average = ping
        .rsplit('=')
        .next()
        .and_then(|numbers| numbers.trim().split('/').nth(1));
    let average: f64 = average
        .with_context(|| format!("no average: {ping}"))?
        .parse()?;
    figures.time(
        &format!("round trip, {name}"),
        Duration::from_secs_f64(average / 1000.0),
    );
    let json = from.run(&["iperf3", "--client", &to, "--time", "2", "--json"])?;
    let report: serde_json::Value = serde_json::from_str(&json)?;
    let rate = report
        .pointer("/end/sum_received/bits_per_second")
        .and_then(serde_json::Value::as_f64);
    figures.push(
        &format!("throughput, {name}"),
        Unit::Rate,
        rate.context("no rate")? / 1e9,
    );
    Ok(())
}
