//! Turns subnet.env into options for Docker: variables for systemd and shells, or keys of
//! daemon.json. Pure: commands and adapters read and write the files.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use ipnetwork::Ipv4Network;

use crate::files::daemon_json::{AddressPool, DaemonJson};
use crate::files::docker_shares::{Shares, divide};
use crate::files::subnet_env::parse::value;
use crate::model::docker_networks::DockerNetworks;

/// How Docker sets up its bridge, and the networks of its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DockerSettings {
    /// The first address of the subnet, with the subnet's length.
    pub(crate) gateway: Ipv4Network,
    pub(crate) networks: DockerNetworks,
    /// The MTU of the bridge and of the containers, in bytes.
    pub(crate) mtu: u32,
    /// Whether Docker masquerades; `None` leaves the decision to Docker.
    pub(crate) ip_masq: Option<bool>,
    /// Options that the combined variable holds already. They stay in front of ours.
    pub(crate) earlier: Vec<String>,
}

/// How the options are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// As lines such as `DOCKER_OPT_MTU="--mtu=1450"`.
    Variables {
        /// Whether each option gets a variable.
        individual: bool,
        /// The name of the variable that holds all options, if there is to be one.
        combined: Option<String>,
    },
    /// As keys of daemon.json.
    Json,
}

impl Form {
    /// Returns what Docker's units and flannel's script use: a variable for each option, and
    /// `DOCKER_OPTS` with all of them.
    pub(crate) fn usual() -> Self {
        Self::Variables {
            individual: true,
            combined: Some("DOCKER_OPTS".to_owned()),
        }
    }
}

/// subnet.env lacks something that Docker needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {}", got.as_ref().map_or("no such line".to_owned(), |got| format!("{got:?}")))]
pub(crate) struct SubnetEnvError {
    expected: &'static str,
    got: Option<String>,
}

impl DockerSettings {
    /// Reads a subnet.env of this daemon or of Go flannel. Docker masquerades only if flannel does
    /// not.
    ///
    /// # Errors
    /// The subnet or the MTU is missing or malformed. With half of the options Docker would choose
    /// a bridge network of its own.
    pub(crate) fn read(subnet_env: &str) -> Result<Self, SubnetEnvError> {
        let subnet: Ipv4Network = required(
            subnet_env,
            "FLANNEL_SUBNET",
            "FLANNEL_SUBNET=ADDRESS/LENGTH",
        )?;
        let mtu = required(subnet_env, "FLANNEL_MTU", "FLANNEL_MTU=BYTES")?;
        let flannel_masquerades = value(subnet_env, "FLANNEL_IPMASQ").map(|value| value == "true");
        Ok(Self {
            gateway: subnet,
            networks: DockerNetworks::Docker0,
            mtu,
            ip_masq: flannel_masquerades.map(|masquerades| !masquerades),
            earlier: Vec::new(),
        })
    }

    /// Adds the options that the combined variable holds already, except those that we set: dockerd
    /// refuses to start if it gets an option twice.
    #[must_use]
    pub(crate) fn after(self, earlier: &str) -> Self {
        let ours: Vec<String> = self
            .options()
            .into_iter()
            .map(|option| option.flag)
            .collect();
        let earlier = earlier
            .split_whitespace()
            .filter(|option| !is_set_by_us(option, &ours))
            .map(str::to_owned)
            .collect();
        Self { earlier, ..self }
    }

    /// Returns the options as text.
    pub(crate) fn render(&self, form: &Form) -> String {
        match form {
            Form::Variables {
                individual,
                combined,
            } => self.variables(*individual, combined.as_deref()),
            Form::Json => self.json(),
        }
    }

    fn variables(&self, individual: bool, combined: Option<&str>) -> String {
        let options = self.options();
        let mut text = String::new();
        if individual {
            for option in &options {
                _ = writeln!(text, "DOCKER_OPT_{}=\"{option}\"", option.variable);
            }
        }
        if let Some(key) = combined {
            let ours = options.iter().map(DockerOption::to_string);
            let all: Vec<String> = self.earlier.iter().cloned().chain(ours).collect();
            _ = writeln!(text, "{key}=\"{}\"", all.join(" "));
        }
        text
    }

