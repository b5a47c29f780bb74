//! Reads and writes the JSON value of a lease. Reading decides nothing about whether the lease is
//! usable. Pure.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::model::addr::{MacAddr, Vni};
use crate::model::lease::key::parse_key_name;
use crate::model::lease::{Lease, Rejection};
use crate::model::node_id::NodeId;

/// The backend that this daemon writes into its lease and accepts in others.
const BACKEND: &str = "vxlan";
/// Longer values are refused unread. flannel writes about 130 bytes.
const MAX_VALUE_BYTES: usize = 4096;
/// How many characters of a node id another host can put into our log.
const MAX_SHOWN_NODE_ID_CHARS: usize = 128;
/// How many characters of a backend's name another host can put into our log.
const MAX_SHOWN_BACKEND_CHARS: usize = 40;

/// The value as this daemon writes it: Go flannel's keys in Go flannel's order, then `NodeID`.
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
    /// Only this daemon writes it. Go flannel ignores it.
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

/// The value as any flannel wrote it. Unknown keys are ignored.
#[derive(Deserialize)]
struct ReadValue {
    #[serde(rename = "PublicIP")]
    public_ip: Option<Ipv4Addr>,
    #[serde(rename = "BackendType")]
    backend_type: String,
    #[serde(rename = "BackendData", default)]
    backend_data: serde_json::Value,
}

#[derive(Deserialize)]
struct ReadVxlan {
    #[serde(rename = "VNI", default)]
    vni: Option<Vni>,
    #[serde(rename = "VtepMAC")]
    vtep_mac: MacAddr,
}

/// What a value says about the host that wrote it.
pub(super) struct LeaseValue {
    pub(super) public_ip: Ipv4Addr,
    pub(super) vtep_mac: MacAddr,
    pub(super) vni: Option<Vni>,
}

/// Reads a value.
///
/// # Errors
/// The value is too long, is not the JSON of a lease, or belongs to another backend.
fn parse(value: &[u8]) -> Result<LeaseValue, Rejection> {
    if value.len() > MAX_VALUE_BYTES {
        let reason = format!("longer than {MAX_VALUE_BYTES} bytes");
        return Err(Rejection::Value(reason));
    }
    let read: ReadValue = serde_json::from_slice(value).map_err(not_a_lease)?;
    if read.backend_type != BACKEND {
        let shown = read.backend_type.chars().take(MAX_SHOWN_BACKEND_CHARS);
        return Err(Rejection::OtherBackend(shown.collect()));
    }
    let public_ip = read
        .public_ip
        .ok_or_else(|| Rejection::Value("PublicIP is missing".to_owned()))?;
    let vxlan: ReadVxlan = serde_json::from_value(read.backend_data).map_err(not_a_lease)?;
    Ok(LeaseValue {
        public_ip,
        vtep_mac: vxlan.vtep_mac,
        vni: vxlan.vni,
    })
}

fn not_a_lease(error: serde_json::Error) -> Rejection {
    Rejection::Value(error.to_string())
}

/// Returns the value of our own lease.
pub(crate) fn render_value(
    public_ip: Ipv4Addr,
    vni: Vni,
    vtep_mac: MacAddr,
    node: &NodeId,
) -> String {
    let written = WrittenValue {
        public_ip,
        public_ipv6: None,
        backend_type: BACKEND,
        backend_data: WrittenVxlan { vni, vtep_mac },
        node_id: node.as_str(),
    };
    serde_json::to_string(&written).expect("a struct of addresses and numbers is always JSON")
}

/// The host that a value names, whatever its backend is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The address at which the host receives packets.
    pub(crate) public_ip: Ipv4Addr,
    /// The host's node id; `None` for Go flannel, which writes none.
    pub(crate) node_id: Option<String>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(id) = &self.node_id else {
            return write!(f, "a node of Go flannel at {}", self.public_ip);
        };
        let shown: String = id.escape_debug().take(MAX_SHOWN_NODE_ID_CHARS).collect();
        write!(f, "node {shown} at {}", self.public_ip)
    }
}

#[derive(Deserialize)]
struct ReadOwner {
    #[serde(rename = "PublicIP")]
    public_ip: Ipv4Addr,
    #[serde(rename = "NodeID", default)]
    node_id: serde_json::Value,
}

/// Returns the host that a value names, or `None` if it names none.
pub fn owner_of(value: &[u8]) -> Option<Owner> {
    if value.len() > MAX_VALUE_BYTES {
        return None;
    }
    let ReadOwner { public_ip, node_id } = serde_json::from_slice(value).ok()?;
    Some(Owner {
        public_ip,
        node_id: node_id.as_str().map(str::to_owned),
    })
}

/// Reads one entry below `PREFIX/subnets/`. [`crate::model::lease::validate::validate`] then decides whether this host may use the
/// lease.
///
/// # Errors
/// The key does not name a subnet, or the value does not describe a host with the vxlan backend.
pub fn parse_lease(name: &str, value: &[u8], revision: i64) -> Result<Lease, Rejection> {
    let subnet = parse_key_name(name)?;
    let host = parse(value)?;
    Ok(Lease {
        subnet,
        public_ip: host.public_ip,
        vtep_mac: host.vtep_mac,
        vni: host.vni,
        revision,
    })
}
