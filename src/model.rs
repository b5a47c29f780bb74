//! The vocabulary that all modules share: addresses, the network config, leases, node ids. No I/O and no clock.

pub mod addr;
pub(crate) mod chains;
pub(crate) mod device_ownership;
pub(crate) mod docker;
pub(crate) mod docker_networks;
pub mod external_interface;
pub(crate) mod host_network;
pub(crate) mod key_prefix;
pub mod lease;
pub(crate) mod lease_counts;
pub mod membership;
pub(crate) mod nearest;
pub mod network_config;
pub mod node_id;
pub(crate) mod pod_bridge;
pub mod previous_lease;
pub mod secret;
pub(crate) mod underlay;
