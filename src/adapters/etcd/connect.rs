//! Owns how a connection to one member of etcd is made: which time limits it has, and what it shows and demands in TLS.
//!
//! Of a connection on which nothing comes, three things can be the cause, and each has its own probe: a member that is
//! frozen, found by HTTP/2; a network that carries nothing, found by TCP, sooner; and a member that is not there at all.

use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, Error as EtcdError};
use hyper_util::client::legacy::connect::HttpConnector;
use tonic::transport::{self, Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::adapters::etcd::access::{Access, Tls};
use crate::model::secret::{Credentials, Secret};

/// How long one address may take to accept a TCP connection. The kernel repeats a lost SYN after 1, 3 and 7 seconds: a
/// new connection is quicker than the third. TLS and the first answer have the deadline of the request.
const CONNECT: Duration = Duration::from_secs(1);
/// An idle connection is probed by HTTP/2 after this time, so that a watch on a frozen member ends. etcd hangs up on
/// those who ask more often.
const PROBE: Duration = Duration::from_secs(5);
/// How long such a probe may take.
const PROBE_ANSWER: Duration = Duration::from_secs(3);
/// An idle connection is probed by the kernel after this time, and then each second: nobody's program sees that.
const TCP_PROBE: Duration = Duration::from_secs(2);
const TCP_PROBE_AGAIN: Duration = Duration::from_secs(1);
/// A connection is dead when nothing that the kernel sent was acknowledged for so long. etcd's kernel repeats what it
/// has lost after 0.2, 0.6, 1.4, 3.0 and 6.2 seconds: when we would have to wait for the last, a new connection is
/// quicker.
const TCP_DEAD: Duration = Duration::from_secs(3);

/// Makes a client of one member. Nothing is sent, except to get a token where a user is named.
pub(super) async fn client(url: &str, access: &Access) -> Result<Client, EtcdError> {
    let channel = Channel::Tonic(endpoint(url, &access.tls)?.connect_with_connector_lazy(tcp()));
    let mut options = ConnectOptions::new().with_require_leader(true);
    if let Some(Credentials { user, password }) = &access.credentials {
        // Tokens expire; the library asks for a new one when etcd refuses the old.
        options = options
            .with_user(user, &password.0)
            .with_auto_token_refresh(true);
    }
    Client::from_channel(channel, Some(options)).await
}

/// Whether a certificate and a key can be used together.
pub(super) fn try_identity(certificate: &[u8], key: &Secret) -> Result<(), transport::Error> {
    let tls = ClientTlsConfig::new().identity(Identity::from_pem(certificate, &key.0));
    Endpoint::from_static("https://etcd")
        .tls_config(tls)
        .map(drop)
}

fn endpoint(url: &str, tls: &Tls) -> Result<Endpoint, transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .http2_keep_alive_interval(PROBE)
        .keep_alive_timeout(PROBE_ANSWER)
        .keep_alive_while_idle(true);
    match url.starts_with("https://") {
        true => endpoint.tls_config(tls_config(tls)),
        false => Ok(endpoint),
    }
}

fn tls_config(tls: &Tls) -> ClientTlsConfig {
    let config = match &tls.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match &tls.identity {
        Some((certificate, key)) => config.identity(Identity::from_pem(certificate, &key.0)),
        None => config,
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    // TLS is made on top of it.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(TCP_PROBE));
    tcp.set_keepalive_interval(Some(TCP_PROBE_AGAIN));
    tcp.set_tcp_user_timeout(Some(TCP_DEAD));
    tcp
}
