//! Which network config this host uses. Before the first lease the latest that can be used; after it the one that the
//! lease was acquired with, until a restart. Each value is judged and logged once. Pure.

use tracing::{error, warn};

use crate::model::network_config::{self, NetworkConfig};

/// The value of the key `config` that was judged last.
#[derive(Debug, PartialEq, Eq)]
enum LastValue {
    NotRead,
    KeyMissing,
    Value(Vec<u8>),
}

/// The network config as etcd holds it.
#[derive(Debug)]
pub(super) struct ObservedConfig {
    /// The whole key, for people.
    key: String,
    last: LastValue,
    usable: Option<NetworkConfig>,
    /// Why the value cannot be used, if there is one.
    error: Option<String>,
    /// How the value differs from the config in use.
    differences: Vec<String>,
}

type ConfigResult = Result<network_config::Parsed, network_config::error::ConfigError>;

impl ObservedConfig {
    pub(super) const fn new(key: String) -> Self {
        Self {
            key,
            last: LastValue::NotRead,
            usable: None,
            error: None,
            differences: Vec::new(),
        }
    }

    /// Records the value of the key and returns the config to use. `in_use`: the config of our lease.
    pub(super) fn read(
        &mut self,
        value: Option<&[u8]>,
        in_use: Option<&NetworkConfig>,
    ) -> Option<NetworkConfig> {
        let now = value.map_or(LastValue::KeyMissing, |value| {
            LastValue::Value(value.to_vec())
        });
        let is_new = self.last != now;
        self.last = now;
        if let Some(in_use) = in_use {
            if is_new {
                let parsed = value.map(network_config::parse);
                self.differences = match &parsed {
                    Some(Ok(now)) => in_use.differences(&now.config),
                    Some(Err(_)) | None => Vec::new(),
                };
                warn_if_changed(in_use, parsed);
            }
            return Some(in_use.clone());
        }
        if is_new {
            let parsed = value.map(network_config::parse);
            self.error = match &parsed {
                Some(Err(error)) => Some(error.to_string()),
                Some(Ok(_)) | None => None,
            };
            self.usable = judge(parsed, &self.key);
        }
        self.usable.clone()
    }

    /// Returns how the value that was read last differs from the config in use.
    pub(super) fn differences(&self) -> &[String] {
        &self.differences
    }

    /// Returns why the value that was read last cannot be used, if there is one.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

fn judge(parsed: Option<ConfigResult>, key: &str) -> Option<NetworkConfig> {
    match parsed {
        None => {
            warn!(
                "no network config in etcd yet; waiting for the key {key}: check --etcd-prefix, or create the key: etcdctl \
                 put {key} '{{\"Network\": \"10.5.0.0/16\"}}'"
            );
            None
        }
        Some(Err(error)) => {
            error!(key, %error, "the network config in etcd cannot be used; waiting for another one");
            None
        }
        Some(Ok(parsed)) => {
            for warning in &parsed.warnings {
                warn!("network config: {warning}");
            }
            Some(parsed.config)
        }
    }
}

fn warn_if_changed(in_use: &NetworkConfig, parsed: Option<ConfigResult>) {
    match parsed {
        Some(Ok(now)) if now.config == *in_use => {}
        Some(Ok(now)) => {
            let changes = in_use.differences(&now.config).join("; ");
            warn!(
                changes,
                "the network config in etcd has changed; using the previous one until flanneld is restarted"
            );
        }
        Some(Err(error)) => {
            warn!(%error, "the network config in etcd cannot be used; using the previous one");
        }
        None => warn!("the network config was deleted from etcd; using the previous one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &[u8] = br#"{"Network":"10.5.0.0/16"}"#;
    const OTHER: &[u8] = br#"{"Network":"10.6.0.0/16"}"#;

    fn network(config: Option<NetworkConfig>) -> Option<String> {
        config.map(|config| config.network.to_string())
    }

    #[test]
    fn uses_the_latest_config_before_the_first_lease() {
        let mut observed = ObservedConfig::new("/test/config".to_owned());
        let networks = [Some(CONFIG), Some(CONFIG), Some(OTHER), Some(b"{}"), None]
            .map(|value| network(observed.read(value, None)));
        let expected = [
            Some("10.5.0.0/16"),
            Some("10.5.0.0/16"),
            Some("10.6.0.0/16"),
            None,
            None,
        ];
        assert_eq!(networks, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn uses_the_config_of_the_lease_after_the_first_lease() {
        let mut observed = ObservedConfig::new("/test/config".to_owned());
        let in_use = observed.read(Some(CONFIG), None);
        for value in [Some(CONFIG), Some(OTHER), Some(b"{}"), None] {
            let used = observed.read(value, in_use.as_ref());
            assert_eq!(network(used).as_deref(), Some("10.5.0.0/16"), "{value:?}");
        }
    }
}
