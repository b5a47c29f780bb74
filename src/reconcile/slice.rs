//! What a slice of state gives to the loop that drives it: a wait for input, a plan, and a way to apply it.

use std::time::Duration;

use crate::conditions::Problem;

/// What an input means for the slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing to do, or the slice has done it.
    None,
    /// The world may have changed: observe it, after a debounce.
    Resync,
    /// The desired state has changed: install it at once.
    Desired,
    /// An operation outside of a run failed, for this reason.
    Failed(Problem),
    /// No more input can come: the loop ends.
    Closed,
}

/// What is left after the operations of a plan were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpFailed {
    /// The operation, as a command that a person could run.
    pub(crate) command: String,
    /// What came back.
    pub(crate) reason: String,
}

impl std::fmt::Display for OpFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "failed to run \"{}\": {}", self.command, self.reason)
    }
}

/// One slice of state. It decides what the state should be and how to get there; the loop decides when.
pub(crate) trait Slice {
    /// An input: a new desired state, or an event of the world outside.
    type Input;
    /// One operation of a plan. It carries all values that applying it needs.
    type Op;
    /// What the log says when the state cannot be reached; the reason follows.
    const FAILED: &'static str = "not in sync; retrying";

    /// Waits for the next input. Cancel-safe.
    async fn next(&mut self) -> Self::Input;

    /// Takes an input.
    async fn handle(&mut self, input: Self::Input) -> Effect;

    /// Observes the state and returns the operations, in their order, that lead to the desired state.
    ///
    /// # Errors
    /// The reason why the state cannot be observed, or no plan can reach the desired state.
    async fn plan(&mut self) -> Result<Vec<Self::Op>, Problem>;

    /// Applies all operations in their order, whatever happens to one of them. Returns those that failed.
    async fn apply(&mut self, ops: &[Self::Op]) -> Vec<OpFailed>;

    /// Returns the operation as a command that a person could run.
    fn command(&self, op: &Self::Op) -> String;

    /// Whether an audit would find out anything that events do not tell.
    fn needs_audit(&self) -> bool {
        true
    }

    /// How many plans one run may apply before what is still to do counts as a failure. More than one suits state that
    /// other programs change at the same moment as a rule.
    fn max_rounds(&self) -> usize {
        1
    }

    /// Returns how many operations of this run failed although the state is in sync without them. They are not among those
    /// that `apply` returns, and count as no repair.
    fn optional_failures(&self) -> usize {
        0
    }

    /// Whether the state in place is another one than was logged last although no input said so: the slice chose anew by
    /// what it observed. Then the run was an installation and no repair.
    fn has_chosen_anew(&self) -> bool {
        false
    }

    /// Returns the time after which to run once more although the slice is in sync. Called after each successful run.
    fn recheck_after(&mut self) -> Option<Duration> {
        None
    }

    /// Whether an empty plan means that all is well; not while something is unknown by which it is judged.
    fn knows_enough(&self) -> bool {
        true
    }

    /// Logs, in one line, that the desired state is in place for the first time, or again after a failure.
    fn log_in_sync(&mut self);
}
