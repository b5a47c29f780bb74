//! Slice: the lease of this host in etcd, and the leases of the other hosts. It touches neither kernel nor files; what it
//! learns goes to the peer table.

pub(crate) mod claim;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod manager;
pub mod pick;
pub(crate) mod port;
pub(crate) mod status;
