//! Slice: whether this host is fit to carry the overlay.

pub mod checks;
pub mod run;
