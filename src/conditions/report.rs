//! Owns the words of `flanneld status`: what the daemon says of itself, as data and as text. Pure; `ask` alone talks to
//! the daemon.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Version of the program that runs.
    pub version: String,
    /// `ready`, `degraded: why`, or what is missing.
    pub state: String,
    /// Our name among the members.
    pub node_id: String,
    /// URLs of etcd's members.
    pub etcd: Vec<String>,
    /// Prefix of our keys.
    pub prefix: String,
    /// Whether etcd answers.
    pub contact: String,
    /// Our lease, if we hold one.
    pub lease: Option<LeaseReport>,
    /// How many other hosts we carry packets to.
    pub peers: usize,
    /// How many of them are gone from etcd, and kept for a while.
    pub kept: usize,
    /// Keys in etcd that are not used, with the reason.
    pub ignored: BTreeMap<String, String>,
}

/// Our lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport {
    /// The whole overlay.
    pub network: String,
    /// Our part of it.
    pub subnet: String,
    /// Where the others send packets for it.
    pub public_ip: String,
    /// Address of our device in the overlay.
    pub vtep_mac: String,
    /// Name of our device.
    pub device: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, "state", &self.state)?;
        line(f, "version", &self.version)?;
        line(f, "node id", &self.node_id)?;
        line(
            f,
            "etcd",
            &format!(
                "{} below {}: {}",
                self.etcd.join(","),
                self.prefix,
                self.contact
            ),
        )?;
        if let Some(lease) = &self.lease {
            line(f, "network", &lease.network)?;
            line(f, "subnet", &lease.subnet)?;
            line(f, "public ip", &lease.public_ip)?;
            line(f, "device", &format!("{} {}", lease.device, lease.vtep_mac))?;
        }
        let kept = if self.kept == 0 {
            String::new()
        } else {
            format!(", {} of them gone from etcd", self.kept)
        };
        line(f, "peers", &format!("{}{kept}", self.peers))?;
        list(
            f,
            "ignored",
            self.ignored
                .iter()
                .map(|(key, why)| format!("{}: {why}", key.escape_debug())),
        )
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "{:<10} {value}", format!("{name}:"))
}

fn list(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    each: impl ExactSizeIterator<Item = String>,
) -> fmt::Result {
    if each.len() == 0 {
        return Ok(());
    }
    writeln!(f, "{name}: {}", each.len())?;
    each.into_iter()
        .try_for_each(|text| writeln!(f, "  {text}"))
}

/// The report as JSON, with a line end.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    _ = text.write_char('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_the_state_first_and_each_ignored_key() {
        let report = Report {
            state: "ready".to_owned(),
            ignored: [(
                "8.8.8.0-24".to_owned(),
                "subnet 8.8.8.0/24 is not inside the network".to_owned(),
            )]
            .into(),
            ..Report::default()
        };
        let text = report.to_string();
        assert!(text.starts_with("state:     ready\n"), "{text}");
        assert!(
            text.ends_with(
                "ignored: 1\n  8.8.8.0-24: subnet 8.8.8.0/24 is not inside the network\n"
            ),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<Report>(&json(&report)).ok(),
            Some(report)
        );
    }
}
