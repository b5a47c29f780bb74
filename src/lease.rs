//! Slice: the lease of this host in etcd, and the leases of the others.

pub mod claim;
#[cfg(test)]
pub(crate) mod fake;
pub mod manager;
pub mod pick;
pub mod port;
pub mod status;
