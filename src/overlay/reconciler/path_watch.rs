//! Says whether packets to the peers really take our routes: it asks the kernel about each suspect, sets the condition, and
//! logs each change once.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::conditions::{ConditionWriter, Problem};
use crate::overlay::desired::DesiredOverlay;
use crate::overlay::paths::shadows::{self, Cause, Hides, Sample, Shadow, Suspects};
use crate::overlay::paths::{ForeignPaths, PathAnswer, report};
use crate::overlay::port::{Kernel, KernelError};

/// Suspects that the kernel is asked about. Where there are more, all the others are of the same kind as a rule.
const MAX_QUESTIONS: usize = 16;
/// Least time between two lines of the log: another program may add and remove a route all the time.
const MIN_LOG_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct PathWatch {
    condition: ConditionWriter,
    /// What the log said last; `None` if all was well.
    logged: Option<String>,
    logged_at: Option<Instant>,
}

impl PathWatch {
    pub(super) const fn new(condition: ConditionWriter) -> Self {
        Self {
            condition,
            logged: None,
            logged_at: None,
        }
    }

    /// Judges what a look at the kernel has shown while all entries of ours were in place.
    pub(super) async fn judge(
        &mut self,
        kernel: &mut impl Kernel,
        overlay: &DesiredOverlay,
        foreign: &ForeignPaths,
    ) {
        match prove(kernel, overlay, foreign).await {
            Ok(shadows) => self.report(report::problem(overlay, &shadows)),
            // The condition stays: nothing new is known. The audit asks again.
            Err(error) => debug!(%error, "failed to ask the kernel for the way to a peer"),
        }
    }

    fn report(&mut self, problem: Option<Problem>) {
        match &problem {
            Some(problem) => self.condition.set_false(problem),
            None => self.condition.set_true(),
        }
        let message = problem.map(|problem| problem.message);
        let lately = |at: Instant| at.elapsed() < MIN_LOG_INTERVAL;
        if message == self.logged || self.logged_at.is_some_and(lately) {
            return;
        }
        match &message {
            Some(message) => warn!("{message}"),
            None => info!("nothing is in front of the routes to the peers any more"),
        }
        self.logged = message;
        self.logged_at = Some(Instant::now());
    }
}

/// Returns what hides peers by the kernel's own answers.
async fn prove(
    kernel: &mut impl Kernel,
    overlay: &DesiredOverlay,
    foreign: &ForeignPaths,
) -> Result<Vec<Shadow>, KernelError> {
    let device = &overlay.device().name;
    let Suspects { shadows, samples } = shadows::find(overlay, foreign);
    let mut proven = Vec::with_capacity(shadows.len());
    for (place, shadow) in shadows.into_iter().enumerate() {
        let is_refuted = place < MAX_QUESTIONS
            && kernel.lookup(&shadow.query).await? == PathAnswer::Through(device.clone());
        if !is_refuted {
            proven.push(shadow);
        }
    }
    if proven.is_empty() {
        for sample in &samples {
            let answer = kernel.lookup(&sample.query).await?;
            proven.extend(diverted(device, sample, answer));
        }
        return Ok(one_of(overlay, &samples, proven));
    }
    Ok(shadows::without_repeats(proven))
}

/// Samples have one cause as a rule: the first is shown. If all packets of a sender go elsewhere, all peers are hidden.
fn one_of(overlay: &DesiredOverlay, samples: &[Sample], proven: Vec<Shadow>) -> Vec<Shadow> {
    let Some(mut first) = proven.first().cloned() else {
        return proven;
    };
    let sender = &first.query.sender;
    let asked = samples
        .iter()
        .filter(|sample| sample.query.sender == *sender);
    let diverted = proven
        .iter()
        .filter(|shadow| shadow.query.sender == *sender);
    if asked.count() == diverted.count() {
        first.hides = Hides::Range(overlay.network());
    }
    vec![first]
}

/// Returns what a sample shows if its packet does not go through our device.
fn diverted(device: &str, sample: &Sample, answer: PathAnswer) -> Option<Shadow> {
    let Sample { peer, query, rule } = sample.clone();
    let answer = match answer {
        PathAnswer::NotForwarded => return None,
        PathAnswer::Through(other) if other == device => return None,
        PathAnswer::Through(other) => format!("the kernel sends them through \"{other}\""),
        PathAnswer::Refused(error) => format!("the kernel refuses them ({error})"),
    };
    Some(Shadow {
        cause: Cause::Answer(answer, rule),
        hides: Hides::Peers(vec![peer]),
        peer,
        query,
    })
}
