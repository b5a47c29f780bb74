//! Defines [`MacAddr`], [`Vni`] and the arithmetic on IPv4 networks that several modules share.
//! Networks are `ipnetwork`'s types. Pure.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An Ethernet address, printed as Go and `ip` print it: `b6:bf:4c:81:cf:3b`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// Turns six arbitrary bytes into a unicast, locally administered address (IEEE 802: the two
    /// lowest bits of the first octet), which any device can have.
    pub(crate) fn locally_administered(mut bytes: [u8; 6]) -> Self {
        bytes[0] = (bytes[0] & 0xfc) | 0x02;
        Self(bytes)
    }

    /// Whether a device can have this address: it is neither multicast, broadcast nor all zero.
    pub fn is_unicast(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an Ethernet address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an Ethernet address such as \"b6:bf:4c:81:cf:3b\", got {0:?}")]
pub struct NotAMacAddr(String);

impl FromStr for MacAddr {
    type Err = NotAMacAddr;

    /// Reads six octets of two hexadecimal digits with `:` or `-` between them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octet = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let octets: Option<Vec<u8>> = text.split([':', '-']).map(octet).collect();
        octets
            .and_then(|octets| octets.try_into().ok())
            .map(Self)
            .ok_or_else(|| NotAMacAddr(text.to_owned()))
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A VXLAN network identifier: 24 bits (RFC 7348, section 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

impl Vni {
    /// The identifier that flannel uses unless the network config names another.
    pub(crate) const DEFAULT: Self = Self(1);
    /// The largest identifier that 24 bits hold.
    pub(crate) const MAX: u32 = (1 << 24) - 1;
    /// The largest identifier that leaves room for a dot in the name of the device.
    const LAST_WITH_DOT: u32 = 9_999_999;

    /// Returns the name of the device that carries this VXLAN, such as `flannel.1`. A name has at most 15 characters
    /// (IFNAMSIZ): with a VNI of eight digits it has no dot.
    pub(crate) fn device(self) -> String {
        let dot = if self.0 > Self::LAST_WITH_DOT {
            ""
        } else {
            "."
        };
        format!("flannel{dot}{self}")
    }

    /// Returns whether a device with this name may carry the VXLAN of an instance.
    pub(crate) fn is_device(name: &str) -> bool {
        let Some(rest) = name.strip_prefix("flannel") else {
            return false;
        };
        let vni: Option<Self> = rest
            .trim_start_matches('.')
            .parse()
            .ok()
            .and_then(|number: u32| Self::try_from(number).ok());
        vni.is_some_and(|vni| vni.device() == name)
    }
}

/// The number does not fit into 24 bits.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a VNI between 0 and 16777215, got {0}")]
pub struct NotAVni(u32);

impl TryFrom<u32> for Vni {
    type Error = NotAVni;

    fn try_from(number: u32) -> Result<Self, Self::Error> {
        (number <= Self::MAX)
            .then_some(Self(number))
            .ok_or(NotAVni(number))
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Returns the network of this length that `address` is in, or `None` if `prefix` is above 32.
pub(crate) fn network_of(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Network> {
    let network = Ipv4Network::new(address, prefix).ok()?;
    Ipv4Network::new(network.network(), prefix).ok()
}

/// Whether all addresses of `inner` are in `outer`.
pub(crate) fn covers(outer: Ipv4Network, inner: Ipv4Network) -> bool {
    outer.prefix() <= inner.prefix() && outer.contains(inner.ip())
}

/// Whether two networks have an address in common.
pub(crate) fn overlap(a: Ipv4Network, b: Ipv4Network) -> bool {
    covers(a, b) || covers(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_gos_notations_and_prints_like_ip() {
        for text in [
            "b6:bf:4c:81:cf:3b",
            "B6:BF:4C:81:CF:3B",
            "b6-bf-4c-81-cf-3b",
        ] {
            assert_eq!(
                text.parse::<MacAddr>().map(|m| m.to_string()),
                Ok("b6:bf:4c:81:cf:3b".to_owned())
            );
        }
    }

    #[test]
    fn refuses_what_is_not_a_mac_address() {
        for text in [
            "",
            "b6",
            "b6:bf:4c:81:cf",
            "b6:bf:4c:81:cf:3b:00",
            "b6:bf:4c:81:cf:+b",
            "b6:bf:4c:81:cf:3",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn locally_administered_addresses_are_unicast_and_local() {
        let mac = MacAddr::locally_administered([0xff; 6]);
        assert!(mac.is_unicast());
        assert_eq!(mac.to_string(), "fe:ff:ff:ff:ff:ff");
    }

    #[test]
    fn a_vni_has_24_bits() {
        assert!(Vni::try_from(Vni::MAX).is_ok());
        assert_eq!(Vni::try_from(1 << 24), Err(NotAVni(1 << 24)));
    }

    #[test]
    fn the_name_of_a_device_has_at_most_15_characters() {
        for (number, expected) in [
            (0, "flannel.0"),
            (1, "flannel.1"),
            (9_999_999, "flannel.9999999"),
            (10_000_000, "flannel10000000"),
            (Vni::MAX, "flannel16777215"),
        ] {
            let name = Vni::try_from(number).expect("24 bits").device();
            assert_eq!(name, expected);
            assert!(name.len() <= 15 && Vni::is_device(&name), "{name}");
        }
        for name in [
            "flannel",
            "flannel.",
            "flannel1",
            "flannel.10000000",
            "flannel.x",
            "eth0",
        ] {
            assert!(!Vni::is_device(name), "{name}");
        }
    }

    #[test]
    fn networks_overlap_when_one_covers_the_other() {
        let net = |s: &str| s.parse::<Ipv4Network>().expect("a network in a test");
        assert!(overlap(net("10.5.0.0/16"), net("10.5.3.0/24")));
        assert!(overlap(net("10.5.3.0/24"), net("10.5.0.0/16")));
        assert!(!overlap(net("10.5.3.0/24"), net("10.5.4.0/24")));
    }
}
