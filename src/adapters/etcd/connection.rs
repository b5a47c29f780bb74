//! The state of our connection to etcd: which endpoint is current, whether it has a client, and
//! what may be sent to it. Each `&mut self` method is one transition. Pure, and generic over the
//! client `C`: never connects, reads a file or logs.
//!
//! ```text
//!            connected              answered
//!  Absent ─────────────▶ Unproven ───────────▶ Proven
//!    ▲                       │                    │
//!    └───────────────────────┴────────────────────┘
//!      rotate, refuse_login, forget_client, replace_access
//! ```

use std::collections::BTreeSet;
use std::rc::Rc;

use tokio::time::Instant;

use crate::adapters::etcd::access::EtcdAccess;
use crate::adapters::etcd::call_error::CallCause;
use crate::adapters::etcd::login_backoff::LoginBackoff;

/// The connection to the current endpoint. A client reconnects by itself, but keeps presenting the
/// certificate that it was created with. So it is dropped when it fails, to pick up a renewed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection<C> {
    /// No client: the next request reads the files and makes one.
    Absent,
    /// No answer yet: a failure may be due to the certificates.
    Unproven(C),
    /// The client has brought an answer: its certificates are accepted.
    Proven(C),
}

/// Where and with what the next client is made.
#[derive(Debug, Clone)]
pub(super) struct ConnectTarget {
    endpoint: usize,
    pub(super) url: String,
    pub(super) access: Rc<EtcdAccess>,
}

/// Everything that the next request depends on.
pub(super) struct ConnectionState<C> {
    access: Rc<EtcdAccess>,
    /// Index of the current endpoint: the one that answered last, or the one after the last that
    /// failed.
    endpoint: usize,
    connection: Connection<C>,
    /// The endpoints that have answered since the files were read: they let us in.
    answered: BTreeSet<usize>,
    /// One for all endpoints, since all members of etcd have the same users.
    login: LoginBackoff,
}

impl<C: Clone> ConnectionState<C> {
    pub(super) fn new(access: EtcdAccess) -> Self {
        Self {
            access: Rc::new(access),
            endpoint: 0,
            connection: Connection::Absent,
            answered: BTreeSet::new(),
            login: LoginBackoff::new(),
        }
    }

    /// Returns the endpoints and credentials in use.
    pub(super) fn access(&self) -> Rc<EtcdAccess> {
        Rc::clone(&self.access)
    }

    pub(super) fn endpoint_count(&self) -> usize {
        self.access.endpoints.len()
    }

    /// Returns the URL of the current endpoint.
    pub(super) fn url(&self) -> String {
        let url = self.access.endpoints.get(self.endpoint);
        url.cloned().unwrap_or_default()
    }

    /// Returns the client of the current endpoint, if there is one.
    pub(super) fn client(&self) -> Option<C> {
        match &self.connection {
            Connection::Absent => None,
            Connection::Unproven(client) | Connection::Proven(client) => Some(client.clone()),
        }
    }

    /// Returns whether the current endpoint has let us in with these files: then neither they nor the URL are wrong.
    pub(super) fn is_proven(&self) -> bool {
        self.answered.contains(&self.endpoint)
    }

    /// Returns where to connect.
    ///
    /// # Errors
    /// [`CallCause::LoginOnHold`] while it is too early to send refused credentials again.
    pub(super) fn connect_target(&self, now: Instant) -> Result<ConnectTarget, CallCause> {
        if let Some(words) = self.login.on_hold(now) {
            return Err(CallCause::LoginOnHold(words.to_owned()));
        }
        Ok(ConnectTarget {
            endpoint: self.endpoint,
            url: self.url(),
            access: self.access(),
        })
    }

    /// Takes a new client. etcd has accepted the credentials, if there are any.
    pub(super) fn connected(&mut self, target: &ConnectTarget, client: C) {
        self.login.reset();
        // Another request may have rotated while this one connected.
        if target.endpoint == self.endpoint {
            self.connection = Connection::Unproven(client);
        }
    }

    /// Records that the current client has brought an answer. An answer that comes after a rotation
    /// proves the next client early, which only makes its failures count as its endpoint's.
    pub(super) fn answered(&mut self) {
        if self.client().is_some() {
            self.answered.insert(self.endpoint);
        }
        self.connection = match std::mem::replace(&mut self.connection, Connection::Absent) {
            Connection::Absent => Connection::Absent,
            Connection::Unproven(client) | Connection::Proven(client) => Connection::Proven(client),
        };
    }

    /// Throws the client away; the next request makes a new one, which gets a new token.
    pub(super) fn forget_client(&mut self) {
        self.connection = Connection::Absent;
    }

    /// Notes that etcd has refused the credentials. The client goes too: a client that was let in
    /// before would send them again with each request. `random` is uniform in 0..1.
    pub(super) fn refuse_login(&mut self, words: String, now: Instant, random: f64) {
        self.connection = Connection::Absent;
        self.login.refuse(words, now, random);
    }

    /// Turns to the next endpoint, after the current one has failed.
    pub(super) fn rotate(&mut self) {
        self.connection = Connection::Absent;
        self.endpoint = (self.endpoint + 1) % self.endpoint_count().max(1);
    }

    /// Takes files that were read again. Returns what differs from those in use, or `None` if
    /// nothing does: then the client stays.
    pub(super) fn replace_access(&mut self, access: EtcdAccess) -> Option<String> {
        if access == *self.access {
            return None;
        }
        let changes = access.changes_since(&self.access);
        self.access = Rc::new(access);
        self.connection = Connection::Absent;
        self.answered.clear();
        self.login.reset();
        Some(changes)
    }
}

#[cfg(test)]
mod tests;
