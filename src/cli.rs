//! Owns the command line and the environment: which options there are, what they mean, and what is refused. Pure: both
//! are arguments of [`parse`].

mod commands;
mod flags;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

pub use crate::cli::commands::command;
use crate::cli::commands::{CleanupFlags, DockerFlags, StatusFlags};
use crate::cli::flags::{Firewall, Flags, Offload, Peers};
use crate::files::docker_opts::Form;
use crate::files::subnet_env::{docker_opts_path, socket_path};
use crate::model::addr::Vni;
use crate::model::secret::Secret;
use crate::overlay::desired::PeerMode;
use crate::rules::choice::Asked;
use crate::underlay::settings::Selectors;

/// Exit status for a command line that cannot be used (`EX_USAGE` of sysexits.h).
pub const EX_USAGE: u8 = 64;

/// What the operator wants, checked.
#[derive(Debug, Clone)]
pub struct Options {
    /// How to reach etcd.
    pub etcd: EtcdOptions,
    /// Which interface carries the overlay.
    pub selectors: Selectors,
    /// Address that other hosts reach us under, where it is not that of the interface.
    pub public_ip: Option<Ipv4Addr>,
    /// When the entries for a peer are made.
    pub peering: PeerMode,
    /// How long an entry made on demand may be unused.
    pub idle: Duration,
    /// Whether to masquerade.
    pub ip_masq: bool,
    /// Whether masqueraded packets get random ports.
    pub random_fully: bool,
    /// Whether to allow forwarding from and to the overlay.
    pub forward_rules: bool,
    /// Which tool is to carry the rules.
    pub firewall: Asked,
    /// Time between two looks at rules of which the kernel does not tell.
    pub iptables_resync: Duration,
    /// Whether packets to unused addresses of our subnet are dropped.
    pub blackhole: bool,
    /// Whether the kernel makes the checksums of inner packets itself.
    pub checksums_in_software: bool,
    /// Path of subnet.env.
    pub subnet_file: PathBuf,
    /// Path of the options for Docker.
    pub docker_opts_file: PathBuf,
    /// Time before expiry by which the lease is renewed.
    pub renew_margin: Duration,
    /// The name of this host among the members, if it is not derived from its machine id.
    pub node_id: Option<String>,
    /// Directory for what a restart needs.
    pub state_dir: PathBuf,
    /// Socket on which `flanneld status` asks.
    pub socket: PathBuf,
    /// How long peers are kept that vanish from etcd together with most others.
    pub removal_grace: Duration,
    /// Where to answer questions about our health.
    pub healthz: Option<SocketAddr>,
    /// How much to log: 0 for changes of state, up to 10 for every message.
    pub verbosity: u8,
}

/// How to reach etcd; files are not read yet.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// URLs.
    pub endpoints: Vec<String>,
    /// Prefix of all keys.
    pub prefix: String,
    /// PEM file with our key.
    pub keyfile: Option<PathBuf>,
    /// PEM file with our certificate.
    pub certfile: Option<PathBuf>,
    /// PEM file with the authorities that we trust.
    pub cafile: Option<PathBuf>,
    /// User and password.
    pub login: Option<Login>,
}

/// Who we say we are.
#[derive(Debug, Clone)]
pub struct Login {
    /// Name of the user.
    pub user: String,
    /// How the password is known.
    pub password: Password,
}

/// A password, or where it is.
#[derive(Debug, Clone)]
pub enum Password {
    /// Given as such.
    Given(Secret),
    /// The content of this file.
    File(PathBuf),
}

/// The daemon does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParseExit {
    /// It was asked for a text: help or version. Success.
    Text(String),
    /// The command line or the environment cannot be used.
    Usage(String),
}

/// What the program is asked to do.
#[derive(Debug, Clone)]
pub enum Command {
    /// Be the daemon: no command was named.
    Run(Box<Options>),
    /// `flanneld cleanup`: remove what a daemon has left on this host.
    Cleanup(CleanupOptions),
    /// `flanneld status`: say how the daemon on this host is.
    Status(StatusOptions),
    /// `flanneld docker-opts`: write the options for Docker from subnet.env.
    DockerOpts(DockerOptions),
}

/// How to show the state of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusOptions {
    /// The socket on which the daemon answers.
    pub socket: PathBuf,
    /// JSON instead of text.
    pub json: bool,
}

