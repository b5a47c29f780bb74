//! The rules of Docker 28 and of the nftables backend of Docker 29, as their daemons write them: the overlay works beside them,
//! machines outside come in no further than without flanneld, and the rules of administrators hold. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, DirectAccess, Flanneld, Iptables, Lab, Netns, Ping, Pod, Process,
    Published, QUICK, SLOW, eventually, in_lab, messages, tool,
};

/// The port of the container that is published as 8000 on its host, and one that is not.
const PUBLISHED: u16 = 80;
const UNPUBLISHED: u16 = 81;
const HOST_PORT: u16 = 8000;

const FIT: &str = "HostFit";
const OFTEN: Duration = Duration::from_millis(10);

/// Two nodes with a container each, and a third host, without a daemon, that routes to their containers.
struct Scene<'a> {
    lab: &'a Lab,
    first: Pod,
    second: Pod,
    _servers: Vec<Process>,
    _daemons: Vec<Flanneld>,
}

impl<'a> Scene<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let nodes = [lab.host(1), lab.host(2)];
        let start = |host: &integration::Host| host.flanneld().start_ready();
        let daemons = nodes.into_iter().map(start).collect::<Result<Vec<_>>>()?;
        lab.wait_for_mesh(&[1, 2])?;
        let (first, second) = lab.two_pods()?;
        let mut servers = Vec::new();
        for port in [PUBLISHED, UNPUBLISHED] {
            let command = [&tool("whoami")?, "serve", &port.to_string()];
            servers.push(second.start(&command, &[], &format!("whoami{port}"))?);
            eventually(QUICK, "the server to listen", || {
                second.sh(&format!("ss -Hltn sport = :{port} | grep -q :{port}"))
            })?;
        }
        let (subnet, node) = (lab.lease(2)?.subnet, lab.host(2).address());
        lab.host(3).sh(&format!(
            "ip route add {} via {node}",
            subnet.replace('-', "/")
        ))?;
        Ok(Self {
            lab,
            first,
            second,
            _servers: servers,
            _daemons: daemons,
        })
    }

    fn container(&self, pod: &Pod) -> Published {
        Published {
            address: pod.address(),
            port: PUBLISHED,
            host_port: HOST_PORT,
        }
    }

    fn start_docker_28(&self, iptables: Iptables) -> Result<()> {
        for (number, pod) in [(1, &self.first), (2, &self.second)] {
            let containers = [self.container(pod)];
            self.lab
                .host(number)
                .start_docker_28(iptables, &containers)?;
        }
        Ok(())
    }

    fn start_docker_29(&self, access: DirectAccess) -> Result<()> {
        for (number, pod) in [(1, &self.first), (2, &self.second)] {
            let containers = [self.container(pod)];
            self.lab.host(number).start_docker_29(&containers, access)?;
        }
        Ok(())
    }

    /// The container of the second node, by its own address.
    fn directly(&self, port: u16) -> String {
        format!("{}:{port}", self.second.address())
    }

    /// The container of the second node, by the port of its host.
    fn published(&self) -> String {
        format!("{}:{HOST_PORT}", self.lab.host(2).address())
    }

    /// Members reach the container of the second node in every way.
    fn ensure_overlay_works(&self) -> Result<()> {
        let target = self.second.address().to_string();
        eventually(SLOW, "the container of the other node", || {
            self.first.run(&["ping", "-c1", "-W1", &target])
        })?;
        for port in [PUBLISHED, UNPUBLISHED] {
            ensure!(
                asks(&self.first, &self.directly(port))?,
                "pod to pod, {port}"
            );
            ensure!(
                asks(self.lab.host(1), &self.directly(port))?,
                "host to pod, {port}"
            );
        }
        ensure!(
            asks(&self.first, &self.published())?,
            "pod to a published port"
        );
        ensure!(
            asks(self.lab.host(1), &self.published())?,
            "host to a published port"
        );
        ensure!(
            asks(self.lab.host(3), &self.published())?,
            "outside to a published port"
        );
        Ok(())
    }

    /// Nothing else comes in: no port of the container itself, by way of either node.
    fn ensure_outside_stays_outside(&self) -> Result<()> {
        let outside = self.lab.host(3);
        for node in [2, 1] {
            let (subnet, via) = (self.lab.lease(2)?.subnet, self.lab.host(node).address());
            outside.sh(&format!(
                "ip route replace {} via {via}",
                subnet.replace('-', "/")
            ))?;
            for port in [PUBLISHED, UNPUBLISHED] {
                ensure!(
                    !asks(outside, &self.directly(port))?,
                    "port {port} is open to outside by way of node {node}"
                );
            }
            let target = self.second.address().to_string();
            let ping = outside.finish(&["ping", "-c1", "-W1", &target], "")?;
            ensure!(
                !ping.status.success(),
                "ping from outside by way of node {node}"
            );
        }
        Ok(())
    }

    /// What administrators forbid in DOCKER-USER is forbidden.
    fn ensure_docker_user_holds(&self, iptables: Iptables) -> Result<()> {
        let (node, name) = (self.lab.host(2), iptables.name());
        let forbidden = |rule: &str, from: &Netns, to: &str| {
            node.sh(&format!("{name} -w -I DOCKER-USER {rule} -j DROP"))?;
            let is_open = asks(from, to)?;
            node.sh(&format!("{name} -w -D DOCKER-USER {rule} -j DROP"))?;
            ensure!(!is_open, "{rule} in DOCKER-USER does not hold");
            Ok(())
        };
        let overlay = format!("-i flannel.1 -p tcp -m tcp --dport {PUBLISHED}");
        forbidden(&overlay, &self.first, &self.directly(PUBLISHED))?;
        let published = format!("-i eth0 -p tcp -m tcp --dport {PUBLISHED}");
        forbidden(&published, self.lab.host(3), &self.published())?;
        self.ensure_overlay_works()
    }

    /// No ping between the containers is lost while `act` happens on the second node.
    fn loses_nothing(&self, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let ping = Ping::start(&self.first, self.second.address(), OFTEN)?;
        ping.wait_for_answer()?;
        act()?;
        let before = ping.report()?.received();
        eventually(QUICK, "twenty more answers", || {
            ensure!(ping.report()?.received() >= before + 20);
            Ok(())
        })?;
        let report = ping.finish()?;
        println!(
            "figure: {what}: {} of {} lost",
            report.lost(),
            report.received()
        );
        ensure!(report.lost() == 0, "{what}: {} lost", report.lost());
        Ok(())
    }
}

