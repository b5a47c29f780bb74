//! The state of the underlay on this host: the external interface as it is now, or as it was last.

use crate::model::external_interface::ExternalInterface;

/// What the slices follow. It changes while the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Underlay {
    /// The external interface. While none is usable, the last one: the overlay stays as it is.
    pub(crate) external: ExternalInterface,
    /// Its index. Another one under the same name means that the interface was made again.
    pub(crate) index: u32,
    /// Why it cannot carry packets now, and what is missing, for people.
    pub(crate) problem: Option<String>,
}
