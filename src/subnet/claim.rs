//! Owns the decision which subnet shall be ours, given what the registry holds. Pure.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use super::registry::{Entry, Listing};
use super::{Own, key_name, parse_key_name, parse_lease, pick, public_ip_of, render_value};
use crate::addr::MacAddr;
use crate::config::NetworkConfig;

/// What this host brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Address under which the other hosts reach us; the owner of a lease is known by it.
    pub public_ip: Ipv4Addr,
    /// The subnet we had, if any is known: that of the last run's subnet.env, or of the lease that was lost.
    pub previous: Option<Ipv4Network>,
    /// Address for the vxlan device, unless our lease already names one.
    pub vtep_mac: MacAddr,
}

/// How to come to a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The registry holds it, just as we would write it.
    Keep(Own, Entry),
    /// The registry holds it with another value.
    Rewrite(Own, Entry),
    /// It has to be created.
    Create(Own),
    /// No subnet is free.
    Exhausted,
}

/// Decides in the order of the contract: a key with our PublicIP, then the previous subnet, then any free one.
/// `lost` are subnets that others have taken since `listing` was made; `random` is uniform in 0..1.
pub fn claim(
    listing: &Listing,
    config: &NetworkConfig,
    identity: &Identity,
    lost: &[Ipv4Network],
    random: f64,
) -> Claim {
    if let Some((subnet, entry)) = held(listing, config, identity) {
        return adopt(subnet, entry, config, identity);
    }
    let mut taken: Vec<Ipv4Network> = listing.entries.iter().filter_map(|e| parse_key_name(&e.name).ok()).collect();
    taken.extend(lost);
    let previous = identity.previous.filter(|subnet| pick::is_free(config, &taken, *subnet));
    match previous.or_else(|| pick::pick(config, &taken, random)) {
        Some(subnet) => Claim::Create(own(subnet, identity.vtep_mac, identity)),
        None => Claim::Exhausted,
    }
}

/// The entry that carries our PublicIP. If there are several, that of the previous subnet, else the first.
fn held<'a>(listing: &'a Listing, config: &NetworkConfig, identity: &Identity) -> Option<(Ipv4Network, &'a Entry)> {
    let ours = |entry: &&Entry| public_ip_of(&entry.value) == Some(identity.public_ip);
    listing
        .entries
        .iter()
        .filter(ours)
        .filter_map(|entry| Some((parse_key_name(&entry.name).ok()?, entry)))
        // A dual-stack key of ours is from another time: we could not renew its IPv6 part.
        .filter(|(subnet, entry)| config.fits(*subnet) && entry.name == key_name(*subnet))
        .min_by_key(|(subnet, _)| (Some(*subnet) != identity.previous, *subnet))
}

/// Takes over an entry: the MAC address in it wins over ours, so that no peer has anything to learn.
fn adopt(subnet: Ipv4Network, entry: &Entry, config: &NetworkConfig, identity: &Identity) -> Claim {
    let lease = parse_lease(&entry.name, &entry.value, entry.revision).ok();
    let mac = lease.as_ref().map(|lease| lease.vtep_mac).filter(|mac| mac.is_unicast());
    let own = own(subnet, mac.unwrap_or(identity.vtep_mac), identity);
    let complete = lease.is_some_and(|lease| lease.vni == Some(config.vxlan.vni) && lease.vtep_mac == own.vtep_mac);
    match complete {
        true => Claim::Keep(own, entry.clone()),
        false => Claim::Rewrite(own, entry.clone()),
    }
}

fn own(subnet: Ipv4Network, vtep_mac: MacAddr, identity: &Identity) -> Own {
    Own { subnet, public_ip: identity.public_ip, vtep_mac }
}

