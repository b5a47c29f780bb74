//! Owns the snapshot on the disk: reads it at the start, writes it when the roster says so, and last before the end.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::adapters::file_system;
use crate::cli::Options;
use crate::model::node_id::NodeId;
use crate::peers::snapshot::{Snapshot, file_name};

/// How long the end of the daemon may wait for the disk.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// The way to the last snapshot.
pub(crate) struct FinalWrite {
    /// Held by us; its end tells the roster that the daemon stops.
    stopping: oneshot::Sender<Infallible>,
    /// Ends with the keeper of the snapshot, which ends when the roster has.
    written: oneshot::Receiver<Infallible>,
}

/// For us, the roster and the keeper of the snapshot.
pub(crate) fn last() -> (
    FinalWrite,
    oneshot::Receiver<Infallible>,
    oneshot::Sender<Infallible>,
) {
    let (stopping, stops) = oneshot::channel();
    let (writing, written) = oneshot::channel();
    (FinalWrite { stopping, written }, stops, writing)
}

impl FinalWrite {
    /// Has what is known now written, if it is not on the disk yet.
    pub(crate) async fn write(self) {
        drop(self.stopping);
        if timeout(LAST_WRITE, self.written).await.is_err() {
            warn!("the disk is slow: a restart without etcd may not know the latest state");
        }
    }
}

/// Where the snapshot of this overlay is.
pub(crate) fn path(options: &Options) -> PathBuf {
    options.state_dir.join(file_name(&options.etcd.prefix))
}

/// What the last run knew, if it was this host's and is whole.
pub(crate) fn load(path: &Path, prefix: &str, node: &NodeId) -> Option<Snapshot> {
    let snapshot = match file_system::try_read(path) {
        Ok(None) => return None,
        Ok(Some(text)) => {
            Snapshot::parse(&text, prefix, node).map_err(|refusal| refusal.to_string())
        }
        Err(error) => Err(error.to_string()),
    };
    snapshot
        .inspect_err(
            |refusal| warn!(path = %path.display(), refusal, "ignoring the last known state"),
        )
        .ok()
}

/// Writes each snapshot, beside the one thread that carries the network: 9 MB take a while to reach the disk. `_writing`
/// ends when the last one is there.
pub(crate) async fn keep(
    path: PathBuf,
    mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    _writing: oneshot::Sender<Infallible>,
) {
    let mut failed = false;
    while snapshots.changed().await.is_ok() {
        let Some(snapshot) = snapshots.borrow_and_update().clone() else {
            continue;
        };
        let target = path.clone();
        let written =
            tokio::task::spawn_blocking(move || file_system::replace(&target, &snapshot.render()))
                .await;
        let error = match written {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(crate::error::chain(&error)),
            Err(error) => Some(error.to_string()),
        };
        match &error {
            Some(error) if !failed => warn!(
                error,
                "a restart without etcd will not know the latest state"
            ),
            Some(error) => debug!(error, "still no snapshot"),
            None => debug!(path = %path.display(), "wrote the snapshot"),
        }
        failed = error.is_some();
    }
}
