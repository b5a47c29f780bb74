//! Sends requests to the endpoints of etcd: stays with one that works, goes on to the next when it
//! fails, limits the time of each request, and takes up renewed files. What follows a failure is
//! decided in [`attempts`](super::attempts) and [`connection`](super::connection).
//!
//! There is one client, for the current endpoint: a client of the library for several endpoints
//! balances over them, and then asks dead ones as well.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Client, Error as EtcdError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use crate::adapters::etcd::access::{AccessSource, EtcdAccess};
use crate::adapters::etcd::attempts::{Attempts, NextStep, Remedy};
use crate::adapters::etcd::call_error::{CallCause, CallError, REQUEST_DEADLINE};
use crate::adapters::etcd::connect;
use crate::adapters::etcd::connection::ConnectionState;
use crate::adapters::etcd::cuts;
use crate::adapters::etcd::cuts::Cuts;
use crate::adapters::etcd::diagnose;
use crate::adapters::etcd::diagnose::ErrorContext;
use crate::adapters::etcd::path::NetworkPath;
use crate::conditions::status::EndpointStates;
use crate::lease::port::RegistryError;
use crate::reconcile::log_once::LogOnce;

/// The endpoints of one etcd.
pub(super) struct Endpoints {
    source: AccessSource,
    /// `PREFIX/`, for hints about permissions.
    prefix: String,
    /// This host's way to etcd.
    path: NetworkPath,
    /// Which endpoints answer, for the status.
    states: watch::Sender<EndpointStates>,
    /// Never borrowed across an `await`.
    state: RefCell<EndpointsState>,
}

/// All that changes while we talk to etcd.
struct EndpointsState {
    connection: ConnectionState<Client>,
    /// The number of the way over which the client was made.
    client_path: u64,
    unreadable_files: LogOnce,
    cuts: Cuts,
}

