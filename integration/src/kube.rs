//! What kube-proxy (in iptables mode) and Docker leave in the packet filter of a node. It renders their rules and puts
//! them there; nothing here uses the daemon's code.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Result;

use crate::host::Host;

/// Which of the two iptables a host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Iptables {
    /// On top of nftables.
    Nft,
    /// The old tables.
    Legacy,
}

impl Iptables {
    /// The first part of the names of its programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
        }
    }
}

/// What kube-proxy does with packets that a client sends to a node port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Marks them, masquerades what is marked, and clears the mark: since Kubernetes 1.16.13, 1.17.9, 1.18.6.
    Cleared,
    /// Marks and masquerades them, and lets the mark go on to the outer packet: older versions.
    Leaking,
    /// Nothing: clusters that masquerade by source range.
    None,
}

/// A service with an address that exists in rules only.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its virtual address.
    pub cluster_ip: Ipv4Addr,
    /// Its port there.
    pub port: u16,
    /// Its port on every node.
    pub node_port: Option<u16>,
    /// The pods behind it.
    pub endpoints: Vec<(Ipv4Addr, u16)>,
}

impl Host {
    /// Does what kube-proxy does: makes its chains anew, all in one go, for TCP and UDP alike.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kube_proxy(&self, iptables: Iptables, services: &[Service], mark: Mark) -> Result<()> {
        let (restore, name) = (format!("{}-restore", iptables.name()), iptables.name());
        self.finish(&[&restore, "--wait", "--noflush"], &render(services, mark))?
            .success()?;
        // As kube-proxy makes sure of its jumps: first in the chain when they are missing, and left where they are.
        for (chain, target) in [
            ("PREROUTING", "KUBE-SERVICES"),
            ("OUTPUT", "KUBE-SERVICES"),
            ("POSTROUTING", "KUBE-POSTROUTING"),
        ] {
            let rule = format!("{chain} -m comment --comment kubernetes -j {target}");
            self.sh(&format!(
                "{name} -w -t nat -C {rule} 2>/dev/null || {name} -w -t nat -I {rule}"
            ))?;
        }
        Ok(())
    }

    /// Does what Docker does since 1.13: forwards nothing but what its own rules accept.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn docker_rules(&self, iptables: Iptables) -> Result<()> {
        let rules = "*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A DOCKER-USER -j RETURN
-I FORWARD -o docker0 -j DOCKER
-I FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-I FORWARD -j DOCKER-USER
COMMIT
*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.30.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
";
        let restore = format!("{}-restore", iptables.name());
        self.finish(&[&restore, "--wait", "--noflush"], rules)?
            .success()
            .map(drop)
    }
}

/// The nat table of kube-proxy, for `iptables-restore --noflush`.
fn render(services: &[Service], mark: Mark) -> String {
    let mut text = "*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
"
    .to_owned();
    text.push_str(match mark {
        Mark::Leaking => {
            "-A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully\n"
        }
        Mark::Cleared | Mark::None => {
            "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -j MASQUERADE --random-fully\n"
        }
    });
    for protocol in ["tcp", "udp"] {
        services
            .iter()
            .for_each(|one| service(&mut text, one, protocol, mark));
    }
    text.push_str("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\nCOMMIT\n");
    text
}

fn service(text: &mut String, service: &Service, protocol: &str, mark: Mark) {
    let Service {
        cluster_ip,
        port,
        node_port,
        endpoints,
    } = service;
    let [_, _, net, last] = cluster_ip.octets();
    let chain = format!("{protocol}-{net}-{last}-{port}").to_uppercase();
    _ = writeln!(text, ":KUBE-SVC-{chain} - [0:0]");
    _ = writeln!(
        text,
        "-A KUBE-SERVICES -d {cluster_ip}/32 -p {protocol} --dport {port} -j KUBE-SVC-{chain}"
    );
    if let Some(node_port) = node_port {
        if mark != Mark::None {
            _ = writeln!(
                text,
                "-A KUBE-NODEPORTS -p {protocol} --dport {node_port} -j KUBE-MARK-MASQ"
            );
        }
        _ = writeln!(
            text,
            "-A KUBE-NODEPORTS -p {protocol} --dport {node_port} -j KUBE-SVC-{chain}"
        );
    }
    for (place, (address, port)) in endpoints.iter().enumerate() {
        let endpoint = format!("KUBE-SEP-{chain}-{place}");
        _ = writeln!(text, ":{endpoint} - [0:0]");
        _ = writeln!(text, "-A {endpoint} -s {address}/32 -j KUBE-MARK-MASQ");
        _ = writeln!(
            text,
            "-A {endpoint} -p {protocol} -j DNAT --to-destination {address}:{port}"
        );
        let left = endpoints.len() - place;
        let chance = match left {
            1 => String::new(),
            left => format!(
                "-m statistic --mode random --probability {:.10} ",
                1.0 / left as f64
            ),
        };
        _ = writeln!(text, "-A KUBE-SVC-{chain} {chance}-j {endpoint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_share_alike() {
        let endpoints = (2..5)
            .map(|last| (Ipv4Addr::new(10, 5, 1, last), 80))
            .collect();
        let one = Service {
            cluster_ip: Ipv4Addr::new(192, 168, 3, 1),
            port: 80,
            node_port: Some(28_888),
            endpoints,
        };
        let text = render(&[one], Mark::Cleared);
        let of = |chain: &str| {
            text.lines()
                .filter(|line| line.starts_with(&format!("-A {chain} ")))
                .count()
        };
        assert_eq!(
            (
                of("KUBE-SVC-TCP-3-1-80"),
                of("KUBE-SEP-UDP-3-1-80-2"),
                of("KUBE-NODEPORTS")
            ),
            (3, 2, 4)
        );
        assert!(
            text.contains("--probability 0.3333333333 ")
                && text.contains("--probability 0.5000000000 "),
            "{text}"
        );
    }
}
