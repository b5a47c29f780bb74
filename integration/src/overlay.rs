//! The overlay as its members should have it: what etcd says, held against what a host's kernel holds. It owns the
//! reading of leases for tests, in a way of its own: nothing here uses the daemon's code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::etcd::Etcd;
use crate::flanneld::Flanneld;
use crate::host::Host;
use crate::lab::Lab;
use crate::pod::Pod;
use crate::wait::{QUICK, SLOW, eventually};

/// The key that describes the network.
pub const CONFIG_KEY: &str = "/coreos.com/network/config";
/// What all keys of leases begin with.
pub const SUBNETS: &str = "/coreos.com/network/subnets/";
/// A network for tests.
pub const CONFIG: &str = r#"{"Network":"10.5.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan"}}"#;
/// A network for thousands of peers.
pub const WIDE_CONFIG: &str =
    r#"{"Network":"32.0.0.0/8","SubnetLen":24,"Backend":{"Type":"vxlan"}}"#;
/// Protocol number of the daemon's routes.
pub const PROTOCOL: u8 = 102;

/// A member of the overlay, as its lease tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its subnet: `10.5.1.0/24`.
    pub subnet: String,
    /// The first address of the subnet, that of its vxlan device.
    pub vtep: Ipv4Addr,
    /// Where it receives VXLAN packets.
    pub public_ip: String,
    /// Address of its vxlan device.
    pub mac: String,
}

impl Member {
    /// A member that exists in etcd only, in the network of [`WIDE_CONFIG`].
    pub fn invented(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        let vtep = Ipv4Addr::new(32, high, low, 0);
        let mac = format!("02:aa:00:00:{high:02x}:{low:02x}");
        Self {
            subnet: format!("{vtep}/24"),
            vtep,
            public_ip: format!("10.98.{high}.{low}"),
            mac,
        }
    }

    /// A member that exists in etcd only, with the subnet 10.5.NUMBER.0/24 of [`CONFIG`].
    pub fn numbered(number: u8) -> Self {
        let vtep = Ipv4Addr::new(10, 5, number, 0);
        Self {
            subnet: format!("{vtep}/24"),
            vtep,
            ..Self::invented(number.into())
        }
    }

    /// The key and the value of its lease, as Go flannel writes them.
    pub fn lease(&self) -> (String, String) {
        let Self {
            subnet,
            public_ip,
            mac,
            ..
        } = self;
        let key = format!("{SUBNETS}{}", subnet.replace('/', "-"));
        let data = format!(r#"{{"VNI":1,"VtepMAC":"{mac}"}}"#);
        let value = format!(
            r#"{{"PublicIP":"{public_ip}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{data}}}"#
        );
        (key, value)
    }

    fn parse(key: &str, value: &str) -> Result<Self> {
        let name = key.strip_prefix(SUBNETS).context("not a key of a lease")?;
        let value: Value =
            serde_json::from_str(value).with_context(|| format!("the value of {key}: {value}"))?;
        let text = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let missing = || format!("{key} lacks an address: {value}");
        Ok(Self {
            subnet: name.replace('-', "/"),
            vtep: name.split('-').next().unwrap_or_default().parse()?,
            public_ip: text("/PublicIP").with_context(missing)?,
            mac: text("/BackendData/VtepMAC").with_context(missing)?,
        })
    }
}

impl Etcd {
    /// All members that have a lease.
    ///
    /// # Errors
    /// When etcd does not answer, or a lease cannot be read.
    pub fn members(&self) -> Result<Vec<Member>> {
        self.get_prefix(SUBNETS)?
            .iter()
            .map(|kv| Member::parse(&kv.key, &kv.value))
            .collect()
    }

