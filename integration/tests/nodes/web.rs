//! A container that serves, and clients in many places that reach it or do not. It owns the container, and asks in one way.

use std::fmt;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail, ensure};
use integration::{Netns, Node, QUICK, Rack, eventually};

use crate::support::C;

/// The port of the container that its node publishes, and as which.
pub const PUBLISHED: u16 = 80;
const NODE_PORT: u16 = 8080;
/// A port that it does not publish.
pub const UNPUBLISHED: u16 = 81;

const SERVE: &str = "echo hello > /index.html; /bin/busybox httpd -p 81 -h /; exec /bin/busybox httpd -f -p 80 -h /";

/// Asks for a page; the address and the port follow.
const GET: &str =
    r#"exec 3<>"/dev/tcp/$0/$1"; printf 'GET / HTTP/1.0\r\n\r\n' >&3; grep -q hello <&3"#;

/// The container.
#[derive(Debug)]
pub struct Web<'a> {
    node: &'a Node,
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    Ping(Ipv4Addr),
    Tcp(Ipv4Addr, u16),
}

/// A place from which is asked.
#[derive(Debug, Clone, Copy)]
pub enum Client<'a> {
    /// The container that each node has.
    Container(&'a Node),
    /// The node itself.
    Host(&'a Node),
    /// A machine that is no member.
    Outside(&'a Netns),
}

impl<'a> Web<'a> {
    pub fn start(node: &'a Node) -> Result<Self> {
        node.sh(&format!(
            "docker run --detach --restart=always --stop-signal=KILL --name=web --publish={NODE_PORT}:{PUBLISHED} \
                 lab /bin/sh -c '{SERVE}'"
        ))?;
        Ok(Self { node })
    }

    pub fn remove(self) -> Result<()> {
        self.node.sh("docker rm --force web").map(drop)
    }

    /// The container by its own address: a ping, the published port, the other one.
    pub fn direct(&self) -> Result<[Target; 3]> {
        let address = self.node.container_address("web")?;
        Ok([
            Target::Ping(address),
            Target::Tcp(address, PUBLISHED),
            Target::Tcp(address, UNPUBLISHED),
        ])
    }

    /// One port of the container by its own address.
    pub fn port(&self, port: u16) -> Result<Target> {
        Ok(Target::Tcp(self.node.container_address("web")?, port))
    }

    /// The published port by the address of the node.
    pub fn published(&self) -> Target {
        Target::Tcp(self.node.address(), NODE_PORT)
    }

    /// Waits until all is open that should be: to members everything, to a machine outside the port of the node.
    pub fn wait_until_open(&self, rack: &Rack, outside: &Netns) -> Result<()> {
        let peers = rack
            .nodes()
            .iter()
            .filter(|peer| peer.name() != self.node.name());
        for peer in peers {
            for client in [Client::Container(peer), Client::Host(peer)] {
                for target in self.direct()? {
                    client.reaches(target)?;
                }
                client.reaches(self.published())?;
            }
        }
        // The other way: what the container sends is answered.
        let other = rack.node(1).container_address(C)?;
        self.node.run_in("web", &ping(&other.to_string()))?;
        Client::Outside(outside).reaches(self.published())
    }
}

impl Client<'_> {
    /// Waits until it gets an answer.
    pub fn reaches(self, target: Target) -> Result<()> {
        eventually(QUICK, format_args!("{self} to reach {target}"), || {
            self.ask(target)
        })
    }

    /// Asks once, and gets no answer.
    pub fn does_not_reach(self, target: Target) -> Result<()> {
        if self.ask(target).is_ok() {
            bail!("{self} reaches {target}");
        }
        Ok(())
    }

    /// Asks once.
    pub fn ask(self, target: Target) -> Result<()> {
        match target {
            Target::Ping(address) => self.run(&ping(&address.to_string())),
            Target::Tcp(address, port) => {
                let (address, port) = (address.to_string(), port.to_string());
                self.run(&["timeout", "2", "bash", "-euc", GET, &address, &port])
            }
        }
    }

    fn run(self, argv: &[&str]) -> Result<()> {
        let answer = match self {
            Self::Container(node) => node.run_in(C, argv),
            Self::Host(node) => node.netns()?.run(argv),
            Self::Outside(machine) => machine.run(argv),
        };
        answer.map(drop)
    }
}

fn ping(address: &str) -> [&str; 4] {
    ["ping", "-c1", "-W2", address]
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ping(address) => write!(f, "{address} by ping"),
            Self::Tcp(address, port) => write!(f, "{address}:{port}"),
        }
    }
}

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(node) => write!(f, "the container of {}", node.name()),
            Self::Host(node) => write!(f, "{}", node.name()),
            Self::Outside(_) => write!(f, "the machine outside"),
        }
    }
}

/// The version of a node's Docker, by its first two numbers.
pub fn docker_version(node: &Node) -> Result<(u32, u32)> {
    let version = node.sh("docker version -f '{{.Server.Version}}'")?;
    let mut numbers = version.split('.').map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        bail!("Docker has the version {version:?}");
    };
    Ok((major, minor))
}

/// A machine on the network of the nodes that is no member of the overlay, and sends what is for the subnet of `gateway` to
/// that node.
pub fn outside(rack: &Rack, gateway: &Node) -> Result<Netns> {
    let machine = rack.machine_outside()?;
    let subnet = gateway.sh(". /run/flannel/subnet.env; echo $FLANNEL_SUBNET")?;
    let network = subnet.trim().replace(".1/", ".0/");
    ensure!(network.contains(".0/"), "{subnet}");
    machine
        .sh(&format!("ip route add {network} via {}", gateway.address()))
        .context("the route of the machine outside")?;
    Ok(machine)
}
