//! The entry path of a cluster, arrow by arrow: which source address a pod sees, and that the answer reaches who asked; next to
//! kube-proxy and Docker, with nftables and with either iptables. Needs root.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Iptables, Lab, Mark, Netns, Pod, Process, QUICK, Service,
    eventually, in_lab, tool,
};

/// Services by the host of the one pod behind them.
const ON_FIRST: Ipv4Addr = Ipv4Addr::new(192, 168, 3, 1);
const ON_SECOND: Ipv4Addr = Ipv4Addr::new(192, 168, 3, 2);
const PORT: u16 = 8080;

/// Two nodes with pods and services, and a third host, without a daemon, that is the outside.
struct Scene<'a> {
    lab: &'a Lab,
    first: Pod,
    second: Pod,
    iptables: Iptables,
    _servers: Vec<Process>,
    _daemons: Vec<Flanneld>,
}

impl<'a> Scene<'a> {
    fn new(lab: &'a Lab, iptables: Iptables, options: &[&str]) -> Result<Self> {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let nodes = [lab.host(1), lab.host(2)];
        // Docker and kube-proxy are there first, as far as they can be.
        for node in nodes {
            node.docker_rules(iptables)?;
            node.kube_proxy(iptables, &[], Mark::Cleared)?;
        }
        let start = |node: &integration::Host| node.flanneld().args(options).start_ready();
        let daemons = nodes.into_iter().map(start).collect::<Result<Vec<_>>>()?;
        lab.wait_for_mesh(&[1, 2])?;
        nodes.into_iter().try_for_each(integration::Host::docker0)?;
        let (first, second) = (lab.host(1).pod()?, lab.host(2).pod()?);
        for node in nodes {
            // As kubelet does: a pod's packet to its own service address leaves the bridge by the port that it came from.
            node.sh(
                "ip -o link show master docker0 | sed 's/^[0-9]*: //; s/@.*//' |
                while read port; do bridge link set dev $port hairpin on; done",
            )?;
        }
        let mut servers = Vec::new();
        for place in [&*first, &*second, lab.host(3)] {
            servers.push(place.start(
                &[&tool("whoami")?, "serve", &PORT.to_string()],
                &[],
                "whoami",
            )?);
            eventually(QUICK, "the server to listen", || {
                place.sh("ss -Hltn sport = :8080 | grep -q 8080")
            })?;
        }
        Ok(Self {
            lab,
            first,
            second,
            iptables,
            _servers: servers,
            _daemons: daemons,
        })
    }

    fn kube_proxy(&self, mark: Mark) -> Result<()> {
        let service = |cluster_ip, node_port, pod: &Pod| Service {
            cluster_ip,
            port: 80,
            node_port: Some(node_port),
            endpoints: vec![(pod.address(), PORT)],
        };
        let services = [
            service(ON_FIRST, 28_881, &self.first),
            service(ON_SECOND, 28_882, &self.second),
        ];
        [1, 2].into_iter().try_for_each(|node| {
            self.lab
                .host(node)
                .kube_proxy(self.iptables, &services, mark)
        })
    }

    /// The rows of the table: who asks, for what, and the source address that the server must see.
    fn rows(&self, mark: Mark) -> Result<Vec<(&'static str, &Netns, String, Ipv4Addr)>> {
        let (node, outside) = (self.lab.host(1), self.lab.host(3));
        let flannel: Ipv4Addr = node
            .link("flannel.1")?
            .addresses_v4()
            .concat()
            .replace("/32", "")
            .parse()?;
        let docker0: Ipv4Addr = node
            .subnet_env("FLANNEL_SUBNET")?
            .replace("/24", "")
            .parse()?;
        let at = |address: Ipv4Addr, port: u16| format!("{address}:{port}");
        let on_asked_node = if mark == Mark::None {
            outside.address()
        } else {
            docker0
        };
        let pod = self.first.address();
        Ok(vec![
            (
                "pod to pod on another node",
                &self.first,
                at(self.second.address(), PORT),
                pod,
            ),
            (
                "pod to outside the overlay",
                &self.first,
                at(outside.address(), PORT),
                node.address(),
            ),
            (
                "host process to pod on another node",
                node,
                at(self.second.address(), PORT),
                flannel,
            ),
            ("host process to its own pod", node, at(pod, PORT), docker0),
            (
                "client to node port, pod on the asked node",
                outside,
                at(node.address(), 28_881),
                on_asked_node,
            ),
            (
                "client to node port, pod on another node",
                outside,
                at(node.address(), 28_882),
                flannel,
            ),
            (
                "pod to cluster address, pod on another node",
                &self.first,
                at(ON_SECOND, 80),
                pod,
            ),
            (
                "pod to cluster address that is itself",
                &self.first,
                at(ON_FIRST, 80),
                docker0,
            ),
            (
                "host process to cluster address",
                node,
                at(ON_SECOND, 80),
                flannel,
            ),
        ])
    }

