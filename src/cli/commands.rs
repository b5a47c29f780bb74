//! Declares the options of the subcommands and the words of their `--help`. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser};

use crate::cli::flags::Flags;
use crate::cli::values::{bridge_name, docker_networks, key_prefix, variable_name, vni};
use crate::cli::{CleanupOptions, DockerOptions, STATE_DIR, SUBNET_FILE, StatusOptions};
use crate::model::addr::Vni;
use crate::model::docker_networks::DockerNetworks;

/// Shows the state of the daemon on this host: its lease, its peers, what is missing, and which
/// leases it ignores.
#[derive(Debug, Parser)]
#[command(name = "flanneld status", version, max_term_width = 100)]
pub(super) struct StatusFlags {
    /// The daemon's --subnet-file. It selects one daemon if several run on this host
    #[arg(long, value_name = "FILE", default_value = SUBNET_FILE)]
    subnet_file: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl From<StatusFlags> for StatusOptions {
    fn from(flags: StatusFlags) -> Self {
        Self {
            subnet_file: flags.subnet_file,
            json: flags.json,
        }
    }
}

const CLEANUP_GUIDE: &str = "\
Stop the daemon first, then run cleanup with the daemon's own options. It removes:
  - the vxlan device with its routes, neighbours and FDB entries
  - the daemon's rules in nftables and iptables
  - subnet.env, the options for Docker, the socket and the last known state
It removes nothing that belongs to another flanneld, which it recognizes by the alias of the device. You can run \
cleanup again at any time.

cleanup does not contact etcd. The lease expires within a day, and until then this host gets the same subnet again. \
To release the subnet at once, delete its key:
  etcdctl del /coreos.com/network/subnets/10.5.3.0-24";

/// Removes what a stopped daemon has left on this host.
#[derive(Debug, Parser)]
#[command(name = "flanneld cleanup", version, max_term_width = 100, after_help = CLEANUP_GUIDE)]
pub(super) struct CleanupFlags {
    /// Prefix of all keys of this overlay in etcd
    #[arg(long, value_name = "KEY", default_value = "/coreos.com/network", value_parser = key_prefix)]
    etcd_prefix: String,
    /// VNI of the overlay. You need it if the device is gone and the VNI is not 1
    #[arg(long, value_name = "NUMBER", value_parser = vni)]
    vni: Option<Vni>,
    /// The daemon's --subnet-file
    #[arg(long, value_name = "FILE", default_value = SUBNET_FILE)]
    subnet_file: PathBuf,
    /// The daemon's --docker-opts-file. By default it is beside the --subnet-file
    #[arg(long, value_name = "FILE")]
    docker_opts_file: Option<PathBuf>,
    /// The daemon's --state-dir
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR)]
    state_dir: PathBuf,
    /// Keep the last known state, so that the next daemon asks for the same subnet
    #[arg(long)]
    keep_state: bool,
    /// Run even while the daemon is running, which then restores what was removed
    #[arg(long)]
    force: bool,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

impl From<CleanupFlags> for CleanupOptions {
    fn from(flags: CleanupFlags) -> Self {
        Self {
            prefix: flags.etcd_prefix,
            vni: flags.vni,
            subnet_file: flags.subnet_file,
            docker_opts_file: flags.docker_opts_file,
            state_dir: flags.state_dir,
            keep_state: flags.keep_state,
            force: flags.force,
            dry_run: flags.dry_run,
        }
    }
}

/// Writes options for Docker from subnet.env, like flannel's mk-docker-opts.sh, or as keys of
/// daemon.json. Without -i and -c it writes a variable for each option, and one variable with all
/// of them.
#[derive(Debug, Parser)]
#[command(name = "flanneld docker-opts", version, max_term_width = 100)]
#[command(args_override_self = true)]
pub(super) struct DockerFlags {
    /// The subnet.env to read
    #[arg(short = 'f', long, value_name = "FILE", default_value = SUBNET_FILE)]
    subnet_file: PathBuf,
    /// File to write, or - for standard output [default: /run/docker_opts.env, with --json standard
    /// output]
    #[arg(short = 'd', long, value_name = "FILE")]
    docker_env_file: Option<PathBuf>,
    /// Write a variable for each option, such as DOCKER_OPT_MTU="--mtu=1450"
    #[arg(short, long)]
    individual: bool,
    /// Write one variable with all options
    #[arg(short, long)]
    combined: bool,
    /// Name of the variable with all options. If it is set in the environment, its options come
    /// first
    #[arg(short = 'k', long, value_name = "NAME", default_value = "DOCKER_OPTS", value_parser = variable_name)]
    combined_key: String,
    /// Do not write Docker's --ip-masq option
    #[arg(short = 'm', long)]
    no_ip_masq: bool,
    /// Write keys of daemon.json instead of variables
    #[arg(long, conflicts_with_all = ["individual", "combined"])]
    json: bool,
    /// How Docker's networks share the subnet: the daemon's --docker-networks
    #[arg(long, value_name = "docker0|NUMBER|own", default_value = "docker0", value_parser = docker_networks)]
    docker_networks: DockerNetworks,
    /// Print the command that creates a network with the whole subnet, for a Docker without
    /// docker0 (--docker-networks=own). It writes no options
    #[arg(long, value_name = "NAME", value_parser = bridge_name,
          conflicts_with_all = ["individual", "combined", "json", "docker_env_file"])]
    network_create: Option<String>,
}

impl DockerFlags {
    /// Adds what the combined variable holds in the environment, as flannel's script does.
    pub(super) fn into_options(self, env: &BTreeMap<String, String>) -> DockerOptions {
        DockerOptions {
            earlier: env.get(&self.combined_key).cloned().unwrap_or_default(),
            subnet_file: self.subnet_file,
            docker_env_file: self.docker_env_file,
            individual: self.individual,
            combined: self.combined,
            combined_key: self.combined_key,
            ip_masq: !self.no_ip_masq,
            json: self.json,
            docker_networks: self.docker_networks,
            network_create: self.network_create,
        }
    }
}

/// Returns the whole command line with its subcommands, from which manual pages and shell
/// completions are made.
pub fn command() -> clap::Command {
    let commands = [
        ("status", StatusFlags::command()),
        ("cleanup", CleanupFlags::command()),
        ("docker-opts", DockerFlags::command()),
    ];
    commands
        .into_iter()
        .fold(Flags::command(), |all, (name, command)| {
            all.subcommand(command.name(name))
        })
}
