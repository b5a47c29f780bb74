//! A watch on all keys of one network: turns etcd's events into changes, and each way in which a
//! watch can end into an error. It resumes a watch from the revision after the last event where
//! nothing is wrong with etcd: when this host's way to etcd has changed, and when a proxy has cut the
//! stream, which most do when it was idle for a minute. It does so once, and only in the same
//! history: after every other end whoever owns the watch lists again. The library does not resume
//! one either, and does not report that etcd has cancelled one.

use std::rc::Rc;
use std::time::Duration;

use etcd_client::{
    Client, Error as EtcdError, EventType, KeyValue, WatchOptions, WatchResponse, WatchStream,
};

use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::adapters::etcd::call_error::{CallError, in_parentheses};
use crate::adapters::etcd::endpoints::Endpoints;
use crate::adapters::etcd::history::History;
use crate::adapters::etcd::keys::NetworkKeys;
use crate::adapters::etcd::requests::MAX_ANSWER_BYTES;
use crate::lease::port::{RegistryChange, RegistryError, RegistryWatch, WatchEnd};

/// How long a watch that cannot be resumed waits for another change of the way before it ends. While
/// an address is away, nothing can be sent.
const NO_WAY_TIMEOUT: Duration = Duration::from_secs(1);

/// A running watch.
pub(crate) struct EtcdWatch {
    endpoints: Rc<Endpoints>,
    keys: NetworkKeys,
    /// The revision after the last event.
    next_revision: i64,
    history: History,
    stream: Stream,
}

enum Stream {
    Open(Box<OpenStream>),
    Ended(StreamEnd),
}

struct OpenStream {
    stream: WatchStream,
    endpoint: String,
    /// The number of the way over which it was opened.
    path: u64,
    opened: Instant,
    history: History,
}

/// Why the stream has to be opened again.
#[derive(Clone, Copy)]
enum StreamEnd {
    OtherPath,
    Cut { until: Instant },
}

/// Why a watch has ended.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("etcd has compacted the revisions before {0}")]
    Compacted(i64),
    #[error("etcd cancelled the watch: {reason:?}{}", in_parentheses(hint.as_deref()))]
    Cancelled {
        reason: String,
        hint: Option<String>,
    },
    #[error("etcd closed the watch")]
    Closed,
    #[error("{}", .0.what())]
    Etcd(CallError),
}

/// Why a watch has failed, and where it was open.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}: {error}")]
struct WatchFailure {
    endpoint: String,
    error: WatchError,
}

impl WatchError {
    /// Returns whether something in between has ended the stream, and etcd may be well.
    fn is_cut(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Etcd(error) => error.cause.is_cut(),
            Self::Compacted(_) | Self::Cancelled { .. } => false,
        }
    }

    /// Returns whether another endpoint may do better. All members of etcd know the same
    /// permissions, and with each new connection etcd checks our password.
    fn is_endpoint_fault(&self) -> bool {
        match self {
            Self::Cancelled { reason, .. } => !reason.contains("permission denied"),
            Self::Compacted(_) | Self::Closed | Self::Etcd(_) => true,
        }
    }

    /// Adds what the words of etcd probably mean.
    fn with_hint(self, endpoints: &Endpoints) -> Self {
        match self {
            Self::Cancelled { reason, .. } => Self::Cancelled {
                hint: endpoints.hint_for_words(&reason),
                reason,
            },
            Self::Compacted(_) | Self::Closed | Self::Etcd(_) => self,
        }
    }
}

/// Starts a watch that sees everything from revision `from` on.
///
/// # Errors
/// Returns why no endpoint started it, or why etcd ended it at once.
pub(super) async fn start(
    endpoints: Rc<Endpoints>,
    keys: NetworkKeys,
    from: i64,
) -> Result<EtcdWatch, RegistryError> {
    let open = open_checked(&endpoints, &keys, from).await?;
    Ok(EtcdWatch {
        endpoints,
        keys,
        next_revision: from,
        history: open.history,
        stream: Stream::Open(open),
    })
}

