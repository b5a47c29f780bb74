//! The port to the disk: what the slice needs of it.

use std::path::{Path, PathBuf};

/// The files of this host.
pub(crate) trait Files {
    /// Whether the file holds just this text. A file that cannot be read does not.
    fn holds(&self, path: &Path, text: &str) -> bool;

    /// Replaces the whole file, so that no reader ever sees a part of it.
    ///
    /// # Errors
    /// What was tried, on which file, and what came back.
    fn replace(&mut self, path: &Path, text: &str) -> Result<(), String>;

    /// Waits until one of the files may have been changed, by us or by another program. Cancel-safe.
    ///
    /// # Errors
    /// The disk reports no changes.
    async fn changed(&mut self, paths: &[PathBuf]) -> Result<(), String>;
}
