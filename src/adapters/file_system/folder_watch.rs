//! Watches the folders of some files with inotify(7), so that a change of one of them is known at once. It reads and writes
//! no file. A folder that does not exist, or a kernel without a free watch, is no error: such a folder is not watched.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask};
use tracing::debug;

use crate::adapters::file_system::directory_of;

/// A name that appears, disappears or leads to another text; and the folder itself being removed or renamed.
const EVENTS: WatchMask = WatchMask::CLOSE_WRITE
    .union(WatchMask::MODIFY)
    .union(WatchMask::MOVE)
    .union(WatchMask::CREATE)
    .union(WatchMask::DELETE)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF)
    .union(WatchMask::ONLYDIR);

/// The path leads to another folder from now on, or to none.
const FOLDER_IS_GONE: EventMask = EventMask::DELETE_SELF
    .union(EventMask::MOVE_SELF)
    .union(EventMask::IGNORED)
    .union(EventMask::UNMOUNT);

/// Bytes for events that are read at once.
const BUFFER_BYTES: usize = 4096;

/// The folders of some files.
#[derive(Default)]
pub(super) struct FolderWatch {
    /// `None` until the first file is watched.
    events: Option<EventStream<[u8; BUFFER_BYTES]>>,
    watched: BTreeMap<PathBuf, WatchDescriptor>,
}

impl fmt::Debug for FolderWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.watched.keys()).finish()
    }
}

impl FolderWatch {
    /// Waits until one of the files may have changed. Cancel-safe: an event stays until it is read.
    ///
    /// # Errors
    /// The kernel gives no inotify instance, or reading from it failed.
    pub(super) async fn changed(&mut self, files: &[PathBuf]) -> io::Result<()> {
        let names = names(files);
        loop {
            self.watch(files)?;
            let event = self.next().await?;
            if self.is_about(&event, &names) {
                return Ok(());
            }
        }
    }

    /// Watches the folders that are not watched yet and exist.
    fn watch(&mut self, files: &[PathBuf]) -> io::Result<()> {
        for folder in files.iter().map(|file| directory_of(file)) {
            if self.watched.contains_key(folder) {
                continue;
            }
            match instance(&mut self.events)?.watches().add(folder, EVENTS) {
                Ok(watch) => _ = self.watched.insert(folder.to_owned(), watch),
                Err(error) => debug!(folder = %folder.display(), %error, "not watching the folder"),
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> io::Result<EventOwned> {
        let Some(events) = &mut self.events else {
            return std::future::pending().await;
        };
        events
            .next()
            .await
            .unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
    }

    /// Returns whether one of the files may have changed, and forgets a folder that is gone.
    fn is_about(&mut self, event: &EventOwned, names: &BTreeSet<OsString>) -> bool {
        if event.mask.intersects(FOLDER_IS_GONE) {
            self.forget(&event.wd);
            return true;
        }
        let lost = event.mask.contains(EventMask::Q_OVERFLOW);
        lost || event.name.as_ref().is_some_and(|name| names.contains(name))
    }

    fn forget(&mut self, watch: &WatchDescriptor) {
        self.watched.retain(|_, watched| watched != watch);
        if let Some(events) = &self.events {
            // A folder that is deleted has lost its watch already.
            _ = events.watches().remove(watch.clone());
        }
    }
}

fn instance(
    events: &mut Option<EventStream<[u8; BUFFER_BYTES]>>,
) -> io::Result<&mut EventStream<[u8; BUFFER_BYTES]>> {
    match events {
        Some(events) => Ok(events),
        None => Ok(events.insert(Inotify::init()?.into_event_stream([0; BUFFER_BYTES])?)),
    }
}

fn names(files: &[PathBuf]) -> BTreeSet<OsString> {
    let names = files.iter().filter_map(|file| Path::file_name(file));
    names.map(OsString::from).collect()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests play other programs")]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    /// Far more than the kernel takes for an event.
    const SOON: Duration = Duration::from_secs(5);

    struct Rig {
        home: tempfile::TempDir,
        watch: FolderWatch,
        acts: usize,
    }

    impl Rig {
        fn new() -> Self {
            let home = tempfile::tempdir().expect("a folder for a test");
            fs::create_dir(home.path().join("run")).expect("a folder for a test");
            let watch = FolderWatch::default();
            Self {
                home,
                watch,
                acts: 0,
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.home.path().join(name)
        }

        /// Whether the act is reported as a change of `run/subnet.env`, and not only as one of its neighbour.
        async fn reports(&mut self, act: impl FnOnce(&Self)) -> bool {
            let files = [self.path("run/subnet.env")];
            self.watch.watch(&files).expect("an instance");
            act(self);
            // The last event of the folder, unless that is gone.
            self.acts += 1;
            let end = format!("end-{}", self.acts);
            fs::write(self.path("run").join(&end), "").unwrap_or_default();
            let mut changed = false;
            loop {
                let event = tokio::time::timeout(SOON, self.watch.next()).await;
                let event = event.expect("an event in time").expect("an instance");
                changed |= self.watch.is_about(&event, &names(&files));
                let is_last = event.name.is_none_or(|name| *name == *end);
                if is_last {
                    return changed;
                }
            }
        }
    }

    #[tokio::test]
    async fn every_way_to_change_a_file_is_reported() {
        let mut rig = Rig::new();
        let file = rig.path("run/subnet.env");
        assert!(
            rig.reports(|_| fs::write(&file, "a").expect("written"))
                .await
        );
        assert!(
            rig.reports(|_| fs::write(&file, "").expect("cut off"))
                .await
        );
        let moved = rig.path("elsewhere");
        assert!(
            rig.reports(|_| fs::rename(&file, &moved).expect("moved"))
                .await
        );
        assert!(
            rig.reports(|_| fs::rename(&moved, &file).expect("moved"))
                .await
        );
        assert!(
            rig.reports(|_| fs::remove_file(&file).expect("removed"))
                .await
        );
    }

    #[tokio::test]
    async fn another_file_of_the_folder_is_not_reported() {
        let mut rig = Rig::new();
        let other = rig.path("run/other");
        assert!(
            !rig.reports(|_| fs::write(&other, "a").expect("written"))
                .await
        );
    }

    #[tokio::test]
    async fn a_folder_that_is_removed_is_watched_again_when_it_is_back() {
        let mut rig = Rig::new();
        let folder = rig.path("run");
        assert!(
            rig.reports(|_| fs::remove_dir_all(&folder).expect("removed"))
                .await
        );
        fs::create_dir(&folder).expect("made again");
        let file = rig.path("run/subnet.env");
        assert!(
            rig.reports(|_| fs::write(&file, "a").expect("written"))
                .await
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_does_not_exist_is_no_error() {
        let mut watch = FolderWatch::default();
        let files = [PathBuf::from("/nonexistent/subnet.env")];
        let changed = tokio::time::timeout(SOON, watch.changed(&files)).await;
        assert!(changed.is_err(), "{changed:?}");
    }
}
