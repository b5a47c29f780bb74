//! Declares the options of the daemon and the words of its `--help`. What options mean together is
//! decided in `checks`. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{Args, Parser};
use regex::Regex;

use crate::cli::values::{
    address, docker_networks, go_bool, ipv4_address, ipv6_address, key_prefix, node_id, port,
    positive_seconds, public_ip, renew_margin, seconds, verbosity,
};
use crate::cli::{FirewallOption, OffloadOption, PeersOption, STATE_DIR, SUBNET_FILE};
use crate::model::docker_networks::DockerNetworks;

/// What `-h` shows at its end.
const COMMANDS: &str = "\
Commands:
  flanneld status         show the state of the daemon on this host
  flanneld cleanup        remove what a stopped daemon has left on this host
  flanneld docker-opts    write options for dockerd, like mk-docker-opts.sh

See flanneld --help for more, and flanneld COMMAND --help for the options of a command.";

const GUIDE: &str = "\
Commands:
  flanneld status         show the state of the daemon on this host
  flanneld cleanup        remove what a stopped daemon has left on this host
  flanneld docker-opts    write options for dockerd, like mk-docker-opts.sh

Each option has an environment variable: FLANNELD_ and the name in capitals, with _ for -. For example, \
FLANNELD_ETCD_ENDPOINTS sets --etcd-endpoints. The command line takes precedence. flanneld also accepts Go's \
spellings: -iface=eth0, --ip-masq=true.

One key in etcd describes the network. flanneld waits until it exists:
  etcdctl put /coreos.com/network/config '{\"Network\": \"10.5.0.0/16\"}'

Examples:
  Use the etcd on this host, and the interface of the default route:
    flanneld
  Use the interface with this address, for example in a Vagrant machine:
    flanneld --iface=192.168.56.11
  Use two etcd members, and masquerade packets that leave the overlay:
    flanneld --etcd-endpoints=http://10.0.0.1:2379,http://10.0.0.2:2379 --ip-masq

See what flanneld has set up on this host:
  cat /run/flannel/subnet.env
  ip -d link show flannel.1
  ip route; ip neigh; bridge fdb show dev flannel.1
See the leases of all hosts:
  etcdctl get --prefix /coreos.com/network";

