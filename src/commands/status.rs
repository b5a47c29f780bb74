//! Asks the daemon on this host for its state and shows the answer: `flanneld status`.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::StatusOptions;
use crate::conditions::report::Report;
use crate::daemon::settings::socket_path;

/// How long the daemon may take to answer. It answers from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the daemon's answer, as text or as JSON.
///
/// # Errors
/// No daemon answers on the socket, or its answer is not the one of this version.
pub fn run(options: &StatusOptions) -> anyhow::Result<String> {
    let answer = ask(&socket_path(&options.subnet_file))?;
    if options.json {
        return Ok(answer);
    }
    let report: Report = serde_json::from_str(&answer)
        .context("the daemon and this command are different versions: use --json")?;
    Ok(report.to_string())
}

fn ask(socket: &Path) -> anyhow::Result<String> {
    let path = socket.display();
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no flanneld answers on \"{path}\": check that it runs, that you are root, and that --subnet-file is the \
             daemon's"
        )
    })?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("failed to read from \"{path}\""))?;
    Ok(answer)
}
