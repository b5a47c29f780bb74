//! What Docker 28 and 29 leave in the packet filter of a host, for its bridge `docker0`, after the sources of moby and runs of
//! its daemons. It renders their rules and puts them there; nothing here uses the daemon's code.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Result;

use crate::host::Host;
use crate::kube::Iptables;

/// A container, and the port of its host that leads to it.
#[derive(Debug, Clone, Copy)]
pub struct Published {
    /// Address of the container.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// The port of the host.
    pub host_port: u16,
}

/// What dockerd was told about packets that do not come by the bridge of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectAccess {
    /// Nothing: it drops them.
    Closed,
    /// `--allow-direct-routing --bridge-accept-fwmark=0x1000/0x1000`
    Marked,
}

impl Host {
    /// Does what dockerd 28 does when it starts: its chains, first in FORWARD, and the rules of its containers.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start_docker_28(&self, iptables: Iptables, containers: &[Published]) -> Result<()> {
        let name = iptables.name();
        for jump in ["DOCKER-USER", "DOCKER-FORWARD"] {
            self.sh(&format!(
                "{name} -w -D FORWARD -j {jump} 2> /dev/null || true"
            ))?;
        }
        self.sh(&format!("{name} -w -N DOCKER-USER 2> /dev/null || true"))?;
        let rules = iptables_of_docker_28(containers);
        self.finish(&[&format!("{name}-restore"), "--wait", "--noflush"], &rules)?
            .success()?;
        // Each is added behind what is there.
        for container in containers {
            self.start_container_28(iptables, container.address)?;
        }
        Ok(())
    }

    /// Does what dockerd 28.2 and later do when a container starts.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start_container_28(&self, iptables: Iptables, address: Ipv4Addr) -> Result<()> {
        let name = iptables.name();
        let rule = format!("PREROUTING -d {address} ! -i docker0 -j DROP");
        self.sh(&format!(
            "{name} -w -t raw -C {rule} 2> /dev/null || {name} -w -t raw -A {rule}"
        ))?;
        Ok(())
    }

    /// Does what dockerd 29 does with its nftables backend when it starts: makes its table anew.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn start_docker_29(&self, containers: &[Published], access: DirectAccess) -> Result<()> {
        let table = nftables_of_docker_29(containers, access);
        self.finish(&["nft", "-f", "-"], &table)?
            .success()
            .map(drop)
    }
}

fn iptables_of_docker_28(containers: &[Published]) -> String {
    let mut filter = "*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-I FORWARD -j DOCKER-FORWARD
-I FORWARD -j DOCKER-USER
"
    .to_owned();
    let mut nat = "*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
"
    .to_owned();
    for Published {
        address,
        port,
        host_port,
    } in containers
    {
        _ = writeln!(
            filter,
            "-A DOCKER -d {address} ! -i docker0 -o docker0 -p tcp -m tcp --dport {port} -j ACCEPT"
        );
        _ = writeln!(
            nat,
            "-A DOCKER ! -i docker0 -p tcp -m tcp --dport {host_port} -j DNAT --to-destination {address}:{port}"
        );
    }
    // DOCKER-USER belongs to the administrator: a restart does not empty it.
    format!("{filter}-A DOCKER ! -i docker0 -o docker0 -j DROP\nCOMMIT\n{nat}COMMIT\n")
}

fn nftables_of_docker_29(containers: &[Published], access: DirectAccess) -> String {
    let (mut raw, mut forward, mut nat) = (String::new(), String::new(), String::new());
    if access == DirectAccess::Marked {
        forward.push_str("meta mark & 0x00001000 == 0x00001000 counter accept\n");
    }
    forward.push_str("iifname \"docker0\" counter accept\n");
    for Published {
        address,
        port,
        host_port,
    } in containers
    {
        if access == DirectAccess::Closed {
            _ = writeln!(
                raw,
                "ip daddr {address} iifname != \"docker0\" counter drop"
            );
        }
        _ = writeln!(
            forward,
            "ip daddr {address} tcp dport {port} counter accept"
        );
        _ = writeln!(
            nat,
            "iifname != \"docker0\" fib daddr type local tcp dport {host_port} counter dnat to {address}:{port}"
        );
    }
    format!(
        "table ip docker-bridges
delete table ip docker-bridges
table ip docker-bridges {{
    map filter-forward-in-jumps {{
        type ifname : verdict
        elements = {{ \"docker0\" : jump filter-forward-in__docker0 }}
    }}
    chain raw-PREROUTING {{
        type filter hook prerouting priority raw; policy accept;
        {raw}
    }}
    chain filter-FORWARD {{
        type filter hook forward priority filter; policy accept;
        oifname vmap @filter-forward-in-jumps
        iifname \"docker0\" counter accept
    }}
    chain filter-forward-in__docker0 {{
        ct state established,related counter accept
        {forward}
        counter drop comment \"UNPUBLISHED PORT DROP\"
    }}
    chain nat-PREROUTING {{
        type nat hook prerouting priority dstnat; policy accept;
        {nat}
    }}
}}
"
    )
}
