//! What the files should hold. Pure.

use std::path::PathBuf;

use crate::files::settings::FilesSettings;
use crate::files::subnet_env::Env;
use crate::model::membership::Membership;

/// A file and the text that it should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DesiredFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Returns the files in the order in which they have to be written: subnet.env last, so that a program that waits for it
/// finds the options for Docker as well.
pub(crate) fn desired(membership: &Membership, settings: &FilesSettings) -> [DesiredFile; 2] {
    let Membership { own, config } = membership;
    let env = Env {
        network: config.network,
        subnet: own.subnet,
        mtu: config.overlay_mtu(settings.external.mtu),
        ip_masq: settings.ip_masq,
    };
    [
        DesiredFile {
            path: settings.docker_opts_file.clone(),
            text: env.docker_opts(settings.docker_networks),
        },
        DesiredFile {
            path: settings.subnet_file.clone(),
            text: env.subnet_env(),
        },
    ]
}
