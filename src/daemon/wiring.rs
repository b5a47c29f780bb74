//! Converts the options, and what an earlier run left, into what each slice needs. It starts nothing.

use std::path::Path;

use anyhow::Context as _;

use crate::adapters::file_system::{self, SnapshotFile};
use crate::cli::Options;
use crate::conditions::report::Report;
use crate::daemon::{clock, settings};
use crate::files::subnet_env;
use crate::lease::claim::Identity;
use crate::lease::manager::LeaseSettings;
use crate::model::external_interface::ExternalInterface;
use crate::model::host_network::HostNetwork;
use crate::model::node_id::NodeId;
use crate::model::previous_lease::PreviousLease;
use crate::peers::settings::PeerSettings;
use crate::peers::snapshot::{Snapshot, SnapshotOwner};

/// Where systemd keeps the id of the machine (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// Returns the node id of this host: the one that the operator gives, or one that is derived from the machine id.
pub(super) fn node_id(options: &Options) -> anyhow::Result<NodeId> {
    if let Some(name) = &options.node_id {
        return Ok(NodeId::named(name));
    }
    let text = read_machine_id().with_context(|| {
        format!("failed to read \"{MACHINE_ID}\"; name this host with --node-id")
    })?;
    Ok(NodeId::of_machine(&text)?)
}

fn read_machine_id() -> anyhow::Result<String> {
    let text = file_system::try_read(Path::new(MACHINE_ID))?;
    text.context("it does not exist")
}

pub(super) fn snapshot_file(options: &Options) -> SnapshotFile {
    SnapshotFile::new(settings::snapshot_path(
        &options.state_dir,
        &options.etcd.prefix,
    ))
}

/// Returns the parts of `flanneld status` that never change.
pub(super) fn constant_report(options: &Options, node: &NodeId) -> Report {
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node_id: node.to_string(),
        etcd: options.etcd.endpoints.clone(),
        prefix: options.etcd.prefix.clone(),
        ..Report::default()
    }
}

pub(super) fn identity(
    options: &Options,
    node: &NodeId,
    external: &ExternalInterface,
    last_run: Option<&Snapshot>,
) -> Identity {
    let subnet_env = file_system::read(&options.subnet_file);
    Identity {
        node: node.clone(),
        prefix: options.etcd.prefix.clone(),
        public_ip: options.public_ip.unwrap_or(external.address),
        earlier_public_ips: Vec::new(),
        previous: previous_lease(subnet_env.as_deref(), external, last_run),
        host: HostNetwork::default(),
    }
}

/// Returns what is known of the lease of the last run. For the subnet, subnet.env comes first: Go flannel leaves nothing
/// else.
fn previous_lease(
    subnet_env: Option<&str>,
    external: &ExternalInterface,
    last_run: Option<&Snapshot>,
) -> PreviousLease {
    let own = last_run.map(|snapshot| &snapshot.membership.own);
    // A copied disk must not claim the lease of the machine that it was copied from.
    let same_machine = last_run.filter(|snapshot| snapshot.is_of_machine(external.mac));
    PreviousLease {
        subnet: subnet_env
            .and_then(subnet_env::previous_subnet)
            .or(own.map(|own| own.subnet)),
        vtep_mac: own.map(|own| own.vtep_mac),
        public_ip: same_machine.map(|snapshot| snapshot.membership.own.public_ip),
    }
}

pub(super) fn lease_settings(options: &Options) -> LeaseSettings {
    LeaseSettings {
        renew_margin: options.renew_margin,
        random: clock::random,
        boot_time: clock::boot_time,
    }
}

pub(super) fn peer_settings(
    options: &Options,
    node: &NodeId,
    external: &ExternalInterface,
) -> PeerSettings {
    let owner = SnapshotOwner {
        prefix: options.etcd.prefix.clone(),
        node: node.clone(),
        interface: external.name.clone(),
        hardware: external.mac,
    };
    PeerSettings {
        owner,
        removal_grace: options.removal_grace,
        wall_time: clock::wall_time,
        random: clock::random,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::model::addr::MacAddr;
    use crate::peers::table::tests::membership;

    const SUBNET_ENV: &str = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.7.1/24\n";
    const HARDWARE: MacAddr = MacAddr([2, 9, 9, 9, 9, 9]);

    fn external(mac: MacAddr) -> ExternalInterface {
        ExternalInterface {
            name: "eth0".to_owned(),
            mac: Some(mac),
            address: Ipv4Addr::new(10, 99, 0, 201),
            mtu: 1500,
        }
    }

    fn snapshot() -> Snapshot {
        let owner = SnapshotOwner {
            prefix: "/test".to_owned(),
            node: NodeId::named("a"),
            interface: "eth0".to_owned(),
            hardware: Some(HARDWARE),
        };
        Snapshot::new(&owner, membership(), Vec::new(), None)
    }

    fn check(
        subnet_env: Option<&str>,
        last_run: Option<&Snapshot>,
        mac: MacAddr,
        expected: [Option<&str>; 2],
    ) {
        let previous = previous_lease(subnet_env, &external(mac), last_run);
        let subnet = previous.subnet.map(|subnet| subnet.to_string());
        let public_ip = previous.public_ip.map(|ip| ip.to_string());
        assert_eq!([subnet.as_deref(), public_ip.as_deref()], expected);
    }

    #[test]
    fn an_earlier_address_is_claimed_only_on_the_same_machine() {
        let snapshot = Some(&snapshot());
        let own = Some("10.5.200.0/24");
        check(None, snapshot, HARDWARE, [own, Some("10.99.0.200")]);
        check(None, snapshot, MacAddr([2; 6]), [own, None]);
        check(None, None, HARDWARE, [None, None]);
    }

    #[test]
    fn the_subnet_of_subnet_env_comes_first() {
        let (env, subnet) = (Some(SUBNET_ENV), Some("10.5.7.0/24"));
        check(env, None, HARDWARE, [subnet, None]);
        check(
            env,
            Some(&snapshot()),
            HARDWARE,
            [subnet, Some("10.99.0.200")],
        );
    }
}
