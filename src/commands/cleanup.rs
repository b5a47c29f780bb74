//! Removes what a stopped daemon has left on this host: `flanneld cleanup`. `scope` decides what
//! belongs to that daemon; this file removes it and reports what it did. It does not contact etcd.

mod scope;

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context as _;
use ipnetwork::Ipv4Network;
use tokio::task::LocalSet;

use crate::adapters::netlink::Netlink;
use crate::adapters::packet_filter::PacketFilter;
use crate::adapters::{file_system, netlink};
use crate::cli::CleanupOptions;
use crate::commands;
use crate::commands::cleanup::scope::Instance;
use crate::daemon::settings::socket_path;
use crate::files::subnet_env;
use crate::model::addr::Vni;
use crate::model::lease::key::key_name;
use crate::overlay::port::Kernel as _;
use crate::overlay::state::Device;

/// What a cleanup removed, what it left on purpose, and what it could not remove.
#[derive(Debug, Default)]
struct CleanupReport {
    lines: Vec<String>,
    failures: Vec<anyhow::Error>,
}

/// Removes everything of one instance, and goes on after a failure. It can run again at any time.
/// Returns what it did, in words.
///
/// # Errors
/// The daemon runs, or something could not be removed: the error lists all failures.
pub fn run(options: &CleanupOptions) -> anyhow::Result<String> {
    let socket = socket_path(&options.subnet_file);
    if !options.force && !options.dry_run && UnixStream::connect(&socket).is_ok() {
        anyhow::bail!(
            "flanneld is running: it answers on \"{}\" and would restore everything; stop it first, or use --force",
            socket.display()
        );
    }
    let runtime = commands::runtime().context("failed to start the runtime")?;
    runtime.block_on(LocalSet::new().run_until(remove(options)))
}

async fn remove(options: &CleanupOptions) -> anyhow::Result<String> {
    let mut report = CleanupReport::default();
    let subnet_env = file_system::read(&options.subnet_file).unwrap_or_default();
    let (mut netlink, driver) = netlink::open()?;
    let driver = tokio::task::spawn_local(driver);
    let devices = netlink
        .vxlans()
        .await
        .context("failed to list the vxlan devices")?;
    let instance = scope::instance(options, &devices);
    if options.dry_run {
        driver.abort();
        return preview(options, &instance, &devices).await;
    }
    match &instance {
        Instance::Ours(vni) => {
            let network = subnet_env::network(&subnet_env);
            remove_device(&mut netlink, *vni, &devices, network, &mut report).await;
            remove_rules(*vni, &mut report).await;
        }
        Instance::Foreign(device) => report.lines.push(scope::left_alone(options, device)),
    }
    driver.abort();
    for path in scope::files(options, &instance) {
        remove_file(&path, &mut report);
    }
    if let (Instance::Ours(_), Some(subnet)) = (&instance, subnet_env::previous_subnet(&subnet_env))
    {
        report.lines.push(format!(
            "left in etcd: the lease, which expires within a day; to release it now: etcdctl del {}/subnets/{}",
            options.prefix.trim_end_matches('/'),
            key_name(subnet)
        ));
    }
    report.into_text()
}

/// Says what a cleanup would remove.
async fn preview(
    options: &CleanupOptions,
    instance: &Instance<'_>,
    devices: &[Device],
) -> anyhow::Result<String> {
    let mut report = CleanupReport::default();
    match instance {
        Instance::Ours(vni) => {
            let name = vni.device();
            if devices.iter().any(|device| device.name == name) {
                report.would_remove(&format!("device {name} with all its entries"));
            }
            let rules = PacketFilter::default().removable(*vni).await?;
            rules.iter().for_each(|what| report.would_remove(what));
        }
        Instance::Foreign(device) => report.lines.push(scope::left_alone(options, device)),
    }
    let files = scope::files(options, instance);
    for path in files.iter().filter(|path| path.exists()) {
        report.would_remove(&format!("\"{}\"", path.display()));
    }
    report.into_text()
}

async fn remove_device(
    netlink: &mut Netlink,
    vni: Vni,
    devices: &[Device],
    network: Option<Ipv4Network>,
    report: &mut CleanupReport,
) {
    let name = vni.device();
    if !devices.iter().any(|device| device.name == name) {
        return;
    }
    // Without the network no route can be told from those of others, and only the device goes.
    let routes = match network {
        Some(network) => match netlink.observe(&name, network).await {
            Ok(observed) => observed.overlay.entries.routes,
            Err(error) => return report.failures.push(error.into()),
        },
        None => BTreeMap::new(),
    };
    let ops = scope::device_ops(&routes, network);
    let failures = netlink.apply(&name, &ops);
    if failures.is_empty() {
        let line = format!("removed device {name} with all its entries");
        report.lines.push(line);
    }
    report
        .failures
        .extend(failures.into_iter().map(anyhow::Error::from));
}

async fn remove_rules(vni: Vni, report: &mut CleanupReport) {
    let (removed, failed) = PacketFilter::default().remove(vni).await;
    report
        .lines
        .extend(removed.into_iter().map(|what| format!("removed {what}")));
    report
        .failures
        .extend(failed.into_iter().map(anyhow::Error::from));
}

fn remove_file(path: &Path, report: &mut CleanupReport) {
    match file_system::remove(path) {
        Ok(true) => report.lines.push(format!("removed \"{}\"", path.display())),
        Ok(false) => {}
        Err(error) => report.failures.push(error.into()),
    }
}

impl CleanupReport {
    fn would_remove(&mut self, what: &str) {
        self.lines.push(format!("would remove {what}"));
    }

    fn into_text(self) -> anyhow::Result<String> {
        let mut text: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        if !self.failures.is_empty() {
            for error in &self.failures {
                text.push_str(&format!("failed: {error:#}\n"));
            }
            anyhow::bail!(
                "could not remove everything; you can run cleanup again\n{}",
                text.trim_end()
            );
        }
        if text.is_empty() {
            text.push_str("found nothing to remove\n");
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_what_it_did_or_that_there_was_nothing_to_do() {
        let nothing = CleanupReport::default().into_text();
        assert_eq!(nothing.expect("no failure"), "found nothing to remove\n");
        let done = CleanupReport {
            lines: vec!["removed a".to_owned(), "removed b".to_owned()],
            failures: Vec::new(),
        };
        assert_eq!(
            done.into_text().expect("no failure"),
            "removed a\nremoved b\n"
        );
    }

    #[test]
    fn a_failure_is_an_error_that_lists_everything() {
        let failed = CleanupReport {
            lines: vec!["removed a".to_owned()],
            failures: vec![anyhow::anyhow!("b is busy"), anyhow::anyhow!("c is busy")],
        };
        let error = failed.into_text().expect_err("two failures").to_string();
        assert!(
            error.ends_with("removed a\nfailed: b is busy\nfailed: c is busy"),
            "{error}"
        );
    }
}
