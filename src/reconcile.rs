//! The loop that every slice of state runs in: desired and observed state in, a plan of operations out, applied and read
//! back. [`schedule`] decides when a slice runs, [`driver`] runs it.

pub(crate) mod backoff;
pub(crate) mod debounce;
pub(crate) mod driver;
pub(crate) mod followed;
pub(crate) mod limiter;
pub(crate) mod log_once;
pub(crate) mod schedule;
pub(crate) mod slice;