/// What is to be removed from this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupOptions {
    /// Prefix of the keys in etcd, which tells instances apart.
    pub prefix: String,
    /// VNI, for an instance whose device is gone and whose VNI is not the usual one.
    pub vni: Option<Vni>,
    /// Path of subnet.env.
    pub subnet_file: PathBuf,
    /// Path of the options for Docker.
    pub docker_opts_file: PathBuf,
    /// Path of the last known state; none if it is to stay.
    pub snapshot: Option<PathBuf>,
    /// Socket on which a daemon that runs would answer.
    pub socket: PathBuf,
    /// Whether to go on although it runs.
    pub force: bool,
}

/// Which options for Docker to write, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerOptions {
    /// Path of subnet.env.
    pub subnet_file: PathBuf,
    /// The file to write; standard output if there is none.
    pub output: Option<PathBuf>,
    /// In which form.
    pub form: Form,
    /// Whether to say who masquerades.
    pub ip_masq: bool,
    /// Options that the variable holds already, in the environment.
    pub earlier: String,
}

/// Reads the command line (without the program's name), then the environment for what it does not say.
///
/// # Errors
/// [`ParseExit`], with a text for the operator.
pub fn parse(args: &[String], env: &BTreeMap<String, String>) -> Result<Command, ParseExit> {
    match args.split_first() {
        Some((name, rest)) if name == "cleanup" => {
            Ok(Command::Cleanup(read::<CleanupFlags>(rest, env)?.into()))
        }
        Some((name, rest)) if name == "status" => {
            Ok(Command::Status(read::<StatusFlags>(rest, env)?.into()))
        }
        Some((name, rest)) if name == "docker-opts" => Ok(Command::DockerOpts(
            read::<DockerFlags>(rest, env)?.into_options(env),
        )),
        Some(_) | None => {
            options(read::<Flags>(args, env)?).map(|options| Command::Run(Box::new(options)))
        }
    }
}

/// The flags of one command, from its arguments and from the environment.
fn read<F: Parser>(args: &[String], env: &BTreeMap<String, String>) -> Result<F, ParseExit> {
    let args: Vec<String> = go_spelling::<F>(args);
    let given = matches::<F>(&args)?;
    let mut all = args;
    for (variable, arg) in from_env::<F>(&given, env) {
        matches::<F>(std::slice::from_ref(&arg)).map_err(|stop| in_variable(&variable, stop))?;
        all.push(arg);
    }
    F::from_arg_matches(&matches::<F>(&all)?).map_err(|error| stop(&error))
}

fn matches<F: Parser>(args: &[String]) -> Result<clap::ArgMatches, ParseExit> {
    let program = [F::command().get_name().to_owned()];
    F::command()
        .try_get_matches_from(program.iter().chain(args))
        .map_err(|error| stop(&error))
}

fn stop(error: &clap::Error) -> ParseExit {
    if error.use_stderr() {
        ParseExit::Usage(error.to_string())
    } else {
        ParseExit::Text(error.to_string())
    }
}

fn usage(text: impl Into<String>) -> ParseExit {
    ParseExit::Usage(text.into())
}

fn in_variable(variable: &str, stop: ParseExit) -> ParseExit {
    match stop {
        ParseExit::Usage(text) => {
            ParseExit::Usage(format!("in the environment variable {variable}: {text}"))
        }
        ParseExit::Text(text) => ParseExit::Text(text),
    }
}

/// Go takes one dash for two: `-iface=eth0`. Options of one letter stay as they are.
fn go_spelling<F: Parser>(args: &[String]) -> Vec<String> {
    let command = F::command();
    let is_long = |name: &str| {
        command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(name))
    };
    let known = |arg: &str| {
        arg.split('=')
            .next()
            .is_some_and(|name| name.len() > 1 && is_long(name))
    };
    let respell = |arg: &String| match arg.strip_prefix('-') {
        Some(rest)
            if !rest.starts_with('-') && (known(rest) || ["help", "version"].contains(&rest)) =>
        {
            format!("--{rest}")
        }
        Some(_) | None => arg.clone(),
    };
    args.iter().map(respell).collect()
}

/// The options that the environment names and the command line does not, as arguments. An empty variable says
/// nothing: an `EnvironmentFile=` often holds one for each option.
fn from_env<F: Parser>(
    given: &clap::ArgMatches,
    env: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let command = F::command();
    let mut found = Vec::new();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        let variable = variable(long);
        let on_command_line = given.value_source(arg.get_id().as_str())
            == Some(clap::parser::ValueSource::CommandLine);
        if let Some(value) = env
            .get(&variable)
            .filter(|value| !value.is_empty() && !on_command_line)
        {
            found.push((variable, format!("--{long}={value}")));
        }
    }
    found
}

fn variable(long: &str) -> String {
    format!("FLANNELD_{}", long.replace('-', "_").to_uppercase())
}

