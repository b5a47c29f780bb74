//! Owns the socket on which `flanneld status` asks. It also shows that a daemon runs here: a second one with the same
//! files must not start.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the adapter for the socket"
)]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tracing::{debug, warn};

use crate::conditions::report::{Report, json};
use crate::conditions::status::StatusView;

/// How long somebody may take to read the answer.
const DEADLINE: Duration = Duration::from_secs(2);

/// Takes the socket. Without one the daemon still does its work, so only another daemon is an error.
pub(crate) async fn bind(path: &Path) -> anyhow::Result<Option<UnixListener>> {
    if UnixStream::connect(path).await.is_ok() {
        let path = path.display();
        anyhow::bail!(
            "another flanneld answers on \"{path}\"; stop it, or choose another --subnet-file for this one"
        );
    }
    match listen(path) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) => {
            warn!(path = %path.display(), %error, "no socket for `flanneld status`; going on without");
            Ok(None)
        }
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers whoever connects, one after the other.
pub(crate) async fn serve(
    listener: UnixListener,
    vitals: StatusView,
    fixed: Report,
) -> anyhow::Result<()> {
    loop {
        let (mut stream, _) = listener
            .accept()
            .await
            .context("failed to accept on the socket for `flanneld status`")?;
        let text = json(&vitals.report(&fixed));
        let answer = tokio::time::timeout(DEADLINE, stream.write_all(text.as_bytes()));
        if let Ok(Err(error)) = answer.await {
            debug!(%error, "failed to answer `flanneld status`");
        }
    }
}