async fn open_checked(
    endpoints: &Endpoints,
    keys: &NetworkKeys,
    from: i64,
) -> Result<Box<OpenStream>, RegistryError> {
    // A watch keeps its connection for long, and the latest certificate is valid for longest.
    endpoints.reload_files();
    let operation = format!("watch \"{}\"", keys.all);
    // Read before the request: a change under it has the watch resumed once more.
    let path = endpoints.path().number();
    let request = async |client: Client| open(client, keys, from).await;
    let (stream, first) = endpoints.call(&operation, request).await?;
    let first = first.ok_or(WatchError::Closed);
    match first.and_then(|answer| check(&answer).map(|()| History::of(&answer))) {
        Ok(history) => Ok(Box::new(OpenStream {
            stream,
            endpoint: endpoints.url(),
            path,
            opened: Instant::now(),
            history,
        })),
        Err(error) => Err(refused(endpoints, operation, error)),
    }
}

/// Opens the stream and waits for its first answer, which says that the watch exists: an etcd that
/// is down or has no leader fails here, within the deadline.
async fn open(
    client: Client,
    keys: &NetworkKeys,
    from: i64,
) -> Result<(WatchStream, Option<WatchResponse>), EtcdError> {
    let mut client = client
        .watch_client()
        .max_decoding_message_size(MAX_ANSWER_BYTES);
    // No fragments: etcd 3.4 measures the whole fragment for each event that it adds, and took 9 s
    // for 60,000 events. An answer that is too large to be received ends the watch, and the list
    // that follows copes with it.
    let options = WatchOptions::new().with_prefix().with_start_revision(from);
    let mut stream = client.watch(keys.all.clone(), Some(options)).await?;
    let first = stream.message().await?;
    Ok((stream, first))
}

fn refused(endpoints: &Endpoints, operation: String, error: WatchError) -> RegistryError {
    let (endpoint, error) = (endpoints.url(), error.with_hint(endpoints));
    if error.is_endpoint_fault() {
        endpoints.rotate();
    }
    RegistryError {
        operation,
        source: Box::new(WatchFailure { endpoint, error }),
    }
}

impl RegistryWatch for EtcdWatch {
    async fn next(&mut self) -> Result<Vec<RegistryChange>, WatchEnd> {
        loop {
            let open = match &mut self.stream {
                Stream::Open(open) => open,
                Stream::Ended(end) => {
                    let end = *end;
                    self.resume(end).await?;
                    continue;
                }
            };
            // Both arms are cancel-safe: an answer stays in the stream, a number is a number.
            let answer = tokio::select! {
                biased;
                () = self.endpoints.path().changed_from(open.path) => {
                    self.stream = Stream::Ended(StreamEnd::OtherPath);
                    continue;
                }
                answer = open.stream.message() => answer,
            };
            let (endpoint, opened) = (open.endpoint.clone(), open.opened);
            match self.changes(&endpoint, answer) {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => return Ok(changes),
                Err(error) if error.is_cut() => self.cut(&endpoint, opened, &error),
                Err(error @ WatchError::Compacted(_)) => {
                    return Err(WatchEnd::Outdated(error.to_string()));
                }
                Err(error) => return Err(WatchEnd::Failed(self.failed(endpoint, error))),
            }
        }
    }
}

impl EtcdWatch {
    fn cut(&mut self, endpoint: &str, opened: Instant, error: &WatchError) {
        let lasted = opened.elapsed();
        debug!(endpoint, %error, ?lasted, "the watch was cut; opening it again");
        let pause = self.endpoints.pause_after_cut(endpoint, lasted);
        let until = Instant::now() + pause;
        self.stream = Stream::Ended(StreamEnd::Cut { until });
    }

    fn failed(&self, endpoint: String, error: WatchError) -> RegistryError {
        let error = error.with_hint(&self.endpoints);
        RegistryError {
            operation: format!("continue to watch \"{}\"", self.keys.all),
            source: Box::new(WatchFailure { endpoint, error }),
        }
    }

