//! Slice: the external interface, which carries the VXLAN packets.
//!
//! `settings` is what the operator asks for, `choice` which interface fits and is pure, `port` is what the slice needs
//! of the kernel and of name resolution, and `finder` waits until an interface fits. It changes nothing.

pub mod choice;
#[cfg(test)]
mod fake;
pub(crate) mod finder;
pub(crate) mod port;
pub mod settings;
