//! Tells a failure that is reported for the first time from one that only repeats, so that a task
//! that retries warns once and logs the rest at debug level. Never logs itself. Pure.

/// The reason that was reported last, for one thing that can fail.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogOnce {
    last: Option<String>,
}

impl LogOnce {
    /// Returns whether `reason` differs from the one before, and remembers it.
    pub(crate) fn is_new(&mut self, reason: &str) -> bool {
        if self.last.as_deref() == Some(reason) {
            return false;
        }
        self.last = Some(reason.to_owned());
        true
    }

    /// Returns the reason that was reported last.
    pub(crate) fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// Forgets the reason after a success. Returns whether a failure had been reported: then its
    /// end is worth a line.
    pub(crate) fn clear(&mut self) -> bool {
        self.last.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_new_until_it_repeats() {
        let mut once = LogOnce::default();
        let new = ["refused", "refused", "late", "refused"].map(|reason| once.is_new(reason));
        assert_eq!(new, [true, false, true, true]);
    }

    #[test]
    fn a_reason_is_new_again_after_a_success() {
        let mut once = LogOnce::default();
        assert!(!once.clear(), "nothing was reported yet");
        assert!(once.is_new("refused"));
        assert!(once.clear());
        assert!(!once.clear(), "the end of a failure is reported once");
        assert!(once.is_new("refused"));
    }
}
