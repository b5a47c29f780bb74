//! The status report: what `flanneld status` shows, as JSON and as text. The names of the JSON fields are an interface.
//! Pure: it is filled from a [`StatusView`](crate::conditions::status::StatusView).

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// What the line `etcd` says when nothing is wrong.
pub(super) const REACHABLE: &str = "reachable";
/// The longest sentence that the text shows twice.
const MAX_REPEATED: usize = 60;
/// What stands in place of a longer one.
const SEE_STATE: &str = "see the state above";

/// The state of the daemon at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Version of the program that runs.
    pub version: String,
    /// `ready`, `degraded: reason`, or what is missing.
    pub state: String,
    /// All conditions, in the order in which they become true at a start.
    #[serde(default)]
    pub conditions: Vec<ConditionReport>,
    /// Node id of this host.
    pub node_id: String,
    /// URLs of the members of etcd.
    pub etcd: Vec<String>,
    /// Prefix of the keys in etcd.
    pub prefix: String,
    /// Whether etcd is reachable; if it is and there is no lease, the reason.
    pub contact: String,
    /// The endpoint of etcd that has answered last; empty if none has.
    #[serde(default)]
    pub endpoint: String,
    /// The endpoints that did not answer when they were asked last, with the reason.
    #[serde(default)]
    pub failing_endpoints: BTreeMap<String, String>,
    /// The lease of this host, if it holds one.
    pub lease: Option<LeaseReport>,
    /// Number of peers.
    pub peers: usize,
    /// Number of those peers whose leases are gone from etcd and whose removal is held.
    pub kept: usize,
    /// What is wrong on this host, but keeps no packet of the overlay from flowing.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Keys of ignored leases, with the reason.
    pub ignored: BTreeMap<String, String>,
}

/// One condition, in the form of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionReport {
    /// `LeaseHeld`, `EtcdReachable`, `KernelInSync`, `PathsClear`, `RulesInstalled`, `FilesWritten` or `HostFit`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for programs; `AsExpected` if the condition is true.
    pub reason: String,
    /// What is wrong and what to do about it; empty if nothing is.
    pub message: String,
    /// When the status changed last (RFC 3339, UTC).
    pub since: String,
}

/// The lease of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport {
    /// The whole overlay network.
    pub network: String,
    /// The subnet of this host.
    pub subnet: String,
    /// Address to which peers send packets for the subnet.
    pub public_ip: String,
    /// MAC address of the VXLAN device.
    pub vtep_mac: String,
    /// Name of the VXLAN device.
    pub device: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(f, "state", &self.state)?;
        write_line(f, "version", &self.version)?;
        write_line(f, "node id", &self.node_id)?;
        self.write_etcd(f)?;
        if let Some(lease) = &self.lease {
            write_line(f, "network", &lease.network)?;
            write_line(f, "subnet", &lease.subnet)?;
            write_line(f, "public ip", &lease.public_ip)?;
            write_line(
                f,
                "device",
                format_args!("{} {}", lease.device, lease.vtep_mac),
            )?;
        }
        write_peers(f, self.peers, self.kept)?;
        write_conditions(f, &self.conditions, &self.state)?;
        let mut warnings = self.warnings.iter();
        warnings.try_for_each(|warning| write_line(f, "warning", warning))?;
        write_ignored(f, &self.ignored)
    }
}

impl Report {
    fn write_etcd(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (urls, prefix) = (self.etcd.join(","), &self.prefix);
        let contact = unless_repeated(&self.contact, &self.state);
        write_line(f, "etcd", format_args!("{urls} prefix {prefix}: {contact}"))?;
        if self.etcd.len() < 2 || self.contact != REACHABLE {
            return Ok(());
        }
        writeln!(f, "  {} answers", self.endpoint)?;
        let mut failing = self.failing_endpoints.iter();
        failing.try_for_each(|(endpoint, reason)| {
            writeln!(f, "  {endpoint} failed when it was asked last: {reason}")
        })
    }
}

/// Returns a sentence, or where it stands already if it is long and does.
fn unless_repeated<'a>(sentence: &'a str, state: &str) -> &'a str {
    if sentence.len() > MAX_REPEATED && state.contains(sentence) {
        SEE_STATE
    } else {
        sentence
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, label: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{:<10} {value}", format!("{label}:"))
}

fn write_peers(f: &mut fmt::Formatter<'_>, peers: usize, held: usize) -> fmt::Result {
    if held == 0 {
        return write_line(f, "peers", peers);
    }
    let text = format_args!("{peers}, {held} of them gone from etcd (removal held)");
    write_line(f, "peers", text)
}

