//! Owns the spelling of the options and the words of `--help`. What they mean together is `cli`'s. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use regex::Regex;

use crate::cli::{ANYWHERE, SUBNET_FILE};

const EXAMPLES: &str = "\
Commands:
  flanneld status         how the daemon on this host is, and which leases it does not use
  flanneld cleanup        removes what a daemon that was stopped has left on this host
  flanneld docker-opts    options for dockerd from subnet.env, as mk-docker-opts.sh writes them

Every option can also be set in the environment: FLANNELD_ and the option in capitals, with _ for -,
as in FLANNELD_ETCD_ENDPOINTS. The command line wins. Go's spellings work too: -iface=eth0, --ip-masq=true.

The network is described by one key in etcd, which the daemon waits for:
  etcdctl put /coreos.com/network/config '{\"Network\": \"10.5.0.0/16\", \"Backend\": {\"Type\": \"vxlan\"}}'

Examples:
  flanneld                                          etcd on this host, interface of the default route
  flanneld --etcd-endpoints=http://10.0.0.1:2379,http://10.0.0.2:2379 --iface=eth1 --ip-masq
  flanneld --iface=192.168.56.11                    a Vagrant machine whose first interface is NAT

What it does can be seen with:
  cat /run/flannel/subnet.env; ip -d link show flannel.1; ip route; ip neigh; bridge fdb show dev flannel.1
  etcdctl get --prefix /coreos.com/network";

/// Gives this host a subnet of an overlay network and carries packets between the hosts in VXLAN.
#[derive(Debug, Parser)]
#[command(name = "flanneld", version, about, after_long_help = EXAMPLES)]
#[command(
    args_override_self = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct Flags {
    /// URLs of etcd's members, parted by commas
    #[arg(
        long,
        value_name = "URL,...",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379",
        help_heading = "etcd"
    )]
    pub(super) etcd_endpoints: Vec<String>,
    /// Prefix of all keys of this network
    #[arg(
        long,
        value_name = "KEY",
        default_value = "/coreos.com/network",
        help_heading = "etcd"
    )]
    pub(super) etcd_prefix: String,
    /// Our key for TLS (PEM)
    #[arg(long, value_name = "FILE", help_heading = "etcd")]
    pub(super) etcd_keyfile: Option<PathBuf>,
    /// Our certificate for TLS (PEM)
    #[arg(long, value_name = "FILE", help_heading = "etcd")]
    pub(super) etcd_certfile: Option<PathBuf>,
    /// Authorities whose certificates we accept from etcd (PEM); those of the system if not given
    #[arg(long, value_name = "FILE", help_heading = "etcd")]
    pub(super) etcd_cafile: Option<PathBuf>,
    /// User, where etcd has authentication turned on
    #[arg(long, value_name = "NAME", help_heading = "etcd")]
    pub(super) etcd_username: Option<String>,
    /// The user's password; better in a file or in the environment, where other users do not see it
    #[arg(long, value_name = "TEXT", help_heading = "etcd")]
    pub(super) etcd_password: Option<String>,
    /// File that holds the user's password; read again when etcd refuses it
    #[arg(long, value_name = "FILE", help_heading = "etcd")]
    pub(super) etcd_password_file: Option<PathBuf>,

    /// Name of this host among the members; without it, one that is derived from /etc/machine-id
    #[arg(long, value_name = "NAME", value_parser = node_id, help_heading = "This host")]
    pub(super) node_id: Option<String>,
    /// When the entries for other hosts are made: all as soon as their leases are known, or those for pod addresses when
    /// a packet needs them, for overlays whose hosts talk to few others
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "eager",
        help_heading = "This host"
    )]
    pub(super) peers: Peers,
    /// With --peers=on-demand: the time after which the entry for an address that is not used goes
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = clap::value_parser!(u32).range(1..), help_heading = "This host")]
    pub(super) peers_idle: u32,
    /// Interface that carries the overlay, by name or address; may be given several times, the first that is there is
    /// taken. Without any of the --iface options: the way to etcd, else the default route
    #[arg(long, value_name = "NAME|ADDRESS", help_heading = "This host")]
    pub(super) iface: Vec<String>,
    /// Pattern for the interface's name or address, tried after --iface; may be given several times
    #[arg(long, value_name = "REGEX", help_heading = "This host")]
    pub(super) iface_regex: Vec<Regex>,
    /// Take the interface through which this address is reached, tried after --iface-regex
    #[arg(long, value_name = "ADDRESS", help_heading = "This host")]
    pub(super) iface_can_reach: Option<Ipv4Addr>,
    /// Address under which other hosts reach this one, if it is not the interface's own (behind NAT)
    #[arg(long, value_name = "ADDRESS", help_heading = "This host")]
    pub(super) public_ip: Option<Ipv4Addr>,
    /// off: the kernel makes the checksums of packets between pods itself. For network cards that spoil them inside of
    /// VXLAN (ping works, TCP does not); costs most of the throughput
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value = "keep",
        help_heading = "This host"
    )]
    pub(super) tx_checksum_offload: Offload,
    /// Accepted for flannel's sake: this version carries IPv4 only
    #[arg(long, value_name = "ADDRESS", help_heading = "This host")]
    pub(super) public_ipv6: Option<Ipv6Addr>,

    /// Masquerade packets that leave the overlay or come into it through another host
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = go_bool, value_name = "BOOL", action = clap::ArgAction::Set, help_heading = "Packet filter")]
    pub(super) ip_masq: bool,
    /// Masquerade without random ports
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = go_bool, value_name = "BOOL", action = clap::ArgAction::Set, help_heading = "Packet filter")]
    pub(super) ip_masq_fully_random_disable: bool,
    /// Allow forwarding from and to the overlay where the policy is to drop (Docker sets it)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
          value_parser = go_bool, value_name = "BOOL", action = clap::ArgAction::Set, help_heading = "Packet filter")]
    pub(super) iptables_forward_rules: bool,
    /// What carries the rules. auto: what EnableNFTables in the network's config says, else nftables where it works. The
    /// rules for forwarding are in iptables in any case, beside those that might drop
    #[arg(
        long,
        value_enum,
        value_name = "TOOL",
        default_value = "auto",
        help_heading = "Packet filter"
    )]
    pub(super) firewall: Firewall,
    /// Time between two looks at rules in iptables-legacy, of whose changes the kernel does not tell
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Packet filter")]
    pub(super) iptables_resync: u32,
    /// Drop packets to addresses of our subnet that no pod has, instead of sending them to the default route
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = go_bool, value_name = "BOOL", action = clap::ArgAction::Set, help_heading = "Packet filter")]
    pub(super) ip_blackhole_route: bool,

    /// Where to say which subnet this host has
    #[arg(long, value_name = "FILE", default_value = SUBNET_FILE, help_heading = "Files")]
    pub(super) subnet_file: PathBuf,
    /// Where to put the options for Docker, for systemd's EnvironmentFile=; beside subnet.env if not given
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub(super) docker_opts_file: Option<PathBuf>,
    /// Where to keep the last known state, from which a restart works while etcd is away
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = "/var/lib/flannel",
        help_heading = "Files"
    )]
    pub(super) state_dir: PathBuf,

    /// The lease, which lasts a day, is renewed at least this long before it ends; usually much earlier
    #[arg(long, value_name = "MINUTES", default_value = "60", value_parser = clap::value_parser!(u16).range(1..1440), help_heading = "Operation")]
    pub(super) subnet_lease_renew_margin: u16,
    /// When more than half of the peers vanish from etcd at once, as from one that was emptied or restored, they are kept
    /// for this long; 0 removes them at once
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "60",
        help_heading = "Operation"
    )]
    pub(super) removal_grace: u32,
    /// Address for /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", default_value_t = ANYWHERE, help_heading = "Operation")]
    pub(super) healthz_ip: IpAddr,
    /// Port for /healthz and /readyz; 0 turns them off
    #[arg(
        long,
        value_name = "PORT",
        default_value = "0",
        help_heading = "Operation"
    )]
    pub(super) healthz_port: u16,
    /// How much to log: 0 changes of state, from 1 every decision, from 10 every message
    #[arg(
        short = 'v',
        long = "v",
        value_name = "LEVEL",
        default_value = "0",
        help_heading = "Operation"
    )]
    pub(super) verbosity: u8,

    #[command(flatten)]
    pub(super) kubernetes: Kubernetes,
}