    fn options(&self) -> Vec<DockerOption> {
        let bridge = |bip: Ipv4Network| {
            let mut options = vec![
                DockerOption::new("BIP", "--bip", bip),
                DockerOption::new("MTU", "--mtu", self.mtu),
            ];
            options.extend(
                self.ip_masq
                    .map(|it| DockerOption::new("IPMASQ", "--ip-masq", it)),
            );
            options
        };
        match self.layout() {
            Layout::Docker0 => bridge(self.gateway),
            Layout::Divided(shares) => {
                let mut options = bridge(shares.docker0);
                let Shares { pool, size, .. } = shares;
                let pool = format!("base={pool},size={size}");
                options.push(DockerOption::new("POOL", "--default-address-pool", pool));
                let of_networks = self.network_options().into_iter();
                options.extend(of_networks.map(|(variable, key, value)| {
                    let flag = format!("--default-network-opt=bridge={key}");
                    DockerOption::new(variable, &flag, value)
                }));
                options
            }
            Layout::Own => vec![DockerOption::new("BRIDGE", "--bridge", "none")],
        }
    }

    fn layout(&self) -> Layout {
        match self.networks {
            DockerNetworks::Docker0 => Layout::Docker0,
            DockerNetworks::Divided(bits) => {
                divide(self.gateway, bits).map_or(Layout::Docker0, Layout::Divided)
            }
            DockerNetworks::Own => Layout::Own,
        }
    }

    /// What a network other than docker0 has to be told: the name of a variable, the key and the value. Docker masquerades
    /// there unless it is told not to.
    fn network_options(&self) -> Vec<(&'static str, &'static str, String)> {
        let mut options = vec![(
            "NETWORK_MTU",
            "com.docker.network.driver.mtu",
            self.mtu.to_string(),
        )];
        if self.ip_masq == Some(false) {
            options.push((
                "NETWORK_IPMASQ",
                "com.docker.network.bridge.enable_ip_masquerade",
                "false".to_owned(),
            ));
        }
        options
    }

    /// Returns the command that creates a network with the whole subnet, on a bridge of the same name.
    pub(crate) fn network_create(&self, name: &str) -> String {
        let network = self.gateway.network();
        let (prefix, gateway) = (self.gateway.prefix(), self.gateway.ip());
        let mut command = format!(
            "docker network create --subnet={network}/{prefix} --gateway={gateway} \
             --opt=com.docker.network.bridge.name={name}"
        );
        for (_, key, value) in self.network_options() {
            _ = write!(command, " --opt={key}={value}");
        }
        command + " " + name + "\n"
    }

    fn json(&self) -> String {
        let bridge = |bip| DaemonJson {
            bip: Some(bip),
            mtu: Some(self.mtu),
            ip_masq: self.ip_masq,
            ..DaemonJson::default()
        };
        let json = match self.layout() {
            Layout::Docker0 => bridge(self.gateway),
            Layout::Divided(shares) => {
                let Shares { pool, size, .. } = shares;
                let options = self.network_options().into_iter();
                let options = options.map(|(_, key, value)| (key, value)).collect();
                DaemonJson {
                    default_address_pools: vec![AddressPool { base: pool, size }],
                    default_network_opts: [("bridge", options)].into(),
                    ..bridge(shares.docker0)
                }
            }
            Layout::Own => DaemonJson {
                bridge: Some("none"),
                ..DaemonJson::default()
            },
        };
        json.render()
    }
}

/// What of [`DockerNetworks`] the subnet has room for.
enum Layout {
    Docker0,
    Divided(Shares),
    Own,
}

/// One option of dockerd.
struct DockerOption {
    /// Its variable, after `DOCKER_OPT_`.
    variable: &'static str,
    flag: String,
    value: String,
}

impl DockerOption {
    fn new(variable: &'static str, flag: &str, value: impl ToString) -> Self {
        Self {
            variable,
            flag: flag.to_owned(),
            value: value.to_string(),
        }
    }
}

impl fmt::Display for DockerOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.flag, self.value)
    }
}

/// Also those that say who masquerades, and with which MTU, when we leave that to Docker.
fn is_set_by_us(option: &str, ours: &[String]) -> bool {
    let bridge = ["--bip", "--mtu", "--ip-masq"];
    let mut flags = bridge.into_iter().chain(ours.iter().map(String::as_str));
    flags.any(|flag| {
        option
            .strip_prefix(flag)
            .is_some_and(|rest| rest.starts_with('='))
    })
}

fn required<T: FromStr>(
    subnet_env: &str,
    key: &str,
    expected: &'static str,
) -> Result<T, SubnetEnvError> {
    let value = value(subnet_env, key);
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| SubnetEnvError {
            expected,
            got: value.map(str::to_owned),
        })
}

#[cfg(test)]
mod tests;
