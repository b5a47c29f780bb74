//! Owns what a lease is: the name of its key, the JSON of its value, and what makes one unusable. Values come
//! from other hosts and are untrusted. Pure.
//!
//! Source: flannel v0.28 `pkg/subnet/subnet.go`, `pkg/subnet/etcd/registry.go`, `pkg/backend/vxlan/vxlan.go`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnetwork::{Ipv4Network, Ipv6Network};
use serde::{Deserialize, Serialize};

use crate::model::addr::{MacAddr, Vni, network_of};
use crate::model::network_config::NetworkConfig;
use crate::model::node_id::NodeId;

/// The backend that this daemon writes and reads.
pub const BACKEND: &str = "vxlan";
/// Time to live of our lease, as flannel's: a node may be away for a day and still find its subnet.
pub(crate) const TTL: Duration = Duration::from_secs(86_400);
/// Longer values are refused unread; flannel writes about 130 bytes.
const LONGEST_VALUE: usize = 4096;
/// Characters of a node id that are shown.
const LONGEST_ID: usize = 128;

/// A subnet in the hands of a host whose backend is vxlan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The subnet of the host's pods; its first address is that of the host's VTEP.
    pub subnet: Ipv4Network,
    /// Where the host receives VXLAN packets.
    pub public_ip: Ipv4Addr,
    /// Address of the host's vxlan device: inner destination of all packets to its pods.
    pub vtep_mac: MacAddr,
    /// `None` in leases of flannel before 0.13.
    pub vni: Option<Vni>,
    /// etcd's revision of the last write; orders two leases that claim the same thing.
    pub revision: i64,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {} with {}",
            self.subnet, self.public_ip, self.vtep_mac
        )
    }
}

/// Why an entry of the registry is not a lease for us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name of the key is none of a subnet.
    #[error("expected a key such as \"10.5.1.0-24\"")]
    Key,
    /// The value cannot be read.
    #[error("failed to read the value: {0}")]
    Value(String),
    /// The host uses another backend. Not an error, but no peer either.
    #[error("backend is {0:?}, ours is \"vxlan\"")]
    OtherBackend(String),
    /// The host is in another VXLAN.
    #[error("VNI is {0}, ours is {1}")]
    OtherVni(Vni, Vni),
    /// Another key counts for the same subnet.
    #[error("another key of subnet {0} is in use")]
    SecondKey(Ipv4Network),
    /// The subnet cannot be routed: it is not inside the network, or inside our own subnet.
    #[error("subnet {0} {1}")]
    Subnet(Ipv4Network, &'static str),
    /// No host can have this PublicIP.
    #[error("PublicIP {0} {1}")]
    PublicIp(Ipv4Addr, &'static str),
    /// No peer can have this VtepMAC.
    #[error("VtepMAC {0} {1}")]
    VtepMac(MacAddr, &'static str),
}

/// The value of a lease, in the order of keys in which Go flannel writes them, and one key more.
#[derive(Serialize)]
struct WrittenValue<'a> {
    #[serde(rename = "PublicIP")]
    public_ip: Ipv4Addr,
    #[serde(rename = "PublicIPv6")]
    public_ipv6: Option<Ipv6Addr>,
    #[serde(rename = "BackendType")]
    backend_type: &'static str,
    #[serde(rename = "BackendData")]
    backend_data: WrittenVxlan,
    /// Ours: Go flannel ignores it.
    #[serde(rename = "NodeID")]
    node_id: &'a str,
}

#[derive(Serialize)]
struct WrittenVxlan {
    #[serde(rename = "VNI")]
    vni: Vni,
    #[serde(rename = "VtepMAC")]
    vtep_mac: MacAddr,
}

/// The value of a lease as others wrote it. Unknown keys are ignored.
#[derive(Deserialize)]
struct FoundValue {
    #[serde(rename = "PublicIP")]
    public_ip: Option<Ipv4Addr>,
    #[serde(rename = "BackendType")]
    backend_type: String,
    #[serde(rename = "BackendData", default)]
    backend_data: serde_json::Value,
}

#[derive(Deserialize)]
struct FoundVxlan {
    #[serde(rename = "VNI", default)]
    vni: Option<Vni>,
    #[serde(rename = "VtepMAC")]
    vtep_mac: MacAddr,
}

/// Name of the key of `subnet` below `PREFIX/subnets/`.
pub fn key_name(subnet: Ipv4Network) -> String {
    format!("{}-{}", subnet.ip(), subnet.prefix())
}

/// The subnet that a key names: `10.5.1.0-24`, and `10.5.1.0-24&fd00:5:1::-64` of dual-stack clusters, whose
/// IPv6 part is checked and dropped.
pub fn parse_key_name(name: &str) -> Result<Ipv4Network, Rejection> {
    let (v4, v6) = match name.split_once('&') {
        Some((v4, v6)) => (v4, Some(v6)),
        None => (name, None),
    };
    if let Some(v6) = v6 {
        let (address, prefix) = v6.rsplit_once('-').ok_or(Rejection::Key)?;
        let address: Ipv6Addr = address.parse().map_err(|_| Rejection::Key)?;
        Ipv6Network::new(address, parse_prefix(prefix)?).map_err(|_| Rejection::Key)?;
    }
    let (address, prefix) = v4.split_once('-').ok_or(Rejection::Key)?;
    let address: Ipv4Addr = address.parse().map_err(|_| Rejection::Key)?;
    let subnet = network_of(address, parse_prefix(prefix)?).ok_or(Rejection::Key)?;
    // One subnet, one name: "10.5.1.0-024" would be a second key for the same.
    if v4 == key_name(subnet) {
        Ok(subnet)
    } else {
        Err(Rejection::Key)
    }
}

fn parse_prefix(text: &str) -> Result<u8, Rejection> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or(Rejection::Key)
}