fn write_conditions(
    f: &mut fmt::Formatter<'_>,
    conditions: &[ConditionReport],
    state: &str,
) -> fmt::Result {
    if conditions.is_empty() {
        return Ok(());
    }
    writeln!(f, "conditions:")?;
    let mut lines = conditions.iter();
    lines.try_for_each(|condition| {
        let shown = ConditionReport {
            message: unless_repeated(&condition.message, state).to_owned(),
            ..condition.clone()
        };
        writeln!(f, "  {shown}")
    })
}

impl fmt::Display for ConditionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            status,
            reason,
            message,
            since,
        } = self;
        write!(f, "{kind:<15} {status:<8} {reason} since {since}")?;
        if message.is_empty() {
            return Ok(());
        }
        write!(f, ": {message}")
    }
}

/// The keys come from other programs and may hold anything.
fn write_ignored(f: &mut fmt::Formatter<'_>, ignored: &BTreeMap<String, String>) -> fmt::Result {
    if ignored.is_empty() {
        return Ok(());
    }
    writeln!(f, "ignored leases: {}", ignored.len())?;
    let mut lines = ignored.iter();
    lines.try_for_each(|(key, reason)| writeln!(f, "  {}: {reason}", key.escape_debug()))
}

/// Returns the report as JSON that ends with a newline.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    _ = text.write_char('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_shows_the_state_first_and_each_ignored_lease() {
        let report = Report {
            state: "ready".to_owned(),
            warnings: vec!["docker0 has 172.17.0.1/16".to_owned()],
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
                "warning:   docker0 has 172.17.0.1/16\nignored leases: 1\n  8.8.8.0-24: subnet 8.8.8.0/24 is not inside the network\n"
            ),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<Report>(&json(&report)).ok(),
            Some(report)
        );
    }

    #[test]
    fn the_text_shows_each_condition_in_a_line() {
        let condition = |status: &str, reason: &str, message: &str| ConditionReport {
            kind: "PathsClear".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            since: "2026-11-27T10:00:00Z".to_owned(),
        };
        let report = Report {
            conditions: vec![
                condition("True", "AsExpected", ""),
                condition("False", "OperationFailed", "no route"),
            ],
            ..Report::default()
        };
        let expected = "\
            conditions:\n  \
            PathsClear      True     AsExpected since 2026-11-27T10:00:00Z\n  \
            PathsClear      False    OperationFailed since 2026-11-27T10:00:00Z: no route\n";
        let text = report.to_string();
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_long_sentence_is_shown_once() {
        let reason = "http://10.0.0.1:2379: connection refused (nothing listens on this port)";
        let contact = format!("etcd unreachable since 1970-01-01T00:00:00Z: {reason}");
        let report = Report {
            state: format!("degraded: {contact}"),
            contact,
            conditions: vec![ConditionReport {
                kind: "EtcdReachable".to_owned(),
                status: "False".to_owned(),
                reason: "EtcdUnreachable".to_owned(),
                message: reason.to_owned(),
                since: "1970-01-01T00:00:00Z".to_owned(),
            }],
            ..Report::default()
        };
        let text = report.to_string();
        assert_eq!(text.matches(reason).count(), 1, "{text}");
        assert_eq!(text.matches(SEE_STATE).count(), 2, "{text}");
    }

    #[test]
    fn the_text_shows_which_of_several_endpoints_answers() {
        let report = Report {
            etcd: vec!["http://a:1".to_owned(), "http://b:1".to_owned()],
            contact: REACHABLE.to_owned(),
            endpoint: "http://b:1".to_owned(),
            failing_endpoints: [("http://a:1".to_owned(), "connection refused".to_owned())].into(),
            ..Report::default()
        };
        let expected = "reachable\n  http://b:1 answers\n  http://a:1 failed when it was asked last: connection refused\n";
        let text = report.to_string();
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_text_shows_etcd_the_lease_and_held_removals() {
        let report = Report {
            etcd: vec!["http://10.0.0.1:2379".to_owned()],
            prefix: "/coreos.com/network".to_owned(),
            contact: "reachable".to_owned(),
            lease: Some(LeaseReport {
                network: "10.5.0.0/16".to_owned(),
                subnet: "10.5.9.0/24".to_owned(),
                public_ip: "10.99.1.1".to_owned(),
                vtep_mac: "02:00:00:00:00:01".to_owned(),
                device: "flannel.1".to_owned(),
            }),
            peers: 8,
            kept: 5,
            ..Report::default()
        };
        let text = report.to_string();
        for line in [
            "etcd:      http://10.0.0.1:2379 prefix /coreos.com/network: reachable",
            "device:    flannel.1 02:00:00:00:00:01",
            "peers:     8, 5 of them gone from etcd (removal held)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
