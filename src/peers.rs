//! The one table of peers, with its mass-removal guard, and its snapshot on disk.

pub mod snapshot;
pub mod snapshot_file;
pub mod table;
pub mod task;
pub mod update;
