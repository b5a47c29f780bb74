//! Sends requests to the endpoints of etcd: stays with one that works, goes on to the next when it
//! fails, limits the time of each request, and takes up renewed files. What follows a failure is
//! decided in [`attempts`](super::attempts) and [`connection`](super::connection).
//!
//! There is one client, for the current endpoint: a client of the library for several endpoints
//! balances over them, and then asks dead ones as well.

use std::cell::RefCell;
use std::collections::BTreeSet;

use etcd_client::{Client, Error as EtcdError};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use crate::adapters::etcd::access::{AccessSource, EtcdAccess};
use crate::adapters::etcd::attempts::{Attempts, NextStep, Remedy};
use crate::adapters::etcd::call_error::{CallCause, CallError, REQUEST_DEADLINE};
use crate::adapters::etcd::connect;
use crate::adapters::etcd::connection::ConnectionState;
use crate::adapters::etcd::diagnose;
use crate::adapters::etcd::diagnose::ErrorContext;
use crate::adapters::etcd::path::NetworkPath;
use crate::lease::port::RegistryError;
use crate::reconcile::log_once::LogOnce;

/// The endpoints of one etcd.
pub(super) struct Endpoints {
    source: AccessSource,
    /// `PREFIX/`, for hints about permissions.
    prefix: String,
    /// This host's way to etcd.
    path: NetworkPath,
    /// Never borrowed across an `await`.
    state: RefCell<EndpointsState>,
}

/// All that changes while we talk to etcd.
struct EndpointsState {
    connection: ConnectionState<Client>,
    /// The number of the way over which the client was made.
    client_path: u64,
    reports: Reports,
}

/// What was logged already.
#[derive(Default)]
struct Reports {
    unreadable_files: LogOnce,
    /// Hints logged since the last full success. The first error is often just a closed
    /// connection, and the real cause appears on a later try. Endpoints may fail in different
    /// ways, so there may be several.
    hints: BTreeSet<String>,
}

impl Endpoints {
    /// Starts with the first endpoint and the files in `access`; sends nothing yet.
    pub(super) fn new(
        access: EtcdAccess,
        source: AccessSource,
        prefix: &str,
        path: NetworkPath,
    ) -> Self {
        warn_if_invalid_now(&access, &source);
        let state = EndpointsState {
            connection: ConnectionState::new(access),
            client_path: path.number(),
            reports: Reports::default(),
        };
        Self {
            source,
            prefix: prefix.to_owned(),
            path,
            state: RefCell::new(state),
        }
    }

    /// Returns this host's way to etcd.
    pub(super) const fn path(&self) -> &NetworkPath {
        &self.path
    }

    /// Sends an idempotent request.
    ///
    /// # Errors
    /// Returns that `operation` failed, on which endpoint, what came back, and a hint.
    pub(super) async fn call<T>(
        &self,
        operation: &str,
        request: impl AsyncFn(Client) -> Result<T, EtcdError>,
    ) -> Result<T, RegistryError> {
        self.try_call(request)
            .await
            .map_err(|error| error.during(operation))
    }

