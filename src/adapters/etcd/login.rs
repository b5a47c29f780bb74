//! Owns when credentials that etcd has refused are shown to it again. etcd spends much CPU time on each password that it
//! checks, on purpose (bcrypt): a hundred hosts with a wrong one must not keep it busy. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::reconcile::backoff::Backoff;

/// The first pause, and the longest: that late at most is noticed that the password was set right in etcd.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct Login {
    pauses: Backoff,
    refused: Option<Refused>,
}

struct Refused {
    words: String,
    again: Instant,
}

impl Login {
    /// Credentials of which nothing is known.
    pub(super) const fn new() -> Self {
        Self {
            pauses: Backoff::new(FIRST, LONGEST),
            refused: None,
        }
    }

    /// etcd has refused them, in these words. `random` is uniform in 0..1.
    pub(super) fn refuse(&mut self, words: String, now: Instant, random: f64) {
        let again = now + self.pauses.next(random);
        self.refused = Some(Refused { words, again });
    }

    /// What etcd said, while it is too early to ask again.
    pub(super) fn refusal(&self, now: Instant) -> Option<&str> {
        self.refused
            .as_ref()
            .filter(|refused| now < refused.again)
            .map(|refused| refused.words.as_str())
    }

    /// etcd has taken them, or there are others now.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often etcd is asked within `time` by somebody who comes each half second and is refused.
    fn attempts(login: &mut Login, time: Duration) -> usize {
        let began = Instant::now();
        let visits = (0..)
            .map(|n| began + Duration::from_millis(500) * n)
            .take_while(|now| *now < began + time);
        let ask = |now: &Instant| match login.refusal(*now) {
            Some(_) => false,
            None => {
                login.refuse("no".to_owned(), *now, 0.0);
                true
            }
        };
        visits.filter(ask).count()
    }

    #[test]
    fn a_wrong_password_is_shown_after_pauses_that_grow_to_a_quarter_of_a_minute() {
        let mut login = Login::new();
        // After 0, 1, 3, 7, 15 and 30 seconds.
        assert_eq!(attempts(&mut login, Duration::from_secs(31)), 6);
        login.reset();
        assert_eq!(
            attempts(&mut login, Duration::from_secs(4)),
            3,
            "another one is shown at once"
        );
        assert_eq!(attempts(&mut Login::new(), Duration::from_secs(3600)), 243);
    }
}
