//! Writes and reads subnet.env, in which this daemon tells other programs which subnet the host
//! has, and names the files that stand beside it. Pure: adapters read and write the files.

pub(in crate::files) mod parse;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnetwork::Ipv4Network;

use crate::files::docker_opts::{DockerSettings, Form};
use crate::files::subnet_env::parse::value;
use crate::model::docker_networks::DockerNetworks;

/// What other programs need to know about this host's part of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Env {
    /// The whole overlay.
    pub(crate) network: Ipv4Network,
    /// This host's subnet.
    pub(crate) subnet: Ipv4Network,
    /// The MTU of the overlay in bytes.
    pub(crate) mtu: u32,
    /// Whether flannel masquerades, so that Docker must not.
    pub(crate) ip_masq: bool,
}

impl Env {
    /// Returns the address of the pods' bridge: the first usable address of the subnet, with the
    /// subnet's length.
    fn gateway(&self) -> Ipv4Network {
        let first = Ipv4Addr::from(u32::from(self.subnet.ip()).saturating_add(1));
        Ipv4Network::new(first, self.subnet.prefix()).unwrap_or(self.subnet)
    }

    /// Returns the text of subnet.env, with flannel's lines in flannel's order.
    pub(crate) fn subnet_env(&self) -> String {
        format!(
            "FLANNEL_NETWORK={}\nFLANNEL_SUBNET={}\nFLANNEL_MTU={}\nFLANNEL_IPMASQ={}\n",
            self.network,
            self.gateway(),
            self.mtu,
            self.ip_masq
        )
    }

    /// Returns the options for dockerd as flannel's `mk-docker-opts.sh` writes them, for systemd's
    /// `EnvironmentFile=`.
    pub(crate) fn docker_opts(&self, networks: DockerNetworks) -> String {
        let settings = DockerSettings {
            gateway: self.gateway(),
            networks,
            mtu: self.mtu,
            ip_masq: Some(!self.ip_masq),
            earlier: Vec::new(),
        };
        settings.render(&Form::usual())
    }
}

/// Returns the subnet that an earlier run wrote into subnet.env. The file may come from Go flannel,
/// be half written, or be edited by hand: a value that is not a subnet counts as absent.
pub(crate) fn previous_subnet(subnet_env: &str) -> Option<Ipv4Network> {
    let gateway: Ipv4Network = value(subnet_env, "FLANNEL_SUBNET")?.parse().ok()?;
    Ipv4Network::new(gateway.network(), gateway.prefix()).ok()
}

/// Returns the whole overlay, as an earlier run wrote it into subnet.env.
pub(crate) fn network(subnet_env: &str) -> Option<Ipv4Network> {
    value(subnet_env, "FLANNEL_NETWORK")?.parse().ok()
}

/// Returns where the options for Docker go unless the operator says otherwise: beside subnet.env,
/// with a name of its own for each instance on this host.
pub(crate) fn docker_opts_path(subnet_file: &Path) -> PathBuf {
    beside(subnet_file, "docker_opts.env")
}

/// Returns the socket on which the daemon with this subnet.env answers `flanneld status`.
pub(crate) fn socket_path(subnet_file: &Path) -> PathBuf {
    beside(subnet_file, "flanneld.sock")
}

fn beside(subnet_file: &Path, name: &str) -> PathBuf {
    let stem = subnet_file
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    match stem.as_str() {
        "subnet" => subnet_file.with_file_name(name),
        other => subnet_file.with_file_name(format!("{other}.{name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(ip_masq: bool) -> Env {
        Env {
            network: "172.16.0.0/16".parse().expect("a network in a test"),
            subnet: "172.16.99.0/24".parse().expect("a network in a test"),
            mtu: 1450,
            ip_masq,
        }
    }

    #[test]
    fn writes_subnet_env_as_flannel_does() {
        let expected = "FLANNEL_NETWORK=172.16.0.0/16\nFLANNEL_SUBNET=172.16.99.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        assert_eq!(env(true).subnet_env(), expected);
    }

    #[test]
    fn writes_docker_options_as_flannels_script_does() {
        let expected = concat!(
            "DOCKER_OPT_BIP=\"--bip=172.16.99.1/24\"\n",
            "DOCKER_OPT_MTU=\"--mtu=1450\"\n",
            "DOCKER_OPT_IPMASQ=\"--ip-masq=false\"\n",
            "DOCKER_OPTS=\"--bip=172.16.99.1/24 --mtu=1450 --ip-masq=false\"\n",
        );
        assert_eq!(env(true).docker_opts(DockerNetworks::Docker0), expected);
        assert!(
            env(false)
                .docker_opts(DockerNetworks::Docker0)
                .contains("--ip-masq=true")
        );
    }

    #[test]
    fn reads_back_what_it_wrote() {
        assert_eq!(network(&env(true).subnet_env()), Some(env(true).network));
        assert_eq!(
            previous_subnet(&env(true).subnet_env()),
            Some(env(true).subnet)
        );
    }

    #[test]
    fn a_value_that_is_not_a_subnet_counts_as_absent() {
        for text in [
            "",
            "FLANNEL_SUBNET=\"10.5.1.1/24",
            "FLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_SUBNET=",
            "FLANNEL_SUBNET=",
            "FLANNEL_SUBNET=x",
            "FLANNEL_SUBNETS=10.5.1.1/24",
            "FLANNEL_SUBNET=10.5.1.1/99",
        ] {
            assert_eq!(previous_subnet(text), None, "{text}");
        }
        let other = previous_subnet("# by hand\n FLANNEL_SUBNET=\"10.5.1.1/24\"\r\n");
        assert_eq!(
            other.map(|net| net.to_string()).as_deref(),
            Some("10.5.1.0/24")
        );
    }

    #[test]
    fn all_readers_read_the_file_as_a_shell_does() {
        let edited = "FLANNEL_NETWORK=10.4.0.0/16\nFLANNEL_SUBNET=10.4.1.1/24\nFLANNEL_MTU=1400\n\
                      FLANNEL_NETWORK='10.5.0.0/16'\nFLANNEL_SUBNET=\"10.5.1.1/24\"\nFLANNEL_MTU='1450'\n";
        let written = |net: Option<Ipv4Network>| net.map(|net| net.to_string());
        assert_eq!(written(network(edited)).as_deref(), Some("10.5.0.0/16"));
        assert_eq!(
            written(previous_subnet(edited)).as_deref(),
            Some("10.5.1.0/24")
        );
        let docker = DockerSettings::read(edited).expect("a complete subnet.env");
        assert_eq!(
            (docker.gateway.to_string().as_str(), docker.mtu),
            ("10.5.1.1/24", 1450)
        );
    }

    #[test]
    fn each_instance_has_its_own_docker_options() {
        let path = |text: &str| docker_opts_path(Path::new(text)).display().to_string();
        assert_eq!(
            path("/run/flannel/subnet.env"),
            "/run/flannel/docker_opts.env"
        );
        assert_eq!(
            path("/run/flannel/blue.env"),
            "/run/flannel/blue.docker_opts.env"
        );
    }
}