/// The value that we write for our own lease.
pub fn render_value(public_ip: Ipv4Addr, vni: Vni, vtep_mac: MacAddr, node: &NodeId) -> String {
    let backend_data = WrittenVxlan { vni, vtep_mac };
    let (backend_type, node_id) = (BACKEND, node.as_str());
    let written = WrittenValue {
        public_ip,
        public_ipv6: None,
        backend_type,
        backend_data,
        node_id,
    };
    serde_json::to_string(&written).expect("a struct of addresses and numbers is always JSON")
}

/// Ownership a lease is, whatever else its value says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Where the host receives packets.
    pub public_ip: Ipv4Addr,
    /// The name of the host; Go flannel writes none.
    pub node_id: Option<String>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node_id {
            Some(id) => {
                write!(
                    f,
                    "node {} at {}",
                    id.escape_debug().take(LONGEST_ID).collect::<String>(),
                    self.public_ip
                )
            }
            None => write!(f, "a node of Go flannel at {}", self.public_ip),
        }
    }
}

#[derive(Deserialize)]
struct FoundOwner {
    #[serde(rename = "PublicIP")]
    public_ip: Ipv4Addr,
    #[serde(rename = "NodeID", default)]
    node_id: serde_json::Value,
}

/// The owner that a value names, if it names one.
pub fn owner_of(value: &[u8]) -> Option<Owner> {
    if value.len() > LONGEST_VALUE {
        return None;
    }
    let FoundOwner { public_ip, node_id } = serde_json::from_slice(value).ok()?;
    Some(Owner {
        public_ip,
        node_id: node_id.as_str().map(str::to_owned),
    })
}

/// Reads one entry of the registry.
///
/// # Errors
/// Anything that keeps it from being a lease of a vxlan host; see [`vet`] for what it says.
pub fn parse_lease(name: &str, value: &[u8], revision: i64) -> Result<Lease, Rejection> {
    let subnet = parse_key_name(name)?;
    let found = found(value)?;
    if found.backend_type != BACKEND {
        return Err(Rejection::OtherBackend(
            found.backend_type.chars().take(40).collect(),
        ));
    }
    let public_ip = found
        .public_ip
        .ok_or_else(|| Rejection::Value("PublicIP is missing".to_owned()))?;
    let vxlan: FoundVxlan =
        serde_json::from_value(found.backend_data).map_err(|e| Rejection::Value(e.to_string()))?;
    Ok(Lease {
        subnet,
        public_ip,
        vtep_mac: vxlan.vtep_mac,
        vni: vxlan.vni,
        revision,
    })
}

