//! Owns the text of the files for other programs: subnet.env, and the options for Docker. Pure; `write` alone
//! touches the disk.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnetwork::Ipv4Network;

/// What other programs need to know of our part of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// The whole overlay.
    pub network: Ipv4Network,
    /// Our subnet.
    pub subnet: Ipv4Network,
    /// MTU of the overlay in bytes.
    pub mtu: u32,
    /// Whether we masquerade, so that nobody else needs to.
    pub ip_masq: bool,
}

impl Env {
    /// The first usable address of our subnet with the subnet's length: that of the pods' bridge.
    fn gateway(&self) -> String {
        let first = u32::from(self.subnet.ip()).saturating_add(1);
        format!("{}/{}", Ipv4Addr::from(first), self.subnet.prefix())
    }

    /// The text of subnet.env, in flannel's order of lines.
    pub fn subnet_env(&self) -> String {
        let Self {
            network,
            mtu,
            ip_masq,
            ..
        } = self;
        let gateway = self.gateway();
        format!(
            "FLANNEL_NETWORK={network}\nFLANNEL_SUBNET={gateway}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ={ip_masq}\n"
        )
    }

    /// The options for dockerd, for systemd's `EnvironmentFile=`, as flannel's `mk-docker-opts.sh` writes them.
    /// Docker must not masquerade when we do.
    pub fn docker_opts(&self) -> String {
        let (bip, mtu, ip_masq) = (self.gateway(), self.mtu, Some(!self.ip_masq));
        let settings = crate::files::docker_opts::DockerSettings {
            bip,
            mtu,
            ip_masq,
            earlier: Vec::new(),
        };
        settings.render(&crate::files::docker_opts::Form::usual())
    }
}

/// The subnet that an earlier run wrote into subnet.env, if it belonged to the same kind of network. The file may
/// be of another flanneld, half written by an old one, or edited: anything odd counts as no subnet.
pub fn previous_subnet(subnet_env: &str) -> Option<Ipv4Network> {
    let value = |key: &str| {
        subnet_env
            .lines()
            .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
    };
    let gateway: Ipv4Network = value("FLANNEL_SUBNET")?
        .trim_matches(['"', '\''])
        .parse()
        .ok()?;
    Ipv4Network::new(gateway.network(), gateway.prefix()).ok()
}

/// The whole overlay, as an earlier run wrote it into subnet.env.
pub fn network(subnet_env: &str) -> Option<Ipv4Network> {
    subnet_env
        .lines()
        .find_map(|line| line.trim().strip_prefix("FLANNEL_NETWORK=")?.parse().ok())
}

/// Where the options for Docker go when nothing is said: beside subnet.env, under a name of their own for each
/// instance on a host.
pub fn docker_opts_path(subnet_file: &Path) -> PathBuf {
    beside(subnet_file, "docker_opts.env")
}

/// The socket on which the daemon with this subnet.env says how it is.
pub fn socket_path(subnet_file: &Path) -> PathBuf {
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
    fn writes_docker_options_as_the_script_of_flannel_does() {
        let expected = concat!(
            "DOCKER_OPT_BIP=\"--bip=172.16.99.1/24\"\n",
            "DOCKER_OPT_MTU=\"--mtu=1450\"\n",
            "DOCKER_OPT_IPMASQ=\"--ip-masq=false\"\n",
            "DOCKER_OPTS=\"--bip=172.16.99.1/24 --mtu=1450 --ip-masq=false\"\n",
        );
        assert_eq!(env(true).docker_opts(), expected);
        assert!(env(false).docker_opts().contains("--ip-masq=true"));
    }

    #[test]
    fn reads_back_the_subnet_it_wrote() {
        assert_eq!(
            previous_subnet(&env(true).subnet_env()),
            Some(env(true).subnet)
        );
    }

    #[test]
    fn takes_anything_odd_for_no_subnet() {
        for text in [
            "",
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
    fn each_instance_has_docker_options_of_its_own() {
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
