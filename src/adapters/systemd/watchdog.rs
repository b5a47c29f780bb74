//! Feeds systemd's watchdog (`WatchdogSec=`) while the loop that keeps the kernel state turns: that the process exists is
//! not enough.

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tracing::warn;

use crate::adapters::systemd::feed_watchdog;

/// Feeds systemd for as long as it receives heartbeats.
pub(crate) struct Watchdog {
    /// Time without a notification after which systemd restarts the daemon.
    interval: Duration,
    heartbeats: watch::Receiver<()>,
}

/// Returns the watchdog, the sender of heartbeats, and the longest time that may pass between two heartbeats. `None` where
/// systemd does not ask for a watchdog.
pub(crate) fn watchdog() -> Option<(Watchdog, watch::Sender<()>, Duration)> {
    let interval = sd_notify::watchdog_enabled()?;
    let (sender, heartbeats) = watch::channel(());
    let watchdog = Watchdog {
        interval,
        heartbeats,
    };
    Some((watchdog, sender, interval / 4))
}

impl Watchdog {
    /// Notifies systemd at half its interval, as sd_watchdog_enabled(3) advises, if there was a heartbeat since.
    ///
    /// # Errors
    /// The sender of heartbeats is gone.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        self.run_with(feed_watchdog).await
    }

    async fn run_with(mut self, feed: impl Fn()) -> anyhow::Result<()> {
        let half = self.interval / 2;
        loop {
            tokio::time::sleep(half).await;
            let heartbeat = self.heartbeats.has_changed();
            if heartbeat.context("the loop that keeps the kernel state ended")? {
                self.heartbeats.mark_unchanged();
                feed();
            } else {
                warn!(
                    without_heartbeat = ?half,
                    "the loop that keeps the kernel state is stuck; not feeding systemd's watchdog"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn is_fed_while_heartbeats_come_and_not_after_the_last() {
        let (sender, heartbeats) = watch::channel(());
        let fed = Cell::new(0);
        let watchdog = Watchdog {
            interval: INTERVAL,
            heartbeats,
        }
        .run_with(|| fed.set(fed.get() + 1));
        let heart = async {
            for _ in 0..40 {
                sender.send_replace(());
                tokio::time::sleep(INTERVAL / 4).await;
            }
            assert!(
                (19..=20).contains(&fed.get()),
                "{} in ten intervals",
                fed.get()
            );
            let before = fed.get();
            tokio::time::sleep(INTERVAL * 10).await;
            assert!(fed.get() <= before + 1, "fed without a heartbeat");
        };
        tokio::select! { () = heart => {}, ended = watchdog => panic!("{ended:?}") }
    }

    #[tokio::test(start_paused = true)]
    async fn ends_with_an_error_when_the_sender_is_gone() {
        let (sender, heartbeats) = watch::channel(());
        drop(sender);
        let ended = Watchdog {
            interval: INTERVAL,
            heartbeats,
        }
        .run_with(|| {})
        .await;
        assert!(ended.is_err());
    }
}
