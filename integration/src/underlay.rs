//! The underlay: the network that the hosts share, with etcd on it. It owns the bridge and the
//! cables, and what of the traffic is lost on them.

use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::Path;

use anyhow::Result;

use crate::netns::Netns;

/// The address of the underlay itself: etcd, and the hosts' default gateway.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// What drops traffic between two addresses. The bridge family sees what goes from host to host,
/// the inet family what comes from or goes to the underlay itself.
const CUTS: &str = "
table bridge cuts {
    set pairs { type ipv4_addr . ipv4_addr; }
    chain forward { type filter hook forward priority 0; ip saddr . ip daddr @pairs drop; }
}
table inet cuts {
    set pairs { type ipv4_addr . ipv4_addr; }
    chain input { type filter hook input priority 0; ip saddr . ip daddr @pairs drop; }
    chain output { type filter hook output priority 0; ip saddr . ip daddr @pairs drop; }
}
";

/// The namespace that holds the bridge between the hosts.
#[derive(Debug)]
pub struct Underlay {
    netns: Netns,
}

impl Underlay {
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let netns = Netns::new("underlay", dir, None)?;
        netns.sh(&format!(
            "ip link add br0 type bridge
             ip address add {ADDRESS}/16 dev br0
             ip link set br0 up
             echo 1 > /proc/sys/net/ipv4/ip_forward"
        ))?;
        netns.finish(&["nft", "-f", "-"], CUTS)?.success()?;
        Ok(Self { netns })
    }

    /// Drops all traffic between two addresses, both ways, without either end seeing its link go.
    /// One of them may be the underlay itself, which is etcd.
    ///
    /// # Errors
    /// When the kernel refuses the rule.
    pub fn cut(&self, one: Ipv4Addr, other: Ipv4Addr) -> Result<()> {
        let pairs = format!("{{ {one} . {other}, {other} . {one} }}");
        self.nft(&format!(
            "add element bridge cuts pairs {pairs}\nadd element inet cuts pairs {pairs}\n"
        ))
    }

    /// Lets all traffic pass again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn heal(&self) -> Result<()> {
        self.nft("flush set bridge cuts pairs\nflush set inet cuts pairs\n")
    }

    fn nft(&self, script: &str) -> Result<()> {
        self.finish(&["nft", "-f", "-"], script)?.success()?;
        Ok(())
    }

    /// Lays a cable: `eth0` in the namespace `end`, and a port of the bridge named like it.
    pub(crate) fn connect(&self, end: &Netns) -> Result<()> {
        let (port, pid) = (end.name(), end.pid());
        self.sh(&format!(
            "ip link add {port} type veth peer name eth0 netns {pid}
             ip link set {port} master br0 up"
        ))?;
        Ok(())
    }

    /// Takes a cable away at once, without waiting for the namespace at its end to go.
    pub(crate) fn disconnect(&self, port: &str) -> Result<()> {
        self.run(&["ip", "link", "delete", port]).map(drop)
    }
}

impl Deref for Underlay {
    type Target = Netns;
    fn deref(&self) -> &Netns {
        &self.netns
    }
}
