//! Files in memory for tests: fails when told to, and remembers the order of writes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::Notify;

use crate::files::port::Files;

#[derive(Debug, Default)]
pub(crate) struct FakeDisk {
    pub(crate) texts: BTreeMap<PathBuf, String>,
    /// Paths in the order in which they were written.
    pub(crate) writes: Vec<PathBuf>,
    /// Writes from now on that fail.
    pub(crate) failing_writes: usize,
    /// Whether the disk reports no changes.
    pub(crate) is_blind: bool,
}

/// Clones share one disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakeFiles {
    pub(crate) disk: Rc<RefCell<FakeDisk>>,
    change: Rc<Notify>,
}

impl FakeFiles {
    /// Another program changes a file, or removes it.
    pub(crate) fn change(&self, path: &Path, text: Option<&str>) {
        let texts = &mut self.disk.borrow_mut().texts;
        match text {
            Some(text) => _ = texts.insert(path.to_owned(), text.to_owned()),
            None => _ = texts.remove(path),
        }
        self.change.notify_one();
    }
}

impl Files for FakeFiles {
    fn holds(&self, path: &Path, text: &str) -> bool {
        self.disk.borrow().texts.get(path).map(String::as_str) == Some(text)
    }

    fn replace(&mut self, path: &Path, text: &str) -> Result<(), String> {
        let mut disk = self.disk.borrow_mut();
        if disk.failing_writes > 0 {
            disk.failing_writes -= 1;
            return Err("No space left on device".to_owned());
        }
        disk.texts.insert(path.to_owned(), text.to_owned());
        disk.writes.push(path.to_owned());
        self.change.notify_one();
        Ok(())
    }

    async fn changed(&mut self, _paths: &[PathBuf]) -> Result<(), String> {
        if self.disk.borrow().is_blind {
            return Err("too many open files".to_owned());
        }
        self.change.notified().await;
        Ok(())
    }
}
