//! Compares what a host's kernel holds with the leases in etcd. It reads leases by itself: nothing
//! here uses the daemon's code.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::Ipv4Addr;

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
/// The prefix of the keys of all leases.
pub const SUBNETS: &str = "/coreos.com/network/subnets/";
/// A network for tests.
pub const CONFIG: &str = r#"{"Network":"10.5.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan"}}"#;
/// A network for thousands of peers.
pub const WIDE_CONFIG: &str =
    r#"{"Network":"32.0.0.0/8","SubnetLen":24,"Backend":{"Type":"vxlan"}}"#;
/// Protocol number of the daemon's routes.
pub const PROTOCOL: u8 = 102;

/// A lease: a subnet that a host holds, as its key and value in etcd say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    /// Its subnet: `10.5.1.0/24`.
    pub subnet: String,
    /// The first address of the subnet, that of its vxlan device.
    pub vtep: Ipv4Addr,
    /// Where the host receives VXLAN packets.
    pub public_ip: String,
    /// The MAC address of its vxlan device.
    pub mac: String,
}

impl Lease {
    /// A lease that exists in etcd only, in the network of [`WIDE_CONFIG`].
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

    /// A lease that exists in etcd only, with the subnet 10.5.NUMBER.0/24 of [`CONFIG`].
    pub fn numbered(number: u8) -> Self {
        let vtep = Ipv4Addr::new(10, 5, number, 0);
        Self {
            subnet: format!("{vtep}/24"),
            vtep,
            ..Self::invented(number.into())
        }
    }

    /// The lease of [`Lease::invented`] whose host has moved to an address below `network`, such as
    /// `10.97`.
    pub fn moved(number: u16, network: &str) -> Self {
        Self {
            public_ip: format!("{network}.{}.{}", number >> 8, number & 255),
            ..Self::invented(number)
        }
    }

    /// Returns its key and its value, as Go flannel writes them.
    pub fn entry(&self) -> (String, String) {
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
    /// Returns the leases of all hosts.
    ///
    /// # Errors
    /// When etcd does not answer, or a lease cannot be read.
    pub fn leases(&self) -> Result<Vec<Lease>> {
        self.get_prefix(SUBNETS)?
            .iter()
            .map(|kv| Lease::parse(&kv.key, &kv.value))
            .collect()
    }

    /// Returns the lease with this PublicIP.
    ///
    /// # Errors
    /// When there is none; see [`Etcd::leases`].
    pub fn lease_at(&self, public_ip: impl Display) -> Result<Lease> {
        let public_ip = public_ip.to_string();
        let mut leases = self.leases()?.into_iter();
        leases
            .find(|lease| lease.public_ip == public_ip)
            .with_context(|| format!("no lease of {public_ip}"))
    }
}

impl Host {
    /// Checks that the kernel holds the entries of these leases on flannel.1, and no others.
    ///
    /// # Errors
    /// The first difference.
    pub fn ensure_programmed(&self, leases: &[Lease]) -> Result<()> {
        let own = self.address().to_string();
        let peers: Vec<&Lease> = leases
            .iter()
            .filter(|lease| lease.public_ip != own)
            .collect();
        ensure!(
            peers.len() + 1 == leases.len(),
            "{} has not one lease in {leases:?}",
            self.name()
        );
        let kinds = [
            ("routes", expected_routes(&peers), self.found_routes()?),
            (
                "neighbours",
                expected_neighbours(&peers),
                self.found_neighbours()?,
            ),
            ("FDB", expected_fdb(&peers), self.found_fdb()?),
        ];
        for (kind, expected, found) in &kinds {
            ensure_same(kind, expected, found).with_context(|| self.name().to_owned())?;
        }
        Ok(())
    }

    fn found_routes(&self) -> Result<BTreeSet<String>> {
        let routes = self.routes("flannel.1")?;
        let lines = routes.iter().map(|(to, route)| {
            let via = route.via.as_deref().unwrap_or("-");
            format!("{to} via {via} proto {}", route.protocol)
        });
        Ok(lines.collect())
    }

    fn found_neighbours(&self) -> Result<BTreeSet<String>> {
        let neighbours = self.neighbours("flannel.1")?;
        let lines = neighbours.iter().map(|(ip, neighbour)| {
            let mac = neighbour.lladdr.as_deref().unwrap_or("-");
            format!("{ip} {mac} {}", neighbour.state)
        });
        Ok(lines.collect())
    }

    fn found_fdb(&self) -> Result<BTreeSet<String>> {
        let entries = self.fdb("flannel.1")?;
        let lines = entries.iter().map(|entry| {
            let dst = entry.dst.as_deref().unwrap_or("-");
            format!("{} {dst} {}", entry.mac, entry.state)
        });
        Ok(lines.collect())
    }
}

fn expected_routes(peers: &[&Lease]) -> BTreeSet<String> {
    peers
        .iter()
        .map(|peer| format!("{} via {} proto {PROTOCOL}", peer.subnet, peer.vtep))
        .collect()
}

fn expected_neighbours(peers: &[&Lease]) -> BTreeSet<String> {
    peers
        .iter()
        .map(|peer| format!("{} {} PERMANENT", peer.vtep, peer.mac))
        .collect()
}

fn expected_fdb(peers: &[&Lease]) -> BTreeSet<String> {
    peers
        .iter()
        .map(|peer| format!("{} {} permanent", peer.mac, peer.public_ip))
        .collect()
}

/// Names the first entry that is missing, and the first that should not be there.
fn ensure_same(kind: &str, expected: &BTreeSet<String>, found: &BTreeSet<String>) -> Result<()> {
    let missing = expected.difference(found).next();
    let stale = found.difference(expected).next();
    ensure!(
        missing.is_none() && stale.is_none(),
        "{kind}: missing {missing:?}, stale {stale:?}"
    );
    Ok(())
}

impl Host {
    /// Waits until there is a route to a peer.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn wait_for_route(&self, peer: &Lease) -> Result<()> {
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

    /// Returns the lease of a host.
    ///
    /// # Errors
    /// See [`Etcd::lease_at`].
    pub fn lease(&self, number: u8) -> Result<Lease> {
        self.etcd.lease_at(self.host(number).address())
    }

    /// Waits until the kernel of each of the hosts holds exactly the leases in etcd, and returns them.
    ///
    /// # Errors
    /// When that does not happen in time: the last difference.
    pub fn wait_for_mesh(&self, hosts: &[u8]) -> Result<Vec<Lease>> {
        eventually(SLOW, "a full mesh", || {
            let leases = self.etcd.leases()?;
            let distinct: BTreeMap<&str, &Lease> =
                leases.iter().map(|m| (m.public_ip.as_str(), m)).collect();
            ensure!(
                distinct.len() == leases.len(),
                "two leases for one host: {leases:?}"
            );
            hosts
                .iter()
                .try_for_each(|number| self.host(*number).ensure_programmed(&leases))?;
            Ok(leases)
        })
    }
}
