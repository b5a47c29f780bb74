//! Turns subnet.env into options for Docker: variables for systemd and shells, or keys of
//! daemon.json. Pure: commands and adapters read and write the files.

use std::fmt::Write as _;
use std::str::FromStr;

use ipnetwork::Ipv4Network;

use crate::files::subnet_env::parse::value;

/// How Docker sets up its bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DockerSettings {
    /// The address of the bridge, with the length of its network.
    pub(crate) bip: String,
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
            bip: subnet.to_string(),
            mtu,
            ip_masq: flannel_masquerades.map(|masquerades| !masquerades),
            earlier: Vec::new(),
        })
    }

    /// Adds the options that the combined variable holds already, except those that we set: dockerd
    /// refuses to start if it gets an option twice.
    #[must_use]
    pub(crate) fn after(self, earlier: &str) -> Self {
        let earlier = earlier
            .split_whitespace()
            .filter(|option| !is_set_by_us(option))
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
            for (name, option) in &options {
                _ = writeln!(text, "DOCKER_OPT_{name}=\"{option}\"");
            }
        }
        if let Some(key) = combined {
            let ours = options.iter().map(|(_, option)| option.as_str());
            let earlier = self.earlier.iter().map(String::as_str);
            let all: Vec<&str> = earlier.chain(ours).collect();
            _ = writeln!(text, "{key}=\"{}\"", all.join(" "));
        }
        text
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![
            ("BIP", format!("--bip={}", self.bip)),
            ("MTU", format!("--mtu={}", self.mtu)),
        ];
        if let Some(masquerade) = self.ip_masq {
            options.push(("IPMASQ", format!("--ip-masq={masquerade}")));
        }
        options
    }

    fn json(&self) -> String {
        let mut lines = vec![
            format!("  \"bip\": \"{}\"", self.bip),
            format!("  \"mtu\": {}", self.mtu),
        ];
        if let Some(masquerade) = self.ip_masq {
            lines.push(format!("  \"ip-masq\": {masquerade}"));
        }
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}

fn is_set_by_us(option: &str) -> bool {
    ["--bip=", "--mtu=", "--ip-masq="]
        .iter()
        .any(|ours| option.starts_with(ours))
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
mod tests {
    use super::*;

    const SUBNET_ENV: &str = "FLANNEL_NETWORK=172.16.0.0/16\nFLANNEL_SUBNET=172.16.99.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

    fn check(subnet_env: &str, form: &Form, expected: &str) {
        let settings = DockerSettings::read(subnet_env).expect("a subnet.env that is accepted");
        assert_eq!(settings.render(form), expected);
    }

    fn variables(individual: bool, combined: Option<&str>) -> Form {
        Form::Variables {
            individual,
            combined: combined.map(str::to_owned),
        }
    }

    #[test]
    fn writes_what_flannels_script_writes() {
        let individual = "DOCKER_OPT_BIP=\"--bip=172.16.99.1/24\"\nDOCKER_OPT_MTU=\"--mtu=1450\"\n\
                          DOCKER_OPT_IPMASQ=\"--ip-masq=false\"\n";
        let all = "\"--bip=172.16.99.1/24 --mtu=1450 --ip-masq=false\"\n";
        check(
            SUBNET_ENV,
            &Form::usual(),
            &format!("{individual}DOCKER_OPTS={all}"),
        );
        check(SUBNET_ENV, &variables(true, None), individual);
        check(
            SUBNET_ENV,
            &variables(false, Some("DOCKER_NETWORK_OPTIONS")),
            &format!("DOCKER_NETWORK_OPTIONS={all}"),
        );
    }

    #[test]
    fn writes_keys_of_daemon_json() {
        let expected =
            "{\n  \"bip\": \"172.16.99.1/24\",\n  \"mtu\": 1450,\n  \"ip-masq\": false\n}\n";
        check(SUBNET_ENV, &Form::Json, expected);
        let parsed: serde_json::Value = serde_json::from_str(expected).expect("JSON");
        assert_eq!(parsed["mtu"], 1450);
    }

    #[test]
    fn docker_masquerades_exactly_when_flannel_does_not() {
        let without = SUBNET_ENV.replace("IPMASQ=true", "IPMASQ=false");
        check(
            &without,
            &variables(false, Some("X")),
            "X=\"--bip=172.16.99.1/24 --mtu=1450 --ip-masq=true\"\n",
        );
        let silent = SUBNET_ENV.replace("FLANNEL_IPMASQ=true\n", "");
        check(
            &silent,
            &variables(false, Some("X")),
            "X=\"--bip=172.16.99.1/24 --mtu=1450\"\n",
        );
    }

    #[test]
    fn earlier_options_stay_in_front_and_ours_appear_once() {
        let settings = DockerSettings::read(SUBNET_ENV)
            .expect("a subnet.env")
            .after(" --debug --bip=10.1.1.1/24 -H fd://");
        let expected = "X=\"--debug -H fd:// --bip=172.16.99.1/24 --mtu=1450 --ip-masq=false\"\n";
        assert_eq!(settings.render(&variables(false, Some("X"))), expected);
    }

    #[test]
    fn names_what_subnet_env_lacks() {
        let error = |text: &str| {
            DockerSettings::read(text)
                .expect_err("a subnet.env that is refused")
                .to_string()
        };
        assert_eq!(
            error("FLANNEL_MTU=1450"),
            "expected FLANNEL_SUBNET=ADDRESS/LENGTH, got no such line"
        );
        assert_eq!(
            error("FLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=big"),
            "expected FLANNEL_MTU=BYTES, got \"big\""
        );
    }
}
