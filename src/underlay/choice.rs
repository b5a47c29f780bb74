//! Which interface is the external interface, the one by which the VXLAN packets leave, and from which address. Pure:
//! interfaces and routes are arguments.
//!
//! A choice that still holds is kept: of several addresses of one interface the present one stays while it exists, and
//! without a route to etcd the present interface stays. Only what the operator names, or a route that leads elsewhere,
//! moves it.
//!
//! The address may be on an interface by which no packet leaves, such as a /32 on the loopback interface that routers
//! announce. Then the way to the other hosts says which interface it is.

pub(crate) mod chosen;
pub(crate) mod error;
mod named;

use std::net::Ipv4Addr;

use crate::underlay::choice::chosen::Chosen;
use crate::underlay::choice::error::NoInterface;
use crate::underlay::choice::named::{Candidates, Source};
use crate::underlay::observation::{Interface, MemberRoute, Observation, RouteLookup};
use crate::underlay::settings::Selectors;

/// A kind of interface that only holds addresses.
const DUMMY: &str = "dummy";

/// Chooses the external interface: `--iface` in the order given, then `--iface-regex`, then `--iface-can-reach`. Without
/// any of them, the interface that has the address of `--public-ip`, then that of the route to etcd, which other hosts use
/// too, and else the default route. `current` is the present choice. If this host has the address of `--public-ip`, that is
/// the source address in any case: firewalls and peers know no other.
///
/// # Errors
/// No interface fits.
pub(crate) fn choose(
    selectors: &Selectors,
    observed: &Observation,
    current: Option<&Chosen>,
) -> Result<Chosen, NoInterface> {
    let look = Look { observed, current };
    let published = look.published(selectors)?;
    match published {
        None if selectors.name_no_interface() => look.by_route(),
        Some(source) if selectors.name_no_interface() => look.carried(source),
        None => match look.named(selectors) {
            Some(source) => look.carried(source),
            None => look.reaching(selectors),
        },
        Some(source) => look.publishing(selectors, source.address),
    }
}

/// What is, and what was chosen before.
#[derive(Debug, Clone, Copy)]
struct Look<'a> {
    observed: &'a Observation,
    current: Option<&'a Chosen>,
}

