//! Which interface and address the operator means: the words of `--iface` in all the ways in which tools print them, and
//! patterns. Pure.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use regex::Regex;

use crate::underlay::choice::chosen::Chosen;
use crate::underlay::observation::{Interface, InterfaceAddress};

/// An address of this host, and the interface that has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) interface: &'a Interface,
    pub(super) address: Ipv4Addr,
}

/// The interfaces, and the present choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidates<'a> {
    pub(super) interfaces: &'a [Interface],
    pub(super) current: Option<&'a Chosen>,
}

impl<'a> Candidates<'a> {
    /// Finds what a word means: an address, a network (`10.0.0.0/24`), a name, another name (altname), a label (`eth0:1`),
    /// or a name as `ip link` prints it (`eth0@if5`).
    pub(super) fn by_word(self, word: &str) -> Option<Source<'a>> {
        if let Ok(address) = word.parse::<Ipv4Addr>() {
            return self.by_address(address);
        }
        if let Ok(network) = word.parse::<Ipv4Network>() {
            // As `ip address` prints an address: with the length of its subnet.
            let exact = self.by_address(network.ip());
            // Earlier subnets of pods may be in it, too.
            return exact
                .or_else(|| self.best(|i, one| !i.is_of_pods() && network.contains(one.ip)))
                .or_else(|| self.best(|_, one| network.contains(one.ip)));
        }
        let named = self.by_name(word).or_else(|| self.in_any_case(word));
        let main = |interface| self.main_address(interface);
        match named {
            Some(interface) => main(interface),
            None => self.by_label(word).or_else(|| {
                let (name, _) = word.split_once('@')?;
                self.by_name(name).and_then(main)
            }),
        }
    }

    /// An interface whose address matches comes before one whose name does: an address is more precise.
    pub(super) fn by_pattern(self, pattern: &Regex) -> Option<Source<'a>> {
        let mut with_name = self.interfaces.iter().filter(|i| pattern.is_match(&i.name));
        self.best(|_, one| pattern.is_match(&one.ip.to_string()))
            .or_else(|| with_name.find_map(|interface| self.main_address(interface)))
    }

    /// Finds the interface that has an address which other hosts can reach. If several have it, that of the present choice.
    pub(super) fn by_address(self, address: Ipv4Addr) -> Option<Source<'a>> {
        let mut holders = self.interfaces.iter().filter(|i| i.has(address));
        let first = holders.next().filter(|_| !address.is_loopback())?;
        let index = self.current.map(|current| current.index);
        let present = holders.find(|holder| Some(holder.index) == index);
        Some(Source {
            interface: present.unwrap_or(first),
            address,
        })
    }

    fn by_name(self, name: &str) -> Option<&'a Interface> {
        let mut interfaces = self.interfaces.iter();
        let with_altname = || {
            let mut interfaces = self.interfaces.iter();
            interfaces.find(|interface| interface.altnames.iter().any(|other| other == name))
        };
        interfaces
            .find(|interface| interface.name == name)
            .or_else(with_altname)
    }

    /// Upper and lower case tell two names apart only where both exist.
    fn in_any_case(self, name: &str) -> Option<&'a Interface> {
        let is_meant = |interface: &&Interface| {
            let mut names = [&interface.name].into_iter().chain(&interface.altnames);
            names.any(|other| other.eq_ignore_ascii_case(name))
        };
        let mut meant = self.interfaces.iter().filter(is_meant);
        meant.next().filter(|_| meant.next().is_none())
    }

    /// The usual label is the name of the interface.
    fn by_label(self, label: &str) -> Option<Source<'a>> {
        let best = || self.best(|_, one| one.label == label);
        label.contains(':').then(best).flatten()
    }

    /// Takes the present address while the interface has it, and else the one that other hosts reach best.
    fn main_address(self, interface: &'a Interface) -> Option<Source<'a>> {
        let only = std::slice::from_ref(interface);
        let candidates = Candidates {
            interfaces: only,
            ..self
        };
        candidates.best(|_, _| true)
    }

    /// Takes the present address if it matches, and else the address that other hosts reach best: a link-local one only if
    /// there is no other, and never one that only this host reaches.
    fn best(self, matches: impl Fn(&Interface, &InterfaceAddress) -> bool) -> Option<Source<'a>> {
        let all = self
            .interfaces
            .iter()
            .flat_map(|interface| interface.addresses.iter().map(move |one| (interface, one)));
        let matching: Vec<(&Interface, &InterfaceAddress)> = all
            .filter(|(interface, one)| matches(interface, one) && !one.ip.is_loopback())
            .collect();
        let present = self.current.map(|current| current.external.address);
        let mut stay = matching.iter();
        let stay = stay.find(|(_, one)| Some(one.ip) == present && !one.ip.is_link_local());
        let best = || matching.iter().min_by_key(|(_, one)| rank(one));
        let (interface, one) = stay.or_else(best)?;
        Some(Source {
            interface,
            address: one.ip,
        })
    }
}

/// How well other hosts reach an address: the lowest is the best.
const fn rank(address: &InterfaceAddress) -> u8 {
    if address.ip.is_link_local() {
        2
    } else if address.preferred {
        0
    } else {
        1
    }
}