/// The value to write for a claim.
pub fn value(own: &Own, config: &NetworkConfig) -> String {
    render_value(own.public_ip, config.vxlan.vni, own.vtep_mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"Network":"10.5.0.0/16"}"#;
    const MINE: &str = "02:00:00:00:00:01";

    fn config() -> NetworkConfig {
        crate::config::parse(CONFIG.as_bytes()).expect("a configuration in a test").config
    }

    fn entry(name: &str, public_ip: &str, data: &str) -> Entry {
        let value = format!(r#"{{"PublicIP":"{public_ip}","BackendType":"vxlan","BackendData":{data}}}"#);
        Entry { name: name.to_owned(), value: value.into_bytes(), revision: 7, lease: Some(1) }
    }

    fn claim_of(entries: Vec<Entry>, previous: Option<&str>) -> Claim {
        let identity = Identity {
            public_ip: Ipv4Addr::new(10, 99, 0, 2),
            previous: previous.map(|text| text.parse().expect("a subnet in a test")),
            vtep_mac: MINE.parse().expect("an address in a test"),
        };
        claim(&Listing { revision: 9, config: None, entries }, &config(), &identity, &[], 0.0)
    }

    fn check(entries: Vec<Entry>, previous: Option<&str>, expected: &str) {
        let text = match claim_of(entries, previous) {
            Claim::Keep(own, _) => format!("keep {} {}", own.subnet, own.vtep_mac),
            Claim::Rewrite(own, _) => format!("rewrite {} {}", own.subnet, own.vtep_mac),
            Claim::Create(own) => format!("create {} {}", own.subnet, own.vtep_mac),
            Claim::Exhausted => "exhausted".to_owned(),
        };
        assert_eq!(text, expected);
    }

    const COMPLETE: &str = r#"{"VNI":1,"VtepMAC":"b6:bf:4c:81:cf:3b"}"#;

    #[test]
    fn keeps_the_key_with_our_public_ip_and_its_mac() {
        let entries = vec![entry("10.5.7.0-24", "10.99.0.3", COMPLETE), entry("10.5.9.0-24", "10.99.0.2", COMPLETE)];
        check(entries, Some("10.5.8.0/24"), "keep 10.5.9.0/24 b6:bf:4c:81:cf:3b");
    }

    #[test]
    fn prefers_the_previous_among_several_of_ours() {
        let entries = vec![entry("10.5.7.0-24", "10.99.0.2", COMPLETE), entry("10.5.9.0-24", "10.99.0.2", COMPLETE)];
        check(entries, Some("10.5.9.0/24"), "keep 10.5.9.0/24 b6:bf:4c:81:cf:3b");
    }

    #[test]
    fn completes_the_value_of_an_old_flannel_and_of_another_backend() {
        let old = entry("10.5.9.0-24", "10.99.0.2", r#"{"VtepMAC":"b6:bf:4c:81:cf:3b"}"#);
        check(vec![old], None, "rewrite 10.5.9.0/24 b6:bf:4c:81:cf:3b");
        let mut udp = entry("10.5.9.0-24", "10.99.0.2", "null");
        udp.value = br#"{"PublicIP":"10.99.0.2","BackendType":"udp"}"#.to_vec();
        check(vec![udp], None, &format!("rewrite 10.5.9.0/24 {MINE}"));
    }

    #[test]
    fn does_not_keep_a_key_that_does_not_fit_the_config() {
        let entries = vec![entry("10.5.9.0-25", "10.99.0.2", COMPLETE)];
        check(entries, None, &format!("create 10.5.1.0/24 {MINE}"));
    }

    #[test]
    fn takes_the_previous_subnet_if_it_is_free_and_fits() {
        check(vec![], Some("10.5.8.0/24"), &format!("create 10.5.8.0/24 {MINE}"));
        check(vec![], Some("10.6.8.0/24"), &format!("create 10.5.1.0/24 {MINE}"));
        let taken = vec![entry("10.5.8.0-24", "10.99.0.3", COMPLETE)];
        check(taken, Some("10.5.8.0/24"), &format!("create 10.5.1.0/24 {MINE}"));
    }

    #[test]
    fn garbage_still_occupies_the_subnet_it_names() {
        let mut garbage = entry("10.5.1.0-24", "10.99.0.3", COMPLETE);
        garbage.value = b"garbage".to_vec();
        check(vec![garbage], None, &format!("create 10.5.2.0/24 {MINE}"));
    }

    #[test]
    fn says_when_nothing_is_free() {
        let entries = (0..=255).map(|n| entry(&format!("10.5.{n}.0-24"), "10.99.0.3", COMPLETE)).collect();
        check(entries, None, "exhausted");
    }
}