    /// Does the same as [`call`](Self::call), for a caller that looks at the cause.
    ///
    /// # Errors
    /// Returns the error of the endpoint that was asked last.
    pub(super) async fn try_call<T>(
        &self,
        request: impl AsyncFn(Client) -> Result<T, EtcdError>,
    ) -> Result<T, CallError> {
        let mut attempts = Attempts::new(self.state.borrow().connection.endpoint_count());
        loop {
            let error = match self.ask_current(&request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if attempts.may_take_new_path(&error.cause) {
                continue;
            }
            if let Some(remedy) = attempts.remedy(&error.cause)
                && self.apply(remedy)
            {
                continue;
            }
            self.warn_of_new_hint(&error);
            match attempts.next_step(&error.cause) {
                NextStep::AskNext => self.rotate(),
                NextStep::RotateAndGiveUp => {
                    self.rotate();
                    return Err(error);
                }
                NextStep::GiveUp => return Err(error),
            }
            debug!(%error, "asking the next endpoint of etcd");
        }
    }

    /// Forgets which hints were logged, so that the next failure is logged again. Called after a full
    /// cycle succeeded: after a single answer, other requests may still be refused each time.
    pub(super) fn forget_reports(&self) {
        self.state.borrow_mut().reports.hints.clear();
    }

    /// Turns to the next endpoint, after the current one has failed.
    pub(super) fn rotate(&self) {
        self.state.borrow_mut().connection.rotate();
    }

    /// Reads the files again. Returns whether they have changed; then they are in use from now on.
    pub(super) fn reload_files(&self) -> bool {
        match (self.source.read)() {
            Ok(access) => self.use_files(access),
            Err(reason) => {
                self.log_unreadable(&reason);
                false
            }
        }
    }

    /// Returns what an error of the current endpoint probably means.
    pub(super) fn hint(&self, words: &str) -> Option<String> {
        let connection = &self.state.borrow().connection;
        let context = ErrorContext {
            endpoint: &connection.url(),
            access: &connection.access(),
            prefix: &self.prefix,
            proven: connection.is_proven(),
            now: (self.source.now)(),
        };
        diagnose::hint(words, &context)
    }

    fn use_files(&self, access: EtcdAccess) -> bool {
        let mut state = self.state.borrow_mut();
        state.reports.unreadable_files.clear();
        let Some(what) = state.connection.replace_access(access) else {
            return false;
        };
        info!(what, "files for etcd were renewed; using the new ones");
        warn_if_invalid_now(&state.connection.access(), &self.source);
        true
    }

    fn log_unreadable(&self, reason: &str) {
        let reports = &mut self.state.borrow_mut().reports;
        // The files may be half written at this moment.
        if reports.unreadable_files.is_new(reason) {
            warn!(
                reason,
                "files for etcd cannot be used; keeping what was read before"
            );
        } else {
            debug!(reason, "files for etcd still cannot be used");
        }
    }

    fn warn_of_new_hint(&self, error: &CallError) {
        let Some(hint) = &error.hint else { return };
        if self.state.borrow_mut().reports.hints.insert(hint.clone()) {
            warn!(etcd = error.endpoint, "{hint}");
        }
    }

    /// Applies a remedy. Returns whether the same endpoint may do better now.
    fn apply(&self, remedy: Remedy) -> bool {
        match remedy {
            Remedy::NewToken => {
                self.state.borrow_mut().connection.forget_client();
                true
            }
            Remedy::NewFiles => self.reload_files(),
        }
    }

    async fn ask_current<T>(
        &self,
        request: impl AsyncFn(Client) -> Result<T, EtcdError>,
    ) -> Result<T, CallError> {
        let answer = async {
            let client = self.client().await?;
            request(client).await.map_err(CallCause::Etcd)
        };
        let answer = timeout(REQUEST_DEADLINE, answer);
        let path = self.path.number();
        let answer = tokio::select! {
            biased;
            answer = answer => answer.unwrap_or(Err(CallCause::TimedOut)),
            () = self.path.changed_from(path) => Err(CallCause::PathChanged),
        };
        match answer {
            Ok(answer) => {
                self.state.borrow_mut().connection.answered();
                Ok(answer)
            }
            Err(cause) => Err(self.failed(cause)),
        }
    }

    fn failed(&self, cause: CallCause) -> CallError {
        if cause.is_refused_login() {
            let (now, random) = (Instant::now(), (self.source.random)());
            let connection = &mut self.state.borrow_mut().connection;
            connection.refuse_login(cause.words(), now, random);
        }
        CallError {
            endpoint: self.state.borrow().connection.url(),
            hint: self.hint(&cause.words()),
            cause,
        }
    }

    /// A connection that was made over another way to etcd may be dead.
    fn drop_client_of_old_path(&self) {
        if self.state.borrow_mut().take_path(self.path.number()) {
            debug!("this host's way to etcd has changed; connecting anew");
        }
    }

    async fn client(&self) -> Result<Client, CallCause> {
        self.drop_client_of_old_path();
        let client = self.state.borrow().connection.client();
        if let Some(client) = client {
            return Ok(client);
        }
        self.reload_files();
        let target = self
            .state
            .borrow()
            .connection
            .connect_target(Instant::now())?;
        // Connecting includes the login: with a user, etcd is asked for a token here.
        let client = connect::client(&target.url, &target.access)
            .await
            .map_err(CallCause::Etcd)?;
        let connection = &mut self.state.borrow_mut().connection;
        connection.connected(&target, client.clone());
        Ok(client)
    }
}

impl EndpointsState {
    /// Takes another way to etcd. Returns whether it is another one.
    fn take_path(&mut self, path: u64) -> bool {
        if std::mem::replace(&mut self.client_path, path) == path {
            return false;
        }
        self.connection.forget_client();
        true
    }
}

fn warn_if_invalid_now(access: &EtcdAccess, source: &AccessSource) {
    if let Some(reason) = diagnose::invalid_now(access, (source.now)()) {
        warn!("{reason}");
    }
}

#[cfg(test)]
mod tests;
