//! One file for each subcommand.

pub mod cleanup;
pub mod docker_opts;
pub mod status;
