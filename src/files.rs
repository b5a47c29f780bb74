//! Slice: subnet.env and the options for Docker, the files from which other programs learn the lease of this host.
//!
//! `settings` and `desired` say what the files should hold, `plan` which of them have to be written and in which order,
//! `port` is what the slice needs of the disk, and `reconciler` drives it. It knows neither etcd nor the kernel.

mod daemon_json;
pub(crate) mod desired;
pub mod docker_opts;
mod docker_shares;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod plan;
pub(crate) mod port;
pub(crate) mod reconciler;
pub(crate) mod settings;
pub mod subnet_env;