impl<'a> Look<'a> {
    fn candidates(self) -> Candidates<'a> {
        Candidates {
            interfaces: &self.observed.interfaces,
            current: self.current,
        }
    }

    /// Returns the published address if this host has it. An address that this host has had is not behind a NAT: while it is
    /// away, nothing else is right.
    fn published(self, selectors: &Selectors) -> Result<Option<Source<'a>>, NoInterface> {
        let Some(ip) = selectors.public_ip else {
            return Ok(None);
        };
        let source = self.candidates().by_address(ip);
        let had_it = self.current.is_some_and(|c| c.external.address == ip);
        if source.is_none() && had_it {
            let option = format!("--public-ip={ip}");
            return Err(NoInterface::no_match(option, &self.observed.interfaces));
        }
        Ok(source)
    }

    /// Returns the first that exists of the words, and then of the patterns.
    fn named(self, selectors: &Selectors) -> Option<Source<'a>> {
        let (mut words, mut patterns) = (selectors.ifaces.iter(), selectors.patterns.iter());
        words
            .find_map(|word| self.candidates().by_word(word))
            .or_else(|| patterns.find_map(|pattern| self.candidates().by_pattern(pattern)))
    }

    /// Takes the interface that leads to the address of `--iface-can-reach`.
    fn reaching(self, selectors: &Selectors) -> Result<Chosen, NoInterface> {
        self.through(self.observed.can_reach.as_ref())
            // A route that is away for a moment is no reason to give up an interface that works.
            .or_else(|| selectors.can_reach.and_then(|_| self.kept()))
            .ok_or_else(|| NoInterface::none_selected(selectors, &self.observed.interfaces))
    }

    /// Takes what the operator names, with the published address as the source. Routers may lead to that address by several
    /// interfaces: while the named one is down or gone, packets leave by another.
    fn publishing(self, selectors: &Selectors, ip: Ipv4Addr) -> Result<Chosen, NoInterface> {
        let Some(Source { interface, .. }) = self.named(selectors) else {
            let other = self.current.and_then(|_| self.way().ok());
            let other = other.map_or_else(|| self.reaching(selectors), Ok);
            return other.map(|chosen| chosen.from(ip));
        };
        let is_usable = interface.has(ip) || (interface.up && interface.carrier);
        if is_usable && self.carries(interface, ip) {
            return Ok(Chosen::new(interface, ip));
        }
        let other = self.way().map(|chosen| chosen.from(ip));
        Ok(other.unwrap_or_else(|_| Chosen::new(interface, ip)))
    }

    /// Takes the interface that has the address, or else the way to the other hosts.
    fn carried(self, source: Source<'_>) -> Result<Chosen, NoInterface> {
        let Source { interface, address } = source;
        if self.carries(interface, address) {
            return Ok(Chosen::new(interface, address));
        }
        let way = self.way().map(|chosen| chosen.from(address));
        way.map_err(|reason| reason.without_way(address, &interface.name))
    }

    /// Whether packets leave by an interface that has the address. By a loopback or dummy interface none does; nor by a
    /// bridge or the like that has a single address and no part in any way out. Network cards in clouds have single
    /// addresses, too.
    fn carries(self, interface: &Interface, address: Ipv4Addr) -> bool {
        if interface.loopback || interface.kind == DUMMY {
            return false;
        }
        let mut addresses = interface.addresses.iter();
        let stands_alone = addresses.any(|one| one.ip == address && one.prefix == 32);
        let may_lead_nowhere = !interface.carrier || interface.is_of_pods();
        !(stands_alone && may_lead_nowhere) || self.leads_out(interface)
    }

    fn leads_out(self, interface: &Interface) -> bool {
        let reach = self.observed.can_reach.iter();
        let mut routes = reach.chain(self.to_etcd()).chain(&self.observed.default);
        routes.any(|route| route.interface == interface.name)
    }

    /// Takes the way to the other hosts: by which interface packets leave.
    fn way(self) -> Result<Chosen, NoInterface> {
        let reach = self.through(self.observed.can_reach.as_ref());
        let is_current = |chosen: &Chosen| self.current.is_some_and(|c| chosen.index == c.index);
        reach.map_or_else(|| self.by_route_like(is_current), Ok)
    }

    /// Takes the way to etcd, with the source address that the kernel chooses.
    fn by_route(self) -> Result<Chosen, NoInterface> {
        self.by_route_like(|chosen| {
            self.current.is_some_and(|current| {
                (chosen.index, chosen.external.address) == (current.index, current.external.address)
            })
        })
    }

    /// Takes the way to etcd: the present one if any member is still reached by it, else that to the first member.
    fn by_route_like(self, is_current: impl Fn(&Chosen) -> bool) -> Result<Chosen, NoInterface> {
        let to_etcd = self.to_etcd().filter_map(|route| self.through(Some(route)));
        let to_etcd: Vec<Chosen> = to_etcd.collect();
        let mut present = to_etcd.iter();
        let present = present.find(|chosen| is_current(chosen));
        if let Some(chosen) = present.or(to_etcd.first()) {
            return Ok(chosen.clone());
        }
        if let Some(error) = self.unknown_route() {
            // The present choice stays while it is there: it still carries the overlay.
            return self.kept().ok_or(error);
        }
        self.through(self.observed.default.as_ref())
            .or_else(|| self.kept())
            .ok_or_else(|| NoInterface::no_route(&self.observed.interfaces))
    }

    fn to_etcd(self) -> impl Iterator<Item = &'a RouteLookup> {
        let routes = self.observed.etcd.iter();
        routes.filter_map(|(_, route)| match route {
            MemberRoute::Via(route) => Some(route),
            MemberRoute::OnThisHost | MemberRoute::None(_) | MemberRoute::Unknown(_) => None,
        })
    }

    /// Returns the last member to which the way is unknown.
    fn unknown_route(self) -> Option<NoInterface> {
        let mut members = self.observed.etcd.iter().rev();
        members.find_map(|(url, route)| match route {
            MemberRoute::None(reason) | MemberRoute::Unknown(reason) => {
                Some(NoInterface::EtcdUnreached {
                    url: url.clone(),
                    reason: reason.clone(),
                })
            }
            MemberRoute::Via(_) | MemberRoute::OnThisHost => None,
        })
    }

    fn through(self, route: Option<&RouteLookup>) -> Option<Chosen> {
        let route = route?;
        let mut interfaces = self.observed.interfaces.iter();
        let interface = interfaces.find(|i| i.name == route.interface)?;
        Some(Chosen::new(interface, route.source))
    }

    /// Returns the present choice as it is now, if the interface and the address are still there. A route may name a source
    /// address that another interface has, such as the loopback interface.
    fn kept(self) -> Option<Chosen> {
        let current = self.current?;
        let interfaces = &self.observed.interfaces;
        let interface = interfaces.iter().find(|i| i.index == current.index)?;
        let address = current.external.address;
        let is_there = interfaces.iter().any(|i| i.has(address));
        is_there.then(|| Chosen::new(interface, address))
    }
}

#[cfg(test)]
mod tests;
