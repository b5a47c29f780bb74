//! Asks the daemon on this host for its state and shows the answer: `flanneld status`.

use std::io::{ErrorKind, Read as _};
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
    let answer = ask(&socket_path(&options.subnet_file), ANSWER_TIMEOUT)?;
    if options.json {
        return Ok(answer);
    }
    let report: Report = serde_json::from_str(&answer)
        .context("the daemon and this command are different versions: use --json")?;
    Ok(report.to_string())
}

fn ask(socket: &Path, timeout: Duration) -> anyhow::Result<String> {
    let path = socket.display();
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no flanneld answers on \"{path}\": check that it runs, that you are root, and that --subnet-file is the \
             daemon's"
        )
    })?;
    stream.set_read_timeout(Some(timeout))?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => Ok(answer),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            anyhow::bail!(
                "flanneld on \"{path}\" has not answered within {} s: it is stopped by a signal (SIGSTOP), or the host \
                 is too busy; see `systemctl status flanneld`",
                timeout.as_secs()
            )
        }
        Err(error) => Err(error).with_context(|| format!("failed to read from \"{path}\"")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// The kernel accepts the connection for a daemon that stands still.
    #[test]
    fn a_daemon_that_does_not_answer_is_named() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let path = home.path().join("flanneld.sock");
        let _frozen = UnixListener::bind(&path).expect("a socket");
        let error = ask(&path, Duration::from_millis(1)).expect_err("nobody answers");
        let text = format!("{error:#}");
        assert!(text.contains("has not answered within"), "{text}");
        assert!(!text.contains("os error"), "{text}");
    }
}
