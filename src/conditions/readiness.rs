//! What "ready" means, as a view of the conditions: the lease is held, and kernel, rules and files are in place. Pure.

use std::fmt;

use crate::conditions::{ConditionStatus, ConditionType, Conditions};

/// Whether this host carries the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// Everything is in place, but etcd is unreachable: changes of other hosts are not seen. Packets flow, so this
    /// counts as ready.
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

/// Judges the conditions.
pub(crate) fn readiness(conditions: &Conditions) -> Readiness {
    let etcd = conditions.get(ConditionType::EtcdReachable).status;
    if let Some(missing) = missing(conditions) {
        return Readiness::NotReady(missing);
    }
    match etcd {
        ConditionStatus::True => Readiness::Ready,
        ConditionStatus::False | ConditionStatus::Unknown => {
            Readiness::Degraded(etcd_text(conditions))
        }
    }
}

/// Describes the state of etcd and of our lease in it: the line `etcd` of `flanneld status`.
pub(crate) fn etcd_text(conditions: &Conditions) -> String {
    let etcd = conditions.get(ConditionType::EtcdReachable);
    let lease = conditions.get(ConditionType::LeaseHeld);
    let no_lease = lease.status == ConditionStatus::False;
    match etcd.status {
        ConditionStatus::Unknown => "etcd has not answered yet".to_owned(),
        ConditionStatus::True if no_lease => lease.message.clone(),
        ConditionStatus::True => "reachable".to_owned(),
        ConditionStatus::False => {
            let since = humantime::format_rfc3339_seconds(etcd.since);
            format!("etcd unreachable since {since}: {}", etcd.message)
        }
    }
}

fn missing(conditions: &Conditions) -> Option<String> {
    let lease = conditions.get(ConditionType::LeaseHeld);
    let etcd = conditions.get(ConditionType::EtcdReachable).status;
    if lease.status == ConditionStatus::False {
        let reason = match etcd {
            ConditionStatus::False => format!("{}; {}", lease.message, etcd_text(conditions)),
            ConditionStatus::True | ConditionStatus::Unknown => lease.message.clone(),
        };
        return Some(reason);
    }
    let kernel = conditions.get(ConditionType::KernelInSync);
    match (kernel.status, etcd) {
        (ConditionStatus::Unknown, ConditionStatus::True) => {
            return Some("waiting for the kernel".to_owned());
        }
        (ConditionStatus::Unknown, _) => {
            return Some(format!("waiting for a lease: {}", etcd_text(conditions)));
        }
        (ConditionStatus::False, _) => {
            return Some(format!("the overlay is not in sync: {}", kernel.message));
        }
        (ConditionStatus::True, _) => {}
    }
    let files = missing_part(conditions, ConditionType::FilesWritten, "files");
    files.or_else(|| missing_part(conditions, ConditionType::RulesInstalled, "firewall rules"))
}

fn missing_part(conditions: &Conditions, kind: ConditionType, name: &str) -> Option<String> {
    let condition = conditions.get(kind);
    match condition.status {
        ConditionStatus::True => None,
        ConditionStatus::Unknown => Some(format!("waiting for the {name}")),
        ConditionStatus::False => Some(format!(
            "the {name} are not in place: {}",
            condition.message
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::conditions::ConditionType::{
        EtcdReachable, FilesWritten, KernelInSync, LeaseHeld, RulesInstalled,
    };

    /// A table in which the given conditions are false with a message, or true if the message is empty.
    fn check(set: &[(ConditionType, &str)], expected: &str) {
        let epoch = SystemTime::UNIX_EPOCH;
        let mut conditions = Conditions::unknown(epoch);
        for (kind, message) in set {
            let status = if message.is_empty() {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            };
            conditions.set(*kind, status, message, epoch);
        }
        assert_eq!(readiness(&conditions).to_string(), expected, "{set:?}");
    }

    #[test]
    fn names_the_first_thing_that_is_missing() {
        let unreachable = "etcd unreachable since 1970-01-01T00:00:00Z: no answer";
        let away = (EtcdReachable, "no answer");
        let no_subnet = (LeaseHeld, "no subnet is free");
        check(&[], "waiting for a lease: etcd has not answered yet");
        check(&[away], &format!("waiting for a lease: {unreachable}"));
        check(&[(EtcdReachable, ""), no_subnet], "no subnet is free");
        check(
            &[away, no_subnet],
            &format!("no subnet is free; {unreachable}"),
        );
        let held = [(EtcdReachable, ""), (LeaseHeld, "")];
        check(&held, "waiting for the kernel");
        let with = |more: &[(ConditionType, &'static str)]| [&held[..], more].concat();
        let stale = with(&[(KernelInSync, "no route")]);
        check(&stale, "the overlay is not in sync: no route");
        check(&with(&[(KernelInSync, "")]), "waiting for the files");
        let no_rules = with(&[
            (KernelInSync, ""),
            (FilesWritten, ""),
            (RulesInstalled, "no nft"),
        ]);
        check(&no_rules, "the firewall rules are not in place: no nft");
    }

    #[test]
    fn is_ready_with_etcd_and_degraded_without() {
        let place = [(KernelInSync, ""), (FilesWritten, ""), (RulesInstalled, "")];
        let with = |more: &[(ConditionType, &'static str)]| [&place[..], more].concat();
        check(&with(&[(LeaseHeld, ""), (EtcdReachable, "")]), "ready");
        check(&place, "degraded: etcd has not answered yet");
        check(
            &with(&[(LeaseHeld, ""), (EtcdReachable, "no answer")]),
            "degraded: etcd unreachable since 1970-01-01T00:00:00Z: no answer",
        );
        check(
            &with(&[(LeaseHeld, "a rival"), (EtcdReachable, "")]),
            "a rival",
        );
    }
}
