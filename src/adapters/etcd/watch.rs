//! Owns a watch on all keys of one network: turns etcd's events into changes, and every way in which a watch can end into
//! an error. The library does not resume a broken watch, and says nothing of its own when etcd cancels one.

use etcd_client::{
    Error as EtcdError, EventType, KeyValue, WatchOptions, WatchResponse, WatchStream,
};

use crate::adapters::etcd::endpoints::Endpoints;
use crate::adapters::etcd::failure::in_parentheses;
use crate::adapters::etcd::{Keys, LARGEST_ANSWER};
use crate::lease::port::{RegistryChange, RegistryError, RegistryWatch};

/// A running watch.
pub(crate) struct EtcdWatch {
    stream: WatchStream,
    keys: Keys,
}

/// Why a watch has ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("revisions before {0} are compacted")]
    Compacted(i64),
    #[error("etcd cancelled it: {reason:?}{}", in_parentheses(hint.as_deref()))]
    Cancelled {
        reason: String,
        hint: Option<String>,
    },
    #[error("the stream ended")]
    Closed,
    #[error("{}", crate::error::chain(.0))]
    Etcd(EtcdError),
}

impl Ended {
    /// Whether another member may do better. All of them know the same permissions, and a new connection costs each
    /// time that etcd checks our password.
    fn is_of_member(&self) -> bool {
        match self {
            Self::Cancelled { reason, .. } => !reason.contains("permission denied"),
            Self::Compacted(_) | Self::Closed | Self::Etcd(_) => true,
        }
    }

    /// With what an error of the member probably means.
    fn explained(self, endpoints: &Endpoints) -> Self {
        match self {
            Self::Cancelled { reason, .. } => Self::Cancelled {
                hint: endpoints.hint(&reason),
                reason,
            },
            Self::Compacted(_) | Self::Closed | Self::Etcd(_) => self,
        }
    }
}

/// Starts a watch that sees everything from revision `from` on.
pub(super) async fn start(
    endpoints: &Endpoints,
    keys: Keys,
    from: i64,
) -> Result<EtcdWatch, RegistryError> {
    // A watch is what keeps a connection for long: the latest certificate is good for longest.
    endpoints.renew();
    // Not in fragments: etcd 3.4 measures the whole fragment for each event that it adds, and took 9 s for 60,000. What is
    // too large to be received ends the watch, and the list that follows copes with it.
    let options = WatchOptions::new().with_prefix().with_start_revision(from);
    let request = async |client: etcd_client::Client| {
        let mut client = client
            .watch_client()
            .max_decoding_message_size(LARGEST_ANSWER);
        let mut stream = client
            .watch(keys.all.clone(), Some(options.clone()))
            .await?;
        // The first answer says that the watch exists; a dead or leaderless member fails here, inside the deadline.
        stream.message().await.map(|answer| (stream, answer))
    };
    let operation = format!("watch \"{}\"", keys.all);
    let (stream, answer) = endpoints.call(&operation, request).await?;
    match answer.map_or(Err(Ended::Closed), |answer| check(&answer)) {
        Ok(()) => {
            // It is asked for last.
            endpoints.settled();
            Ok(EtcdWatch { stream, keys })
        }
        Err(ended) => {
            let ended = ended.explained(endpoints);
            if ended.is_of_member() {
                endpoints.rotate();
            }
            Err(RegistryError {
                operation,
                source: Box::new(ended),
            })
        }
    }
}

impl RegistryWatch for EtcdWatch {
    async fn next(&mut self) -> Result<Vec<RegistryChange>, RegistryError> {
        loop {
            let changes = self.answer().await.map_err(|ended| RegistryError {
                operation: format!("go on watching \"{}\"", self.keys.all),
                source: Box::new(ended),
            })?;
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }
}

impl EtcdWatch {
    async fn answer(&mut self) -> Result<Vec<RegistryChange>, Ended> {
        let answer = self
            .stream
            .message()
            .await
            .map_err(Ended::Etcd)?
            .ok_or(Ended::Closed)?;
        check(&answer)?;
        let changes = answer
            .events()
            .iter()
            .filter_map(|event| self.change(event.event_type(), event.kv()?));
        Ok(changes.collect())
    }

    fn change(&self, kind: EventType, kv: &KeyValue) -> Option<RegistryChange> {
        let deleted = kind == EventType::Delete;
        if kv.key() == self.keys.config.as_bytes() {
            return Some(RegistryChange::Config(
                (!deleted).then(|| kv.value().to_vec()),
            ));
        }
        match deleted {
            true => self.keys.name(kv.key()).map(RegistryChange::Delete),
            false => self.keys.entry(kv).map(RegistryChange::Put),
        }
    }
}

/// After a compaction etcd answers with `canceled`, an empty reason, and leaves the stream open and silent.
fn check(answer: &WatchResponse) -> Result<(), Ended> {
    if answer.compact_revision() > 0 {
        return Err(Ended::Compacted(answer.compact_revision()));
    }
    if answer.canceled() {
        return Err(Ended::Cancelled {
            reason: answer.cancel_reason().to_owned(),
            hint: None,
        });
    }
    Ok(())
}
