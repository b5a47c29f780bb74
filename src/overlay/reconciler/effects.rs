//! What operations that failed, and inputs that came together, mean for the loop. Pure.

use crate::conditions::Problem;
use crate::overlay::port::OpError;
use crate::reconcile::slice::{Effect, OpFailed};

impl From<OpError> for OpFailed {
    fn from(error: OpError) -> Self {
        Self {
            command: error.command,
            reason: error.source.to_string(),
        }
    }
}

/// Returns the effect of operations outside of a run.
pub(super) fn failure(failed: &[OpFailed]) -> Effect {
    match failed {
        [] => Effect::None,
        [only] => Effect::Failed(Problem::failed(only.to_string())),
        [first, ..] => Effect::Failed(Problem::failed(format!(
            "{} operations failed, the first: {first}",
            failed.len()
        ))),
    }
}

/// Returns which of two effects asks for more; the first of two that ask for the same.
pub(super) fn stronger(one: Effect, other: Effect) -> Effect {
    if strength(&other) > strength(&one) {
        other
    } else {
        one
    }
}

const fn strength(effect: &Effect) -> u8 {
    match effect {
        Effect::None => 0,
        Effect::Resync => 1,
        Effect::Failed(_) => 2,
        Effect::Desired => 3,
        Effect::Closed => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(command: &str) -> OpFailed {
        OpFailed {
            command: command.to_owned(),
            reason: "No buffer space available".to_owned(),
        }
    }

    #[test]
    fn the_first_of_the_operations_that_failed_is_named_and_all_are_counted() {
        assert_eq!(failure(&[]), Effect::None);
        let one = "failed to run \"ip link set up\": No buffer space available";
        let ops = [failed("ip link set up"), failed("ip route del")];
        assert_eq!(failure(&ops[..1]), Effect::Failed(Problem::failed(one)));
        let two = format!("2 operations failed, the first: {one}");
        assert_eq!(failure(&ops), Effect::Failed(Problem::failed(two)));
    }

    #[test]
    fn of_two_effects_the_one_that_asks_for_more_counts() {
        let first = Effect::Failed(Problem::failed("first"));
        let second = Effect::Failed(Problem::failed("second"));
        assert_eq!(stronger(first.clone(), second), first);
        let rising = [
            Effect::None,
            Effect::Resync,
            first,
            Effect::Desired,
            Effect::Closed,
        ];
        for pair in rising.windows(2) {
            assert_eq!(stronger(pair[0].clone(), pair[1].clone()), pair[1]);
            assert_eq!(stronger(pair[1].clone(), pair[0].clone()), pair[1]);
        }
    }
}
