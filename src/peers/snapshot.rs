//! Owns the form in which the last known state lies on the disk, for a restart while etcd is away. Pure; `run` says
//! when it is to be written.
//!
//! Two lines: the SHA-256 of the second, then JSON. What does not match its sum, or is another host's or another
//! overlay's, is not used.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::addr::MacAddr;
use crate::model::lease::{Lease, vet};
use crate::model::membership::Membership;
use crate::model::node_id::NodeId;
use crate::model::previous_lease::PreviousLease;

/// Length of the first line, in hexadecimal.
const SUM: usize = 64;
/// Raised whenever the JSON changes its meaning.
const FORMAT: u32 = 1;

/// Ownership state it is.
#[derive(Debug, Clone)]
pub struct SnapshotOwner {
    /// Prefix of the keys of the overlay.
    pub prefix: String,
    /// Our name.
    pub node: NodeId,
    /// Name of the external interface.
    pub interface: String,
    /// Address of its hardware.
    pub hardware: Option<MacAddr>,
}

/// The last known state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    format: u32,
    /// Prefix of the keys of the overlay.
    pub prefix: String,
    /// Ownership state it is.
    pub node_id: String,
    /// Name of the external interface.
    pub interface: String,
    /// Address of its hardware: what a copied disk does not take along.
    pub hardware: Option<MacAddr>,
    /// What we were.
    pub membership: Membership,
    /// Seconds from 1970 to when etcd last said so; `None` in the files of earlier versions.
    #[serde(default)]
    known_at: Option<u64>,
    /// Who the others were.
    pub leases: Vec<Lease>,
}

/// Why a snapshot is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Another version wrote it.
    #[error("expected format {FORMAT}, got {0}")]
    Format(u32),
    /// Another host or another overlay wrote it.
    #[error("it belongs to node {node} of {prefix}")]
    Foreign {
        /// Its node id.
        node: String,
        /// Its prefix.
        prefix: String,
    },
}

/// The part that all formats share.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

impl Snapshot {
    /// What is to be kept.
    pub fn new(
        place: &SnapshotOwner,
        membership: Membership,
        leases: Vec<Lease>,
        known_at: Option<SystemTime>,
    ) -> Self {
        let SnapshotOwner {
            prefix,
            node,
            interface,
            hardware,
        } = place.clone();
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

    /// When etcd last said so, if that is known.
    pub fn known_at(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_secs(self.known_at?))
    }

    /// The text for the disk. Made in one piece of memory: 60,000 leases are 9 MB.
    pub fn render(&self) -> String {
        const EACH: usize = 160;
        let mut text = vec![b'0'; SUM];
        text.reserve(4096 + EACH * self.leases.len());
        text.push(b'\n');
        serde_json::to_writer(&mut text, self)
            .expect("a struct of names, addresses and numbers is always JSON");
        let sum = sum(&text[SUM + 1..]);
        text[..SUM].copy_from_slice(sum.as_bytes());
        text.push(b'\n');
        String::from_utf8(text).expect("JSON is text")
    }

    /// Reads a text that [`Snapshot::render`] made for this host and overlay.
    ///
    /// # Errors
    /// [`SnapshotError`] says why it is not used.
    pub fn parse(text: &str, prefix: &str, node: &NodeId) -> Result<Self, SnapshotError> {
        let damaged = |why: &str| SnapshotError::Damaged(why.to_owned());
        let (first, json) = text
            .split_once('\n')
            .ok_or_else(|| damaged("it has one line"))?;
        let json = json.trim_end_matches('\n');
        if first != sum(json.as_bytes()) {
            return Err(damaged("its checksum is wrong"));
        }
        Self::of_json(json, prefix, node)
    }

    /// Like [`Snapshot::parse`], for the second line alone.
    ///
    /// # Errors
    /// [`SnapshotError`] says why it is not used.
    pub fn of_json(json: &str, prefix: &str, node: &NodeId) -> Result<Self, SnapshotError> {
        let unreadable = |error: serde_json::Error| SnapshotError::Damaged(error.to_string());
        let Header { format } = serde_json::from_str(json).map_err(unreadable)?;
        if format != FORMAT {
            return Err(SnapshotError::Format(format));
        }
        let snapshot: Self = serde_json::from_str(json).map_err(unreadable)?;
        if snapshot.prefix != prefix || snapshot.node_id != node.as_str() {
            return Err(SnapshotError::Foreign {
                node: snapshot.node_id,
                prefix: snapshot.prefix,
            });
        }
        Ok(snapshot)
    }

    /// What it tells of our own lease. `hardware` is what this machine has now: only the very machine that held the lease
    /// may claim it from another address.
    pub fn past(&self, hardware: Option<MacAddr>) -> PreviousLease {
        let own = &self.membership.own;
        let same = self.hardware.is_some() && self.hardware == hardware;
        PreviousLease {
            subnet: Some(own.subnet),
            vtep_mac: Some(own.vtep_mac),
            public_ip: same.then_some(own.public_ip),
        }
    }

    /// The leases that may still be used.
    pub fn usable_leases(&self) -> Vec<Lease> {
        let Membership { own, config } = &self.membership;
        self.leases
            .iter()
            .filter(|lease| vet(lease, config, own).is_ok())
            .cloned()
            .collect()
    }
}

