//! Keeps the files as the lease of this host demands: when the lease changes, when another program changes a file, and when
//! SIGHUP asks for it.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::conditions::Problem;
use crate::files::desired::{DesiredFile, desired};
use crate::files::plan::{FileOp, UpToDateFiles, plan};
use crate::files::port::Files;
use crate::files::settings::FilesSettings;
use crate::model::membership::Membership;
use crate::model::underlay::Underlay;
use crate::reconcile::followed::Followed;
use crate::reconcile::schedule::Timing;
use crate::reconcile::slice::{Effect, OpFailed, Slice};

/// A program that writes a file in place makes several changes. The audit finds what inotify cannot report: its folder was
/// made again, or no watch was free.
pub(crate) const TIMING: Timing = Timing {
    debounce: Duration::from_millis(10),
    max_debounce: Duration::from_millis(50),
    audit: Some(Duration::from_secs(60)),
    min_backoff: Duration::from_millis(200),
    max_backoff: Duration::from_secs(30),
    max_backoff_once_in_sync: Duration::from_secs(30),
    rest: 0,
};

/// What the slice waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FilesInput {
    /// The lease of this host changed.
    Membership,
    /// The external interface is another one, or has changed.
    Underlay,
    /// SIGHUP.
    Reload,
    /// A file may have been changed.
    Changed,
    /// The disk reports no changes.
    NotWatched(String),
    /// The lease cannot change any more: the daemon stops.
    Closed,
}

pub(crate) struct FilesSlice<F> {
    files: F,
    settings: FilesSettings,
    membership: watch::Receiver<Option<Membership>>,
    underlay: Followed<Underlay>,
    reload: mpsc::Receiver<()>,
    desired: Vec<DesiredFile>,
    paths: Vec<PathBuf>,
    is_watched: bool,
}

impl<F: Files> FilesSlice<F> {
    pub(crate) const fn new(
        files: F,
        settings: FilesSettings,
        membership: watch::Receiver<Option<Membership>>,
        reload: mpsc::Receiver<()>,
        underlay: Followed<Underlay>,
    ) -> Self {
        Self {
            files,
            settings,
            membership,
            underlay,
            reload,
            desired: Vec::new(),
            paths: Vec::new(),
            is_watched: true,
        }
    }

    /// Only the MTU of the external interface is in the files.
    fn take_underlay(&mut self) -> Effect {
        let Some(underlay) = self.underlay.take() else {
            return Effect::None;
        };
        let before = std::mem::replace(&mut self.settings.external, underlay.external);
        if before.mtu == self.settings.external.mtu {
            return Effect::None;
        }
        self.take_membership()
    }

    fn take_membership(&mut self) -> Effect {
        let membership = self.membership.borrow_and_update();
        let Some(membership) = membership.as_ref() else {
            // Without a device there is nothing to say to others; what is written stays.
            self.desired.clear();
            self.paths.clear();
            return Effect::None;
        };
        warn_of_large_mtu(membership, &self.settings);
        self.desired = desired(membership, &self.settings).into();
        self.paths = self.desired.iter().map(|file| file.path.clone()).collect();
        Effect::Desired
    }
}

impl<F: Files> Slice for FilesSlice<F> {
    type Input = FilesInput;
    type Op = FileOp;

    async fn next(&mut self) -> FilesInput {
        // Each arm is cancel-safe: a change and a message stay until they are taken.
        tokio::select! {
            changed = self.membership.changed() => match changed {
                Ok(()) => FilesInput::Membership,
                Err(_) => FilesInput::Closed,
            },
            () = self.underlay.changed() => FilesInput::Underlay,
            Some(()) = self.reload.recv() => FilesInput::Reload,
            changed = self.files.changed(&self.paths), if self.is_watched && !self.paths.is_empty() => {
                changed.map_or_else(FilesInput::NotWatched, |()| FilesInput::Changed)
            }
        }
    }

    async fn handle(&mut self, input: FilesInput) -> Effect {
        match input {
            FilesInput::Membership => self.take_membership(),
            FilesInput::Underlay => self.take_underlay(),
            FilesInput::Reload if self.desired.is_empty() => Effect::None,
            FilesInput::Reload => {
                info!("SIGHUP: checking the files again");
                Effect::Resync
            }
            FilesInput::Changed => Effect::Resync,
            FilesInput::NotWatched(reason) => {
                warn!(
                    reason,
                    "changes of the files are found by the audit, once a minute"
                );
                self.is_watched = false;
                Effect::None
            }
            FilesInput::Closed => Effect::Closed,
        }
    }

    async fn plan(&mut self) -> Result<Vec<FileOp>, Problem> {
        let current = self
            .desired
            .iter()
            .filter(|file| self.files.holds(&file.path, &file.text));
        let observed: UpToDateFiles = current.map(|file| file.path.clone()).collect();
        Ok(plan(&self.desired, &observed))
    }

    /// Stops at the first failure: subnet.env must not be there without the options for Docker.
    async fn apply(&mut self, ops: &[FileOp]) -> Vec<OpFailed> {
        for op in ops {
            let FileOp::Write(file) = op;
            match self.files.replace(&file.path, &file.text) {
                Ok(()) => info!(path = %file.path.display(), "wrote the file"),
                Err(reason) => {
                    let command = op.to_string();
                    return vec![OpFailed { command, reason }];
                }
            }
        }
        Vec::new()
    }

    fn command(&self, op: &FileOp) -> String {
        op.to_string()
    }

    /// Each file is logged when it is written.
    fn log_in_sync(&mut self) {}
}

fn warn_of_large_mtu(membership: &Membership, settings: &FilesSettings) {
    let external = &settings.external;
    if let Some(configured) = membership
        .config
        .vxlan
        .mtu
        .filter(|mtu| *mtu > external.mtu)
    {
        warn!(
            interface = external.name,
            mtu = external.mtu,
            configured,
            "Backend.MTU is larger than the MTU of the external interface; using that of the interface"
        );
    }
}

#[cfg(test)]
mod tests;
