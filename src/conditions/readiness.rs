//! Owns what "ready" means: lease, kernel state, rules and files are all in place. Pure.

use std::fmt;

use crate::lease::status::EtcdState;

/// Whether the kernel holds what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// There is no lease yet.
    Waiting,
    /// Read back and found right.
    InSync,
    /// Something is missing; the text says what.
    Stale(String),
}

/// How far the parts outside the kernel's tables have come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// Whether subnet.env and the options for Docker say what they should; a reason if not.
    pub files: Part,
    /// Whether the rules of the packet filter are in place; a reason if not.
    pub rules: Part,
}

/// One part of what makes us ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Part {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// In place.
    Done,
    /// It failed, and is tried again.
    Failed(String),
}

/// How we are, all in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All is in place.
    Ready,
    /// All is in place as far as we know, and etcd is away: what others do meanwhile is not seen.
    Degraded(String),
    /// Something is missing.
    NotReady(String),
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Degraded(reason) => write!(f, "degraded: {reason}"),
            Self::NotReady(reason) => f.write_str(reason),
        }
    }
}

/// How we are, given how the parts are.
pub fn state(health: &Health, published: &Published, contact: &EtcdState) -> Readiness {
    if let Some(missing) = missing(health, published, contact) {
        return Readiness::NotReady(missing);
    }
    match contact {
        EtcdState::Holding => Readiness::Ready,
        EtcdState::Connecting | EtcdState::Away { .. } => Readiness::Degraded(contact.to_string()),
        EtcdState::Waiting { reason } => Readiness::NotReady(reason.clone()),
    }
}

fn missing(health: &Health, published: &Published, contact: &EtcdState) -> Option<String> {
    match (health, contact) {
        (_, EtcdState::Waiting { reason }) => return Some(reason.clone()),
        (Health::Waiting, EtcdState::Holding) => return Some("waiting for the kernel".to_owned()),
        (Health::Waiting, _) => return Some(format!("waiting for a lease: {contact}")),
        (Health::Stale(reason), _) => {
            return Some(format!("the overlay is not complete: {reason}"));
        }
        (Health::InSync, _) => {}
    }
    part("files", &published.files).or_else(|| part("rules of the packet filter", &published.rules))
}

fn part(name: &str, part: &Part) -> Option<String> {
    match part {
        Part::Done => None,
        Part::Waiting => Some(format!("waiting for the {name}")),
        Part::Failed(reason) => Some(format!("the {name} are not in place: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn names_the_first_thing_that_is_missing() {
        let done = Published {
            files: Part::Done,
            rules: Part::Done,
        };
        let failed = Published {
            rules: Part::Failed("no nft".to_owned()),
            ..done.clone()
        };
        let away = EtcdState::Away {
            since: SystemTime::UNIX_EPOCH,
            reason: "no answer".to_owned(),
        };
        let other = EtcdState::Waiting {
            reason: "no subnet is free".to_owned(),
        };
        let check =
            |health: &Health, published: &Published, contact: &EtcdState, expected: &str| {
                assert_eq!(state(health, published, contact).to_string(), expected);
            };
        check(
            &Health::Waiting,
            &done,
            &EtcdState::Connecting,
            "waiting for a lease: etcd has not answered yet",
        );
        let stale = Health::Stale("no route".to_owned());
        check(
            &stale,
            &done,
            &EtcdState::Holding,
            "the overlay is not complete: no route",
        );
        check(
            &Health::InSync,
            &Published::default(),
            &EtcdState::Holding,
            "waiting for the files",
        );
        let rules = "the rules of the packet filter are not in place: no nft";
        check(&Health::InSync, &failed, &EtcdState::Holding, rules);
        check(&Health::InSync, &done, &other, "no subnet is free");
        check(&Health::InSync, &done, &EtcdState::Holding, "ready");
        let degraded = "degraded: etcd fails us since 1970-01-01T00:00:00Z: no answer";
        check(&Health::InSync, &done, &away, degraded);
    }
}