    /// The member with this PublicIP.
    ///
    /// # Errors
    /// When it has no lease; see [`Etcd::members`].
    pub fn member_at(&self, public_ip: impl Display) -> Result<Member> {
        let public_ip = public_ip.to_string();
        let mut members = self.members()?.into_iter();
        members
            .find(|member| member.public_ip == public_ip)
            .with_context(|| format!("no lease of {public_ip}"))
    }
}

impl Host {
    /// Holds the kernel's whole state of the overlay against the members: neither less nor more.
    ///
    /// # Errors
    /// The first difference.
    pub fn ensure_programmed(&self, members: &[Member]) -> Result<()> {
        let own = self.address().to_string();
        let peers: Vec<&Member> = members
            .iter()
            .filter(|member| member.public_ip != own)
            .collect();
        ensure!(
            peers.len() + 1 == members.len(),
            "{} has not one lease in {members:?}",
            self.name()
        );
        let same = |what: &str, wanted: BTreeSet<String>, found: BTreeSet<String>| {
            let lost = wanted.difference(&found).next();
            let stale = found.difference(&wanted).next();
            ensure!(
                lost.is_none() && stale.is_none(),
                "{}: {what}: lost {lost:?}, stale {stale:?}",
                self.name()
            );
            Ok(())
        };
        let route = |to: &str, via: &str, protocol: u8| format!("{to} via {via} proto {protocol}");
        let wanted = peers
            .iter()
            .map(|peer| route(&peer.subnet, &peer.vtep.to_string(), PROTOCOL))
            .collect();
        let found = self.routes("flannel.1")?;
        let found = found
            .iter()
            .map(|(to, r)| route(to, r.via.as_deref().unwrap_or("-"), r.protocol))
            .collect();
        same("routes", wanted, found)?;
        let neighbour = |ip: &IpAddr, mac: &str, state: &str| format!("{ip} {mac} {state}");
        let wanted = peers
            .iter()
            .map(|peer| neighbour(&IpAddr::V4(peer.vtep), &peer.mac, "PERMANENT"))
            .collect();
        let found = self.neighbours("flannel.1")?;
        let found = found
            .iter()
            .map(|(ip, n)| neighbour(ip, n.lladdr.as_deref().unwrap_or("-"), &n.state))
            .collect();
        same("neighbours", wanted, found)?;
        let wanted = peers
            .iter()
            .map(|peer| format!("{} {} permanent", peer.mac, peer.public_ip))
            .collect();
        let found = self.fdb("flannel.1")?;
        let found = found
            .iter()
            .map(|e| format!("{} {} {}", e.mac, e.dst.as_deref().unwrap_or("-"), e.state))
            .collect();
        same("FDB", wanted, found)
    }
}

impl Host {
    /// Waits until there is a route to a peer.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn wait_for_route(&self, peer: &Member) -> Result<()> {
        eventually(QUICK, format_args!("a route to {}", peer.subnet), || {
            let routes = self.routes("flannel.1")?;
            ensure!(routes.contains_key(&peer.subnet), "{routes:?}");
            Ok(())
        })
    }
}

impl Lab {
    /// Writes [`CONFIG`] and starts a daemon on each host, all at once.
    ///
    /// # Errors
    /// When one of them is not ready in time.
    pub fn start_all(&self) -> Result<Vec<Flanneld>> {
        self.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemons: Vec<Flanneld> = self
            .hosts()
            .iter()
            .map(|host| host.flanneld().start())
            .collect::<Result<_>>()?;
        daemons.iter().try_for_each(Flanneld::wait_ready)?;
        Ok(daemons)
    }

    /// Makes the bridge and a pod on the first two hosts, whose daemons are ready.
    ///
    /// # Errors
    /// When one of them has no subnet.
    pub fn two_pods(&self) -> Result<(Pod, Pod)> {
        let pod = |number| {
            self.host(number).docker0()?;
            self.host(number).pod()
        };
        Ok((pod(1)?, pod(2)?))
    }

    /// The member that a host is.
    ///
    /// # Errors
    /// See [`Etcd::member_at`].
    pub fn member(&self, number: u8) -> Result<Member> {
        self.etcd.member_at(self.host(number).address())
    }

    /// Waits until each of the hosts has programmed exactly the members that etcd has, and answers them.
    ///
    /// # Errors
    /// When that does not happen in time: the last difference.
    pub fn wait_for_mesh(&self, hosts: &[u8]) -> Result<Vec<Member>> {
        eventually(SLOW, "a full mesh", || {
            let members = self.etcd.members()?;
            let distinct: BTreeMap<&str, &Member> =
                members.iter().map(|m| (m.public_ip.as_str(), m)).collect();
            ensure!(
                distinct.len() == members.len(),
                "two leases for one host: {members:?}"
            );
            hosts
                .iter()
                .try_for_each(|number| self.host(*number).ensure_programmed(&members))?;
            Ok(members)
        })
    }
}
