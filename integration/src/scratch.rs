//! The lab's directory, for logs and the hosts' disks. It owns the directory, which goes with the
//! lab even when the test process is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Waits for the end of its input, which comes when the test process ends in whatever way, and
/// removes the directory then. A Ctrl-C on the terminal is meant for the tests, not for this.
const SWEEP: &str = r#"trap "" INT HUP TERM; cat; rm -rf -- "$0""#;

/// A directory in memory, if the machine offers it.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    sweeper: Child,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("flannel-lab-")
            .tempdir_in(memory())
            .context("failed to make the lab's directory")?;
        let sweeper = Command::new("sh")
            .args(["-c", SWEEP])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start the lab's sweeper")?;
        Ok(Self {
            path: dir.keep(),
            sweeper,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // No process writes there any more. The sweeper removes what cannot be removed now.
        let _ = fs::remove_dir_all(&self.path);
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}

/// Memory is quicker; and what hosts write over /etc and /var cannot lie on an overlay, which is
/// what /tmp is inside a container.
fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}
