//! The port to the disk: where the snapshot is kept.

use futures_util::future::LocalBoxFuture;

use crate::peers::snapshot::Snapshot;

/// The place of the snapshot of one overlay.
pub(crate) trait SnapshotStore {
    /// Returns the text that was saved last, if there is one.
    ///
    /// # Errors
    /// The text is there and cannot be read.
    fn load(&self) -> Result<Option<String>, String>;

    /// Renders and saves a snapshot, without holding up the thread that carries the network: 60,000 leases are 9 MB. The
    /// future borrows nothing, so that its owner can do other work until it ends. A reader finds the old text or the new
    /// one, never a part.
    ///
    /// # Errors
    /// What was tried, and what came back.
    fn save(&self, snapshot: Snapshot) -> LocalBoxFuture<'static, Result<(), String>>;
}
