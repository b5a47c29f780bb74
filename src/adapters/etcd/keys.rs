//! The names of the keys of one network in etcd, and how a key becomes an [`Entry`]. Pure; never
//! judges a value.

use etcd_client::KeyValue;

use crate::lease::port::Entry;

/// How much of a value is kept, since all values must fit into memory. It is far above the longest
/// valid lease, so the parser of leases still sees that a value is too long.
const MAX_KEPT_VALUE_BYTES: usize = 64 << 10;

/// The names of the keys of one network.
#[derive(Debug, Clone)]
pub(super) struct NetworkKeys {
    /// `PREFIX/`: everything of this network.
    pub(super) all: String,
    /// `PREFIX/config`.
    pub(super) config: String,
    /// `PREFIX/subnets/`.
    pub(super) subnets: String,
}

impl NetworkKeys {
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('/');
        let all = format!("{prefix}/");
        Self {
            config: format!("{all}config"),
            subnets: format!("{all}subnets/"),
            all,
        }
    }

    /// Returns the key of the lease `name`.
    pub(super) fn lease(&self, name: &str) -> String {
        format!("{}{name}", self.subnets)
    }

    /// Returns the name of a lease's key, or `None` for a key that is not below `PREFIX/subnets/`.
    pub(super) fn name(&self, key: &[u8]) -> Option<String> {
        key.strip_prefix(self.subnets.as_bytes())
            .map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// Returns what a key below `PREFIX/subnets/` holds, or `None` for another key.
    pub(super) fn entry(&self, kv: &KeyValue) -> Option<Entry> {
        let value = kv.value();
        Some(Entry {
            name: self.name(kv.key())?,
            value: value.get(..MAX_KEPT_VALUE_BYTES).unwrap_or(value).to_vec(),
            created: kv.create_revision(),
            revision: kv.mod_revision(),
            lease: Some(kv.lease()).filter(|lease| *lease != 0),
        })
    }
}

/// Returns the smallest key above `key`.
pub(super) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Returns the smallest key above all keys that begin with `prefix`, which ends in `/`.
pub(super) fn end_of_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_the_same_with_and_without_a_slash_at_the_end_of_the_prefix() {
        for prefix in ["/coreos.com/network", "/coreos.com/network/"] {
            let keys = NetworkKeys::new(prefix);
            assert_eq!(keys.config, "/coreos.com/network/config");
            assert_eq!(
                keys.lease("10.5.1.0-24"),
                "/coreos.com/network/subnets/10.5.1.0-24"
            );
            assert_eq!(
                keys.name(b"/coreos.com/network/subnets/10.5.1.0-24")
                    .as_deref(),
                Some("10.5.1.0-24")
            );
            assert_eq!(keys.name(b"/coreos.com/network/config"), None);
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_above_all_its_keys_and_below_its_siblings() {
        let end = end_of_prefix("/a/subnets/");
        assert!(
            b"/a/subnets/\xff\xff".as_slice() < &end[..] && &end[..] <= b"/a/subnets0".as_slice()
        );
    }
}
