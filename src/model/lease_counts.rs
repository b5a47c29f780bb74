//! How many leases of other hosts this host uses, and why it does not use the others: if most are not used for one
//! reason, this host is the odd one out. The UDP port of a host is not in its lease, so leases do not show that it differs;
//! a network config that has changed since this host read it does. Pure.

/// The leases of the other hosts, counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LeaseCounts {
    pub(crate) used: usize,
    /// Not used, because the VNI is another one.
    pub(crate) other_vni: usize,
    /// Not used, because the backend is another one.
    pub(crate) other_backend: usize,
    /// Not used for any other reason.
    pub(crate) otherwise_unusable: usize,
    /// A key of a lease with another VNI or backend, and the reason.
    pub(crate) example: Option<(String, String)>,
    /// How the network config in etcd differs from the one that this host uses until a restart.
    pub(crate) config_differences: Vec<String>,
}
