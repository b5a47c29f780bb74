//! Reads the command line and the environment: which options exist, what `--help` says about them,
//! and which values are refused. It decides nothing that a slice decides, so options are plain
//! values here; `daemon::settings` and `commands` turn them into the slices' types. Pure: arguments
//! and environment are parameters of [`parse`].

mod arguments;
mod checks;
mod commands;
mod flags;
mod leftovers;
mod values;
mod words;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use regex::Regex;

use crate::model::addr::Vni;
use crate::model::docker_networks::DockerNetworks;
use crate::model::secret::Secret;

pub(crate) use crate::cli::checks::host_of;
pub use crate::cli::commands::command;

/// Exit status for a command line that cannot be used (`EX_USAGE` of sysexits.h).
pub const EX_USAGE: u8 = 64;

/// Where subnet.env is unless an option says otherwise.
const SUBNET_FILE: &str = "/run/flannel/subnet.env";
/// Where the last known state is saved unless an option says otherwise.
const STATE_DIR: &str = "/var/lib/flannel";

/// What the program is asked to do.
#[derive(Debug, Clone)]
pub enum Command {
    /// Run the daemon: the command line names no subcommand.
    Run(Box<Options>),
    /// `flanneld cleanup`: remove what a daemon has left on this host.
    Cleanup(CleanupOptions),
    /// `flanneld status`: show the state of the daemon on this host.
    Status(StatusOptions),
    /// `flanneld docker-opts`: write the options for Docker from subnet.env.
    DockerOpts(DockerOptions),
}

/// Why the program ends without doing anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseExit {
    /// The command line asks for the help or the version, which is this text. That is a success.
    Text(String),
    /// The command line or the environment cannot be used, for this reason.
    Usage(String),
}

/// The options of the daemon, each checked by itself.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) etcd: EtcdOptions,
    /// Names or addresses of interfaces; the first that exists wins.
    pub(crate) ifaces: Vec<String>,
    /// Patterns for names or addresses of interfaces, tried after `ifaces`.
    pub(crate) iface_patterns: Vec<Regex>,
    /// Selects the interface through which this address is reached, tried last.
    pub(crate) iface_can_reach: Option<Ipv4Addr>,
    /// The address at which other hosts reach this one, if it is not the interface's.
    pub(crate) public_ip: Option<Ipv4Addr>,
    pub(crate) peers: PeersOption,
    /// How long an entry made on demand may be unused.
    pub(crate) idle: Duration,
    pub(crate) ip_masq: bool,
    /// Whether masqueraded packets get random source ports.
    pub(crate) random_fully: bool,
    /// Whether forwarded packets from and to the overlay are accepted.
    pub(crate) forward_rules: bool,
    pub(crate) firewall: FirewallOption,
    /// The time between two checks of rules whose changes the kernel does not report.
    pub(crate) iptables_resync: Duration,
    /// Whether packets to unused addresses of our subnet are dropped.
    pub(crate) blackhole: bool,
    /// Whether the kernel, not the network card, computes the checksums of inner packets.
    pub(crate) checksums_in_software: bool,
    pub(crate) subnet_file: PathBuf,
    /// `None` means beside subnet.env.
    pub(crate) docker_opts_file: Option<PathBuf>,
    /// How Docker's networks share the subnet.
    pub(crate) docker_networks: DockerNetworks,
    /// The latest time before expiry at which the lease is renewed.
    pub(crate) renew_margin: Duration,
    /// The name of this host; `None` derives it from the machine id.
    pub(crate) node_id: Option<String>,
    pub(crate) state_dir: PathBuf,
    /// How long peers stay that vanish from etcd together with most others.
    pub(crate) removal_grace: Duration,
    /// Where to serve /healthz and /readyz.
    pub(crate) healthz: Option<SocketAddr>,
    /// How much to log: 0 for state changes, up to 10 for every message.
    pub(crate) verbosity: u8,
    /// One sentence for each variable in the environment that looks like one of ours and sets no option.
    pub(crate) unknown_variables: Vec<String>,
}

/// Values of `--peers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeersOption {
    /// Create all entries for a host as soon as its lease is known
    Eager,
    /// Create the entry for a pod address when a packet needs it; for overlays whose hosts talk to
    /// few others
    OnDemand,
}

/// Values of `--tx-checksum-offload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OffloadOption {
    /// Leave the setting of the vxlan device as it is
    Keep,
    /// Let the kernel compute the checksums. Use this with network cards that corrupt checksums
    /// inside VXLAN packets (ping works, TCP does not). It costs most of the throughput
    Off,
}

