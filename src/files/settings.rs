//! What the slice needs from the options.

use std::path::PathBuf;

use crate::model::docker_networks::DockerNetworks;
use crate::model::external_interface::ExternalInterface;

#[derive(Debug, Clone)]
pub(crate) struct FilesSettings {
    /// Path of subnet.env.
    pub(crate) subnet_file: PathBuf,
    /// Path of the options for Docker.
    pub(crate) docker_opts_file: PathBuf,
    /// How Docker's networks share the subnet.
    pub(crate) docker_networks: DockerNetworks,
    /// Whether flanneld masquerades, so that Docker must not.
    pub(crate) ip_masq: bool,
    /// Its MTU limits that of the overlay. As it is now; the slice follows it.
    pub(crate) external: ExternalInterface,
}
