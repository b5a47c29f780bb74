//! Owns running one tool of the packet filter: the only place that starts a process.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the adapter that runs the tools of the packet filter"
)]

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::rules::choice::Legacy;

/// How long a tool may take, waiting for its lock included.
const DEADLINE: Duration = Duration::from_secs(15);

/// A tool could not be run, or said no.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be run.
    #[error("failed to run \"{command}\"")]
    Run {
        /// The command.
        command: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("\"{command}\" failed: {output}")]
    Refused {
        /// The command.
        command: String,
        /// What it said.
        output: String,
    },
}

/// Runs a tool, feeds it `input`, answers what it prints; `None` if the tool is not installed.
pub(super) async fn run(command: &[&str], input: &str) -> Result<Option<String>, Error> {
    let failed = |source| Error::Run {
        command: command.join(" "),
        source,
    };
    let spawned = Command::new(command[0])
        .args(&command[1..])
        // What it says is shown to people, and in one case understood.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let stdin = child.stdin.take();
    let talk = async {
        if let Some(mut stdin) = stdin {
            // A tool that reads nothing closes its end; its exit status says what is wrong.
            _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(DEADLINE, talk).await {
        Ok(output) => output.map_err(failed)?,
        Err(_) => {
            return Err(failed(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no end after {DEADLINE:?}"),
            )));
        }
    };
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', "; ");
    Err(Error::Refused {
        command: command.join(" "),
        output: format!("{said} ({})", output.status),
    })
}

/// What can be known of the tables of iptables-legacy without a process.
pub(super) fn legacy() -> Legacy {
    match std::fs::read_to_string("/proc/net/ip_tables_names") {
        Ok(names) if !names.trim().is_empty() => Legacy::Used,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden(),
        Ok(_) | Err(_) => Legacy::Unused,
    }
}

/// The file is there, for root only, in every kernel that has legacy tables built in. Where they are modules, they come
/// with their first use.
fn hidden() -> Legacy {
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let loaded = modules.lines().any(|line| line.starts_with("iptable_"));
    if loaded {
        Legacy::HiddenAndLoaded
    } else {
        Legacy::Hidden
    }
}
