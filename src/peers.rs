//! What this host knows of its peers: the one table of peers with its mass-removal guard, and the snapshot of it on
//! disk, from which a restart works without etcd.
//!
//! `table` and `guard` decide and are pure, `task` is the loop around them, `snapshot` is the format of the file,
//! `snapshot_writer` decides when it is saved, and `port` is what the slice needs of the disk. It knows neither etcd nor
//! the kernel.

#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod guard;
pub(crate) mod last_run;
mod missing;
pub(crate) mod port;
pub(crate) mod settings;
pub mod snapshot;
mod snapshot_writer;
pub(crate) mod table;
pub(crate) mod task;
pub(crate) mod update;