    fn check_all(&self, title: &str, mark: Mark) -> Result<()> {
        self.kube_proxy(mark)?;
        for (name, from, to, expected) in self.rows(mark)? {
            for protocol in ["tcp", "udp"] {
                let case = format!("{title}, {mark:?}: {name}, {protocol}");
                let seen = ask(from, protocol, &to).with_context(|| case.clone())?;
                println!("{case}: {seen}");
                ensure!(
                    seen.starts_with(&format!("{expected}:")),
                    "{case}: {seen} instead of {expected}"
                );
            }
        }
        Ok(())
    }
}

fn ask(from: &Netns, protocol: &str, to: &str) -> Result<String> {
    Ok(from
        .run(&[&tool("whoami")?, "ask", protocol, to])?
        .trim()
        .to_owned())
}

fn whole_table(title: &str, iptables: Iptables, options: &[&str]) -> Result<()> {
    in_lab(3, |lab| {
        let scene = Scene::new(lab, iptables, options)?;
        [Mark::Cleared, Mark::None, Mark::Leaking]
            .into_iter()
            .try_for_each(|mark| scene.check_all(title, mark))?;
        multicast_keeps_its_source(lab)
    })
}

/// A packet with an address of the overlay to a multicast group, out of the node. The outside only counts.
fn multicast_keeps_its_source(lab: &Lab) -> Result<()> {
    let (node, outside) = (lab.host(1), lab.host(3));
    let source = node.subnet_env("FLANNEL_SUBNET")?.replace("/24", "");
    outside.sh("nft 'table ip probe { set sources { type ipv4_addr; flags dynamic; }
        chain look { type filter hook prerouting priority -300; ip daddr 239.1.2.3 add @sources { ip saddr }; }; }'")?;
    eventually(
        QUICK,
        "the multicast packet, from the address in the overlay",
        || {
            node.finish(
                &[
                    "ping",
                    "-c1",
                    "-W1",
                    "-I",
                    &source,
                    "-I",
                    "eth0",
                    "239.1.2.3",
                ],
                "",
            )?;
            let seen = outside.sh("nft list set ip probe sources")?;
            ensure!(
                seen.contains(&format!("elements = {{ {source} }}")),
                "{seen}"
            );
            Ok(())
        },
    )
}

#[test]
fn every_case_in_nftables() -> Result<()> {
    whole_table("nftables", Iptables::Nft, &["--firewall=nftables"])
}

#[test]
fn every_case_in_nftables_beside_iptables_legacy() -> Result<()> {
    whole_table(
        "nftables beside legacy",
        Iptables::Legacy,
        &["--firewall=auto"],
    )
}

#[test]
fn every_case_in_iptables_nft() -> Result<()> {
    whole_table("iptables-nft", Iptables::Nft, &["--firewall=iptables"])
}

#[test]
fn every_case_in_iptables_legacy() -> Result<()> {
    whole_table(
        "iptables-legacy",
        Iptables::Legacy,
        &["--firewall=iptables"],
    )
}

