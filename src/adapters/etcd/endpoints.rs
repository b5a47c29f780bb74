//! Owns the connections to the members of etcd: stays with one that works, goes on to the next when it fails, gives every
//! request a time limit, and takes up files that were renewed.
//!
//! One client for each endpoint: the library balances over several, and then asks dead ones as well. A client connects
//! again by itself, but shows for ever the certificate it was made with; so it is thrown away when it fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use etcd_client::{Client, Error as EtcdError};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use crate::adapters::etcd::access::{AccessSource, EtcdAccess};
use crate::adapters::etcd::call_error::{CallCause, CallError, REQUEST_DEADLINE};
use crate::adapters::etcd::connect;
use crate::adapters::etcd::diagnose;
use crate::adapters::etcd::diagnose::ErrorContext;
use crate::adapters::etcd::login_backoff::LoginBackoff;
use crate::lease::port;
use crate::reconcile::log_once::LogOnce;

/// See the module.
pub(super) struct Endpoints {
    source: AccessSource,
    access: RefCell<Rc<EtcdAccess>>,
    /// `PREFIX/`, for what is said about permissions.
    prefix: String,
    /// Made when first used: with a user, making one asks etcd for a token.
    clients: RefCell<Vec<Option<Client>>>,
    /// The one that worked last.
    current: Cell<usize>,
    /// Whether the current client has had an answer: then its certificates are not what is wrong.
    proven: Cell<bool>,
    /// Why the files could not be read again, so that it is said once.
    unreadable: RefCell<LogOnce>,
    /// What was said of failures since all was well. The caller says once that etcd is away, and the cause may show
    /// later: at first it is but a connection that ended.
    said: RefCell<BTreeSet<String>>,
    /// One for all members: they have the same users.
    login: RefCell<LoginBackoff>,
}

impl Endpoints {
    pub(super) fn new(access: EtcdAccess, source: AccessSource, prefix: &str) -> Self {
        let clients = RefCell::new(access.endpoints.iter().map(|_| None).collect());
        warn_if_expired(&access, &source);
        let access = RefCell::new(Rc::new(access));
        let (current, proven) = (Cell::new(0), Cell::new(false));
        let (unreadable, said, login) = (
            RefCell::default(),
            RefCell::default(),
            RefCell::new(LoginBackoff::new()),
        );
        Self {
            source,
            access,
            prefix: prefix.to_owned(),
            clients,
            current,
            proven,
            unreadable,
            said,
            login,
        }
    }

    /// Makes a request, on each member once at most. It must be one that may be made twice.
    pub(super) async fn call<T>(
        &self,
        operation: &str,
        request: impl AsyncFn(Client) -> Result<T, EtcdError>,
    ) -> Result<T, port::RegistryError> {
        self.try_call(request)
            .await
            .map_err(|failure| failure.during(operation))
    }

