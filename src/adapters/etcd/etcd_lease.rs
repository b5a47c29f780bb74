//! Etcd leases: etcd deletes the keys on one when its time to live ends. Never decides when to
//! renew.

use std::time::Duration;

use etcd_client::{Client, Error as EtcdError, LeaseGrantOptions, LeaseTimeToLiveResponse};

use crate::adapters::etcd::endpoints::Endpoints;
use crate::lease::port::{LeaseId, RegistryError, TimeToLive};

/// Creates an etcd lease of this number. One that exists already is fine: an earlier request may
/// have gone through without an answer.
///
/// # Errors
/// Returns why etcd did not answer, or what it refused.
pub(super) async fn grant(
    endpoints: &Endpoints,
    lease: LeaseId,
    ttl: Duration,
) -> Result<Duration, RegistryError> {
    let wanted = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    let numbered = LeaseGrantOptions::new().with_id(lease);
    let request =
        async |mut client: Client| client.lease_grant(wanted, Some(numbered.clone())).await;
    match endpoints.try_call(request).await {
        Ok(granted) => Ok(seconds(granted.ttl())),
        Err(error) if error.cause.is_granted_already() => Ok(ttl),
        Err(error) => Err(error.during(&format!("create etcd lease {lease:x}"))),
    }
}

/// Renews an etcd lease. Returns its time to live, or `None` if it does not exist any more.
///
/// # Errors
/// Returns why etcd did not answer, or what it refused.
pub(super) async fn keep_alive(
    endpoints: &Endpoints,
    lease: LeaseId,
) -> Result<Option<Duration>, RegistryError> {
    let request = async |client: Client| renew(client, lease).await;
    match endpoints.try_call(request).await {
        Ok(lease) if lease.ttl() > 0 => Ok(Some(seconds(lease.granted_ttl()))),
        Ok(_) => Ok(None),
        Err(error) if error.cause.is_missing_lease() => Ok(None),
        Err(error) => Err(error.during(&format!("renew etcd lease {lease:x}"))),
    }
}

/// One request and one answer: a proxy of etcd answers a second request on the stream only when its own next renewal is
/// due, which is hours later. The library checks the time to live in the answer and keeps it to itself, so it is read
/// apart: a renewal gives what was granted.
async fn renew(mut client: Client, lease: LeaseId) -> Result<LeaseTimeToLiveResponse, EtcdError> {
    // The stream ends here: one that stays open would keep the lease alive at the proxy, also after our own end.
    drop(client.lease_keep_alive(lease).await?);
    client.lease_time_to_live(lease, None).await
}

/// Looks up what is left of an etcd lease; `None` if it does not exist.
///
/// # Errors
/// Returns why etcd did not answer, or what it refused.
pub(super) async fn time_to_live(
    endpoints: &Endpoints,
    lease: LeaseId,
) -> Result<Option<TimeToLive>, RegistryError> {
    let request = async |mut client: Client| client.lease_time_to_live(lease, None).await;
    let operation = format!("look up etcd lease {lease:x}");
    let answer = match endpoints.try_call(request).await {
        Ok(answer) => answer,
        Err(error) if error.cause.is_missing_lease() => return Ok(None),
        Err(error) => return Err(error.during(&operation)),
    };
    let (left, granted) = (seconds(answer.ttl()), seconds(answer.granted_ttl()));
    Ok((answer.ttl() > 0).then_some(TimeToLive { left, granted }))
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}