fn found(value: &[u8]) -> Result<FoundValue, Rejection> {
    if value.len() > LONGEST_VALUE {
        return Err(Rejection::Value(format!(
            "longer than {LONGEST_VALUE} bytes"
        )));
    }
    serde_json::from_slice(value).map_err(|error| Rejection::Value(error.to_string()))
}

/// What we are in the overlay: the measure for the leases of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnLease {
    /// Our subnet.
    pub subnet: Ipv4Network,
    /// Our address on the network between the hosts, as the lease says it.
    pub public_ip: Ipv4Addr,
    /// Address of our vxlan device.
    pub vtep_mac: MacAddr,
}

impl OwnLease {
    /// Address of our vxlan device: the first of our subnet.
    pub fn vtep(&self) -> Ipv4Addr {
        self.subnet.ip()
    }
}

/// Decides whether the lease of another host may become routes and entries of ours.
///
/// # Errors
/// The first thing that would harm us or the hosts we carry packets for.
pub fn vet(lease: &Lease, config: &NetworkConfig, own: &OwnLease) -> Result<(), Rejection> {
    vet_subnet(lease.subnet, config, own)?;
    vet_public_ip(lease, config, own)?;
    if !lease.vtep_mac.is_unicast() {
        return Err(Rejection::VtepMac(
            lease.vtep_mac,
            "is not the address of a device",
        ));
    }
    if lease.vtep_mac == own.vtep_mac {
        return Err(Rejection::VtepMac(lease.vtep_mac, "is our own"));
    }
    match lease.vni {
        Some(vni) if vni != config.vxlan.vni => Err(Rejection::OtherVni(vni, config.vxlan.vni)),
        Some(_) | None => Ok(()),
    }
}

fn vet_subnet(
    subnet: Ipv4Network,
    config: &NetworkConfig,
    own: &OwnLease,
) -> Result<(), Rejection> {
    use crate::model::addr::{covers, overlap};
    if subnet == config.network || !covers(config.network, subnet) {
        return Err(Rejection::Subnet(subnet, "is not inside the network"));
    }
    if subnet.prefix() > 30 {
        return Err(Rejection::Subnet(subnet, "is too small for a host"));
    }
    if overlap(subnet, own.subnet) {
        return Err(Rejection::Subnet(subnet, "overlaps our own"));
    }
    // Its route would be longer than that of the network between the hosts, and lead us away from all of them and etcd.
    if subnet.contains(own.public_ip) {
        return Err(Rejection::Subnet(subnet, "holds our own PublicIP"));
    }
    Ok(())
}

fn vet_public_ip(lease: &Lease, config: &NetworkConfig, own: &OwnLease) -> Result<(), Rejection> {
    let ip = lease.public_ip;
    let carried = lease.subnet.contains(ip) || own.subnet.contains(ip);
    // Some clusters choose a Network so large that their hosts lie in it. Ours shows it.
    let hosts_are_inside = config.network.contains(own.public_ip);
    let refuse = |why| Err(Rejection::PublicIp(ip, why));
    match ip {
        _ if ip == own.public_ip => refuse("is our own"),
        _ if ip.is_unspecified() || ip.is_broadcast() || ip.octets()[0] == 0 => {
            refuse("is not the address of a host")
        }
        _ if ip.is_multicast() => refuse("is a multicast address"),
        _ if ip.is_loopback() => refuse("is a loopback address"),
        _ if carried || (config.network.contains(ip) && !hosts_are_inside) => {
            refuse("is inside the overlay that it should carry")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
