//! Turns the options of the command line into the types of the slices. It is the only place in
//! which both are known; it reads no file and decides nothing that a slice decides. Pure.

use std::path::{Path, PathBuf};

use crate::cli::{FirewallOption, Options, PeersOption, host_of};
use crate::files::settings::FilesSettings;
use crate::files::subnet_env;
use crate::host::settings::HostSettings;
use crate::model::external_interface::ExternalInterface;
use crate::overlay::settings::PeerMode;
use crate::overlay::settings::{ALIAS_PREFIX, OverlaySettings};
use crate::peers::snapshot::{self, Snapshot};
use crate::rules::settings::{RequestedTool, RulesSettings};
use crate::underlay::settings::{EtcdHost, Selectors, UnderlaySettings};

/// Returns which external interface the operator wants.
pub(crate) fn selectors(options: &Options) -> Selectors {
    Selectors {
        ifaces: options.ifaces.clone(),
        patterns: options.iface_patterns.clone(),
        can_reach: options.iface_can_reach,
        public_ip: options.public_ip,
    }
}

/// Returns how to find the external interface. That of the last run is a fallback.
pub(crate) fn underlay(options: &Options, last_run: Option<&Snapshot>) -> UnderlaySettings {
    let endpoints = options.etcd.endpoints.iter();
    let etcd = endpoints.map(|url| EtcdHost {
        url: url.clone(),
        host: host_of(url).to_owned(),
    });
    UnderlaySettings {
        selectors: selectors(options),
        etcd: etcd.collect(),
        last_interface: last_run.map(|snapshot| snapshot.interface.clone()),
    }
}

/// Returns when the entries for peers are made.
pub(crate) fn peer_mode(options: &Options) -> PeerMode {
    match options.peers {
        PeersOption::Eager => PeerMode::Eager,
        PeersOption::OnDemand => PeerMode::OnDemand,
    }
}

/// Returns the tool that the operator wants for the rules.
pub(crate) fn rule_backend(options: &Options) -> RequestedTool {
    match options.firewall {
        FirewallOption::Auto => RequestedTool::Auto,
        FirewallOption::Nftables => RequestedTool::Nftables,
        FirewallOption::Iptables => RequestedTool::Iptables,
    }
}

/// Returns what the packet filter has to be told.
pub(crate) fn rules(options: &Options, external: &ExternalInterface) -> RulesSettings {
    RulesSettings {
        tool: rule_backend(options),
        ip_masq: options.ip_masq,
        random_fully: options.random_fully,
        forward: options.forward_rules,
        resync: options.iptables_resync,
        external: external.clone(),
    }
}

/// Returns which files to write, and what they depend on.
pub(crate) fn files(options: &Options, external: &ExternalInterface) -> FilesSettings {
    FilesSettings {
        subnet_file: options.subnet_file.clone(),
        docker_opts_file: docker_opts_file(options),
        docker_networks: options.docker_networks,
        ip_masq: options.ip_masq,
        external: external.clone(),
    }
}

pub(crate) fn host(options: &Options, external: &ExternalInterface) -> HostSettings {
    let rules = rules(options, external);
    HostSettings {
        external: external.name.clone(),
        local: external.address,
        accepts_forward: rules.forward,
        has_rules: rules.forward || rules.ip_masq,
    }
}

/// Returns the alias that marks the vxlan device as one of the daemon with this prefix.
pub(crate) fn device_alias(prefix: &str) -> String {
    format!("{ALIAS_PREFIX}{prefix}")
}

/// Returns what this host decides for itself about its overlay.
pub(crate) fn overlay(options: &Options, external: &ExternalInterface) -> OverlaySettings {
    OverlaySettings {
        external: external.clone(),
        alias: device_alias(&options.etcd.prefix),
        blackhole: options.blackhole,
        tx_checksum_in_software: options.checksums_in_software,
        peer_mode: peer_mode(options),
        on_demand_idle: options.idle,
    }
}

/// Returns the file with the options for Docker.
pub(crate) fn docker_opts_file(options: &Options) -> PathBuf {
    docker_opts_path(options.docker_opts_file.as_deref(), &options.subnet_file)
}

/// Returns the file with the options for Docker: the one that is named, or one beside subnet.env.
pub(crate) fn docker_opts_path(named: Option<&Path>, subnet_file: &Path) -> PathBuf {
    named.map_or_else(
        || subnet_env::docker_opts_path(subnet_file),
        Path::to_path_buf,
    )
}

/// Returns the socket on which the daemon with this subnet.env answers `flanneld status`.
pub(crate) fn socket_path(subnet_file: &Path) -> PathBuf {
    subnet_env::socket_path(subnet_file)
}

/// Returns the file that holds the last known state of the overlay with this prefix.
pub(crate) fn snapshot_path(state_dir: &Path, prefix: &str) -> PathBuf {
    state_dir.join(snapshot::file_name(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Command};
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn options(args: &[&str]) -> Options {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        match cli::parse(&args, &BTreeMap::new()) {
            Ok(Command::Run(options)) => *options,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn files_are_beside_subnet_env_unless_they_are_named() {
        let usual = options(&[]);
        assert_eq!(
            docker_opts_file(&usual),
            PathBuf::from("/run/flannel/docker_opts.env")
        );
        assert_eq!(
            socket_path(&usual.subnet_file),
            PathBuf::from("/run/flannel/flanneld.sock")
        );
        assert_eq!(
            snapshot_path(&usual.state_dir, &usual.etcd.prefix).parent(),
            Some(Path::new("/var/lib/flannel"))
        );
        let named = options(&["--docker-opts-file=/a/b.env"]);
        assert_eq!(docker_opts_file(&named), PathBuf::from("/a/b.env"));
    }

    #[test]
    fn each_option_reaches_its_slice() {
        let eager = options(&[]);
        assert!(selectors(&eager).name_no_interface());
        assert_eq!(peer_mode(&eager), PeerMode::Eager);
        assert_eq!(rule_backend(&eager), RequestedTool::Auto);
        let chosen = options(&[
            "--iface=eth0",
            "--iface-regex=^eth",
            "--iface-can-reach=10.0.0.1",
            "--peers=on-demand",
            "--firewall=iptables",
        ]);
        let wanted = selectors(&chosen);
        assert_eq!(wanted.ifaces, ["eth0"]);
        assert_eq!(wanted.patterns.len(), 1);
        assert_eq!(wanted.can_reach, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(peer_mode(&chosen), PeerMode::OnDemand);
        assert_eq!(rule_backend(&chosen), RequestedTool::Iptables);
        assert_eq!(
            rule_backend(&options(&["--firewall=nftables"])),
            RequestedTool::Nftables
        );
    }
}
