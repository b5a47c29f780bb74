//! Defines the node id, which tells the hosts of an overlay apart, and derives the host's VTEP MAC
//! from it. Pure: the caller reads the machine id.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::model::addr::{MacAddr, Vni};

/// Hashed with the machine id, so that other programs on the same machine derive other ids.
const APPLICATION_NAME: &[u8] = b"flanneld node id, 1";

/// The name of a host in the overlay. It stays the same when the host reboots or gets another
/// address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeId(String);

/// The text is not a machine id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 32 hexadecimal digits in /etc/machine-id, got {0:?}; run systemd-machine-id-setup, or name this host \
     with --node-id"
)]
pub struct NotAMachineId(String);

impl NodeId {
    /// Takes a name that the operator chose.
    pub fn named(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// Derives the id from the content of /etc/machine-id with a keyed hash, like
    /// `sd_id128_get_machine_app_specific`: the machine id itself is confidential (machine-id(5)).
    ///
    /// # Errors
    /// The text is not a machine id. In an image that has never booted, it is empty or
    /// "uninitialized".
    pub(crate) fn of_machine(machine_id: &str) -> Result<Self, NotAMachineId> {
        let id = machine_id.trim();
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAMachineId(id.chars().take(40).collect()));
        }
        let hash = keyed_hash(id.to_ascii_lowercase().as_bytes(), &[APPLICATION_NAME]);
        Ok(Self(
            hash[..16]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        ))
    }

    /// Returns the name as the lease publishes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the Ethernet address of the host's vxlan device in one overlay. It is the same after
    /// each reboot, so that peers need not change their FDB entries.
    pub(crate) fn vtep_mac(&self, prefix: &str, vni: Vni) -> MacAddr {
        let hash = keyed_hash(
            self.0.as_bytes(),
            &[prefix.as_bytes(), &[0], &u32::from(vni).to_be_bytes()],
        );
        MacAddr::locally_administered([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5]])
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn keyed_hash(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "0123456789abcdef0123456789abcdef\n";

    #[test]
    fn hides_the_machine_id_and_never_changes() {
        let id = NodeId::of_machine(MACHINE).expect("a machine id");
        assert_eq!(id.as_str(), "dd034294fa0909a5b082a9735afa880b");
        assert_eq!(
            id.vtep_mac("/coreos.com/network", Vni::DEFAULT).to_string(),
            "3e:2f:47:7c:93:89"
        );
    }

    #[test]
    fn the_mac_differs_between_hosts_prefixes_and_vnis() {
        let (a, b) = (NodeId::named("a"), NodeId::named("b"));
        let two = Vni::try_from(2).expect("2 is a VNI");
        let macs = [
            a.vtep_mac("/x", Vni::DEFAULT),
            b.vtep_mac("/x", Vni::DEFAULT),
            a.vtep_mac("/y", Vni::DEFAULT),
            a.vtep_mac("/x", two),
        ];
        let distinct: std::collections::BTreeSet<_> = macs.into_iter().collect();
        assert_eq!(distinct.len(), 4);
        assert!(macs.iter().all(|mac| mac.is_unicast() && mac.0[0] & 2 == 2));
    }

    #[test]
    fn refuses_text_that_is_not_a_machine_id() {
        for text in [
            "",
            "uninitialized\n",
            "0123",
            "0123456789abcdef0123456789abcdeg",
        ] {
            assert!(NodeId::of_machine(text).is_err(), "{text}");
        }
    }
}