    /// Opens the stream again. Cancel-safe: what is dropped is begun again.
    ///
    /// # Errors
    /// etcd does not answer, over this way or another one that comes up; or it has another history now.
    async fn resume(&mut self, end: StreamEnd) -> Result<(), WatchEnd> {
        if let StreamEnd::Cut { until } = end {
            sleep_until(until).await;
        }
        let path = self.endpoints.path().number();
        let opened = open_checked(&self.endpoints, &self.keys, self.next_revision).await;
        match (opened, end) {
            (Ok(open), _) if open.history.continues(self.history, self.next_revision) => {
                debug!(revision = self.next_revision, "resumed the watch");
                self.stream = Stream::Open(open);
                Ok(())
            }
            (Ok(open), _) => {
                let (before, now) = (self.history, open.history);
                let why = format!("etcd may have another history: {now:?} after {before:?}");
                Err(WatchEnd::Outdated(why))
            }
            (Err(error), StreamEnd::OtherPath) => {
                let other_way = self.endpoints.path().changed_from(path);
                let came_up = timeout(NO_WAY_TIMEOUT, other_way).await;
                came_up.map_err(|_| WatchEnd::Failed(error))
            }
            (Err(error), StreamEnd::Cut { .. }) => Err(WatchEnd::Failed(error)),
        }
    }

    fn changes(
        &mut self,
        endpoint: &str,
        answer: Result<Option<WatchResponse>, EtcdError>,
    ) -> Result<Vec<RegistryChange>, WatchError> {
        let answer = answer
            .map_err(|error| {
                WatchError::Etcd(self.endpoints.stream_error(endpoint.to_owned(), error))
            })?
            .ok_or(WatchError::Closed)?;
        check(&answer)?;
        let mut changes = Vec::new();
        for event in answer.events() {
            let Some(kv) = event.kv() else { continue };
            // An answer holds whole revisions.
            self.next_revision = self.next_revision.max(kv.mod_revision() + 1);
            changes.extend(change(&self.keys, event.event_type(), kv));
        }
        Ok(changes)
    }
}

/// Returns what an event means, or `None` for a key that is neither the config nor a lease.
fn change(keys: &NetworkKeys, kind: EventType, kv: &KeyValue) -> Option<RegistryChange> {
    let deleted = kind == EventType::Delete;
    if kv.key() == keys.config.as_bytes() {
        let value = (!deleted).then(|| kv.value().to_vec());
        return Some(RegistryChange::Config(value));
    }
    if deleted {
        keys.name(kv.key()).map(RegistryChange::Delete)
    } else {
        keys.entry(kv).map(RegistryChange::Put)
    }
}

/// Finds an end that the stream itself does not show: after a compaction, etcd answers with
/// `canceled` and an empty reason, and leaves the stream open and silent.
fn check(answer: &WatchResponse) -> Result<(), WatchError> {
    if answer.compact_revision() > 0 {
        return Err(WatchError::Compacted(answer.compact_revision()));
    }
    if answer.canceled() {
        return Err(WatchError::Cancelled {
            reason: answer.cancel_reason().to_owned(),
            hint: None,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cancelled(reason: &str) -> WatchError {
        WatchError::Cancelled {
            reason: reason.to_owned(),
            hint: None,
        }
    }

    #[test]
    fn only_what_etcd_does_not_say_is_a_cut() {
        assert!(WatchError::Closed.is_cut());
        assert!(!WatchError::Compacted(7).is_cut());
        assert!(!cancelled("etcdserver: permission denied").is_cut());
    }

    #[test]
    fn only_a_missing_permission_is_the_same_on_every_endpoint() {
        for (error, expected) in [
            (cancelled("etcdserver: permission denied"), false),
            (cancelled("etcdserver: no leader"), true),
            (WatchError::Compacted(7), true),
            (WatchError::Closed, true),
        ] {
            assert_eq!(error.is_endpoint_fault(), expected, "{error}");
        }
    }
}