impl Endpoints {
    /// Starts with the first endpoint and the files in `access`; sends nothing yet.
    pub(super) fn new(
        access: EtcdAccess,
        source: AccessSource,
        prefix: &str,
        path: NetworkPath,
        states: watch::Sender<EndpointStates>,
    ) -> Self {
        warn_if_invalid_now(&access, &source);
        let state = EndpointsState {
            connection: ConnectionState::new(access),
            client_path: path.number(),
            unreadable_files: LogOnce::default(),
            cuts: Cuts::new(),
        };
        Self {
            source,
            prefix: prefix.to_owned(),
            path,
            states,
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
    /// Returns the error of the endpoint that was asked last, and what came back from the others.
    pub(super) async fn try_call<T>(
        &self,
        request: impl AsyncFn(Client) -> Result<T, EtcdError>,
    ) -> Result<T, CallError> {
        let mut attempts = Attempts::new(self.state.borrow().connection.endpoint_count());
        let mut failures = BTreeMap::new();
        loop {
            let mut error = match self.ask_current(&request).await {
                Ok(answer) => {
                    self.note_answer(&failures);
                    return Ok(answer);
                }
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
            if error.cause.is_endpoint_fault() {
                failures.insert(error.endpoint.clone(), error.what());
            }
            match attempts.next_step(&error.cause) {
                NextStep::AskNext => self.rotate(),
                NextStep::RotateAndGiveUp => {
                    self.rotate();
                    self.note_failures(&failures);
                    error.everywhere = failures;
                    return Err(error);
                }
                NextStep::GiveUp => return Err(error),
            }
            debug!(%error, "asking the next endpoint of etcd");
        }
    }

    /// Returns the endpoint that has answered last.
    pub(super) fn answering(&self) -> Option<String> {
        self.states.borrow().answering.clone()
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

    /// Returns the URL of the current endpoint.
    pub(super) fn url(&self) -> String {
        self.state.borrow().connection.url()
    }

    /// Returns what words of etcd on the current endpoint mean.
    pub(super) fn hint_for_words(&self, words: &str) -> Option<String> {
        self.in_context(&self.url(), |context| {
            diagnose::hint_for_words(words, context)
        })
    }

    /// Returns the error of a stream of this endpoint that has worked until now.
    pub(super) fn stream_error(&self, endpoint: String, error: EtcdError) -> CallError {
        let cause = CallCause::Etcd(error);
        let hint = self.in_context(&endpoint, |context| {
            let context = ErrorContext {
                proven: true,
                ..*context
            };
            diagnose::hint(&cause, &context)
        });
        CallError {
            endpoint,
            cause,
            hint,
            everywhere: BTreeMap::new(),
        }
    }

    /// Returns how long to wait before a watch of this endpoint that was cut after `lasted` is opened again.
    pub(super) fn pause_after_cut(&self, endpoint: &str, lasted: Duration) -> Duration {
        let random = (self.source.random)();
        let EndpointsState {
            cuts, connection, ..
        } = &mut *self.state.borrow_mut();
        let pings = cuts.pings();
        let pause = cuts.cut(lasted, random);
        if cuts.pings() != pings {
            debug!(
                endpoint,
                "the server seems to object to pings; sending fewer"
            );
            connection.forget_client();
        }
        if cuts.is_newly_constant() {
            warn!(
                endpoint,
                "a proxy in front of etcd keeps ending watches within a second; changes of other hosts are seen up to {} \
                 late: raise its time-out for idle streams (nginx: grpc_read_timeout; HAProxy: timeout client, timeout server)",
                humantime::format_duration(cuts::MAX_PAUSE)
            );
        }
        pause
    }

    fn in_context<T>(&self, endpoint: &str, judge: impl FnOnce(&ErrorContext<'_>) -> T) -> T {
        let connection = &self.state.borrow().connection;
        judge(&ErrorContext {
            endpoint,
            access: &connection.access(),
            prefix: &self.prefix,
            proven: connection.is_proven(),
            now: (self.source.now)(),
        })
    }

    /// Shows which endpoint has answered, and logs those that have failed before it.
    fn note_answer(&self, failures: &BTreeMap<String, String>) {
        let endpoint = self.url();
        for (failed, what) in failures {
            if self.states.borrow().failing.get(failed) != Some(what) {
                warn!(
                    failed,
                    what, endpoint, "an etcd endpoint failed; using the next one"
                );
            }
        }
        self.note_failures(failures);
        self.states.send_if_modified(|states| {
            let was_failing = states.failing.remove(&endpoint).is_some();
            let before = states.answering.replace(endpoint.clone());
            was_failing || before.as_ref() != Some(&endpoint)
        });
    }

    fn note_failures(&self, failures: &BTreeMap<String, String>) {
        if !failures.is_empty() {
            self.states.send_modify(|states| {
                states.failing.extend(failures.clone());
            });
        }
    }

    fn use_files(&self, access: EtcdAccess) -> bool {
        let mut state = self.state.borrow_mut();
        state.unreadable_files.clear();
        let Some(what) = state.connection.replace_access(access) else {
            return false;
        };
        info!(what, "files for etcd were renewed; using the new ones");
        warn_if_invalid_now(&state.connection.access(), &self.source);
        true
    }

    fn log_unreadable(&self, reason: &str) {
        let unreadable = &mut self.state.borrow_mut().unreadable_files;
        // The files may be half written at this moment.
        if unreadable.is_new(reason) {
            warn!(
                reason,
                "files for etcd cannot be used; keeping what was read before"
            );
        } else {
            debug!(reason, "files for etcd still cannot be used");
        }
    }

    /// Applies a remedy. Returns whether the same endpoint may do better now.
    fn apply(&self, remedy: Remedy) -> bool {
        match remedy {
            Remedy::Reconnect => {
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
        let endpoint = self.url();
        let hint = self.in_context(&endpoint, |context| diagnose::hint(&cause, context));
        CallError {
            endpoint,
            cause,
            hint,
            everywhere: BTreeMap::new(),
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
        let pings = self.state.borrow().cuts.pings();
        let client = connect::client(&target.url, &target.access, pings)
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
