//! Decides what a cleanup may remove: everything of one instance of flanneld, and nothing of
//! another. Pure: devices and routes are parameters.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnetwork::Ipv4Network;

use crate::cli::CleanupOptions;
use crate::daemon::settings::{device_alias, docker_opts_path, snapshot_path, socket_path};
use crate::model::addr::{Vni, covers};
use crate::overlay::plan::Op;
use crate::overlay::settings::{ALIAS_PREFIX, is_same_alias};
use crate::overlay::state::{Device, NextHop, RouteKey};

/// The instance that the options of a cleanup select.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Instance<'a> {
    /// The one with our prefix. Its device, if there is one, and its rules have this VNI.
    Ours(Vni),
    /// Another instance: the device with the selected VNI does not carry our alias.
    Foreign(&'a Device),
}

/// Finds the instance: its device carries our prefix in its alias. If there is no such device, the
/// VNI decides, and a device with that VNI belongs to another instance.
pub(super) fn instance<'a>(options: &CleanupOptions, devices: &'a [Device]) -> Instance<'a> {
    let alias = device_alias(&options.prefix);
    let ours = devices
        .iter()
        .filter(|device| is_same_alias(&device.alias, &alias))
        .find(|device| options.vni.is_none_or(|vni| device.vni == vni));
    if let Some(device) = ours {
        return Instance::Ours(device.vni);
    }
    let vni = options.vni.unwrap_or(Vni::DEFAULT);
    let name = vni.device();
    let has_name = |device: &&Device| device.name == name;
    // Nothing says that the files are ours: those of the only instance that is here may be meant.
    let is_others =
        |device: &&Device| options.vni.is_none() && device.alias.starts_with(ALIAS_PREFIX);
    let foreign = devices.iter().find(has_name);
    match foreign.or_else(|| devices.iter().find(is_others)) {
        Some(foreign) => Instance::Foreign(foreign),
        None => Instance::Ours(vni),
    }
}

/// Returns the files to remove. If the device belongs to another instance, subnet.env and the
/// options for Docker may too, so they stay.
pub(super) fn files(options: &CleanupOptions, instance: &Instance<'_>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    match instance {
        Instance::Ours(_) => {
            files.push(options.subnet_file.clone());
            files.push(docker_opts_path(
                options.docker_opts_file.as_deref(),
                &options.subnet_file,
            ));
        }
        Instance::Foreign(_) => {}
    }
    if !options.keep_state {
        files.push(snapshot_path(&options.state_dir, &options.prefix));
    }
    files.push(socket_path(&options.subnet_file));
    files
}

/// Returns the operations that remove the device and what does not vanish with it: the blackhole
/// routes inside `network`, which are on no device.
pub(super) fn device_ops(
    routes: &BTreeMap<RouteKey, NextHop>,
    network: Option<Ipv4Network>,
) -> Vec<Op> {
    let mut ops: Vec<Op> = routes
        .iter()
        .filter(|(_, hop)| **hop == NextHop::Blackhole)
        .filter(|(key, _)| network.is_some_and(|network| covers(network, key.destination)))
        .map(|(key, hop)| Op::DelRoute(*key, *hop))
        .collect();
    ops.push(Op::DeleteDevice);
    ops
}

/// Says why a device is not removed.
pub(super) fn left_alone(options: &CleanupOptions, device: &Device) -> String {
    format!(
        "left alone: device {}, the rules of its VNI and {:?}, because the alias of the device is {:?}, not {:?}; to remove \
         that instance, give its --etcd-prefix; to remove the rest of one whose device is gone, give its --vni",
        device.name,
        options.subnet_file,
        device.alias,
        device_alias(&options.prefix)
    )
}

#[cfg(test)]
mod tests;