#[test]
fn masquerading_never_takes_the_vxlan_port_and_can_keep_all_others() -> Result<()> {
    for (firewall, iptables) in [
        ("--firewall=nftables", Iptables::Nft),
        ("--firewall=iptables", Iptables::Nft),
        ("--firewall=iptables", Iptables::Legacy),
    ] {
        in_lab(3, |lab| {
            let scene = Scene::new(lab, iptables, &[firewall, "--ip-masq-fully-random-disable"])?;
            scene.kube_proxy(Mark::None)?;
            let (node, outside) = (lab.host(1), lab.host(3));
            let (server, node_port) = (
                format!("{}:{PORT}", outside.address()),
                format!("{}:28882", node.address()),
            );
            let leaving = |port| port_seen(&scene.first, scene.first.address(), port, &server);
            let entering = |port| port_seen(outside, outside.address(), port, &node_port);
            for port in [123, 1024, 5060, 8471, 8473, 9000, 65_535] {
                let seen = (leaving(port)?, entering(port)?);
                ensure!(
                    seen == (port, port),
                    "{firewall}, {iptables:?}: {port} is seen as {seen:?}"
                );
            }
            let seen = (leaving(8472)?, entering(8472)?);
            ensure!(
                seen.0 > 8472 && seen.1 > 8472,
                "{firewall}, {iptables:?}: the VXLAN port is seen as {seen:?}"
            );
            Ok(())
        })?;
    }
    Ok(())
}

/// The port under which a server sees a UDP packet that must have been masqueraded.
fn port_seen(from: &Netns, address: Ipv4Addr, port: u16, server: &str) -> Result<u16> {
    let seen = from.run(&[
        &tool("whoami")?,
        "ask",
        "udp",
        server,
        &format!("{address}:{port}"),
    ])?;
    let (seen_address, seen_port) = seen.trim().rsplit_once(':').context("no port")?;
    ensure!(
        seen_address != address.to_string(),
        "not masqueraded: {seen}"
    );
    Ok(seen_port.parse()?)
}

/// Counts packets and changes nothing.
const COUNT: &str = "table ip probe {
    counter leaked { }
    counter translated { }
    chain leaked {
        type filter hook postrouting priority -150;
        udp dport 8472 meta mark & 0x4000 == 0x4000 counter name leaked
    }
    chain translated {
        type nat hook postrouting priority 90;
        udp dport 8472 counter name translated
    }
}";

#[test]
fn a_mark_that_leaks_to_the_outer_packet_does_no_harm() -> Result<()> {
    for firewall in ["--firewall=nftables", "--firewall=iptables"] {
        in_lab(3, |lab| {
            let node = lab.host(1);
            let scene = Scene::new(lab, Iptables::Nft, &[firewall])?;
            scene.kube_proxy(Mark::Leaking)?;
            node.finish(&["nft", "-f", "-"], COUNT)?.success()?;
            let packets = |counter: &str| {
                let text = node.sh(&format!("nft list counter ip probe {counter}"))?;
                let number = text
                    .split("packets ")
                    .nth(1)
                    .and_then(|rest| rest.split(' ').next());
                Ok::<u64, anyhow::Error>(number.context("no counter")?.parse()?)
            };
            let port = format!("{}:28882", node.address());
            ask(lab.host(3), "tcp", &port)?;
            ensure!(
                packets("leaked")? > 0,
                "the mark does not leak: this test proves nothing"
            );
            ensure!(
                packets("translated")? == 0,
                "NAT was asked about an outer packet"
            );
            for host in [1, 2] {
                let tracked = lab
                    .host(host)
                    .sh("grep -c 'dport=8472' /proc/net/nf_conntrack || true")?;
                ensure!(tracked.trim() == "0", "host {host} tracks outer packets");
            }
            // Without our rules NAT is asked, and kube-proxy's masquerade is what the outer packet gets.
            scene._daemons[0].kill()?;
            node.sh("nft delete table ip flannel.1 2>/dev/null || iptables -t raw -F")?;
            ask(lab.host(3), "tcp", &port)?;
            ensure!(
                packets("translated")? > 0,
                "this test would not see harm if there were any"
            );
            Ok(())
        })?;
    }
    Ok(())
}