/// Leases a subnet in etcd for this host, and sets up a VXLAN overlay between all hosts.
#[derive(Debug, Parser)]
#[command(name = "flanneld", version, after_help = COMMANDS, after_long_help = GUIDE)]
#[command(
    args_override_self = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(super) struct Flags {
    /// URLs of the etcd members, separated by commas
    #[arg(
        long,
        value_name = "URL,...",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379",
        help_heading = "etcd"
    )]
    pub(super) etcd_endpoints: Vec<String>,
    /// Prefix of all keys of this overlay in etcd
    #[arg(
        long,
        value_name = "KEY",
        default_value = "/coreos.com/network",
        value_parser = key_prefix,
        help_heading = "etcd"
    )]
    pub(super) etcd_prefix: String,
    /// Private key of the client certificate (PEM). It requires --etcd-certfile
    #[arg(long, value_name = "FILE", help_heading = "etcd")]
    pub(super) etcd_keyfile: Option<PathBuf>,
    /// Client certificate that flanneld presents to etcd (PEM). It requires --etcd-keyfile
    #[arg(long, value_name = "FILE", help_heading = "etcd")]
    pub(super) etcd_certfile: Option<PathBuf>,
    /// Certificates of the authorities that may sign etcd's certificate (PEM). By default flanneld
    /// accepts those that the system trusts
    #[arg(long, value_name = "FILE", help_heading = "etcd")]
    pub(super) etcd_cafile: Option<PathBuf>,
    /// User that logs in to etcd. You need it if etcd has authentication enabled
    #[arg(long, value_name = "NAME", help_heading = "etcd")]
    pub(super) etcd_username: Option<String>,
    /// Password of the user. Other users of this host can read a command line: prefer
    /// --etcd-password-file
    #[arg(long, value_name = "TEXT", help_heading = "etcd")]
    pub(super) etcd_password: Option<String>,
    /// File that contains the password of the user. flanneld reads it again when etcd refuses the
    /// password
    #[arg(long, value_name = "FILE", help_heading = "etcd")]
    pub(super) etcd_password_file: Option<PathBuf>,

    /// Name of this host in the overlay. Each host needs a different one. By default flanneld
    /// derives it from /etc/machine-id
    #[arg(long, value_name = "NAME", value_parser = node_id, help_heading = "This host")]
    pub(super) node_id: Option<String>,
    /// When to create routes, neighbours and FDB entries for other hosts
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "eager",
        help_heading = "This host"
    )]
    pub(super) peers: PeersOption,
    /// With --peers=on-demand, remove the neighbour entry of a pod address after this long without
    /// traffic
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = positive_seconds, help_heading = "This host")]
    pub(super) peers_idle: u32,
    /// Interface that carries the overlay, by name (eth0, eth0@if5, an altname), IPv4 address,
    /// network (10.0.0.0/24) or label of an address (eth0:1). You can repeat the option or write a
    /// list with commas: flanneld takes the first interface that exists. Without any
    /// --iface option it takes the interface of the route to etcd, or else of the default route.
    /// flanneld follows changes of the interface while it runs
    #[arg(long, value_name = "NAME|ADDRESS", help_heading = "This host")]
    pub(super) iface: Vec<String>,
    /// Regular expression that matches the interface's name or address. flanneld tries it after
    /// --iface. You can repeat the option
    #[arg(long, value_name = "REGEX", help_heading = "This host")]
    pub(super) iface_regex: Vec<Regex>,
    /// Take the interface through which this host reaches the address. flanneld tries it after
    /// --iface-regex
    #[arg(long, value_name = "ADDRESS", value_parser = ipv4_address, help_heading = "This host")]
    pub(super) iface_can_reach: Option<Ipv4Addr>,
    /// Address at which other hosts reach this one, if it is not the address of the interface, for
    /// example behind NAT. If this host has the address, VXLAN packets come from it; and if no
    /// --iface option names another interface, the one that has it carries the overlay
    #[arg(long, value_name = "ADDRESS", value_parser = public_ip, help_heading = "This host")]
    pub(super) public_ip: Option<Ipv4Addr>,
    /// Whether the kernel leaves the checksums of packets between pods to the network card
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        default_value = "keep",
        help_heading = "This host"
    )]
    pub(super) tx_checksum_offload: OffloadOption,
    /// Accepted because flannel has this option. It has no effect: this version carries IPv4 only
    #[arg(long, value_name = "ADDRESS", value_parser = ipv6_address, help_heading = "This host")]
    pub(super) public_ipv6: Option<Ipv6Addr>,

    /// Masquerade traffic that leaves the overlay, and traffic from outside that this host forwards
    /// to pods on other hosts
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = go_bool, value_name = "BOOL", action = clap::ArgAction::Set, help_heading = "Packet filter")]
    pub(super) ip_masq: bool,
    /// Do not randomize the source ports of masqueraded packets
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = go_bool, value_name = "BOOL", action = clap::ArgAction::Set, help_heading = "Packet filter")]
    pub(super) ip_masq_fully_random_disable: bool,
    /// Accept forwarded packets from and to the overlay, even if the policy of the FORWARD chain is
    /// to drop (Docker sets it)
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true",
          value_parser = go_bool, value_name = "BOOL", action = clap::ArgAction::Set, help_heading = "Packet filter")]
    pub(super) iptables_forward_rules: bool,
    /// Firewall tool for the masquerade rules. Forward rules always go into iptables, next to the
    /// rules that might drop these packets
    #[arg(
        long,
        value_enum,
        value_name = "TOOL",
        default_value = "auto",
        help_heading = "Packet filter"
    )]
    pub(super) firewall: FirewallOption,
    /// How often to check rules whose changes the kernel does not report: those in iptables-legacy,
    /// and all rules on a kernel without nftables events. flanneld repairs other rules at once
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = positive_seconds, help_heading = "Packet filter")]
    pub(super) iptables_resync: u32,
    /// Drop packets to unused addresses in this host's subnet, by a blackhole route. Without it they
    /// follow the default route
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = go_bool, value_name = "BOOL", action = clap::ArgAction::Set, help_heading = "Packet filter")]
    pub(super) ip_blackhole_route: bool,

    /// File to which flanneld writes the subnet of this host
    #[arg(long, value_name = "FILE", default_value = SUBNET_FILE, help_heading = "Files")]
    pub(super) subnet_file: PathBuf,
    /// File to which flanneld writes the options for Docker, for EnvironmentFile= in a systemd
    /// unit. By default it is beside the --subnet-file
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub(super) docker_opts_file: Option<PathBuf>,
    /// How Docker's networks share the subnet, in the options for Docker. docker0: docker0 has all
    /// of it. A NUMBER: docker0 has half, and this many networks of `docker network create` and
    /// Compose have the rest (Docker 24 or newer). own: there is no docker0, and you create one
    /// network, see `flanneld docker-opts --network-create`
    #[arg(long, value_name = "docker0|NUMBER|own", default_value = "docker0", value_parser = docker_networks, help_heading = "Files")]
    pub(super) docker_networks: DockerNetworks,
    /// Directory in which flanneld saves its last known state. With it flanneld can restart while
    /// etcd is unreachable
    #[arg(long, value_name = "DIRECTORY", default_value = STATE_DIR, help_heading = "Files")]
    pub(super) state_dir: PathBuf,

    /// Renew the lease no later than this long before it expires. A lease lasts a day, and flanneld
    /// usually renews it much earlier
    #[arg(long, value_name = "MINUTES", default_value = "60", value_parser = renew_margin, help_heading = "Operation")]
    pub(super) subnet_lease_renew_margin: u16,
    /// How long to keep peers when more than half of them vanish from etcd at once, for example
    /// because etcd was emptied or restored. 0 removes them at once
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds, help_heading = "Operation")]
    pub(super) removal_grace: u32,
    /// Address on which flanneld serves /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0", value_parser = address, help_heading = "Operation")]
    pub(super) healthz_ip: IpAddr,
    /// Port on which flanneld serves /healthz and /readyz. 0 turns them off
    #[arg(long, value_name = "PORT", default_value = "0", value_parser = port, help_heading = "Operation")]
    pub(super) healthz_port: u16,
    /// How much to log: 0 for changes of state, 1 to 9 for every decision, 10 also for every miss
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value = "0", value_parser = verbosity, help_heading = "Operation")]
    pub(super) verbosity: u8,

    #[command(flatten)]
    pub(super) kubernetes: Kubernetes,
}

/// The options of flannel's Kubernetes mode. They exist here only to be refused with a sentence.
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
    /// Returns the first option that is given and not false.
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
        options
            .into_iter()
            .find(|(_, value)| is_given(value.as_deref()))
            .map(|(name, _)| name)
    }
}

fn is_given(value: Option<&str>) -> bool {
    value.is_some_and(|value| go_bool(value) != Ok(false))
}
