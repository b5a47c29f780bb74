//! Makes the client for one endpoint of etcd, with its time limits and its TLS settings. Never
//! decides which endpoint to use or when to connect.
//!
//! When a connection goes silent, there are three possible causes, and each has its own probe: a
//! frozen etcd, which HTTP/2 notices; a network that drops packets, which TCP notices, sooner; an
//! etcd that is not there, which the connection attempt notices.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, Error as EtcdError};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::transport::{self, Endpoint};
use tower_service::Service;
use tracing::warn;

use crate::adapters::etcd::access::EtcdAccess;
use crate::adapters::etcd::certificate::weak_rsa;
use crate::adapters::etcd::cuts::Pings;
use crate::adapters::etcd::{fault, tls};
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
    let endpoint = endpoint(url, pings)?;
    let channel = if url.starts_with("https://") {
        let config = tls::client_config(&access.tls).map_err(EtcdError::IoError)?;
        let connector = TlsOverTcp {
            tcp: tcp_connector(),
            tls: TlsConnector::from(Arc::new(config)),
        };
        endpoint.connect_with_connector_lazy(connector)
    } else {
        endpoint.connect_with_connector_lazy(tcp_connector())
    };
    let mut options = ConnectOptions::new().with_require_leader(true);
    if let Some(Credentials { user, password }) = &access.credentials {
        // Tokens expire; the library asks for a new one when etcd refuses the old one.
        options = options
            .with_user(user, &password.0)
            .with_auto_token_refresh(true);
    }
    Client::from_channel(Channel::Tonic(channel), Some(options)).await
}

fn endpoint(url: &str, pings: Pings) -> Result<Endpoint, transport::Error> {
    let interval = match pings {
        Pings::Often => HTTP2_PROBE_INTERVAL,
        Pings::Seldom => SELDOM_HTTP2_PROBE_INTERVAL,
    };
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(HTTP2_PROBE_TIMEOUT)
        .keep_alive_while_idle(true);
    Ok(endpoint)
}

fn tcp_connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // Otherwise it refuses https://; TLS comes on top of this connection.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(TCP_CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(TCP_PROBE_IDLE));
    tcp.set_keepalive_interval(Some(TCP_PROBE_INTERVAL));
    tcp.set_tcp_user_timeout(Some(TCP_UNACKNOWLEDGED_TIMEOUT));
    tcp
}

/// Connects by TCP and then agrees on TLS and HTTP/2. tonic could do that, with a certificate verifier of ours too, but
/// it gives client certificates to rustls in a way that refuses some.
#[derive(Clone)]
struct TlsOverTcp {
    tcp: HttpConnector,
    tls: TlsConnector,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connected = TokioIo<TlsStream<TcpStream>>;

impl Service<Uri> for TlsOverTcp {
    type Response = Connected;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default().to_owned();
        let (tcp, tls) = (self.tcp.call(uri), self.tls.clone());
        Box::pin(async move {
            let name = server_name(&host)?;
            let stream = tls.connect(name, tcp.await?.into_inner()).await?;
            let (_, session) = stream.get_ref();
            // A proxy that ends TLS may know nothing of it, and pass HTTP/2 on.
            if session
                .alpn_protocol()
                .is_some_and(|chosen| chosen != tls::HTTP2)
            {
                return Err(io::Error::other(fault::NO_HTTP2_IN_TLS).into());
            }
            warn_of_a_weak_key(&host, session.peer_certificates().unwrap_or_default());
            Ok(TokioIo::new(stream))
        })
    }
}

/// An IPv6 address stands in brackets in a URL.
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(io::Error::other)
}

/// Says once that etcd's certificate should be renewed.
fn warn_of_a_weak_key(host: &str, chain: &[CertificateDer<'_>]) {
    static SAID: Once = Once::new();
    if let Some(bits) = chain.iter().find_map(|der| weak_rsa(der)) {
        SAID.call_once(|| {
            warn!(
                host,
                bits, "etcd's certificate has an RSA key that is too short to be safe"
            );
        });
    }
}
