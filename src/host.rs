//! Slice: the preflight checks, which warn once at the start about what keeps this host from carrying the overlay.
//!
//! `sysctls`, `vxlan_conflicts` and `udp_sockets` judge and are pure, `port` is what the slice needs of the kernel, and
//! `preflight` runs the checks. It changes nothing, and the daemon starts whatever the checks find.

pub(crate) mod port;
pub(crate) mod preflight;
pub mod sysctls;
pub(crate) mod udp_sockets;
pub mod vxlan_conflicts;
