//! How the daemon is, as one model.

pub mod channels;
pub mod readiness;
pub mod report;
