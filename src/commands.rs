//! Holds one file for each subcommand, and one for the daemon itself. A command ties options,
//! slices and adapters together; what it decides stands in pure functions beside it.

pub mod cleanup;
pub mod docker_opts;
pub mod run;
pub mod status;

use std::io;

use tokio::runtime::{Builder, Runtime};

/// Builds the runtime: one thread, on which all tasks run.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