/// Values of `--firewall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FirewallOption {
    /// Obey EnableNFTables in the network config. Without it, use nftables where it works, and
    /// iptables elsewhere
    Auto,
    /// Use a table of our own in nftables
    Nftables,
    /// Use chains in iptables
    Iptables,
}

/// How to reach etcd. The files are not read yet.
#[derive(Debug, Clone)]
pub(crate) struct EtcdOptions {
    /// URLs, each with a scheme and a port.
    pub(crate) endpoints: Vec<String>,
    /// The prefix of all keys.
    pub(crate) prefix: String,
    pub(crate) keyfile: Option<PathBuf>,
    pub(crate) certfile: Option<PathBuf>,
    pub(crate) cafile: Option<PathBuf>,
    pub(crate) login: Option<EtcdLogin>,
}

/// The user that logs in to etcd.
#[derive(Debug, Clone)]
pub(crate) struct EtcdLogin {
    pub(crate) user: String,
    pub(crate) password: Password,
}

/// A password, or where it is.
#[derive(Debug, Clone)]
pub(crate) enum Password {
    Given(Secret),
    /// The file contains it.
    File(PathBuf),
}

/// The options of `flanneld status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusOptions {
    pub(crate) subnet_file: PathBuf,
    /// Whether to print JSON instead of text.
    pub(crate) json: bool,
}

/// The options of `flanneld cleanup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupOptions {
    /// The prefix of the keys in etcd, which tells the instances on a host apart.
    pub(crate) prefix: String,
    /// The VNI of an instance whose device is gone.
    pub(crate) vni: Option<Vni>,
    pub(crate) subnet_file: PathBuf,
    /// `None` means beside subnet.env.
    pub(crate) docker_opts_file: Option<PathBuf>,
    pub(crate) state_dir: PathBuf,
    /// Whether the last known state stays.
    pub(crate) keep_state: bool,
    /// Whether to go on although a daemon runs.
    pub(crate) force: bool,
    /// Whether to say what would be removed, and remove nothing.
    pub(crate) dry_run: bool,
}

/// The options of `flanneld docker-opts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerOptions {
    pub(crate) subnet_file: PathBuf,
    /// The file to write, `-` for standard output. `None` means the file of flannel's script, or
    /// standard output for JSON.
    pub(crate) docker_env_file: Option<PathBuf>,
    /// Whether to write a variable for each option.
    pub(crate) individual: bool,
    /// Whether to write one variable with all options. With neither, both kinds are written.
    pub(crate) combined: bool,
    /// The name of the variable with all options.
    pub(crate) combined_key: String,
    /// What the environment says that this variable holds already.
    pub(crate) earlier: String,
    /// Whether to say who masquerades.
    pub(crate) ip_masq: bool,
    /// Whether to write JSON instead of variables.
    pub(crate) json: bool,
    /// How Docker's networks share the subnet.
    pub(crate) docker_networks: DockerNetworks,
    /// The name of the network that has the whole subnet: to print the command that creates it, and nothing else.
    pub(crate) network_create: Option<String>,
}

/// Reads the command line, without the program's name. The environment supplies options that the
/// command line lacks.
///
/// # Errors
/// [`ParseExit`] with a text for the operator.
pub fn parse(args: &[String], env: &BTreeMap<String, String>) -> Result<Command, ParseExit> {
    let (name, rest) = match args.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("", args),
    };
    match name {
        "cleanup" => {
            let flags: commands::CleanupFlags = arguments::read(rest, env)?;
            Ok(Command::Cleanup(flags.into()))
        }
        "status" => {
            let flags: commands::StatusFlags = arguments::read(rest, env)?;
            Ok(Command::Status(flags.into()))
        }
        "docker-opts" => {
            let flags: commands::DockerFlags = arguments::read(rest, env)?;
            Ok(Command::DockerOpts(flags.into_options(env)))
        }
        // As other programs spell these two options.
        "help" => parse(&[rest, &["--help".to_owned()]].concat(), env),
        "version" => parse(&["--version".to_owned()], env),
        word if !word.is_empty() && !word.starts_with('-') => {
            Err(ParseExit::Usage(words::unknown_command(word)))
        }
        _ => {
            let flags: flags::Flags = arguments::read(args, env)?;
            let unknown = words::unknown_variables(args, env);
            checks::options(flags, unknown)
                .map(|options| Command::Run(Box::new(options)))
                .map_err(|exit| arguments::name_variables::<flags::Flags>(exit, args, env))
        }
    }
}

#[cfg(test)]
mod tests;
