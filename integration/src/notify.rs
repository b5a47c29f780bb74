//! What a daemon tells systemd (sd_notify(3)), with the lab in systemd's place. It collects the
//! lines and does not judge them.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel queues only about ten messages, and then the daemon would block. So a thread reads
/// all the time.
const DRAIN: Duration = Duration::from_millis(50);

/// The receiving end of a notify socket.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: UnixDatagram,
    lines: Mutex<Vec<String>>,
}

impl Notify {
    /// Makes the socket. Its path belongs to a mount namespace; the network does not matter.
    pub(crate) fn bind(path: &Path) -> Result<Arc<Self>> {
        let socket = UnixDatagram::bind(path);
        let socket = socket.with_context(|| format!("failed to make the socket {path:?}"))?;
        socket.set_nonblocking(true)?;
        let notify = Arc::new(Self {
            socket,
            lines: Mutex::new(Vec::new()),
        });
        let reader = Arc::downgrade(&notify);
        thread::spawn(move || drain_while_wanted(&reader));
        Ok(notify)
    }

    /// All lines so far, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..length]);
            lines.extend(text.lines().map(str::to_owned));
        }
        lines.clone()
    }
}

fn drain_while_wanted(notify: &Weak<Notify>) {
    while let Some(notify) = notify.upgrade() {
        notify.lines();
        drop(notify);
        thread::park_timeout(DRAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{QUICK, eventually};
    use anyhow::ensure;

    #[test]
    fn reads_more_than_the_kernel_queues() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("notify");
        let notify = Notify::bind(&path)?;
        let daemon = UnixDatagram::unbound()?;
        daemon.set_nonblocking(true)?;
        for number in 0..50 {
            let message = format!("READY=1\nSTATUS={number}");
            eventually(QUICK, "room in the queue", || {
                Ok(daemon.send_to(message.as_bytes(), &path)?)
            })?;
        }
        let lines = notify.lines();
        ensure!(lines.len() == 100 && lines[99] == "STATUS=49");
        Ok(())
    }
}
