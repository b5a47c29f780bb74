//! Owns `flanneld cleanup`: removes what an instance has left on this host, and nothing else. Like `daemon` it knows the
//! adapters; etcd is not among them.

use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context as _;
use tokio::task::LocalSet;

use crate::adapters::file_system;
use crate::adapters::netlink;
use crate::adapters::netlink::Netlink;
use crate::adapters::packet_filter::Firewall;
use crate::cli::CleanupOptions;
use crate::files::subnet_env;
use crate::model::addr::Vni;
use crate::overlay::OWNER;
use crate::overlay::plan::Op;
use crate::overlay::port::Kernel as _;
use crate::overlay::state::{Device, Hop};
use ipnetwork::Ipv4Network;

/// What was removed, what was left on purpose, and what could not be removed.
#[derive(Debug, Default)]
struct Done {
    lines: Vec<String>,
    failed: Vec<anyhow::Error>,
}

/// Removes everything of one instance. Goes on after a failure; may be run again. Answers what it did, in words.
///
/// # Errors
/// The daemon runs, or something could not be removed: all of that.
pub async fn run(options: &CleanupOptions) -> anyhow::Result<String> {
    if !options.force && UnixStream::connect(&options.socket).is_ok() {
        anyhow::bail!(
            "a flanneld runs: it answers on \"{}\", and would put everything back; stop it first, or use --force",
            options.socket.display()
        );
    }
    LocalSet::new().run_until(remove(options)).await
}

async fn remove(options: &CleanupOptions) -> anyhow::Result<String> {
    let mut done = Done::default();
    let subnet_env = file_system::read(&options.subnet_file).unwrap_or_default();
    let (mut netlink, driver) = netlink::open()?;
    let driver = tokio::task::spawn_local(driver);
    let devices = netlink
        .vxlans()
        .await
        .context("failed to look for our device")?;
    let instance = options.instance(&devices, &mut done);
    if let Some(vni) = instance {
        remove_device(
            &mut netlink,
            vni,
            &devices,
            subnet_env::network(&subnet_env),
            &mut done,
        )
        .await;
        remove_rules(vni, &mut done).await;
    }
    driver.abort();
    for path in options.files(instance.is_some()) {
        done.note(
            &format!("\"{}\"", path.display()),
            file_system::remove(path),
        );
    }
    if let Some(subnet) = subnet_env::previous_subnet(&subnet_env) {
        done.lines.push(format!(
            "left to expire in etcd: the lease; to end it now: etcdctl del {}/subnets/{}",
            options.prefix,
            subnet.to_string().replace('/', "-")
        ));
    }
    done.into_words()
}

impl CleanupOptions {
    /// The alias of our device.
    fn owner(&self) -> String {
        format!("{OWNER}{}", self.prefix)
    }

    /// Which instance is meant: the one whose device carries our prefix, else the one that is named, or the usual one.
    /// None if its device is somebody else's: then its rules are as well.
    fn instance(&self, devices: &[Device], done: &mut Done) -> Option<Vni> {
        let owner = self.owner();
        let ours = devices
            .iter()
            .find(|device| device.alias == owner && self.vni.is_none_or(|vni| device.vni == vni));
        if let Some(device) = ours {
            return Some(device.vni);
        }
        let vni = self.vni.unwrap_or(Vni::DEFAULT);
        let Some(foreign) = devices.iter().find(|device| device.name == vni.device()) else {
            return Some(vni);
        };
        done.lines.push(format!(
            "left alone: device {}, the rules of its VNI and {:?}, which are not of {owner:?} (its alias is {:?})",
            foreign.name, self.subnet_file, foreign.alias
        ));
        None
    }

    /// What is written for others is, beside the device of another flanneld, that one's.
    fn files(&self, ours: bool) -> Vec<&Path> {
        let for_others = [self.subnet_file.as_path(), &self.docker_opts_file];
        let own = self
            .snapshot
            .as_deref()
            .into_iter()
            .chain([self.socket.as_path()]);
        for_others.into_iter().filter(|_| ours).chain(own).collect()
    }
}

/// Blackhole routes first: they are not on the device, and do not go with it.
async fn remove_device(
    netlink: &mut Netlink,
    vni: Vni,
    devices: &[Device],
    network: Option<Ipv4Network>,
    done: &mut Done,
) {
    let name = vni.device();
    if !devices.iter().any(|device| device.name == name) {
        return;
    }
    let mut ops = Vec::new();
    if let Some(network) = network {
        let observed = match netlink.observe(&name, network).await {
            Ok(observed) => observed,
            Err(error) => return done.failed.push(error.into()),
        };
        let routes = observed.entries.routes.into_iter();
        let holes = routes.filter(|(_, hop)| *hop == Hop::Blackhole);
        ops.extend(holes.map(|(key, hop)| Op::DelRoute(key, hop)));
    }
    ops.push(Op::DeleteDevice);
    let failures = netlink.apply(&name, &ops);
    if failures.is_empty() {
        done.lines
            .push(format!("removed device {name} with all its entries"));
    }
    done.failed
        .extend(failures.into_iter().map(anyhow::Error::from));
}

async fn remove_rules(vni: Vni, done: &mut Done) {
    let (removed, failed) = Firewall::default().remove(vni).await;
    done.lines
        .extend(removed.into_iter().map(|what| format!("removed {what}")));
    done.failed
        .extend(failed.into_iter().map(anyhow::Error::from));
}

impl Done {
    fn note(&mut self, what: &str, removed: Result<bool, file_system::FileError>) {
        match removed {
            Ok(true) => self.lines.push(format!("removed {what}")),
            Ok(false) => {}
            Err(error) => self.failed.push(error.into()),
        }
    }

    fn into_words(self) -> anyhow::Result<String> {
        let mut text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        if self.failed.is_empty() {
            return Ok(if text.is_empty() {
                "nothing of ours is here\n".to_owned()
            } else {
                text
            });
        }
        self.failed
            .iter()
            .for_each(|error| text.push_str(&format!("failed: {error:#}\n")));
        anyhow::bail!(
            "not everything could be removed; it may be tried again\n{}",
            text.trim_end()
        )
    }
}
