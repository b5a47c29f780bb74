//! The whole path that the overlay must carry: a client outside asks a node port, a real nginx in a pod answers through the
//! ClusterIPs of backends on other hosts, and goes on while services, daemons and etcd come and go. Needs root.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Host, Iptables, Lab, Mark, Nginx, Pod, Process, QUICK, SLOW,
    Service, eventually, in_lab,
};

/// The node port of the entry.
const PORT: u16 = 28_888;
/// Where the backends listen in their pods.
const BACKEND: u16 = 8080;
/// Seconds of load. etcd is away for 20 of them.
const LOAD: u32 = 32;

/// A service with its location, and the pods behind it.
struct Backends {
    name: &'static str,
    cluster_ip: Ipv4Addr,
    endpoints: Vec<(Ipv4Addr, u16)>,
}

impl Backends {
    fn new(name: &'static str, last: u8, pods: &[&Pod]) -> Self {
        let endpoints = pods.iter().map(|pod| (pod.address(), BACKEND)).collect();
        Self {
            name,
            cluster_ip: Ipv4Addr::new(192, 168, 3, last),
            endpoints,
        }
    }

    fn service(&self) -> Service {
        Service {
            cluster_ip: self.cluster_ip,
            port: 80,
            node_port: None,
            endpoints: self.endpoints.clone(),
        }
    }
}

/// What the generator of the platform writes from the list of services.
fn default_conf(services: &[&Backends]) -> String {
    let mut conf = "server {\n listen 80;\n location = /healthy { return 200 ok; }\n".to_owned();
    for Backends {
        name, cluster_ip, ..
    } in services
    {
        _ = writeln!(
            conf,
            " location /{name}/ {{
  proxy_pass http://{cluster_ip}:80/;
  proxy_redirect off;
  proxy_set_header Host $host;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
 }}"
        );
    }
    conf + "}\n"
}

