//! What "ready" means, as a view of the conditions: pods of this host reach pods of the others, as far as this host decides
//! it. Pure.

use std::fmt;

use crate::conditions::report::REACHABLE;
use crate::conditions::{ConditionStatus, ConditionType, Conditions, Reason};

/// Whether this host carries the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    /// Everything is in place, but etcd is unreachable: changes of other hosts are not seen. Packets flow, so this
    /// counts as ready.
    Degraded(String),
    /// Something is missing. Each sentence says one thing; there is at least one.
    NotReady(Vec<String>),
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Degraded(reason) => write!(f, "degraded: {reason}"),
            Self::NotReady(reasons) => f.write_str(&reasons.join("; ")),
        }
    }
}

/// The conditions without which no pod talks to others, in the order in which they become true at a start.
const NEEDED: [ConditionType; 6] = [
    ConditionType::LeaseHeld,
    ConditionType::KernelInSync,
    ConditionType::PathsClear,
    ConditionType::FilesWritten,
    ConditionType::RulesInstalled,
    ConditionType::HostFit,
];

/// Judges the conditions.
pub(crate) fn readiness(conditions: &Conditions) -> Readiness {
    let missing = missing(conditions);
    if !missing.is_empty() {
        return Readiness::NotReady(missing);
    }
    match conditions.get(ConditionType::EtcdReachable).status {
        ConditionStatus::True => Readiness::Ready,
        ConditionStatus::False | ConditionStatus::Unknown => {
            Readiness::Degraded(etcd_text(conditions))
        }
    }
}

/// Returns everything that is wrong, or else the first thing that is not known yet.
fn missing(conditions: &Conditions) -> Vec<String> {
    let with_status = |status| {
        NEEDED
            .into_iter()
            .filter(move |kind| conditions.get(*kind).status == status)
    };
    let wrong = with_status(ConditionStatus::False).map(|kind| problem_text(conditions, kind));
    let wrong: Vec<String> = wrong.collect();
    if !wrong.is_empty() {
        return wrong;
    }
    // Without a lease the manager says nothing about it, but the kernel waits for it.
    let unknown =
        with_status(ConditionStatus::Unknown).find(|kind| *kind != ConditionType::LeaseHeld);
    let waiting = unknown.map(|kind| waiting_text(conditions, kind));
    waiting.into_iter().collect()
}

fn problem_text(conditions: &Conditions, kind: ConditionType) -> String {
    let message = &conditions.get(kind).message;
    match kind {
        ConditionType::LeaseHeld => lease_text(conditions),
        ConditionType::KernelInSync => format!("the overlay is not in sync: {message}"),
        ConditionType::FilesWritten => format!("the files are not in place: {message}"),
        ConditionType::RulesInstalled => format!("the firewall rules are not in place: {message}"),
        ConditionType::EtcdReachable | ConditionType::PathsClear | ConditionType::HostFit => {
            message.clone()
        }
    }
}

fn lease_text(conditions: &Conditions) -> String {
    let message = &conditions.get(ConditionType::LeaseHeld).message;
    match conditions.get(ConditionType::EtcdReachable).status {
        ConditionStatus::False => format!("{message}; {}", etcd_text(conditions)),
        ConditionStatus::True | ConditionStatus::Unknown => message.clone(),
    }
}

fn waiting_text(conditions: &Conditions, kind: ConditionType) -> String {
    let part = match kind {
        ConditionType::LeaseHeld | ConditionType::EtcdReachable => "a lease",
        ConditionType::KernelInSync => {
            return match conditions.get(ConditionType::EtcdReachable).status {
                ConditionStatus::True => "waiting for the kernel".to_owned(),
                ConditionStatus::False | ConditionStatus::Unknown => {
                    format!("waiting for a lease: {}", etcd_text(conditions))
                }
            };
        }
        ConditionType::PathsClear => "the check of all routes and rules",
        ConditionType::FilesWritten => "the files",
        ConditionType::RulesInstalled => "the firewall rules",
        ConditionType::HostFit => "the checks of this host",
    };
    format!("waiting for {part}")
}

/// Describes the state of etcd and of our lease in it: the line `etcd` of `flanneld status`.
pub(crate) fn etcd_text(conditions: &Conditions) -> String {
    let etcd = conditions.get(ConditionType::EtcdReachable);
    let lease = conditions.get(ConditionType::LeaseHeld);
    let no_lease = lease.status == ConditionStatus::False;
    match etcd.status {
        ConditionStatus::Unknown if lease.reason == Reason::NoExternalInterface => {
            "not asked yet: this host has no external interface".to_owned()
        }
        ConditionStatus::Unknown => "etcd has not answered yet".to_owned(),
        ConditionStatus::True if no_lease => lease.message.clone(),
        ConditionStatus::True => REACHABLE.to_owned(),
        ConditionStatus::False => {
            let since = humantime::format_rfc3339_seconds(etcd.since);
            format!("etcd unreachable since {since}: {}", etcd.message)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::conditions::ConditionType::{
        EtcdReachable, FilesWritten, HostFit, KernelInSync, LeaseHeld, PathsClear, RulesInstalled,
    };
    use crate::conditions::Problem;

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
            conditions.set(*kind, status, Problem::failed(*message), epoch);
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
        let paths = "waiting for the check of all routes and rules";
        check(&with(&[(KernelInSync, "")]), paths);
        let clear = with(&[(KernelInSync, ""), (PathsClear, "")]);
        check(&clear, "waiting for the files");
        let in_place = [&clear[..], &[(FilesWritten, ""), (RulesInstalled, "")]].concat();
        check(&in_place, "waiting for the checks of this host");
    }

    #[test]
    fn while_there_is_no_external_interface_etcd_was_not_asked() {
        let mut conditions = Conditions::unknown(SystemTime::UNIX_EPOCH);
        let problem = Problem::new(Reason::NoExternalInterface, "no eth7");
        let status = ConditionStatus::False;
        conditions.set(LeaseHeld, status, problem, SystemTime::UNIX_EPOCH);
        assert_eq!(readiness(&conditions).to_string(), "no eth7");
        assert!(etcd_text(&conditions).starts_with("not asked yet"));
    }

    #[test]
    fn names_everything_that_is_wrong() {
        let wrong = [
            (EtcdReachable, ""),
            (HostFit, "net.ipv4.ip_forward is 0"),
            (RulesInstalled, "no nft"),
            (FilesWritten, "no space"),
            (PathsClear, "a route is in front"),
            (KernelInSync, "no route"),
        ];
        let expected = "the overlay is not in sync: no route; a route is in front; the files are not in place: \
            no space; the firewall rules are not in place: no nft; net.ipv4.ip_forward is 0";
        check(&wrong, expected);
    }

    #[test]
    fn is_ready_with_etcd_and_degraded_without() {
        let place = [
            KernelInSync,
            PathsClear,
            FilesWritten,
            RulesInstalled,
            HostFit,
        ];
        let place = place.map(|kind| (kind, ""));
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
