//! Owns which network configuration the keeper goes by, and what it says of each.

use tracing::{error, warn};

use crate::lease::manager::LeaseManager;
use crate::lease::port::Registry;
use crate::model::network_config;
use crate::model::network_config::NetworkConfig;

impl<R: Registry> LeaseManager<R> {
    /// The configuration with which we are or become a member.
    pub(super) fn network_config(&mut self, value: Option<&[u8]>) -> Option<NetworkConfig> {
        let value = value.map(<[u8]>::to_vec);
        if self.seen.as_ref() == Some(&value) {
            return self.joined.clone();
        }
        let parsed = value.as_deref().map(network_config::parse);
        self.seen = Some(value);
        if let (Some(joined), Some(_)) = (&self.joined, &self.announced) {
            warn_if_changed(joined, parsed);
            return self.joined.clone();
        }
        match parsed {
            None => {
                warn!(
                    "no network config in etcd yet; waiting for the key \"config\" below the prefix"
                );
                self.joined = None;
            }
            Some(Err(error)) => {
                error!(%error, "cannot use the network config; waiting for a better one");
                self.joined = None;
            }
            Some(Ok(parsed)) => {
                parsed
                    .warnings
                    .iter()
                    .for_each(|warning| warn!("network config: {warning}"));
                self.joined = Some(parsed.config);
            }
        }
        self.joined.clone()
    }
}

fn warn_if_changed(
    joined: &NetworkConfig,
    now: Option<Result<network_config::Parsed, network_config::ConfigError>>,
) {
    match now {
        Some(Ok(now)) if now.config == *joined => {}
        Some(Ok(now)) => {
            let changes = joined.differences(&now.config).join("; ");
            warn!(
                changes,
                "the network config has changed; going on with the old one until a restart"
            );
        }
        Some(Err(error)) => {
            warn!(%error, "the network config is unusable now; going on with the old one")
        }
        None => warn!("the network config is gone from etcd; going on with the old one"),
    }
}
