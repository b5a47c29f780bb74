//! Notifies systemd: READY, STATUS, STOPPING and the watchdog. Without systemd all of it does nothing. What "ready" means
//! is decided in `conditions::readiness`.

mod announce;
mod watchdog;

use sd_notify::NotifyState;
use tracing::debug;

pub(crate) use crate::adapters::systemd::announce::announce;
pub(crate) use crate::adapters::systemd::watchdog::watchdog;

/// Notifies that the daemon is ready.
fn ready() {
    notify(NotifyState::Ready);
}

/// Sets the line that `systemctl status` shows.
fn status(text: &str) {
    notify(NotifyState::Status(text));
}

/// Notifies that the daemon shuts down.
pub(crate) fn stopping() {
    notify(NotifyState::Stopping);
}

fn feed_watchdog() {
    notify(NotifyState::Watchdog);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        debug!(%error, "failed to notify systemd");
    }
}
