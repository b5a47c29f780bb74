//! Decides when user and password that etcd has refused are sent again. etcd spends much CPU time
//! on each password that it checks, on purpose (bcrypt): a hundred hosts with a wrong one must not
//! keep it busy. Pure; never sleeps.

use std::time::Duration;

use tokio::time::Instant;

use crate::reconcile::backoff::Backoff;

const INITIAL_LOGIN_DELAY: Duration = Duration::from_secs(1);
/// Also the longest time until a password that was set right in etcd is noticed.
const MAX_LOGIN_DELAY: Duration = Duration::from_secs(15);

/// The credentials in use, as etcd judges them: untried or accepted, or refused until a retry.
pub(super) struct LoginBackoff {
    delays: Backoff,
    refused: Option<RefusedLogin>,
}

struct RefusedLogin {
    words: String,
    retry_at: Instant,
}

impl LoginBackoff {
    /// Starts with credentials that etcd has not seen.
    pub(super) const fn new() -> Self {
        Self {
            delays: Backoff::new(INITIAL_LOGIN_DELAY, MAX_LOGIN_DELAY),
            refused: None,
        }
    }

    /// Notes that etcd has refused the credentials, in these words. `random` is uniform in 0..1.
    pub(super) fn refuse(&mut self, words: String, now: Instant, random: f64) {
        let retry_at = now + self.delays.next(random);
        self.refused = Some(RefusedLogin { words, retry_at });
    }

    /// Returns etcd's words while it is too early to send the credentials again.
    pub(super) fn on_hold(&self, now: Instant) -> Option<&str> {
        self.refused
            .as_ref()
            .filter(|refused| now < refused.retry_at)
            .map(|refused| refused.words.as_str())
    }

    /// Notes that etcd has accepted the credentials, or that there are other ones.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the logins within `time` when a caller comes each half second and is refused each
    /// time.
    fn attempts(login: &mut LoginBackoff, time: Duration) -> usize {
        let began = Instant::now();
        let visits = (0..)
            .map(|n| began + Duration::from_millis(500) * n)
            .take_while(|now| *now < began + time);
        visits.filter(|now| try_login(login, *now)).count()
    }

    fn try_login(login: &mut LoginBackoff, now: Instant) -> bool {
        if login.on_hold(now).is_some() {
            return false;
        }
        login.refuse("no".to_owned(), now, 0.0);
        true
    }

    #[test]
    fn a_wrong_password_is_sent_again_after_delays_that_grow_to_15_seconds() {
        let mut login = LoginBackoff::new();
        // After 0, 1, 3, 7, 15 and 30 seconds.
        assert_eq!(attempts(&mut login, Duration::from_secs(31)), 6);
        login.reset();
        assert_eq!(
            attempts(&mut login, Duration::from_secs(4)),
            3,
            "another one is sent at once"
        );
        let mut untried = LoginBackoff::new();
        assert_eq!(attempts(&mut untried, Duration::from_secs(3600)), 243);
    }
}
