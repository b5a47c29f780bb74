//! Describes this host's place in the overlay: its lease and the network config under which it took
//! the lease.

use serde::{Deserialize, Serialize};

use crate::model::lease::OwnLease;
use crate::model::network_config::NetworkConfig;

/// This host's place in the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// This host's lease.
    pub own: OwnLease,
    /// The configuration that all hosts share.
    pub config: NetworkConfig,
}
