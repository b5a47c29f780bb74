//! Owns putting rules into the kernel through `nft` and `iptables-restore`: the only place that starts a process.
//! Which rules, is `masq`'s; this file decides only which tool carries them.
#![expect(clippy::disallowed_methods, reason = "this is the adapter that runs the tools of the packet filter")]

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::masq::iptables::Part;
use crate::masq::{Wanted, iptables, nft};

/// How long a tool may take, waiting for its lock included.
const DEADLINE: Duration = Duration::from_secs(15);

/// Rules that could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither tool is there.
    #[error("neither \"nft\" nor \"iptables-restore\" is installed; install nftables, or use --ip-masq=false")]
    NoTool,
    /// A tool could not be run.
    #[error("failed to run \"{command}\"")]
    Run {
        /// The command.
        command: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A tool said no.
    #[error("\"{command}\" failed: {output}")]
    Refused {
        /// The command.
        command: String,
        /// What it said.
        output: String,
    },
}

/// Which tools carry the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// `nftables`, `iptables` or `nothing`.
    pub masquerade: &'static str,
    /// `iptables` or `nothing`.
    pub forward: &'static str,
}

/// Puts the rules in place, and takes away those of an earlier run that are not wanted any more.
///
/// Masquerading goes into an nftables table of our own, which nobody else's flush of iptables touches; through iptables
/// where nft is missing or fails (a kernel without nf_tables, say). The accept for forwarding must go through iptables:
/// a DROP of Docker's in iptables is not overridden by an accept in another table. Where there is no iptables, there is
/// no such DROP.
///
/// # Errors
/// No tool can carry what is wanted.
pub async fn install(wanted: &Wanted) -> Result<Carried, Error> {
    let nft = run(&["nft", "-f", "-"], &nft::script(wanted)).await;
    let by_nft = matches!(nft, Ok(Some(_)));
    let part = if by_nft { Part::ForwardOnly } else { Part::Everything };
    let by_iptables = match through_iptables(wanted, part).await {
        Err(_) if !wanted.forward && (by_nft || !wanted.masquerade) => false,
        other => other?,
    };
    if wanted.masquerade && !by_nft && !by_iptables {
        return Err(nft.err().unwrap_or(Error::NoTool));
    }
    let masquerade = match (wanted.masquerade, by_nft) {
        (true, true) => "nftables",
        (true, false) => "iptables",
        (false, _) => "nothing",
    };
    let forward = if wanted.forward && by_iptables { "iptables" } else { "nothing" };
    Ok(Carried { masquerade, forward })
}

/// Answers whether iptables is there.
async fn through_iptables(wanted: &Wanted, part: Part) -> Result<bool, Error> {
    let Some(saved) = run(&["iptables-save"], "").await? else {
        return Ok(false);
    };
    match iptables::script(wanted, part, &saved) {
        None => Ok(true),
        Some(script) => Ok(run(&["iptables-restore", "--wait", "--noflush"], &script).await?.is_some()),
    }
}

/// Runs a tool, feeds it `input`, answers what it prints; `None` if the tool is not installed.
async fn run(command: &[&str], input: &str) -> Result<Option<String>, Error> {
    let failed = |source| Error::Run { command: command.join(" "), source };
    let spawned = Command::new(command[0])
        .args(&command[1..])
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
        Err(_) => return Err(failed(io::Error::new(io::ErrorKind::TimedOut, format!("no end after {DEADLINE:?}")))),
    };
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(Error::Refused { command: command.join(" "), output: format!("{said} ({})", output.status) })
}