/// Values of `--peers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Peers {
    Eager,
    OnDemand,
}

/// Values of `--tx-checksum-offload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Offload {
    Keep,
    Off,
}

/// Values of `--firewall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Firewall {
    Auto,
    Nftables,
    Iptables,
}

/// Options of flannel that belong to its Kubernetes mode: known so that they can be refused with a sentence.
#[derive(Debug, Args)]
pub(super) struct Kubernetes {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    kube_subnet_mgr: Option<String>,
    #[arg(long, hide = true)]
    kube_api_url: Option<String>,
    #[arg(long, hide = true)]
    kube_annotation_prefix: Option<String>,
    #[arg(long, hide = true)]
    kubeconfig_file: Option<String>,
    #[arg(long, hide = true)]
    net_config_path: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    set_node_network_unavailable: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    use_multi_cluster_cidr: Option<String>,
}

impl Kubernetes {
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let options = [
            ("kube-subnet-mgr", &self.kube_subnet_mgr),
            ("kube-api-url", &self.kube_api_url),
            ("kube-annotation-prefix", &self.kube_annotation_prefix),
            ("kubeconfig-file", &self.kubeconfig_file),
            ("net-config-path", &self.net_config_path),
            (
                "set-node-network-unavailable",
                &self.set_node_network_unavailable,
            ),
            ("use-multi-cluster-cidr", &self.use_multi_cluster_cidr),
        ];
        let given = |value: &Option<String>| {
            value
                .as_deref()
                .is_some_and(|value| go_bool(value) != Ok(false))
        };
        options
            .into_iter()
            .find(|(_, value)| given(value))
            .map(|(name, _)| name)
    }
}

/// A name that can be a value in etcd, in logs and on the command line without quoting.
fn node_id(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    match !text.is_empty() && text.len() <= 128 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("expected up to 128 letters, digits, and -_.:".to_owned()),
    }
}

/// The words of Go's `strconv.ParseBool`.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}
