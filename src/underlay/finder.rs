//! Finds the external interface: asks for interfaces and routes until one fits. `choice` decides which one fits.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::model::external_interface::ExternalInterface;
use crate::reconcile::log_once::LogOnce;
use crate::underlay::choice::{RouteLookup, RouteLookups, choose};
use crate::underlay::port::{Links, Resolver};
use crate::underlay::settings::{EtcdHost, Selectors, UnderlaySettings};

/// An address that no host has (RFC 5737): the route to it is the default route.
const NO_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Time between two attempts. At boot, interfaces and routes may appear late.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the route to etcd may remain unknown if the last run knew the interface.
const ETCD_ROUTE_TIMEOUT: Duration = Duration::from_secs(5);

/// Finds the external interface of one host.
pub(crate) struct InterfaceFinder<L, R> {
    links: L,
    resolver: R,
    settings: UnderlaySettings,
    failures: LogOnce,
}

impl<L: Links, R: Resolver> InterfaceFinder<L, R> {
    pub(crate) fn new(links: L, resolver: R, settings: UnderlaySettings) -> Self {
        Self {
            links,
            resolver,
            settings,
            failures: LogOnce::default(),
        }
    }

    /// Waits until an interface fits, and logs each reason why none does once. If the operator asks for none and the route
    /// to etcd remains unknown, the interface of the last run is taken: a start must not depend on the names of etcd's
    /// hosts.
    pub(crate) async fn wait(mut self) -> ExternalInterface {
        let etcd_route_until = Instant::now() + ETCD_ROUTE_TIMEOUT;
        loop {
            match self.find().await {
                Ok(external) => return log_found(external),
                Err(reason) => self.log_failure(&reason),
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
            if Instant::now() > etcd_route_until
                && let Some(external) = self.find_last_interface().await
            {
                return log_last_run(external);
            }
        }
    }

    async fn find(&self) -> Result<ExternalInterface, String> {
        let selectors = &self.settings.selectors;
        let can_reach = match selectors.can_reach {
            Some(address) => self.links.lookup_route(address).await?,
            None => None,
        };
        let etcd = if selectors.is_empty() {
            self.lookup_route_to_etcd().await?
        } else {
            None
        };
        let default = self.links.lookup_route(NO_HOST).await?;
        let routes = RouteLookups {
            can_reach,
            etcd,
            default,
        };
        let interfaces = self.links.interfaces().await?;
        choose(selectors, &interfaces, &routes).map_err(|error| error.to_string())
    }

    /// Returns the interface of the last run, if it still exists and the operator asks for no other.
    async fn find_last_interface(&self) -> Option<ExternalInterface> {
        if !self.settings.selectors.is_empty() {
            return None;
        }
        let selectors = Selectors {
            ifaces: vec![self.settings.last_interface.clone()?],
            ..Selectors::default()
        };
        let interfaces = self.links.interfaces().await.ok()?;
        choose(&selectors, &interfaces, &RouteLookups::default()).ok()
    }

    /// Returns the route to the first member of etcd that is not on this host, or `None` if all members are.
    ///
    /// # Errors
    /// The route to a member is not known yet. That is no reason to take another route: at boot, names and routes may
    /// appear late.
    async fn lookup_route_to_etcd(&self) -> Result<Option<RouteLookup>, String> {
        let mut unknown = None;
        for member in &self.settings.etcd {
            match self.lookup_route_to_member(member).await {
                Ok(Some(route)) => return Ok(Some(route)),
                Ok(None) => {}
                Err(reason) => unknown = Some(reason),
            }
        }
        unknown.map_or(Ok(None), Err)
    }

    /// Returns the route to a member of etcd, or `None` if it is on this host.
    async fn lookup_route_to_member(
        &self,
        member: &EtcdHost,
    ) -> Result<Option<RouteLookup>, String> {
        let route = self.lookup_route_to_host(&member.host).await;
        let url = &member.url;
        route.map_err(|reason| format!("no route to etcd at {url} yet (or use --iface): {reason}"))
    }

    async fn lookup_route_to_host(&self, host: &str) -> Result<Option<RouteLookup>, String> {
        let address = self.resolver.resolve(host).await?;
        if address.is_loopback() {
            return Ok(None);
        }
        match self.links.lookup_route(address).await? {
            None => Err(format!("no route to {address}")),
            // A packet to an address of this host has that address as its source.
            Some(route) if route.source == address => Ok(None),
            Some(route) => Ok(Some(route)),
        }
    }

    fn log_failure(&mut self, reason: &str) {
        if self.failures.is_new(reason) {
            warn!(reason, "no external interface yet; waiting for one");
        } else {
            debug!(reason, "still no external interface");
        }
    }
}

fn log_found(external: ExternalInterface) -> ExternalInterface {
    let (interface, address, mtu) = (&external.name, external.address, external.mtu);
    info!(interface, %address, mtu, "external interface");
    external
}

fn log_last_run(external: ExternalInterface) -> ExternalInterface {
    let (interface, address) = (&external.name, external.address);
    warn!(interface, %address, "the route to etcd is unknown; taking the external interface of the last run");
    external
}

#[cfg(test)]
mod tests;
