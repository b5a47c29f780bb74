//! Resolves names of hosts with the resolver of the system. It decides nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::underlay::port::Resolver;

/// How long a name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemResolver;

impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str) -> Result<Option<Ipv4Addr>, String> {
        if let Ok(address) = host.parse() {
            return Ok(Some(address));
        }
        let lookup = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, 0)));
        let addresses = lookup
            .await
            .map_err(|late| late.to_string())?
            .map_err(|error| error.to_string())?;
        Ok(addresses.into_iter().find_map(ipv4))
    }
}

fn ipv4(address: SocketAddr) -> Option<Ipv4Addr> {
    match address {
        SocketAddr::V4(v4) => Some(*v4.ip()),
        SocketAddr::V6(_) => None,
    }
}
