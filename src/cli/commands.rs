//! Owns the spelling of the commands beside the daemon itself. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{CommandFactory as _, Parser};

use crate::cli::flags::Flags;
use crate::cli::{CleanupOptions, DockerOptions, SUBNET_FILE, StatusOptions};
use crate::files::docker_opts::Form;
use crate::files::subnet_env::{docker_opts_path, socket_path};
use crate::model::addr::Vni;
use crate::peers::snapshot::file_name;

/// Says how the daemon on this host is: its lease, its peers, what is missing, and which leases it does not use.
#[derive(Debug, Parser)]
#[command(name = "flanneld status", version, max_term_width = 100)]
pub(super) struct StatusFlags {
    /// subnet.env of the daemon that is asked, where several run on one host
    #[arg(long, value_name = "FILE", default_value = SUBNET_FILE)]
    subnet_file: PathBuf,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

impl From<StatusFlags> for StatusOptions {
    fn from(flags: StatusFlags) -> Self {
        Self {
            socket: socket_path(&flags.subnet_file),
            json: flags.json,
        }
    }
}

const CLEANUP: &str = "\
Give it the options that the daemon was started with. It removes the vxlan device, if its alias says that it is ours, with
routes, neighbours and FDB entries; our rules in nftables and iptables; subnet.env, the options for Docker, the socket and
the last known state. It may be run again.

It does not speak to etcd. The lease ends by itself within a day, and this host gets the same subnet again until then. To
give it up at once:
  etcdctl del /coreos.com/network/subnets/10.5.3.0-24";

/// Removes what a daemon that was stopped has left on this host.
#[derive(Debug, Parser)]
#[command(name = "flanneld cleanup", version, max_term_width = 100, after_help = CLEANUP)]
pub(super) struct CleanupFlags {
    /// Prefix of all keys of this network
    #[arg(long, value_name = "KEY", default_value = "/coreos.com/network")]
    etcd_prefix: String,
    /// VNI of the network; needed if it is not 1 and the device is gone
    #[arg(long, value_name = "NUMBER", value_parser = vni)]
    vni: Option<Vni>,
    /// subnet.env of the daemon
    #[arg(long, value_name = "FILE", default_value = SUBNET_FILE)]
    subnet_file: PathBuf,
    /// The options for Docker; beside subnet.env if not given
    #[arg(long, value_name = "FILE")]
    docker_opts_file: Option<PathBuf>,
    /// Where the last known state is
    #[arg(long, value_name = "DIRECTORY", default_value = "/var/lib/flannel")]
    state_dir: PathBuf,
    /// Leave the last known state where it is, so that a daemon asks for the same subnet again
    #[arg(long)]
    keep_state: bool,
    /// Go on although a daemon runs; it puts back what it needs
    #[arg(long)]
    force: bool,
}

impl From<CleanupFlags> for CleanupOptions {
    fn from(flags: CleanupFlags) -> Self {
        let snapshot = flags.state_dir.join(file_name(&flags.etcd_prefix));
        Self {
            docker_opts_file: flags
                .docker_opts_file
                .unwrap_or_else(|| docker_opts_path(&flags.subnet_file)),
            socket: socket_path(&flags.subnet_file),
            snapshot: (!flags.keep_state).then_some(snapshot),
            prefix: flags.etcd_prefix,
            vni: flags.vni,
            subnet_file: flags.subnet_file,
            force: flags.force,
        }
    }
}

fn vni(text: &str) -> Result<Vni, String> {
    let number = text
        .parse::<u32>()
        .ok()
        .and_then(|number| Vni::try_from(number).ok());
    number.ok_or_else(|| "expected a number from 0 to 16777215".to_owned())
}

/// Writes the options for Docker from subnet.env, as flannel's mk-docker-opts.sh does, or as keys of daemon.json. Without
/// -i and -c it writes both: a variable for each option, and one with all of them.
#[derive(Debug, Parser)]
#[command(name = "flanneld docker-opts", version, max_term_width = 100)]
#[command(args_override_self = true)]
pub(super) struct DockerFlags {
    /// subnet.env to read
    #[arg(short = 'f', long, value_name = "FILE", default_value = SUBNET_FILE)]
    subnet_file: PathBuf,
    /// File to write, - for standard output [default: /run/docker_opts.env; with --json standard output]
    #[arg(short = 'd', long, value_name = "FILE")]
    docker_env_file: Option<PathBuf>,
    /// Write a variable for each option, such as DOCKER_OPT_MTU="--mtu=1450"
    #[arg(short, long)]
    individual: bool,
    /// Write one variable with all options
    #[arg(short, long)]
    combined: bool,
    /// Name of that variable
    #[arg(short = 'k', long, value_name = "NAME", default_value = "DOCKER_OPTS", value_parser = variable_name)]
    combined_key: String,
    /// Leave --ip-masq out
    #[arg(short = 'm', long)]
    no_ip_masq: bool,
    /// Write bip, mtu and ip-masq as in daemon.json
    #[arg(long, conflicts_with_all = ["individual", "combined"])]
    json: bool,
}

/// Where the script of flannel writes.
const DOCKER_ENV_FILE: &str = "/run/docker_opts.env";

impl DockerFlags {
    /// The script of flannel puts its options behind those that the variable holds already.
    pub(super) fn into_options(self, env: &BTreeMap<String, String>) -> DockerOptions {
        let earlier = env.get(&self.combined_key).cloned().unwrap_or_default();
        DockerOptions {
            earlier,
            ..self.into()
        }
    }
}

impl From<DockerFlags> for DockerOptions {
    fn from(flags: DockerFlags) -> Self {
        let usual = (!flags.json).then(|| PathBuf::from(DOCKER_ENV_FILE));
        let both = flags.individual == flags.combined;
        let form = match flags.json {
            true => Form::Json,
            false => Form::Variables {
                individual: flags.individual || both,
                combined: (flags.combined || both).then_some(flags.combined_key),
            },
        };
        let output = flags
            .docker_env_file
            .or(usual)
            .filter(|path| path.as_os_str() != "-");
        let (subnet_file, ip_masq) = (flags.subnet_file, !flags.no_ip_masq);
        Self {
            subnet_file,
            output,
            form,
            ip_masq,
            earlier: String::new(),
        }
    }
}

/// What a shell and systemd take for the name of a variable.
fn variable_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match text.chars().all(plain) && text.starts_with(|c: char| !c.is_ascii_digit()) {
        true => Ok(text.to_owned()),
        false => Err("expected letters, digits and _, such as DOCKER_OPTS".to_owned()),
    }
}

/// The whole command line, the commands included: for the manual and for the completion of shells.
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
