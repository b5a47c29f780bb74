//! What the peers need from the options and from the process.

use std::time::{Duration, SystemTime};

use crate::peers::snapshot::SnapshotOwner;

#[derive(Debug, Clone)]
pub(crate) struct PeerSettings {
    /// Whose snapshot is saved; its interface is that at the start.
    pub(crate) owner: SnapshotOwner,
    /// How long the removal of peers is held that vanish together with most others. Zero: not at all.
    pub(crate) removal_grace: Duration,
    /// The time of day.
    pub(crate) wall_time: fn() -> SystemTime,
    /// Yields numbers in 0..1.
    pub(crate) random: fn() -> f64,
}
