//! Whether this host and most others ignore each other's leases, because VNI or backend differ: after a change of the network
//! config, the hosts that have restarted and those that have not cannot talk to each other. Pure.

use std::time::Duration;

use crate::conditions::{Problem, Reason};
use crate::model::lease_counts::LeaseCounts;

/// How long most others must be excluded before a host that used their leases calls it a problem. A lease that another
/// client has overwritten is written back within moments.
const HOLD: Duration = Duration::from_secs(1);

/// What is known of exclusions so far.
#[derive(Debug, Default)]
pub(crate) struct ExclusionWatch {
    /// Whether leases of others were used without a problem.
    has_fitted: bool,
    /// Since when most others are excluded.
    since: Option<Duration>,
}

/// What the counts of the leases mean now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exclusion {
    Fine,
    /// It is a problem if it is still so after this time.
    MayPass(Duration),
    Problem(Problem),
}

impl ExclusionWatch {
    /// Judges the counts; `now` is the time since any fixed moment.
    pub(crate) fn judge(&mut self, counts: &LeaseCounts, now: Duration) -> Exclusion {
        let Some(problem) = problem(counts) else {
            self.since = None;
            self.has_fitted |= counts.used > 0;
            return Exclusion::Fine;
        };
        let lasted = now.saturating_sub(*self.since.get_or_insert(now));
        match HOLD.checked_sub(lasted) {
            Some(left) if self.has_fitted && !left.is_zero() => Exclusion::MayPass(left),
            Some(_) | None => Exclusion::Problem(problem),
        }
    }
}

/// Returns the problem, if more leases are excluded than used.
fn problem(counts: &LeaseCounts) -> Option<Problem> {
    let excluded = counts.other_vni + counts.other_backend;
    let all = excluded + counts.used;
    if excluded <= counts.used {
        return None;
    }
    let example = counts
        .example
        .as_ref()
        .map_or_else(String::new, |(key, reason)| {
            format!(", for example {}: {reason}", key.escape_debug())
        });
    let differences = &counts.config_differences;
    let cure = if differences.is_empty() {
        "the others use an earlier network config: restart flanneld there, or put the earlier config back and restart it here"
            .to_owned()
    } else {
        format!(
            "this host uses an earlier network config ({}): restart flanneld here",
            differences.join(", ")
        )
    };
    let message = format!(
        "{excluded} of {all} other hosts have another VNI or backend, so that neither side reaches the other{example}; {cure}"
    );
    Some(Problem::new(Reason::ExcludesOthers, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(used: usize, other_vni: usize, other_backend: usize) -> LeaseCounts {
        LeaseCounts {
            used,
            other_vni,
            other_backend,
            example: Some(("10.5.9.0-24".to_owned(), "VNI is 1, ours is 7".to_owned())),
            ..LeaseCounts::default()
        }
    }

    #[test]
    fn only_a_majority_of_excluded_hosts_is_a_problem() {
        for (used, other_vni, other_backend) in [(0, 0, 0), (5, 5, 0), (9, 0, 3), (1, 0, 0)] {
            assert_eq!(problem(&counts(used, other_vni, other_backend)), None);
        }
        let found = problem(&counts(1, 1, 1)).expect("2 of 3 are excluded");
        assert_eq!(found.reason, Reason::ExcludesOthers);
        let start = "2 of 3 other hosts have another VNI or backend, so that neither side reaches the other, for example \
            10.5.9.0-24: VNI is 1, ours is 7; the others use";
        assert!(found.message.starts_with(start), "{found}");
        let unusable = LeaseCounts {
            otherwise_unusable: 9,
            ..counts(1, 0, 0)
        };
        assert_eq!(problem(&unusable), None, "those are mistakes of others");
    }

    #[test]
    fn a_host_that_has_not_restarted_is_told_so() {
        let behind = LeaseCounts {
            config_differences: vec!["Backend.VNI 1 -> 7".to_owned()],
            ..counts(0, 4, 0)
        };
        let found = problem(&behind).expect("all are excluded");
        let end = "earlier network config (Backend.VNI 1 -> 7): restart flanneld here";
        assert!(found.message.ends_with(end), "{found}");
    }

    #[test]
    fn a_host_that_fitted_waits_whether_it_passes_and_a_new_one_does_not() {
        let at = Duration::from_millis;
        let mut watch = ExclusionWatch::default();
        assert!(matches!(
            watch.judge(&counts(0, 1, 0), at(0)),
            Exclusion::Problem(_)
        ));
        assert_eq!(watch.judge(&counts(1, 0, 0), at(5)), Exclusion::Fine);
        assert_eq!(
            watch.judge(&counts(0, 1, 0), at(10)),
            Exclusion::MayPass(at(1000))
        );
        assert_eq!(
            watch.judge(&counts(0, 1, 0), at(310)),
            Exclusion::MayPass(at(700))
        );
        assert_eq!(watch.judge(&counts(1, 0, 0), at(400)), Exclusion::Fine);
        assert_eq!(
            watch.judge(&counts(0, 1, 0), at(900)),
            Exclusion::MayPass(at(1000))
        );
        assert!(matches!(
            watch.judge(&counts(0, 1, 0), at(1900)),
            Exclusion::Problem(_)
        ));
    }
}
