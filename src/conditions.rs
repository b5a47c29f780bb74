//! How the daemon is: one table of conditions. Each task sets its own conditions; readiness, status, HTTP, the control
//! socket and systemd's status line are views of the table. It decides nothing for the tasks.

pub(crate) mod channels;
pub(crate) mod readiness;
pub mod report;
pub(crate) mod table;

pub(crate) use table::{ConditionStatus, ConditionType, ConditionWriter, Conditions};
