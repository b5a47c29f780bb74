//! Waiting for a condition with a deadline. No other place of the lab sleeps; it owns no condition
//! of its own.

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Enough for anything that should happen at once.
pub const QUICK: Duration = Duration::from_secs(10);
/// Enough for anything that involves a time-out of some other program.
pub const SLOW: Duration = Duration::from_secs(60);

/// Short beside every condition we wait for, and long enough to leave the CPU to it.
const POLL: Duration = Duration::from_millis(2);

/// Repeats `condition` until it returns `Ok`, and hands on its value.
///
/// An error of the condition means "not yet", so a condition reads well as a few `ensure!`s.
///
/// # Errors
/// When the deadline has passed; the error holds what the condition said last.
pub fn eventually<T>(
    deadline: Duration,
    what: impl Display,
    mut condition: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let outcome = condition();
        if outcome.is_ok() || start.elapsed() >= deadline {
            return outcome.with_context(|| format!("waited {deadline:?} in vain for {what}"));
        }
        sleep(POLL);
    }
}

/// Lets time pass: for tests whose subject is how long something lasts. To wait for something that
/// happens, use [`eventually`].
pub fn pass(time: Duration) {
    sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;

    #[test]
    fn hands_on_the_first_success() -> Result<()> {
        let mut tries = 0;
        let reached = eventually(QUICK, "three tries", || {
            tries += 1;
            ensure!(tries == 3);
            Ok(tries)
        })?;
        ensure!(reached == 3);
        Ok(())
    }

    #[test]
    fn says_what_it_waited_for_and_why_not() {
        let outcome: Result<()> = eventually(POLL, "rain", || anyhow::bail!("blue sky"));
        let text = outcome.map_err(|error| format!("{error:#}"));
        assert_eq!(text, Err("waited 2ms in vain for rain: blue sky".into()));
    }
}
