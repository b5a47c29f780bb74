//! Decides how soon a watch is opened again that something between this host and etcd has cut: at once, unless it happens
//! again and again. A proxy that ends each stream must not make us open streams in a loop. Pure; never opens one.

use std::time::Duration;

use crate::reconcile::backoff::Backoff;

/// No proxy is set to end idle streams sooner than this on purpose.
const SHORT: Duration = Duration::from_secs(1);
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause, which is also how late a change is seen then.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(2);
/// So many short streams in a row are worth a line.
const WORTH_A_LINE: u32 = 5;
/// After a stream that has lasted this long, short ones are worth a line again.
const CALM: Duration = Duration::from_secs(60);

/// The watches that were cut.
pub(super) struct Cuts {
    backoff: Backoff,
    short: u32,
}

impl Cuts {
    pub(super) const fn new() -> Self {
        Self {
            backoff: Backoff::new(MIN_PAUSE, MAX_PAUSE),
            short: 0,
        }
    }

    /// Records that a watch was cut after it had `lasted` so long. Returns the time until it is opened again. `random` is
    /// uniform in 0..1.
    pub(super) fn cut(&mut self, lasted: Duration, random: f64) -> Duration {
        if lasted >= CALM {
            self.short = 0;
        }
        if lasted >= SHORT {
            self.backoff.reset();
            return Duration::ZERO;
        }
        self.short = self.short.saturating_add(1);
        self.backoff.next(random)
    }

    /// Whether the last cut is the first that shows that cuts do not end.
    pub(super) const fn is_newly_constant(&self) -> bool {
        self.short == WORTH_A_LINE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_stream_that_was_cut_is_opened_again_at_once_however_often() {
        let mut cuts = Cuts::new();
        for _ in 0..100 {
            assert_eq!(cuts.cut(Duration::from_secs(4), 0.0), Duration::ZERO);
            assert!(!cuts.is_newly_constant());
        }
    }

    #[test]
    fn streams_that_are_cut_at_once_are_opened_less_and_less_often_and_told_once() {
        let (short, minute) = (Duration::from_millis(100), Duration::from_secs(60));
        let mut cuts = Cuts::new();
        let mut pauses = Vec::new();
        let mut told = 0;
        for _ in 0..100 {
            pauses.push(cuts.cut(short, 0.0).as_millis());
            told += u32::from(cuts.is_newly_constant());
        }
        assert_eq!(pauses[..7], [50, 100, 200, 400, 800, 1600, 2000]);
        assert_eq!((pauses[99], told), (2000, 1));
        assert_eq!(cuts.cut(minute, 0.0), Duration::ZERO);
        assert_eq!(cuts.cut(short, 0.0), MIN_PAUSE, "that was another time");
    }
}
