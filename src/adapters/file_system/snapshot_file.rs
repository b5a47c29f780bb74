//! The port of the peers: the file of the snapshot.

use std::path::PathBuf;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::task::spawn_blocking;

use crate::adapters::file_system;
use crate::error::chain;
use crate::peers::port::SnapshotStore;
use crate::peers::snapshot::Snapshot;

#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path }
    }
}

impl SnapshotStore for SnapshotFile {
    fn load(&self) -> Result<Option<String>, String> {
        let text = file_system::try_read(&self.path);
        text.map_err(|error| format!("failed to read \"{}\": {error}", self.path.display()))
    }

    fn save(&self, snapshot: Snapshot) -> LocalBoxFuture<'static, Result<(), String>> {
        let path = self.path.clone();
        // On another thread: 9 MB take a while to reach the disk.
        let write = spawn_blocking(move || file_system::replace(&path, &snapshot.render()));
        async move {
            match write.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(chain(&error)),
                Err(error) => Err(error.to_string()),
            }
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node_id::NodeId;
    use crate::peers::last_run;
    use crate::peers::table::tests::{lease, membership};
    use crate::peers::task::tests::owner;

    #[tokio::test]
    async fn a_saved_snapshot_can_be_loaded() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let store = SnapshotFile::new(home.path().join("state/test.snapshot"));
        assert_eq!(store.load(), Ok(None));
        let leases = (1..=5).map(lease).collect();
        let snapshot = Snapshot::new(&owner(), membership(), leases, None);
        assert_eq!(store.save(snapshot.clone()).await, Ok(()));
        let loaded = last_run::load(&store, "/test", &NodeId::named("a"));
        assert_eq!(loaded, Some(snapshot));
    }

    #[tokio::test]
    async fn the_error_names_the_file() {
        let store = SnapshotFile::new("/proc/none/test.snapshot".into());
        let snapshot = Snapshot::new(&owner(), membership(), Vec::new(), None);
        let reason = store.save(snapshot).await.expect_err("/proc is read-only");
        assert!(reason.contains("/proc/none/test.snapshot"), "{reason}");
    }
}
