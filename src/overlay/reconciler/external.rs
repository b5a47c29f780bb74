//! How the overlay follows the external interface: the present one, why none is usable, and whether this kernel changes the
//! parent of a device in place.

use nix::libc;

use crate::conditions::{Problem, Reason};
use crate::model::external_interface::ExternalInterface;
use crate::model::underlay::Underlay;
use crate::overlay::plan::Op;
use crate::overlay::port::OpError;
use crate::overlay::state::Device;
use crate::reconcile::followed::Followed;

/// Answers of a kernel that does not change the parent of a device.
const CANNOT_CHANGE: [i32; 2] = [libc::EOPNOTSUPP, libc::EINVAL];

/// The external interface as the slice has taken it last.
#[derive(Debug)]
pub(super) struct FollowedUnderlay {
    underlay: Followed<Underlay>,
    problem: Option<String>,
}

impl FollowedUnderlay {
    pub(super) const fn new(underlay: Followed<Underlay>) -> Self {
        Self {
            underlay,
            problem: None,
        }
    }

    /// Waits for a change. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        self.underlay.changed().await;
    }

    pub(super) fn take(&mut self) -> Option<ExternalInterface> {
        let underlay = self.underlay.take()?;
        self.problem = underlay.problem;
        Some(underlay.external)
    }

    /// Returns why the overlay cannot work although the kernel holds all of it.
    pub(super) fn problem(&self) -> Option<Problem> {
        let message = self.problem.clone()?;
        Some(Problem::new(Reason::NoExternalInterface, message))
    }
}

/// Whether this kernel changes the parent of a device: all since Linux 4.12 do.
#[derive(Debug, Default)]
pub(super) struct ParentChange {
    /// The parent that the kernel was told to use last, unless that failed because there was no such interface.
    tried: Option<String>,
}

impl ParentChange {
    /// Notes the outcome of operations.
    pub(super) fn note(&mut self, device: &str, ops: &[Op], errors: &[OpError]) {
        for op in ops {
            if let Op::SetParent(parent) = op {
                let command = op.command(device).to_string();
                let error = errors.iter().find(|error| error.command == command);
                let is_known = error.is_none_or(|error| {
                    let code = error.source.raw_os_error();
                    code.is_some_and(|code| CANNOT_CHANGE.contains(&code))
                });
                self.tried = is_known.then(|| parent.clone());
            }
        }
    }

    /// Whether the device still has another parent although the kernel was told. Then it has to be made anew.
    pub(super) fn failed(&mut self, desired: &Device, observed: Option<&Device>) -> bool {
        let tried = self.tried.take();
        let differs = observed.is_some_and(|observed| observed.parent != desired.parent);
        differs && tried.as_ref() == Some(&desired.parent)
    }
}
