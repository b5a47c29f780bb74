//! Owns the connections to the members of etcd: stays with one that works, goes on to the next when it fails, and
//! gives every request a time limit.
//!
//! One client for each endpoint: the library balances over several, and then asks dead ones as well.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error as EtcdError, Identity, TlsOptions};

use crate::secret::{Credentials, Secret};
use crate::subnet::registry;

/// How long one request may take, connecting included.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// An idle connection is probed after this time, so that a watch on a frozen member ends.
const PROBE: Duration = Duration::from_secs(5);
/// How long a probe may take.
const PROBE_ANSWER: Duration = Duration::from_secs(3);
/// gRPC codes for which another member may do better: cancelled, unknown, deadline exceeded, internal, unavailable.
/// (<https://grpc.io/docs/guides/status-codes>)
const TRY_ANOTHER: [i32; 5] = [1, 2, 4, 13, 14];

/// How to reach etcd and be let in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// URLs of the members, at least one.
    pub endpoints: Vec<String>,
    /// Certificates and key.
    pub tls: Tls,
    /// User and password, if etcd asks for them.
    pub credentials: Option<Credentials>,
}

/// PEM texts for TLS.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Authorities that we trust; those of the system if there is none.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate and its key.
    pub identity: Option<(Vec<u8>, Secret)>,
}

/// How a request failed.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}: {}", describe(cause))]
pub(super) struct Failure {
    endpoint: String,
    pub(super) cause: Cause,
}

/// What came back.
#[derive(Debug)]
pub(super) enum Cause {
    /// etcd, or the way to it, said no.
    Etcd(EtcdError),
    /// Nothing in time.
    Late,
}

impl Failure {
    /// The failure as the core sees it: what was tried, and what came back.
    pub(super) fn during(self, operation: &str) -> registry::Error {
        registry::Error { operation: operation.to_owned(), source: Box::new(self) }
    }

    fn another_may_do_better(&self) -> bool {
        match &self.cause {
            Cause::Late | Cause::Etcd(EtcdError::TransportError(_) | EtcdError::IoError(_)) => true,
            Cause::Etcd(EtcdError::GRpcStatus(status)) => TRY_ANOTHER.contains(&i32::from(status.code())),
            Cause::Etcd(_) => false,
        }
    }
}

/// The words of etcd without the packaging of the libraries in between.
fn describe(cause: &Cause) -> String {
    match cause {
        Cause::Late => format!("no answer within {} s", DEADLINE.as_secs()),
        Cause::Etcd(EtcdError::GRpcStatus(status)) => {
            let causes = status.source().map(crate::error::chain).unwrap_or_default();
            // The message often is the innermost cause already.
            match causes.is_empty() || causes.contains(status.message()) {
                true => status.message().to_owned(),
                false => format!("{}: {causes}", status.message()),
            }
        }
        Cause::Etcd(error) => crate::error::chain(error),
    }
}

/// See the module.
pub(super) struct Endpoints {
    access: Access,
    options: ConnectOptions,
    /// Made when first used: with a user, making one asks etcd for a token.
    clients: RefCell<Vec<Option<Client>>>,
    /// The one that worked last.
    current: Cell<usize>,
}

impl Endpoints {
    pub(super) fn new(access: Access) -> Self {
        let clients = RefCell::new(access.endpoints.iter().map(|_| None).collect());
        Self { options: options(&access), access, clients, current: Cell::new(0) }
    }

    /// Makes a request, on each member once at most. It must be one that may be made twice.
    pub(super) async fn call<T>(
        &self,
        operation: &str,
        request: impl AsyncFn(Client) -> Result<T, EtcdError>,
    ) -> Result<T, registry::Error> {
        self.try_call(request).await.map_err(|failure| failure.during(operation))
    }

    /// Like `call`, with the failure as it came.
    pub(super) async fn try_call<T>(
        &self,
        request: impl AsyncFn(Client) -> Result<T, EtcdError>,
    ) -> Result<T, Failure> {
        let mut members = self.access.endpoints.len();
        loop {
            let failure = match self.ask_current(&request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            members = members.saturating_sub(1);
            if !failure.another_may_do_better() {
                return Err(failure);
            }
            self.rotate();
            if members == 0 {
                return Err(failure);
            }
            tracing::debug!(%failure, "asking another member of etcd");
        }
    }

    /// Turns to the next member, after one has failed.
    pub(super) fn rotate(&self) {
        self.current.set((self.current.get() + 1) % self.access.endpoints.len().max(1));
    }

    /// What went wrong outside a call, on the current member.
    pub(super) fn failure(&self, cause: Cause) -> Failure {
        let endpoint = self.access.endpoints.get(self.current.get()).cloned().unwrap_or_default();
        Failure { endpoint, cause }
    }

    async fn ask_current<T>(&self, request: impl AsyncFn(Client) -> Result<T, EtcdError>) -> Result<T, Failure> {
        let answer = async { request(self.client().await?).await };
        match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer.map_err(|error| self.failure(Cause::Etcd(error))),
            Err(_) => Err(self.failure(Cause::Late)),
        }
    }

    async fn client(&self) -> Result<Client, EtcdError> {
        let current = self.current.get();
        let made = self.clients.borrow().get(current).cloned().flatten();
        if let Some(client) = made {
            return Ok(client);
        }
        let url = self.access.endpoints.get(current).cloned().unwrap_or_default();
        let client = Client::connect([url], Some(self.options.clone())).await?;
        if let Some(place) = self.clients.borrow_mut().get_mut(current) {
            *place = Some(client.clone());
        }
        Ok(client)
    }
}

fn options(access: &Access) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(DEADLINE)
        .with_keep_alive(PROBE, PROBE_ANSWER)
        .with_keep_alive_while_idle(true)
        .with_require_leader(true);
    if access.endpoints.iter().any(|url| url.starts_with("https://")) {
        options = options.with_tls(tls(&access.tls));
    }
    if let Some(Credentials { user, password }) = &access.credentials {
        // Tokens expire; the library asks for a new one when etcd refuses the old.
        options = options.with_user(user, &password.0).with_auto_token_refresh(true);
    }
    options
}

fn tls(tls: &Tls) -> TlsOptions {
    let options = match &tls.ca {
        Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(ca)),
        None => TlsOptions::new().with_native_roots(),
    };
    match &tls.identity {
        Some((certificate, key)) => options.identity(Identity::from_pem(certificate, &key.0)),
        None => options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_round_the_members() {
        let endpoints = vec!["http://a:1".to_owned(), "http://b:1".to_owned()];
        let endpoints = Endpoints::new(Access { endpoints, ..Access::default() });
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(endpoints.failure(Cause::Late).to_string());
            endpoints.rotate();
        }
        assert_eq!(seen[0], "http://a:1: no answer within 5 s");
        assert_eq!(seen[1], "http://b:1: no answer within 5 s");
        assert_eq!(seen[2], seen[0]);
    }
}
