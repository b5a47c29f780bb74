//! The loop that every slice runs in.

pub mod backoff;
pub mod limiter;
