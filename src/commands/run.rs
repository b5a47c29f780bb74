//! Runs the daemon: starts the log and the runtime, and logs the error with which the daemon ends.
//! What the daemon does is decided in `daemon`.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::adapters::log;
use crate::cli::Options;
use crate::{commands, daemon};

/// Runs until a signal or an error ends the daemon. `journal` says whether stderr goes to systemd's
/// journal.
pub fn run(options: Options, journal: bool) -> ExitCode {
    log::start(options.verbosity, journal);
    for sentence in &options.unknown_variables {
        tracing::warn!("{sentence}");
    }
    match run_daemon(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_daemon(options: Options) -> anyhow::Result<()> {
    let runtime = commands::runtime().context("failed to start the runtime")?;
    runtime.block_on(daemon::run(options))
}
