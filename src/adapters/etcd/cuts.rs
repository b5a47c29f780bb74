//! Decides how soon a watch is opened again that something between this host and etcd has cut: at once, unless it happens
//! again and again. A proxy that ends each stream must not make us open streams in a loop, and one that objects to our
//! HTTP/2 pings gets fewer. Pure; never opens a stream.

use std::ops::RangeInclusive;
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

/// A gRPC server in Go, such as `etcd grpc-proxy`, ends the connection (`too_many_pings`) at the fourth ping that comes within
/// five minutes of the one before, while it sends nothing itself. Its reason gets lost on the way to us, so it is told by the
/// time: four times 5 s.
const AFTER_FOUR_PINGS: RangeInclusive<Duration> =
    Duration::from_millis(19_500)..=Duration::from_secs(22);
/// So many cuts in a row after that time are no chance.
const NO_CHANCE: u32 = 2;

/// How often an idle connection is pinged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pings {
    /// As etcd takes them.
    Often,
    /// As every gRPC server takes them.
    Seldom,
}

/// The watches that were cut.
pub(super) struct Cuts {
    backoff: Backoff,
    short: u32,
    after_four_pings: u32,
    pings: Pings,
}

impl Cuts {
    pub(super) const fn new() -> Self {
        Self {
            backoff: Backoff::new(MIN_PAUSE, MAX_PAUSE),
            short: 0,
            after_four_pings: 0,
            pings: Pings::Often,
        }
    }

    pub(super) const fn pings(&self) -> Pings {
        self.pings
    }

    /// Records that a watch was cut after it had `lasted` so long. Returns the time until it is opened again. `random` is
    /// uniform in 0..1.
    pub(super) fn cut(&mut self, lasted: Duration, random: f64) -> Duration {
        if lasted >= CALM {
            self.short = 0;
        }
        self.after_four_pings = if AFTER_FOUR_PINGS.contains(&lasted) {
            self.after_four_pings + 1
        } else {
            0
        };
        if self.after_four_pings >= NO_CHANCE {
            self.pings = Pings::Seldom;
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
    fn a_server_that_objects_to_pings_gets_fewer() {
        let pinged_away = Duration::from_secs(20);
        let mut cuts = Cuts::new();
        for lasted in [pinged_away, Duration::from_secs(4), pinged_away] {
            cuts.cut(lasted, 0.0);
            assert_eq!(cuts.pings(), Pings::Often);
        }
        cuts.cut(pinged_away, 0.0);
        assert_eq!(cuts.pings(), Pings::Seldom);
        cuts.cut(Duration::from_secs(600), 0.0);
        assert_eq!(cuts.pings(), Pings::Seldom, "it would object again");
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
