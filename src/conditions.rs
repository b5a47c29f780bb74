//! How the daemon is: one table of conditions, and what else `flanneld status` shows. Each task writes its own part;
//! readiness, status, HTTP, the control socket and systemd's status line are views of it. It decides nothing for the
//! tasks and knows none of them.

pub(crate) mod readiness;
pub(crate) mod reason;
pub mod report;
pub(crate) mod status;
pub(crate) mod table;

pub(crate) use reason::{Problem, Reason};
pub(crate) use table::{ConditionStatus, ConditionType, ConditionWriter, Conditions};
