//! What this host is in the overlay: its lease and the network configuration that it joined with.

use serde::{Deserialize, Serialize};

use crate::model::lease::OwnLease;
use crate::model::network_config::NetworkConfig;

/// Our place in the overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// What we are.
    pub own: OwnLease,
    /// What all members share.
    pub config: NetworkConfig,
}
