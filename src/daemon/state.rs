//! Owns the snapshot on the disk: reads it at the start, writes it when the roster says so.

use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tracing::{debug, warn};

use crate::cli::Options;
use crate::envfile::write;
use crate::identity::NodeId;
use crate::roster::snapshot::{Snapshot, file_name};

/// Where the snapshot of this overlay is.
pub(super) fn path(options: &Options) -> PathBuf {
    options.state_dir.join(file_name(&options.etcd.prefix))
}

/// What the last run knew, if it was this host's and is whole.
pub(super) fn load(path: &Path, prefix: &str, node: &NodeId) -> Option<Snapshot> {
    let text = write::read(path)?;
    Snapshot::parse(&text, prefix, node)
        .inspect_err(|refusal| warn!(path = %path.display(), %refusal, "ignoring the last known state"))
        .ok()
}

/// Writes each snapshot, beside the one thread that carries the network: 9 MB take a while to reach the disk.
pub(super) async fn keep(path: PathBuf, mut snapshots: watch::Receiver<Option<Snapshot>>) {
    let mut failed = false;
    while snapshots.changed().await.is_ok() {
        let Some(snapshot) = snapshots.borrow_and_update().clone() else { continue };
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || write::replace(&target, &snapshot.render())).await;
        let error = match written {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(crate::error::chain(&error)),
            Err(error) => Some(error.to_string()),
        };
        match &error {
            Some(error) if !failed => warn!(error, "a restart without etcd will not know the latest state"),
            Some(error) => debug!(error, "still no snapshot"),
            None => debug!(path = %path.display(), "wrote the snapshot"),
        }
        failed = error.is_some();
    }
}
