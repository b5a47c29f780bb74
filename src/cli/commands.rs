//! Owns the spelling of the commands beside the daemon itself. Pure.

use std::path::PathBuf;

use clap::Parser;

use super::{SUBNET_FILE, StatusOptions};
use crate::envfile::socket_path;

/// Says how the daemon on this host is: its lease, its peers, what is missing, and which leases it does not use.
#[derive(Debug, Parser)]
#[command(name = "flanneld status", version, max_term_width = 100)]
pub(super) struct StatusFlags {
    /// subnet.env of the daemon that is asked, where several run on one host
    #[arg(long, value_name = "FILE", default_value = SUBNET_FILE)]
    subnet_file: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

impl From<StatusFlags> for StatusOptions {
    fn from(flags: StatusFlags) -> Self {
        Self { socket: socket_path(&flags.subnet_file), json: flags.json }
    }
}
