//! Runs one tool of the packet filter. The only place that starts a process.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the adapter that runs the tools of the packet filter"
)]

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::rules::observed::LegacyTables;
use crate::rules::port::RuleTableError;

/// How long a tool may take, including the wait for its lock.
const TOOL_TIMEOUT: Duration = Duration::from_secs(15);

/// Runs a tool, feeds it `input`, and returns what it prints; `None` if the tool is not installed.
pub(super) async fn run(command: &[&str], input: &str) -> Result<Option<String>, RuleTableError> {
    let spawned = Command::new(command[0])
        .args(&command[1..])
        // Its output is shown to people, and in one case understood.
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let child = match spawned {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| failed(command, error.to_string()))?,
    };
    let output = match tokio::time::timeout(TOOL_TIMEOUT, feed(child, input)).await {
        Ok(output) => output.map_err(|error| failed(command, error.to_string()))?,
        Err(_) => return Err(failed(command, format!("no end after {TOOL_TIMEOUT:?}"))),
    };
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    if output.status.signal().is_some() {
        return Err(crashed(command, output.status));
    }
    let printed = String::from_utf8_lossy(&output.stderr);
    let printed = printed.trim().replace('\n', "; ");
    Err(failed(command, format!("{printed} ({})", output.status)))
}

fn crashed(command: &[&str], status: ExitStatus) -> RuleTableError {
    let program = command[0];
    let reason = format!("{program} crashed ({status}); upgrade it");
    RuleTableError {
        crashed: true,
        ..failed(command, reason)
    }
}

async fn feed(mut child: Child, input: &str) -> io::Result<Output> {
    if let Some(mut stdin) = child.stdin.take() {
        // A tool that reads nothing closes its end; its exit status tells what is wrong.
        _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await
}

fn failed(command: &[&str], reason: String) -> RuleTableError {
    RuleTableError {
        command: command.join(" "),
        reason,
        crashed: false,
    }
}

/// Returns what is known of the tables of iptables-legacy without a process.
pub(super) fn legacy_tables() -> LegacyTables {
    match std::fs::read_to_string("/proc/net/ip_tables_names") {
        Ok(names) if !names.trim().is_empty() => LegacyTables::Used,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden_tables(),
        Ok(_) | Err(_) => LegacyTables::Unused,
    }
}

/// The file is there, for root only, in every kernel that has legacy tables built in. Where they are modules, the kernel
/// loads them at their first use.
fn hidden_tables() -> LegacyTables {
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let are_loaded = modules.lines().any(|line| line.starts_with("iptable_"));
    if are_loaded {
        LegacyTables::HiddenAndLoaded
    } else {
        LegacyTables::Hidden
    }
}
