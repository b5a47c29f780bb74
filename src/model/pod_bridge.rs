//! A bridge, or another device of the kind that programs for containers make, with the subnet of its containers.

use ipnetwork::Ipv4Network;

/// One address of such a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodBridge {
    /// Name of the interface, such as `docker0`.
    pub(crate) name: String,
    /// Its address, with the length of the subnet.
    pub(crate) address: Ipv4Network,
}
