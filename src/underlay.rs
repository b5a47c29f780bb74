//! Slice: the external interface, which carries the VXLAN packets, followed while the daemon runs.
//!
//! `settings` is what the operator asks for, `observation` is what a look brings, `choice` says which interface fits, `machine` when another one is taken, and
//! `etcd_path` whether connections to etcd are still worth keeping; all four are pure. `port` is what the slice needs of
//! the kernel and of name resolution, `members` remembers the addresses of etcd, and `follower` is the loop. It changes
//! nothing.

pub(crate) mod choice;
pub(crate) mod etcd_path;
#[cfg(test)]
mod fake;
pub(crate) mod follower;
pub(crate) mod machine;
mod members;
mod needs;
pub mod observation;
pub(crate) mod port;
pub mod settings;
