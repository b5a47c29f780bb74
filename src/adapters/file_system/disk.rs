//! The port of the files slice: subnet.env and the options for Docker on the disk of this host.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::adapters::file_system;
use crate::adapters::file_system::folder_watch::FolderWatch;
use crate::error::chain;
use crate::files::port::Files;

#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// The text that was written last to each pipe or device: it cannot be read back.
    special: BTreeMap<PathBuf, String>,
    watch: FolderWatch,
}

impl Files for Disk {
    fn holds(&self, path: &Path, text: &str) -> bool {
        if is_special(path) {
            return self.special.get(path).map(String::as_str) == Some(text);
        }
        file_system::holds(path, text).unwrap_or(false)
    }

    fn replace(&mut self, path: &Path, text: &str) -> Result<(), String> {
        file_system::replace(path, text).map_err(|error| chain(&error))?;
        if is_special(path) {
            self.special.insert(path.to_owned(), text.to_owned());
        }
        Ok(())
    }

    async fn changed(&mut self, paths: &[PathBuf]) -> Result<(), String> {
        let changed = self.watch.changed(paths).await;
        changed.map_err(|error| format!("failed to watch the files with inotify: {error}"))
    }
}

fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file())
}