    /// Like `call`, with the failure as it came.
    pub(super) async fn try_call<T>(
        &self,
        request: impl AsyncFn(Client) -> Result<T, EtcdError>,
    ) -> Result<T, CallError> {
        let mut members = self.clients.borrow().len();
        let mut may_mend = true;
        loop {
            let failure = match self.ask_current(&request).await {
                Ok(answer) => {
                    self.proven.set(true);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            if std::mem::take(&mut may_mend) && self.mend(&failure.cause) {
                continue;
            }
            self.say_cause(&failure);
            members = members.saturating_sub(1);
            if !failure.cause.is_endpoint_fault() {
                return Err(failure);
            }
            self.rotate();
            if members == 0 {
                return Err(failure);
            }
            debug!(%failure, "asking another member of etcd");
        }
    }

    /// All that is asked of etcd has worked, in its turn: what fails from now on is new. One answer is not enough, since
    /// others may be refused each time.
    pub(super) fn forget_reports(&self) {
        self.said.take();
    }

    /// Turns to the next member, after one has failed. The connection that has failed is not used again.
    pub(super) fn rotate(&self) {
        self.forget_current();
        self.proven.set(false);
        self.current
            .set((self.current.get() + 1) % self.clients.borrow().len().max(1));
    }

    /// Reads the files again. Answers whether they hold something new, which is then used from now on.
    pub(super) fn reload_files(&self) -> bool {
        let read = match (self.source.read)() {
            Ok(read) => read,
            Err(reason) => {
                self.say_unreadable(&reason);
                return false;
            }
        };
        self.unreadable.borrow_mut().clear();
        let before = self.access.borrow().clone();
        if read == *before {
            return false;
        }
        info!(
            what = read.changes_since(&before),
            "files for etcd were renewed; using the new ones"
        );
        warn_if_expired(&read, &self.source);
        self.access.replace(Rc::new(read));
        self.clients.borrow_mut().fill(None);
        self.login.borrow_mut().reset();
        true
    }

    /// Files may be half written at this moment: those that were read before stay in use.
    fn say_unreadable(&self, reason: &str) {
        if self.unreadable.borrow_mut().is_new(reason) {
            warn!(
                reason,
                "files for etcd cannot be used as they are now; going on with what they held before"
            );
        } else {
            debug!(reason, "files for etcd still cannot be used");
        }
    }

    fn say_cause(&self, failure: &CallError) {
        let Some(hint) = &failure.hint else { return };
        if self.said.borrow_mut().insert(hint.clone()) {
            warn!(etcd = failure.endpoint, "{hint}");
        }
    }

    /// Whether something is different now, so that the same member may do better.
    fn mend(&self, cause: &CallCause) -> bool {
        if cause.is_outdated_token() {
            self.forget_current();
            return true;
        }
        cause.may_need_new_files() && self.reload_files()
    }

    fn forget_current(&self) {
        if let Some(place) = self.clients.borrow_mut().get_mut(self.current.get()) {
            *place = None;
        }
    }

    /// What went wrong outside a call, on the current member.
    fn failure(&self, cause: CallCause) -> CallError {
        let hint = self.hint(&cause.words());
        CallError {
            endpoint: self.url(),
            cause,
            hint,
        }
    }

    /// What an error of the current member probably means.
    pub(super) fn hint(&self, words: &str) -> Option<String> {
        let (endpoint, access) = (self.url(), self.access.borrow().clone());
        let (proven, now) = (self.proven.get(), (self.source.now)());
        diagnose::hint(
            words,
            &ErrorContext {
                endpoint: &endpoint,
                access: &access,
                prefix: &self.prefix,
                proven,
                now,
            },
        )
    }

    fn url(&self) -> String {
        self.access
            .borrow()
            .endpoints
            .get(self.current.get())
            .cloned()
            .unwrap_or_default()
    }

    async fn ask_current<T>(
        &self,
        request: impl AsyncFn(Client) -> Result<T, EtcdError>,
    ) -> Result<T, CallError> {
        let answer = async { request(self.client().await?).await.map_err(CallCause::Etcd) };
        let answer = timeout(REQUEST_DEADLINE, answer)
            .await
            .unwrap_or(Err(CallCause::TimedOut));
        answer.map_err(|cause| {
            self.note_refusal(&cause);
            self.failure(cause)
        })
    }

    /// A client that etcd has let in before asks for a token by itself when it is refused, each time: so it goes.
    fn note_refusal(&self, cause: &CallCause) {
        if cause.is_refused_login() {
            self.forget_current();
            self.login
                .borrow_mut()
                .refuse(cause.words(), Instant::now(), (self.source.random)());
        }
    }

    async fn client(&self) -> Result<Client, CallCause> {
        let current = self.current.get();
        let made = self.clients.borrow().get(current).cloned().flatten();
        if let Some(client) = made {
            return Ok(client);
        }
        self.reload_files();
        self.proven.set(false);
        if let Some(words) = self.login.borrow().on_hold(Instant::now()) {
            return Err(CallCause::LoginOnHold(words.to_owned()));
        }
        let access = self.access.borrow().clone();
        let client = connect::client(&self.url(), &access)
            .await
            .map_err(CallCause::Etcd)?;
        self.login.borrow_mut().reset();
        if let Some(place) = self.clients.borrow_mut().get_mut(current) {
            *place = Some(client.clone());
        }
        Ok(client)
    }
}

fn warn_if_expired(access: &EtcdAccess, source: &AccessSource) {
    if let Some(reason) = diagnose::invalid_now(access, (source.now)()) {
        warn!("{reason}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::secret::{Credentials, Secret};
    use std::time::SystemTime;

    fn with_password(password: &str) -> EtcdAccess {
        let endpoints = vec!["http://a:1".to_owned(), "http://b:1".to_owned()];
        let credentials = Some(Credentials {
            user: "flannel".to_owned(),
            password: Secret(password.to_owned()),
        });
        EtcdAccess {
            endpoints,
            credentials,
            ..EtcdAccess::default()
        }
    }

    /// Endpoints whose files hold what `disk` says.
    fn endpoints(disk: &Rc<RefCell<Result<EtcdAccess, String>>>) -> Endpoints {
        let disk = disk.clone();
        let read = Box::new(move || disk.borrow().clone());
        let source = AccessSource {
            read,
            now: || SystemTime::UNIX_EPOCH,
            random: || 0.0,
        };
        Endpoints::new(with_password("old"), source, "/net/")
    }

    #[test]
    fn goes_round_the_members() {
        let endpoints = endpoints(&Rc::new(RefCell::new(Ok(with_password("old")))));
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(endpoints.failure(CallCause::TimedOut).to_string());
            endpoints.rotate();
        }
        assert_eq!(seen[0], "http://a:1: no answer within 5 s");
        assert_eq!(seen[1], "http://b:1: no answer within 5 s");
        assert_eq!(seen[2], seen[0]);
    }

    #[test]
    fn takes_up_what_was_renewed_once_and_keeps_what_it_had_while_files_are_broken() {
        let disk = Rc::new(RefCell::new(Ok(with_password("old"))));
        let endpoints = endpoints(&disk);
        assert!(!endpoints.reload_files());
        *disk.borrow_mut() = Err("half written".to_owned());
        assert!(!endpoints.reload_files());
        assert_eq!(**endpoints.access.borrow(), with_password("old"));
        *disk.borrow_mut() = Ok(with_password("new"));
        assert!(endpoints.reload_files());
        assert!(!endpoints.reload_files());
        assert_eq!(**endpoints.access.borrow(), with_password("new"));
    }

    #[tokio::test]
    async fn credentials_that_were_refused_are_shown_again_when_the_files_hold_others() {
        let disk = Rc::new(RefCell::new(Ok(with_password("old"))));
        let endpoints = endpoints(&disk);
        let status =
            tonic::Status::invalid_argument("authentication failed, invalid user ID or password");
        endpoints.note_refusal(&CallCause::Etcd(EtcdError::GRpcStatus(status)));
        let again = endpoints
            .client()
            .await
            .map(drop)
            .expect_err("etcd is not asked again");
        assert!(
            matches!(&again, CallCause::LoginOnHold(words) if words.contains("invalid user ID")),
            "{again:?}"
        );
        endpoints.note_refusal(&again);
        *disk.borrow_mut() = Ok(with_password("new"));
        let asked = endpoints
            .client()
            .await
            .map(drop)
            .expect_err("nobody is there");
        assert!(matches!(asked, CallCause::Etcd(_)), "{asked:?}");
    }
}