/// A backend says who it is and what arrived.
fn backend_conf(name: &str) -> String {
    format!(
        "server {{ listen {BACKEND};
 location / {{ return 200 \"{name} uri=$request_uri host=$host real=$http_x_real_ip forwarded=$http_x_forwarded_for\\n\"; }} }}"
    )
}

/// A backend in each pod: b0, b1 and so on.
fn start_backends(pods: &[Pod]) -> Result<Vec<Nginx<'_>>> {
    let named = pods.iter().enumerate();
    named
        .map(|(number, pod)| pod.nginx(&backend_conf(&format!("b{number}")), BACKEND))
        .collect()
}

/// The chains of kube-proxy on all nodes, for these services and the entry.
fn kube_proxies(nodes: &[&Host], entry: &[(Ipv4Addr, u16)], services: &[&Backends]) -> Result<()> {
    let cluster_ip = Ipv4Addr::new(192, 168, 3, 1);
    let entry = Service {
        cluster_ip,
        port: 80,
        node_port: Some(PORT),
        endpoints: entry.to_vec(),
    };
    let all: Vec<Service> = services
        .iter()
        .map(|one| one.service())
        .chain([entry])
        .collect();
    nodes
        .iter()
        .try_for_each(|node| node.kube_proxy(Iptables::Nft, &all, Mark::Cleared))
}

fn start_all(
    lab: &Lab,
    nodes: std::ops::RangeInclusive<u8>,
    firewall: &str,
) -> Result<Vec<Flanneld>> {
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    let start = |node| lab.host(node).flanneld().arg(firewall).start_ready();
    let daemons = nodes.clone().map(start).collect::<Result<Vec<_>>>()?;
    lab.wait_for_mesh(&nodes.clone().collect::<Vec<u8>>())?;
    for node in nodes {
        lab.host(node).wait_for_snapshot()?;
        lab.host(node).docker0()?;
        lab.host(node).docker_rules(Iptables::Nft)?;
    }
    Ok(daemons)
}

fn curl(client: &Host, host: &str, url: &str) -> Result<String> {
    client.run(&[
        "curl",
        "-sS",
        "--fail",
        "--max-time",
        "5",
        "-H",
        &format!("Host: {host}"),
        url,
    ])
}

/// The first words of the answers to many requests.
fn who_answers(client: &Host, url: &str, times: u32) -> Result<BTreeSet<String>> {
    let answers = (0..times).map(|_| curl(client, "shop.example", url));
    answers
        .map(|a| Ok(a?.split(' ').next().unwrap_or_default().to_owned()))
        .collect()
}

/// About 150 requests a second to each node, each over a connection of its own.
fn start_load(client: &Host, nodes: &[&Host]) -> Result<Vec<Process>> {
    client.sh("mkdir -p /run/load; echo 'function delay() return 20 end' > /run/load/delay.lua")?;
    let start = |node: &&Host| {
        let (seconds, url) = (
            format!("-d{LOAD}s"),
            format!("http://{}:{PORT}/one/load", node.address()),
        );
        let line = [
            "wrk",
            "-t1",
            "-c3",
            &seconds,
            "-s",
            "/run/load/delay.lua",
            "-H",
            "Connection: close",
            &url,
        ];
        client.start(&line, &[], &format!("wrk-{}", node.number()))
    };
    nodes.iter().map(start).collect()
}

/// All requests of a load had an answer of 200. Returns their number.
fn ensure_none_failed(load: &Process) -> Result<u64> {
    ensure!(
        load.wait(SLOW + Duration::from_secs(LOAD.into()))?
            .success(),
        "{}",
        load.log()?
    );
    let log = load.log()?;
    ensure!(
        !log.contains("Socket errors") && !log.contains("Non-2xx"),
        "{log}"
    );
    let count = log.lines().find_map(|line| {
        line.trim()
            .split_once(" requests in")
            .map(|(count, _)| count.parse())
    });
    let count: u64 = count.with_context(|| log.clone())??;
    ensure!(count > 50 * u64::from(LOAD), "{log}");
    Ok(count)
}

#[test]
fn node_ports_reach_nginx_and_backends_while_services_daemons_and_etcd_come_and_go() -> Result<()> {
    in_lab(4, |lab| {
        let mut daemons = start_all(lab, 1..=3, "--firewall=auto")?;
        let (nodes, client) = ([lab.host(1), lab.host(2), lab.host(3)], lab.host(4));
        let pods = (0..4)
            .map(|_| lab.host(3).pod())
            .collect::<Result<Vec<_>>>()?;
        let backends = start_backends(&pods)?;
        let one = Backends::new("one", 11, &[&pods[0], &pods[1]]);
        let two = Backends::new("two", 12, &[&pods[2]]);
        let three = Backends::new("three", 13, &[&pods[3]]);
        let entry_pods = [lab.host(1).pod()?, lab.host(2).pod()?];
        let entry: Vec<_> = entry_pods.iter().map(|pod| (pod.address(), 80)).collect();
        kube_proxies(&nodes, &entry, &[&one, &two])?;
        let conf = default_conf(&[&one, &two]);
        let entries = entry_pods
            .iter()
            .map(|pod| pod.nginx(&conf, 80))
            .collect::<Result<Vec<Nginx>>>()?;

        // Every node is an entry; the location is stripped, the headers arrive, both backends are asked.
        for node in nodes {
            let url = |path: &str| format!("http://{}:{PORT}{path}", node.address());
            let answer = curl(client, "shop.example", &url("/two/a/b?c=d"))?;
            ensure!(
                answer.starts_with("b2 uri=/a/b?c=d host=shop.example real=10."),
                "{answer}"
            );
            ensure!(answer.contains(" forwarded=10."), "{answer}");
            ensure!(
                who_answers(client, &url("/one/"), 24)?
                    == ["b0".to_owned(), "b1".to_owned()].into()
            );
            ensure!(
                curl(client, "shop.example", &url("/three/")).is_err(),
                "there is no such service yet"
            );
        }

        let loads = start_load(client, &nodes)?;
        lab.etcd.stop()?;
        let without_etcd = std::time::Instant::now();
        // A service comes, and one goes; the generator writes, nginx reads.
        kube_proxies(&nodes, &entry, &[&one, &two, &three])?;
        let conf = default_conf(&[&one, &two, &three]);
        entries.iter().try_for_each(|nginx| nginx.reload(&conf))?;
        let url = |path: &str| format!("http://{}:{PORT}{path}", nodes[0].address());
        eventually(QUICK, "the new service", || {
            curl(client, "shop.example", &url("/three/")).map(drop)
        })?;
        kube_proxies(&nodes, &entry, &[&one, &three])?;
        let conf = default_conf(&[&one, &three]);
        entries.iter().try_for_each(|nginx| nginx.reload(&conf))?;
        eventually(QUICK, "the old service to be gone", || {
            match curl(client, "shop.example", &url("/two/")) {
                Err(_) => Ok(()),
                Ok(answer) => bail!("{answer}"),
            }
        })?;
        // The daemons of an entry node and of the backends die, while etcd is still away, and come back without it.
        for (place, node) in [(0, 1), (2, 3)] {
            daemons[place].kill()?;
            daemons[place] = lab.host(node).flanneld().start_ready()?;
        }
        eventually(SLOW, "20 seconds without etcd", || {
            ensure!(without_etcd.elapsed() > Duration::from_secs(20));
            Ok(())
        })?;
        lab.etcd.start()?;
        daemons[1].kill()?;
        daemons[1] = lab.host(2).flanneld().start_ready()?;
        // What comes after the load would prove nothing.
        ensure!(
            loads.iter().all(Process::is_running),
            "the load has ended before this start"
        );
        for (load, node) in loads.iter().zip(1..) {
            println!(
                "node {node}: {} requests, none failed",
                ensure_none_failed(load)?
            );
        }
        drop((entries, backends));
        Ok(())
    })
}

#[test]
fn an_edge_node_proxies_to_pods_and_routes_by_host_name() -> Result<()> {
    in_lab(4, |lab| {
        let _daemons = start_all(lab, 1..=3, "--firewall=iptables")?;
        let (edge, client) = (lab.host(1), lab.host(4));
        let pods = [lab.host(2).pod()?, lab.host(3).pod()?, lab.host(3).pod()?];
        let _backends = start_backends(&pods)?;
        let one = Backends::new("one", 11, &[&pods[0], &pods[1]]);
        let two = Backends::new("two", 12, &[&pods[2]]);
        kube_proxies(&[lab.host(1), lab.host(2), lab.host(3)], &[], &[&one, &two])?;
        // In the host's own network: straight to the addresses of the pods, as with headless services, and by name.
        let (a, b) = (pods[0].address(), pods[1].address());
        let conf = format!(
            "upstream pods {{ server {a}:{BACKEND}; server {b}:{BACKEND}; }}
             server {{ listen 80; server_name headless.example; location / {{ proxy_pass http://pods; }} }}
             server {{ listen 80; server_name one.example; location / {{ proxy_pass http://{}:80; }} }}
             server {{ listen 80; server_name two.example; location / {{ proxy_pass http://{}:80; }} }}",
            one.cluster_ip, two.cluster_ip
        );
        let _nginx = edge.nginx(&conf, 80)?;
        let url = format!("http://{}/x", edge.address());
        let answers = |name: &str| -> Result<BTreeSet<String>> {
            let all = (0..24).map(|_| curl(client, name, &url));
            all.map(|answer| Ok(answer?.split(' ').next().unwrap_or_default().to_owned()))
                .collect()
        };
        let both: BTreeSet<String> = ["b0".to_owned(), "b1".to_owned()].into();
        ensure!(answers("headless.example")? == both && answers("one.example")? == both);
        ensure!(answers("two.example")? == ["b2".to_owned()].into());
        Ok(())
    })
}
