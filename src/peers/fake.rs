//! A snapshot store in memory for tests: slow and failing when told to.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use tokio::sync::Notify;

use crate::peers::port::SnapshotStore;
use crate::peers::snapshot::Snapshot;

#[derive(Debug, Default)]
pub(crate) struct FakeSnapshotDisk {
    /// The text that `load` returns.
    pub(crate) text: Option<String>,
    /// Snapshots in the order in which they were saved.
    pub(crate) saved: Vec<Snapshot>,
    /// Saves from now on that fail.
    pub(crate) failing_saves: usize,
    /// Saves that were started.
    pub(crate) started_saves: usize,
    /// How long a save takes.
    pub(crate) save_time: Duration,
}

/// Clones share one disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeSnapshotStore {
    pub(crate) disk: Rc<RefCell<FakeSnapshotDisk>>,
    /// Notified at the end of each save that succeeded.
    pub(crate) saved: Rc<Notify>,
}

impl SnapshotStore for FakeSnapshotStore {
    fn load(&self) -> Result<Option<String>, String> {
        Ok(self.disk.borrow().text.clone())
    }

    fn save(&self, snapshot: Snapshot) -> LocalBoxFuture<'static, Result<(), String>> {
        let (disk, saved) = (Rc::clone(&self.disk), Rc::clone(&self.saved));
        disk.borrow_mut().started_saves += 1;
        let save_time = disk.borrow().save_time;
        async move {
            tokio::time::sleep(save_time).await;
            let mut disk = disk.borrow_mut();
            if disk.failing_saves > 0 {
                disk.failing_saves -= 1;
                return Err("No space left on device".to_owned());
            }
            disk.saved.push(snapshot);
            saved.notify_one();
            Ok(())
        }
        .boxed_local()
    }
}
