//! Owns finding the external interface on this host: asks the kernel what there is until one fits. Which one fits, is
//! `iface`'s decision.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::adapters::netlink::Netlink;
use crate::cli::{Options, host_of};
use crate::model::external_interface::ExternalInterface;
use crate::peers::snapshot::Snapshot;
use crate::underlay::choice;
use crate::underlay::choice::{RouteLookup, RouteLookups, Selectors};

/// An address that is nobody's (RFC 5737): the way there is the default route.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Time between two looks while there is no interface: at boot it may take a while.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the way to etcd may remain unknown if the last run knew it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the name of an etcd host may take to resolve.
const RESOLVE: Duration = Duration::from_secs(3);

/// The external interface, as soon as there is one. Says once why there is none. That of the last run will do when nothing
/// is named and the way to etcd remains unknown: a start must not need the names that etcd's hosts have.
pub(crate) async fn wait_for(
    netlink: &Netlink,
    options: &Options,
    last_known: Option<&Snapshot>,
) -> ExternalInterface {
    let selectors = crate::daemon::settings::selectors(options);
    let mut said = String::new();
    let patience = Instant::now() + PATIENCE;
    loop {
        match find(netlink, &selectors, options).await {
            Ok(external) => {
                info!(interface = external.name, address = %external.address, mtu = external.mtu, "external interface");
                return external;
            }
            Err(error) => {
                let reason = format!("{error:#}");
                match said == reason {
                    true => debug!(reason, "still no external interface"),
                    false => warn!(reason, "no external interface yet; waiting for one"),
                }
                said = reason;
            }
        }
        tokio::time::sleep(AGAIN).await;
        if let Some(snapshot) =
            last_known.filter(|_| selectors.is_empty() && Instant::now() > patience)
            && let Ok(external) = of_last_run(netlink, snapshot).await
        {
            let (interface, address) = (&external.name, external.address);
            warn!(interface, %address, "taking the external interface of the last run");
            return external;
        }
    }
}

async fn of_last_run(netlink: &Netlink, snapshot: &Snapshot) -> anyhow::Result<ExternalInterface> {
    let selectors = Selectors {
        ifaces: vec![snapshot.interface.clone()],
        ..Selectors::default()
    };
    Ok(choice::choose(
        &selectors,
        &netlink.interfaces().await?,
        &RouteLookups::default(),
    )?)
}

async fn find(
    netlink: &Netlink,
    selectors: &Selectors,
    options: &Options,
) -> anyhow::Result<ExternalInterface> {
    let can_reach = match selectors.can_reach {
        Some(address) => netlink.lookup_route(address).await?,
        None => None,
    };
    let etcd = if selectors.is_empty() {
        way_to_etcd(netlink, options).await?
    } else {
        None
    };
    let ways = RouteLookups {
        can_reach,
        etcd,
        default: netlink.lookup_route(ELSEWHERE).await?,
    };
    Ok(choice::choose(
        selectors,
        &netlink.interfaces().await?,
        &ways,
    )?)
}

/// The way to the first member of etcd that is not on this host; none if all are.
///
/// A member that cannot be found yet is no reason to take another way: at boot, names and routes may come late.
async fn way_to_etcd(netlink: &Netlink, options: &Options) -> anyhow::Result<Option<RouteLookup>> {
    let mut unknown = None;
    for endpoint in &options.etcd.endpoints {
        match lookup_route(netlink, host_of(endpoint)).await {
            Ok(Some(way)) => return Ok(Some(way)),
            Ok(None) => {}
            Err(error) => {
                unknown = Some(
                    error.context(format!("no way to etcd at {endpoint} yet (or use --iface)")),
                )
            }
        }
    }
    unknown.map_or(Ok(None), Err)
}

/// The way to a host, or `None` if it is this one.
async fn lookup_route(netlink: &Netlink, host: &str) -> anyhow::Result<Option<RouteLookup>> {
    let address = resolve(host).await?;
    if address.is_loopback() {
        return Ok(None);
    }
    let way = netlink
        .lookup_route(address)
        .await?
        .with_context(|| format!("no route to {address}"))?;
    Ok(Some(way).filter(|way| way.source != address))
}

async fn resolve(host: &str) -> anyhow::Result<Ipv4Addr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let found = tokio::time::timeout(RESOLVE, tokio::net::lookup_host((host, 0))).await??;
    let v4 = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => Some(*v4.ip()),
        SocketAddr::V6(_) => None,
    };
    found.into_iter().find_map(v4).context("no IPv4 address")
}
