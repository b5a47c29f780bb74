//! What stands in `--etcd-endpoints` is not an etcd, or not reached.

use anyhow::{Result, ensure};
use integration::{EtcdOptions, Lab, in_lab, messages};

use super::Mistaken;

/// Ports that packets do not reach, by what a firewall does to them.
const FIREWALL: &str = "
table ip rejects {
    chain input {
        type filter hook input priority 0;
        tcp dport 91 drop
        tcp dport 92 reject with icmp type admin-prohibited
        tcp dport 93 reject with icmp type port-unreachable
        tcp dport 94 reject with icmp type host-unreachable
        tcp dport 95 reject with icmp type net-unreachable
        tcp dport 96 reject with tcp reset
    }
}
";

/// Servers that are no etcd.
const SERVERS: &str = "
server { listen 81; location / { return 404; } }
server { listen 82 http2; location / { return 502; } }
server { listen 83 http2; location / { return 404; } }
server { listen 84 http2; location / { proxy_pass http://10.99.0.1:2379; } }
server { listen 85 http2; location / { grpc_pass grpc://10.99.0.1:9; } }
";

/// Case, endpoint, and parts of what is said.
const CASES: [(&str, &str, &[&str]); 16] = [
    (
        "etcd is not running",
        "http://10.99.0.1:9",
        &[messages::REFUSED, "start etcd"],
    ),
    (
        "a firewall drops the packets",
        "http://10.99.0.1:91",
        &[messages::NO_CONNECTION, "a firewall drops"],
    ),
    (
        "REJECT, admin prohibited",
        "http://10.99.0.1:92",
        &[messages::HOST_UNREACHABLE, "firewall or router rejects"],
    ),
    (
        "REJECT, port unreachable",
        "http://10.99.0.1:93",
        &[messages::REFUSED, "a firewall rejects"],
    ),
    (
        "REJECT, host unreachable",
        "http://10.99.0.1:94",
        &[messages::HOST_UNREACHABLE, "firewall or router rejects"],
    ),
    (
        "REJECT, net unreachable",
        "http://10.99.0.1:95",
        &[messages::NETWORK_UNREACHABLE, "ip route get 10.99.0.1"],
    ),
    (
        "REJECT, TCP reset",
        "http://10.99.0.1:96",
        &[messages::REFUSED, "a firewall rejects"],
    ),
    (
        "no such host on the link",
        "http://10.99.7.7:2379",
        &["http://10.99.7.7:2379", "the host is down"],
    ),
    (
        "unknown name",
        "http://etcd.invalid:2379",
        &[messages::UNKNOWN_NAME, "DNS or /etc/hosts"],
    ),
    (
        "a name with an IPv6 address only",
        "http://etcd.six:2379",
        &["etcd.six", messages::NETWORK_UNREACHABLE],
    ),
    (
        "accepts and is silent",
        "http://10.99.0.1:4379",
        &[messages::NO_ANSWER_WITHIN_5_S, "etcd hangs"],
    ),
    (
        "https:// to plain etcd",
        "https://10.99.0.1:2379",
        &["TLS handshake", messages::USE_HTTP],
    ),
    (
        "a web server, HTTP/1.1",
        "http://10.99.0.1:81",
        &["does not speak HTTP/2", "correct --etcd-endpoints"],
    ),
    (
        "a proxy without a backend",
        "http://10.99.0.1:82",
        &["502 Bad Gateway", "a proxy there does not reach etcd"],
    ),
    (
        "a web server, HTTP/2",
        "http://10.99.0.1:83",
        &["404 Not Found", "correct --etcd-endpoints"],
    ),
    (
        "nginx with proxy_pass",
        "http://10.99.0.1:84",
        &["404 Not Found", "grpc_pass"],
    ),
];

#[test]
fn each_way_not_to_reach_etcd_is_one_sentence_with_endpoint_and_remedy() -> Result<()> {
    in_lab(1, |lab| {
        lab.underlay
            .finish(&["nft", "-f", "-"], FIREWALL)?
            .success()?;
        let _nginx = lab.underlay.nginx(SERVERS, 81)?;
        let silent = lab.start_etcd(EtcdOptions::new("silent", 4379))?;
        silent.freeze()?;
        lab.host(1).sh(
            "echo 2001:db8::1 etcd.six >> /etc/hosts; echo hosts: files > /etc/nsswitch.conf",
        )?;
        let started = start_all(lab)?;
        for (mistaken, (_, endpoint, words)) in started.iter().zip(CASES) {
            let message = mistaken.wait_for("EtcdReachable", words)?;
            ensure!(message.contains(endpoint), "{message}");
        }
        // Each failed many times meanwhile.
        let refused = &started[0];
        let warnings = refused.warnings("etcd")?;
        ensure!(warnings.len() == 1, "logged once: {warnings:?}");
        ensure!(warnings[0].contains(messages::ETCD_IS_UNREACHABLE));
        let status = refused.status(&[])?;
        ensure!(
            status.matches(messages::REFUSED).count() == 1,
            "shown once: {status}"
        );
        silent.thaw()
    })
}

fn start_all(lab: &Lab) -> Result<Vec<Mistaken<'_>>> {
    let cases = CASES.into_iter().enumerate();
    cases
        .map(|(number, (case, endpoint, _))| {
            let endpoint = format!("--etcd-endpoints={endpoint}");
            Mistaken::start(lab.host(1), case, number, &[&endpoint])
        })
        .collect()
}
