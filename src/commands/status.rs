//! Owns asking the daemon on this host how it is.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::StatusOptions;
use crate::conditions::report::Report;

/// The daemon answers from memory.
const DEADLINE: Duration = Duration::from_secs(5);

/// The answer of the daemon, as the operator wants it.
///
/// # Errors
/// No daemon answers on the socket.
pub fn show(options: &StatusOptions) -> anyhow::Result<String> {
    let text = ask(options)?;
    if options.json {
        return Ok(text);
    }
    let report: Report =
        serde_json::from_str(&text).context("the daemon is of another version; use --json")?;
    Ok(report.to_string())
}

fn ask(options: &StatusOptions) -> anyhow::Result<String> {
    let path = options.socket.display();
    let hint = || {
        format!(
            "no flanneld answers on \"{path}\"; is it running, with another --subnet-file, or are we not root?"
        )
    };
    let mut stream = UnixStream::connect(&options.socket).with_context(hint)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .with_context(|| format!("failed to read from \"{path}\""))?;
    Ok(text)
}