/// Name of the file for one overlay: what is no letter, digit, dot or underscore is written as its code.
pub fn file_name(prefix: &str) -> String {
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

fn sum(json: &[u8]) -> String {
    Sha256::digest(json)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lease::OwnLease;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const PREFIX: &str = "/coreos.com/network";

    fn snapshot() -> Snapshot {
        let own = OwnLease {
            subnet: "10.5.9.0/24".parse().expect("a subnet in a test"),
            public_ip: Ipv4Addr::new(10, 99, 1, 1),
            vtep_mac: MacAddr([2, 0, 0, 0, 0, 1]),
        };
        let config = crate::model::network_config::parse(br#"{"Network":"10.5.0.0/16"}"#)
            .expect("a configuration")
            .config;
        let lease = |net: &str, host: u8| Lease {
            subnet: net.parse().expect("a subnet in a test"),
            public_ip: Ipv4Addr::new(10, 99, 1, host),
            vtep_mac: MacAddr([2, 0, 0, 0, 0, host]),
            vni: None,
            revision: 7,
        };
        let leases = vec![lease("10.5.40.0/24", 40), lease("8.8.8.0/24", 8)];
        let hardware = Some(MacAddr([2, 9, 9, 9, 9, 9]));
        let (prefix, node, interface) = (PREFIX.to_owned(), NodeId::named("a"), "eth0".to_owned());
        Snapshot::new(
            &SnapshotOwner {
                prefix,
                node,
                interface,
                hardware,
            },
            Membership { own, config },
            leases,
            Some(UNIX_EPOCH),
        )
    }

    #[test]
    fn reads_back_what_it_wrote_and_uses_what_is_fit() {
        let text = snapshot().render();
        let read = Snapshot::parse(&text, PREFIX, &NodeId::named("a"));
        assert_eq!(read, Ok(snapshot()));
        let usable = snapshot().usable_leases();
        assert_eq!(
            usable
                .iter()
                .map(|lease| lease.subnet.to_string())
                .collect::<Vec<_>>(),
            ["10.5.40.0/24"]
        );
    }

    #[test]
    fn reads_a_file_without_a_time() {
        let text = snapshot().render();
        let (_, json) = text.split_once('\n').expect("two lines");
        let json = json.trim_end().replace(r#""known_at":0,"#, "");
        let read = Snapshot::parse(
            &format!("{}\n{json}\n", sum(json.as_bytes())),
            PREFIX,
            &NodeId::named("a"),
        );
        assert_eq!(read.map(|snapshot| snapshot.known_at()), Ok(None));
        assert_eq!(snapshot().known_at(), Some(UNIX_EPOCH));
    }

    #[test]
    fn refuses_what_is_damaged_or_foreign() {
        let text = snapshot().render();
        let check = |text: &str, prefix: &str, node: &str, expected: &str| {
            let refusal = Snapshot::parse(text, prefix, &NodeId::named(node))
                .expect_err(expected)
                .to_string();
            assert!(refusal.contains(expected), "{refusal}");
        };
        check("", PREFIX, "a", "one line");
        check(&text[..text.len() - 9], PREFIX, "a", "checksum");
        check(
            &text.replace("10.5.9.0", "10.5.8.0"),
            PREFIX,
            "a",
            "checksum",
        );
        check(
            &text,
            "/other",
            "a",
            "belongs to node a of /coreos.com/network",
        );
        check(&text, PREFIX, "b", "belongs to node a");
        let newer = r#"{"format":2}"#;
        check(
            &format!("{}\n{newer}\n", sum(newer.as_bytes())),
            PREFIX,
            "a",
            "expected format 1, got 2",
        );
    }

    #[test]
    fn an_earlier_address_is_ours_on_the_same_hardware_only() {
        let past = |hardware| snapshot().past(hardware).public_ip;
        assert_eq!(past(snapshot().hardware), Some(Ipv4Addr::new(10, 99, 1, 1)));
        assert_eq!((past(None), past(Some(MacAddr([2; 6])))), (None, None));
    }

    #[test]
    fn each_overlay_has_a_file_of_its_own() {
        let names = [
            "/coreos.com/network",
            "/coreos.com-network",
            "/a_b",
            "/a/b",
            "/a%2fb",
        ]
        .map(file_name);
        assert_eq!(names[0], "coreos.com-network.snapshot");
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }

    proptest! {
        #[test]
        fn takes_any_text_without_a_panic(text in ".{0,200}") {
            prop_assert!(Snapshot::parse(&text, PREFIX, &NodeId::named("a")).is_err());
        }

        /// The sum is no proof: whoever may write the file can make a right one.
        #[test]
        fn takes_any_json_without_a_panic(cut in any::<prop::sample::Index>(), length in 0usize..8, put in "[0-9a-z\",:{}\\[\\]./-]{0,8}") {
            let text = snapshot().render();
            let json = text.lines().nth(1).expect("two lines");
            let from = cut.index(json.len());
            let to = (from + length).min(json.len());
            let json = format!("{}{put}{}", &json[..from], &json[to..]);
            let text = format!("{}\n{json}\n", sum(json.as_bytes()));
            if let Ok(read) = Snapshot::parse(&text, PREFIX, &NodeId::named("a")) {
                prop_assert!(read.usable_leases().len() <= read.leases.len());
                read.past(None);
            }
        }
    }
}
