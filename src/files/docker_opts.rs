//! Owns the options for Docker: what subnet.env says, as variables for systemd and shells, or as keys of daemon.json.
//! Pure.

use std::fmt::Write as _;

use ipnetwork::Ipv4Network;

/// How Docker shall treat its bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerSettings {
    /// Address and length of the bridge.
    pub bip: String,
    /// MTU of the bridge and of the containers.
    pub mtu: u32,
    /// Whether Docker masquerades; `None` leaves it to Docker.
    pub ip_masq: Option<bool>,
    /// Options of somebody else, to stand before ours where all are in one variable.
    pub earlier: Vec<String>,
}

/// In which form the options are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Lines such as `DOCKER_OPT_MTU="--mtu=1450"`, and all options in one variable.
    Variables {
        /// One variable for each option.
        individual: bool,
        /// The name of the variable that holds all options, if it is wanted.
        combined: Option<String>,
    },
    /// Keys of daemon.json.
    Json,
}

/// The name that people know for all options together.
pub const COMBINED: &str = "DOCKER_OPTS";

impl Form {
    /// What Docker's units and the script of flannel expect.
    pub fn usual() -> Self {
        Self::Variables {
            individual: true,
            combined: Some(COMBINED.to_owned()),
        }
    }
}

/// A subnet.env that does not say what Docker needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {}", got.as_ref().map_or("no such line".to_owned(), |got| format!("{got:?}")))]
pub struct Error {
    expected: &'static str,
    got: Option<String>,
}

impl DockerSettings {
    /// Reads a subnet.env, of this daemon or of Go flannel. Docker must not masquerade when flannel does.
    ///
    /// # Errors
    /// The subnet or the MTU is missing or odd: half of the options would let Docker choose a bridge of its own.
    pub fn read(subnet_env: &str) -> Result<Self, Error> {
        let subnet: Ipv4Network = parsed(
            subnet_env,
            "FLANNEL_SUBNET",
            "FLANNEL_SUBNET=ADDRESS/LENGTH",
        )?;
        let mtu = parsed(subnet_env, "FLANNEL_MTU", "FLANNEL_MTU=BYTES")?;
        let ip_masq = value(subnet_env, "FLANNEL_IPMASQ").map(|masquerades| masquerades != "true");
        Ok(Self {
            bip: subnet.to_string(),
            mtu,
            ip_masq,
            earlier: Vec::new(),
        })
    }

    /// With options that were there before, but for those that are ours: dockerd takes none of them twice.
    #[must_use]
    pub fn after(self, earlier: &str) -> Self {
        let ours = |word: &str| {
            ["--bip=", "--mtu=", "--ip-masq="]
                .iter()
                .any(|option| word.starts_with(option))
        };
        let earlier = earlier
            .split_whitespace()
            .filter(|word| !ours(word))
            .map(str::to_owned)
            .collect();
        Self { earlier, ..self }
    }

    /// The options as text.
    pub fn render(&self, form: &Form) -> String {
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
        for (name, option) in options.iter().filter(|_| individual) {
            _ = writeln!(text, "DOCKER_OPT_{name}=\"{option}\"");
        }
        if let Some(key) = combined {
            let ours = options.iter().map(|(_, option)| option);
            let all: Vec<&str> = self
                .earlier
                .iter()
                .chain(ours)
                .map(String::as_str)
                .collect();
            _ = writeln!(text, "{key}=\"{}\"", all.join(" "));
        }
        text
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = vec![
            ("BIP", format!("--bip={}", self.bip)),
            ("MTU", format!("--mtu={}", self.mtu)),
        ];
        options.extend(
            self.ip_masq
                .map(|masquerade| ("IPMASQ", format!("--ip-masq={masquerade}"))),
        );
        options
    }

    fn json(&self) -> String {
        let mut lines = vec![
            format!("  \"bip\": \"{}\"", self.bip),
            format!("  \"mtu\": {}", self.mtu),
        ];
        lines.extend(
            self.ip_masq
                .map(|masquerade| format!("  \"ip-masq\": {masquerade}")),
        );
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }
}

fn parsed<T: std::str::FromStr>(
    subnet_env: &str,
    key: &str,
    expected: &'static str,
) -> Result<T, Error> {
    let value = value(subnet_env, key);
    let error = || Error {
        expected,
        got: value.map(str::to_owned),
    };
    value.and_then(|value| value.parse().ok()).ok_or_else(error)
}

/// One value of a subnet.env; the last counts, as for a shell that reads it.
pub(super) fn value<'a>(subnet_env: &'a str, key: &str) -> Option<&'a str> {
    let of_line = |line: &'a str| line.trim().strip_prefix(key)?.strip_prefix('=');
    subnet_env
        .lines()
        .filter_map(of_line)
        .next_back()
        .map(|value| value.trim_matches(['"', '\'']))
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
    fn writes_what_the_script_of_flannel_writes() {
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
    fn options_of_others_stay_in_front_and_ours_are_there_once() {
        let settings = DockerSettings::read(SUBNET_ENV)
            .expect("a subnet.env")
            .after(" --debug --bip=10.1.1.1/24 -H fd://");
        let expected = "X=\"--debug -H fd:// --bip=172.16.99.1/24 --mtu=1450 --ip-masq=false\"\n";
        assert_eq!(settings.render(&variables(false, Some("X"))), expected);
    }

    #[test]
    fn says_what_a_subnet_env_lacks() {
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