/// Whether the server at the address answers.
fn asks(from: &Netns, to: &str) -> Result<bool> {
    let answer = from.finish(&[&tool("whoami")?, "ask", "tcp", to], "")?;
    Ok(answer.status.success())
}

fn beside_docker_28(iptables: Iptables) -> Result<()> {
    in_lab(3, |lab| {
        let scene = Scene::new(lab)?;
        let started = Instant::now();
        scene.start_docker_28(iptables)?;
        scene.ensure_overlay_works()?;
        let milliseconds = started.elapsed().as_millis();
        println!(
            "figure: Docker 28 in {}: all ways open {milliseconds} ms after its start",
            iptables.name()
        );
        scene.ensure_outside_stays_outside()?;
        scene.ensure_docker_user_holds(iptables)
    })
}

#[test]
fn containers_of_docker_28_are_reached_by_members_only() -> Result<()> {
    beside_docker_28(Iptables::Nft)
}

#[test]
fn the_same_with_iptables_legacy() -> Result<()> {
    beside_docker_28(Iptables::Legacy)
}

#[test]
fn no_packet_is_lost_while_docker_28_rewrites_its_rules() -> Result<()> {
    in_lab(3, |lab| {
        let scene = Scene::new(lab)?;
        let (node, nft) = (lab.host(2), Iptables::Nft);
        scene.start_docker_28(nft)?;
        scene.ensure_overlay_works()?;
        let containers = [scene.container(&scene.second)];
        scene.loses_nothing("Docker 28 starts again", || {
            node.start_docker_28(nft, &containers)
        })?;
        scene.loses_nothing("a container starts", || {
            node.start_container_28(nft, [10, 5, 1, 99].into())
        })?;
        scene.loses_nothing("iptables -t raw -F, and Docker starts again", || {
            node.sh("iptables -t raw -F")?;
            node.start_docker_28(nft, &containers)
        })?;
        // The jump that was in place is behind the rules of Docker now.
        eventually(QUICK, "our accept behind DOCKER-USER", || {
            let chain = node.sh("iptables -S FORWARD | grep -o 'j [A-Z-]*'")?;
            let chain: Vec<&str> = chain.lines().map(|line| &line[2..]).collect();
            let expected = [
                "DOCKER-USER",
                "FLANNEL-FWD",
                "DOCKER-FORWARD",
                "FLANNEL-FWD-END",
            ];
            ensure!(chain == expected, "{chain:?}");
            Ok(())
        })?;
        scene.ensure_outside_stays_outside()
    })
}

#[test]
fn the_nftables_backend_of_docker_29_is_named_until_it_has_the_options_that_open_it() -> Result<()>
{
    in_lab(3, |lab| {
        let scene = Scene::new(lab)?;
        scene.start_docker_29(DirectAccess::Closed)?;
        let started = Instant::now();
        let host = lab.host(2);
        let message = host.wait_for_problem(QUICK, FIT, "Firewall")?;
        println!(
            "figure: Docker 29's nftables backend is named after {} ms: {message}",
            started.elapsed().as_millis()
        );
        ensure!(message.contains(messages::DOCKER_29_OPTIONS), "{message}");
        ensure!(
            !asks(&scene.first, &scene.directly(PUBLISHED))?,
            "this proves nothing"
        );
        scene.start_docker_29(DirectAccess::Marked)?;
        let restarted = Instant::now();
        host.wait_for_condition(QUICK, FIT)?;
        scene.ensure_overlay_works()?;
        println!(
            "figure: Docker 29 with the options: all ways open after {} ms",
            restarted.elapsed().as_millis()
        );
        scene.ensure_outside_stays_outside()?;
        let containers = [scene.container(&scene.second)];
        scene.loses_nothing("Docker 29 starts again", || {
            host.start_docker_29(&containers, DirectAccess::Marked)
        })
    })
}
