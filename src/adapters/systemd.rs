//! Owns telling systemd that we live (`WatchdogSec=`): not that the process is there, but that the loop which keeps the
//! kernel state still turns.

use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tracing::warn;

/// A heart that must beat several times in each interval of systemd's watchdog.
pub(crate) struct Watchdog {
    interval: Duration,
    beats: watch::Receiver<()>,
}

/// The watchdog and the heart it listens to, with the time between two beats; `None` where systemd did not ask.
pub(crate) fn asked_for() -> Option<(Watchdog, watch::Sender<()>, Duration)> {
    let interval = sd_notify::watchdog_enabled()?;
    let (heart, beats) = watch::channel(());
    Some((Watchdog { interval, beats }, heart, interval / 4))
}

impl Watchdog {
    /// Tells systemd at half its interval, as sd_watchdog_enabled(3) advises, if the heart has beaten meanwhile. If it has
    /// not, says so: what follows is the end by systemd.
    pub(crate) async fn run(self, tell: impl Fn(&[NotifyState<'_>])) -> anyhow::Result<()> {
        let Self {
            interval,
            mut beats,
        } = self;
        loop {
            tokio::time::sleep(interval / 2).await;
            if beats
                .has_changed()
                .context("the keeper of the kernel state ended")?
            {
                beats.mark_unchanged();
                tell(&[NotifyState::Watchdog]);
            } else {
                warn!(silent = ?(interval / 2), "the keeper of the kernel state stands still; systemd's watchdog is not fed");
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
    async fn is_fed_while_the_heart_beats_and_not_once_it_stands_still() {
        let (heart, beats) = watch::channel(());
        let fed = Cell::new(0);
        let watchdog = Watchdog {
            interval: INTERVAL,
            beats,
        }
        .run(|_| fed.set(fed.get() + 1));
        let life = async {
            for _ in 0..40 {
                heart.send_replace(());
                tokio::time::sleep(INTERVAL / 4).await;
            }
            assert!(
                (19..=20).contains(&fed.get()),
                "{} in ten intervals",
                fed.get()
            );
            let before = fed.get();
            tokio::time::sleep(INTERVAL * 10).await;
            assert!(fed.get() <= before + 1, "fed without a heart");
        };
        tokio::select! { () = life => {}, ended = watchdog => panic!("{ended:?}") }
    }

    #[tokio::test(start_paused = true)]
    async fn ends_with_an_error_when_the_heart_is_gone() {
        let (heart, beats) = watch::channel(());
        drop(heart);
        let ended = Watchdog {
            interval: INTERVAL,
            beats,
        }
        .run(|_| {})
        .await;
        assert!(ended.is_err());
    }
}
