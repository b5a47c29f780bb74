//! Where time and randomness come from. The rest of the daemon gets them as arguments, so that tests can choose them.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// Returns a number that is uniform in 0..1.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one source of randomness"
)]
pub(crate) fn random() -> f64 {
    rand::random()
}

/// Returns the time since boot, including the time that the machine slept: leases expire meanwhile.
pub(super) fn boot_time() -> Duration {
    // The clock exists since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default()
}

/// Returns the time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one source of the time of day"
)]
pub(super) fn wall_time() -> SystemTime {
    SystemTime::now()
}