fn options(flags: Flags) -> Result<Options, ParseExit> {
    if let Some(option) = flags.kubernetes.first_given() {
        return Err(usage(format!(
            "--{option}: this flanneld keeps its leases in etcd and does not speak to the Kubernetes API; \
             remove the option and use --etcd-endpoints\n"
        )));
    }
    Ok(Options {
        etcd: etcd_options(&flags)?,
        selectors: Selectors {
            ifaces: flags.iface,
            patterns: flags.iface_regex,
            can_reach: flags.iface_can_reach,
        },
        public_ip: flags.public_ip,
        peering: match flags.peers {
            Peers::Eager => PeerMode::Eager,
            Peers::OnDemand => PeerMode::OnDemand,
        },
        idle: Duration::from_secs(flags.peers_idle.into()),
        ip_masq: flags.ip_masq,
        random_fully: !flags.ip_masq_fully_random_disable,
        forward_rules: flags.iptables_forward_rules,
        firewall: match flags.firewall {
            Firewall::Auto => Asked::Auto,
            Firewall::Nftables => Asked::Nftables,
            Firewall::Iptables => Asked::Iptables,
        },
        iptables_resync: Duration::from_secs(flags.iptables_resync.into()),
        blackhole: flags.ip_blackhole_route,
        checksums_in_software: flags.tx_checksum_offload == Offload::Off,
        docker_opts_file: flags
            .docker_opts_file
            .unwrap_or_else(|| docker_opts_path(&flags.subnet_file)),
        socket: socket_path(&flags.subnet_file),
        subnet_file: flags.subnet_file,
        node_id: flags.node_id,
        state_dir: flags.state_dir,
        removal_grace: Duration::from_secs(flags.removal_grace.into()),
        renew_margin: Duration::from_secs(60 * u64::from(flags.subnet_lease_renew_margin)),
        healthz: (flags.healthz_port != 0)
            .then(|| SocketAddr::new(flags.healthz_ip, flags.healthz_port)),
        verbosity: flags.verbosity,
    })
}

fn etcd_options(flags: &Flags) -> Result<EtcdOptions, ParseExit> {
    let endpoints = flags
        .etcd_endpoints
        .iter()
        .map(|text| endpoint(text))
        .collect::<Result<Vec<_>, _>>()?;
    if flags.etcd_certfile.is_some() != flags.etcd_keyfile.is_some() {
        return Err(usage(
            "--etcd-certfile and --etcd-keyfile go together: a certificate is of no use without its key\n",
        ));
    }
    Ok(EtcdOptions {
        endpoints,
        prefix: flags.etcd_prefix.clone(),
        keyfile: flags.etcd_keyfile.clone(),
        certfile: flags.etcd_certfile.clone(),
        cafile: flags.etcd_cafile.clone(),
        login: login(flags)?,
    })
}

fn login(flags: &Flags) -> Result<Option<Login>, ParseExit> {
    let password = match (&flags.etcd_password, &flags.etcd_password_file) {
        (None, None) => None,
        (Some(password), None) => Some(Password::Given(Secret(password.clone()))),
        (None, Some(file)) => Some(Password::File(file.clone())),
        (Some(_), Some(_)) => {
            return Err(usage(
                "give one of --etcd-password and --etcd-password-file, in the environment too\n",
            ));
        }
    };
    match (&flags.etcd_username, password) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => Ok(Some(Login {
            user: user.clone(),
            password,
        })),
        (Some(_), None) | (None, Some(_)) => Err(usage(
            "--etcd-username goes together with --etcd-password-file or --etcd-password\n",
        )),
    }
}

/// Checks an endpoint; without a scheme it is http, as for etcd's own clients.
fn endpoint(text: &str) -> Result<String, ParseExit> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let authority = rest
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match authority {
        Some(_) if ["http", "https"].contains(&scheme) && !rest.contains(['/', '@']) => {
            Ok(format!("{scheme}://{rest}"))
        }
        Some(_) | None => Err(usage(format!(
            "--etcd-endpoints: expected URLs such as http://10.0.0.1:2379, parted by commas, got {text:?}\n"
        ))),
    }
}

/// Host part of an endpoint that [`parse`] has accepted.
pub fn host_of(endpoint: &str) -> &str {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    rest.rsplit_once(':')
        .map_or(rest, |(host, _)| host)
        .trim_matches(['[', ']'])
}

/// Where subnet.env is when nothing is said.
const SUBNET_FILE: &str = "/run/flannel/subnet.env";
/// Address of [`Options::healthz`] when none is named: all of this host's.
const ANYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests;
