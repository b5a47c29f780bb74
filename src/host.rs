//! Slice: whether this host is fit to carry the overlay. It changes nothing; what is wrong becomes the condition `HostFit`.
//!
//! `sysctls`, `neighbour_table`, `firewall`, `docker_nftables`, `exclusions`, `pod_bridges`, `vxlan_conflicts` and
//! `udp_sockets` judge and are pure; `port` is what the slice needs of the kernel and of the packet filters; `reconciler` looks at the start, at each event and once a minute;
//! `preflight` warns once, at the start, about what is in the way of our device.

pub(crate) mod docker_nftables;
pub(crate) mod exclusions;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod firewall;
pub(crate) mod neighbour_table;
mod pod_bridges;
pub(crate) mod port;
pub(crate) mod preflight;
pub(crate) mod reconciler;
pub(crate) mod settings;
pub mod sysctls;
pub(crate) mod udp_sockets;
pub mod vxlan_conflicts;
