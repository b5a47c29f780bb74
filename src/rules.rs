//! Slice: the rules in the packet filter.

pub mod change;
pub mod choice;
pub mod desired;
pub mod reconciler;
