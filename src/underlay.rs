//! Slice: the external interface, which carries the VXLAN packets.

pub mod choice;
pub mod reconciler;
