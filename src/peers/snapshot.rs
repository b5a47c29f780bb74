//! The format of the snapshot: the last known state on disk, for a restart while etcd is unreachable. Pure:
//! `snapshot_writer` decides when it is saved.
//!
//! Two lines: the SHA-256 of the second line, then JSON. A snapshot whose checksum does not match, or that belongs to
//! another host or another overlay, is not used.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::addr::MacAddr;
use crate::model::key_prefix::normalize;
use crate::model::lease::Lease;
use crate::model::lease::validate::validate;
use crate::model::membership::Membership;
use crate::model::node_id::NodeId;

/// Length of the checksum in hexadecimal.
const CHECKSUM_LEN: usize = 64;
/// Raised whenever the JSON changes its meaning.
const FORMAT: u32 = 1;

/// Who saves a snapshot.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotOwner {
    /// Prefix of the keys of the overlay in etcd.
    pub(crate) prefix: String,
    pub(crate) node: NodeId,
    /// Name of the external interface.
    pub(crate) interface: String,
    /// MAC address of the external interface.
    pub(crate) hardware: Option<MacAddr>,
}

/// The last known state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    format: u32,
    /// Prefix of the keys of the overlay in etcd.
    pub prefix: String,
    /// Node id of the host that saved it.
    pub node_id: String,
    /// Name of the external interface.
    pub interface: String,
    /// MAC address of the external interface. It differs on a machine to which the disk was copied.
    pub hardware: Option<MacAddr>,
    /// Lease and network config of the host that saved it.
    pub membership: Membership,
    /// Seconds from 1970 to when etcd last confirmed this; `None` in the files of earlier versions.
    #[serde(default)]
    known_at: Option<u64>,
    /// Leases of the peers.
    pub leases: Vec<Lease>,
}

/// Why a snapshot is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is not the text that was saved.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Another version saved it.
    #[error("expected format {FORMAT}, got {0}")]
    Format(u32),
    /// Another host or another overlay saved it.
    #[error("it belongs to node {node} of {prefix}")]
    Foreign {
        /// Node id in the snapshot.
        node: String,
        /// Prefix in the snapshot.
        prefix: String,
    },
}

/// The part that all formats share.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

impl Snapshot {
    pub(crate) fn new(
        owner: &SnapshotOwner,
        membership: Membership,
        leases: Vec<Lease>,
        known_at: Option<SystemTime>,
    ) -> Self {
        let SnapshotOwner {
            prefix,
            node,
            interface,
            hardware,
        } = owner.clone();
        let known_at = known_at
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map(|since| since.as_secs());
        let node_id = node.as_str().to_owned();
        Self {
            format: FORMAT,
            prefix,
            node_id,
            interface,
            hardware,
            membership,
            known_at,
            leases,
        }
    }

    /// Returns when etcd last confirmed it, if that is known.
    pub(crate) fn known_at(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.known_at?))
    }

    /// Returns the text for the disk. It is made in one piece of memory: 60,000 leases are 9 MB.
    pub(crate) fn render(&self) -> String {
        const BYTES_PER_LEASE: usize = 160;
        let mut text = vec![b'0'; CHECKSUM_LEN];
        text.reserve(4096 + BYTES_PER_LEASE * self.leases.len());
        text.push(b'\n');
        serde_json::to_writer(&mut text, self)
            .expect("a struct of names, addresses and numbers is always JSON");
        let checksum = checksum(&text[CHECKSUM_LEN + 1..]);
        text[..CHECKSUM_LEN].copy_from_slice(checksum.as_bytes());
        text.push(b'\n');
        String::from_utf8(text).expect("JSON is text")
    }

    /// Reads a text that `Snapshot::render` made for this host and overlay.
    ///
    /// # Errors
    /// [`SnapshotError`] says why it is not used.
    pub fn parse(text: &str, prefix: &str, node: &NodeId) -> Result<Self, SnapshotError> {
        let (first, json) = text
            .split_once('\n')
            .ok_or_else(|| damaged("it has one line"))?;
        let json = json.trim_end_matches('\n');
        if first != checksum(json.as_bytes()) {
            return Err(damaged("its checksum is wrong"));
        }
        Self::of_json(json, prefix, node)
    }

    /// Like [`Snapshot::parse`], for the second line alone.
    ///
    /// # Errors
    /// [`SnapshotError`] says why it is not used.
    pub fn of_json(json: &str, prefix: &str, node: &NodeId) -> Result<Self, SnapshotError> {
        let Header { format } = serde_json::from_str(json).map_err(damaged)?;
        if format != FORMAT {
            return Err(SnapshotError::Format(format));
        }
        let snapshot: Self = serde_json::from_str(json).map_err(damaged)?;
        // An earlier version saved the prefix as it was written on the command line.
        let is_other_network = normalize(&snapshot.prefix) != normalize(prefix);
        if is_other_network || snapshot.node_id != node.as_str() {
            return Err(SnapshotError::Foreign {
                node: snapshot.node_id,
                prefix: snapshot.prefix,
            });
        }
        Ok(snapshot)
    }

    /// Whether the machine that saved it has this hardware address. Only the very machine that held the lease may claim
    /// it from another address.
    pub fn is_of_machine(&self, hardware: Option<MacAddr>) -> bool {
        self.hardware.is_some() && self.hardware == hardware
    }

    /// Returns the leases that fit the network config and the lease of this host.
    pub fn usable_leases(&self) -> Vec<Lease> {
        let Membership { own, config } = &self.membership;
        self.leases
            .iter()
            .filter(|lease| validate(lease, config, own).is_ok())
            .cloned()
            .collect()
    }
}

fn damaged(reason: impl ToString) -> SnapshotError {
    SnapshotError::Damaged(reason.to_string())
}

/// Returns the name of the file for one overlay. Every byte but letters, digits, dots and underscores is written as its
/// code, so that two overlays never share a file.
pub(crate) fn file_name(prefix: &str) -> String {
    let mut name = String::new();
    for byte in prefix.trim_matches('/').bytes() {
        match byte {
            b'/' => name.push('-'),
            b'.' | b'_' => name.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    format!("{name}.snapshot")
}

fn checksum(json: &[u8]) -> String {
    Sha256::digest(json)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests;
