//! Makes the client for one endpoint of etcd, with its time limits and its TLS settings. Never
//! decides which endpoint to use or when to connect.
//!
//! When a connection goes silent, there are three possible causes, and each has its own probe: a
//! frozen etcd, which HTTP/2 notices; a network that drops packets, which TCP notices, sooner; an
//! etcd that is not there, which the connection attempt notices.

use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, Error as EtcdError};
use hyper_util::client::legacy::connect::HttpConnector;
use tonic::transport::{self, Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::adapters::etcd::access::{EtcdAccess, EtcdTls};
use crate::adapters::etcd::cuts::Pings;
use crate::model::secret::Credentials;

/// How long one address may take to accept a TCP connection. The kernel repeats a lost SYN after 1,
/// 3 and 7 seconds: a new connection is quicker than the third. TLS and the first answer have the
/// deadline of the request.
const TCP_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// After this idle time HTTP/2 probes the connection, so that a watch on a frozen etcd ends. etcd
/// hangs up on clients that probe more often.
const HTTP2_PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// A gRPC server in Go takes a ping each five minutes from everybody.
const SELDOM_HTTP2_PROBE_INTERVAL: Duration = Duration::from_secs(310);
const HTTP2_PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// After this idle time the kernel probes the connection, and then each second. Only the other
/// kernel sees that, so etcd cannot object.
const TCP_PROBE_IDLE: Duration = Duration::from_secs(2);
const TCP_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The kernel closes a connection when what it sent is not acknowledged for this time. etcd's
/// kernel repeats lost packets after 0.2, 0.6, 1.4, 3.0 and 6.2 seconds: a new connection is
/// quicker than the last of these.
const TCP_UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(3);

/// Makes a client for one endpoint. Sends nothing, except to get a token when there are
/// credentials.
///
/// # Errors
/// Returns what is wrong with the URL or the TLS settings, or why etcd gave no token.
pub(super) async fn client(
    url: &str,
    access: &EtcdAccess,
    pings: Pings,
) -> Result<Client, EtcdError> {
    let endpoint = endpoint(url, &access.tls, pings)?;
    let channel = Channel::Tonic(endpoint.connect_with_connector_lazy(tcp_connector()));
    let mut options = ConnectOptions::new().with_require_leader(true);
    if let Some(Credentials { user, password }) = &access.credentials {
        // Tokens expire; the library asks for a new one when etcd refuses the old one.
        options = options
            .with_user(user, &password.0)
            .with_auto_token_refresh(true);
    }
    Client::from_channel(channel, Some(options)).await
}

fn endpoint(url: &str, tls: &EtcdTls, pings: Pings) -> Result<Endpoint, transport::Error> {
    let interval = match pings {
        Pings::Often => HTTP2_PROBE_INTERVAL,
        Pings::Seldom => SELDOM_HTTP2_PROBE_INTERVAL,
    };
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(HTTP2_PROBE_TIMEOUT)
        .keep_alive_while_idle(true);
    if url.starts_with("https://") {
        endpoint.tls_config(tls_config(tls))
    } else {
        Ok(endpoint)
    }
}

fn tls_config(tls: &EtcdTls) -> ClientTlsConfig {
    let config = match &tls.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match &tls.identity {
        Some((certificate, key)) => config.identity(Identity::from_pem(certificate, &key.0)),
        None => config,
    }
}

fn tcp_connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // Otherwise it refuses https://; tonic puts TLS on top of this connection.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(TCP_CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(TCP_PROBE_IDLE));
    tcp.set_keepalive_interval(Some(TCP_PROBE_INTERVAL));
    tcp.set_tcp_user_timeout(Some(TCP_UNACKNOWLEDGED_TIMEOUT));
    tcp
}
