//! The control socket, on which the daemon answers `flanneld status`. It also shows that a daemon runs here: a second one
//! with the same files must not start. It only shows the status and takes no commands.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::conditions::report::{Report, json};
use crate::conditions::status::StatusView;

/// How long a client may take to read the answer: clients are answered one after the other.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Listens on the socket, which `make` makes. The daemon works without it, so only another daemon is an error.
///
/// # Errors
/// Another daemon answers on the socket.
pub(crate) async fn bind(
    path: &Path,
    make: fn(&Path) -> io::Result<UnixListener>,
) -> anyhow::Result<Option<UnixListener>> {
    if answers(path).await {
        let path = path.display();
        anyhow::bail!(
            "another flanneld answers on \"{path}\"; stop it, or choose another --subnet-file for this one"
        );
    }
    match make(path) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => {
            warn!(path = %path.display(), %error, "no control socket; `flanneld status` will not work");
            Ok(None)
        }
    }
}

/// Whether a daemon answers on the socket. One that was killed may leave the socket open for a moment: a tool that it was
/// about to start holds it until the tool runs. That one closes it without an answer; a daemon that stands still does not.
async fn answers(path: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(path).await else {
        return false;
    };
    let mut start = [0; 1];
    match timeout(ANSWER_TIMEOUT, stream.read(&mut start)).await {
        Ok(Ok(bytes)) => bytes > 0,
        Ok(Err(_)) => false,
        Err(_) => true,
    }
}

/// Answers each client with the status as JSON. `constant` holds the parts that never change.
///
/// # Errors
/// The socket failed.
pub(crate) async fn serve(
    listener: UnixListener,
    status: StatusView,
    constant: Report,
) -> anyhow::Result<()> {
    loop {
        let accepted = listener.accept().await;
        let (stream, _) = accepted.context("failed to accept on the control socket")?;
        answer(stream, &json(&status.report(&constant))).await;
    }
}

async fn answer(mut stream: UnixStream, text: &str) {
    let written = timeout(ANSWER_TIMEOUT, stream.write_all(text.as_bytes()));
    match written.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "failed to answer `flanneld status`"),
        Err(_) => debug!("a client of the control socket does not read the answer"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::adapters::file_system::bind_socket;
    use crate::conditions::status::status;

    #[tokio::test]
    async fn answers_with_the_status_and_refuses_a_second_daemon() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let path = home.path().join("flannel/flanneld.sock");
        let listener = bind(&path, bind_socket).await.expect("no other daemon");
        let listener = listener.expect("a directory that can be written");
        let (_writers, view) = status(|| SystemTime::UNIX_EPOCH);
        let constant = Report {
            version: "1.2.3".to_owned(),
            ..Report::default()
        };
        let client = async {
            let mut text = String::new();
            let mut stream = UnixStream::connect(&path).await.expect("it listens");
            stream.read_to_string(&mut text).await.expect("an answer");
            let second = bind(&path, bind_socket).await;
            let refusal = second.expect_err("a daemon answers on the socket");
            (text, refusal.to_string())
        };
        let (text, refusal) = tokio::select! {
            ended = serve(listener, view, constant) => panic!("{ended:?}"),
            answers = client => answers,
        };
        let report: Report = serde_json::from_str(&text).expect("a report");
        assert_eq!(report.version, "1.2.3");
        assert!(refusal.contains("another flanneld answers on"), "{refusal}");
    }

    #[tokio::test]
    async fn a_socket_without_a_daemon_is_taken_over() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let path = home.path().join("flanneld.sock");
        drop(bind(&path, bind_socket).await);
        assert!(matches!(bind(&path, bind_socket).await, Ok(Some(_))));
    }

    #[tokio::test]
    async fn a_socket_that_is_closed_without_an_answer_is_taken_over() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let path = home.path().join("flanneld.sock");
        let dying = bind_socket(&path).expect("a directory that can be written");
        let close = async {
            let accepted = dying.accept().await;
            drop((accepted, dying));
        };
        let (bound, ()) = tokio::join!(bind(&path, bind_socket), close);
        assert!(matches!(bound, Ok(Some(_))));
    }
}
