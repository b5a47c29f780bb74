//! Owns how the keeper stands with etcd, as the rest of the daemon sees it. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use ipnetwork::Ipv4Network;

/// How we stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseStatus {
    /// What came of the last talk with etcd.
    pub contact: EtcdState,
    /// Keys that are not used, with the reason.
    pub ignored: BTreeMap<String, String>,
    /// The subnet that we had, if etcd has said since the start that it is another host's.
    pub lost: Option<Ipv4Network>,
}

/// What came of the last talk with etcd.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EtcdState {
    /// There was none yet.
    #[default]
    Connecting,
    /// etcd answers, and we hold no lease.
    Waiting {
        /// What has to change.
        reason: String,
    },
    /// We hold our lease and follow the others.
    Holding,
    /// etcd fails us.
    Away {
        /// Since when.
        since: SystemTime,
        /// What came back last.
        reason: String,
    },
}

impl fmt::Display for EtcdState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("etcd has not answered yet"),
            Self::Waiting { reason } => f.write_str(reason),
            Self::Holding => f.write_str("etcd answers"),
            Self::Away { since, reason } => {
                write!(
                    f,
                    "etcd fails us since {}: {reason}",
                    humantime::format_rfc3339_seconds(*since)
                )
            }
        }
    }
}
