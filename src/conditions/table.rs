//! The table of conditions, and the handle with which a task sets one of them. The form is that of Kubernetes'
//! conditions: each is true, false or unknown, with a reason, a message and the time since when.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::conditions::reason::{Problem, Reason};

/// What a condition is about. Each is good when it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConditionType {
    /// This host holds its lease and watches the leases of the peers.
    LeaseHeld,
    /// etcd answers.
    EtcdReachable,
    /// The kernel holds the device and the entries for all peers, as read back.
    KernelInSync,
    /// No route or rule of another program is in front of the entries of the overlay.
    PathsClear,
    /// The packet filter holds our rules, as read back.
    RulesInstalled,
    /// subnet.env and the options for Docker are written.
    FilesWritten,
    /// The settings of this host, its firewalls and the other hosts let packets flow.
    HostFit,
}

impl ConditionType {
    pub(crate) const ALL: [Self; 7] = [
        Self::LeaseHeld,
        Self::EtcdReachable,
        Self::KernelInSync,
        Self::PathsClear,
        Self::RulesInstalled,
        Self::FilesWritten,
        Self::HostFit,
    ];
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConditionStatus {
    /// The task has not found out yet.
    Unknown,
    True,
    False,
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) status: ConditionStatus,
    pub(crate) reason: Reason,
    /// Why it is false, for people. Empty when it is not.
    pub(crate) message: String,
    /// When `status` changed last.
    pub(crate) since: SystemTime,
}

/// All conditions at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conditions {
    rows: BTreeMap<ConditionType, Condition>,
}

impl Conditions {
    /// The table at the start: nothing is known.
    pub(crate) fn unknown(now: SystemTime) -> Self {
        let unknown = Condition {
            status: ConditionStatus::Unknown,
            reason: Reason::Starting,
            message: String::new(),
            since: now,
        };
        let rows = ConditionType::ALL.map(|kind| (kind, unknown.clone()));
        Self { rows: rows.into() }
    }

    pub(crate) fn get(&self, kind: ConditionType) -> &Condition {
        self.rows
            .get(&kind)
            .expect("the table holds every type from the start")
    }

    /// Returns all rows, in the order of the types.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (ConditionType, &Condition)> {
        self.rows.iter().map(|(kind, condition)| (*kind, condition))
    }

    /// Sets one condition. Returns whether anything changed.
    pub(crate) fn set(
        &mut self,
        kind: ConditionType,
        status: ConditionStatus,
        problem: Problem,
        now: SystemTime,
    ) -> bool {
        let Problem { reason, message } = problem;
        let before = self.get(kind);
        let since = if before.status == status {
            before.since
        } else {
            now
        };
        let condition = Condition {
            status,
            reason,
            message,
            since,
        };
        if *before == condition {
            return false;
        }
        self.rows.insert(kind, condition);
        true
    }
}

/// Sets one condition of the table that all tasks share.
#[derive(Debug, Clone)]
pub(crate) struct ConditionWriter {
    kind: ConditionType,
    table: watch::Sender<Conditions>,
    wall_time: fn() -> SystemTime,
}

impl ConditionWriter {
    pub(crate) const fn new(
        kind: ConditionType,
        table: watch::Sender<Conditions>,
        wall_time: fn() -> SystemTime,
    ) -> Self {
        Self {
            kind,
            table,
            wall_time,
        }
    }

    pub(crate) fn set_true(&self) {
        self.set(ConditionStatus::True, Problem::new(Reason::AsExpected, ""));
    }

    pub(crate) fn set_false(&self, problem: &Problem) {
        self.set(ConditionStatus::False, problem.clone());
    }

    pub(crate) fn set_unknown(&self) {
        self.set(ConditionStatus::Unknown, Problem::new(Reason::Starting, ""));
    }

    fn set(&self, status: ConditionStatus, problem: Problem) {
        let now = (self.wall_time)();
        self.table
            .send_if_modified(|table| table.set(self.kind, status, problem, now));
    }
}

#[cfg(test)]
impl ConditionWriter {
    /// A condition of a table of its own, and the view of it.
    pub(crate) fn for_test(kind: ConditionType) -> (Self, watch::Receiver<Conditions>) {
        let (table, view) = watch::channel(Conditions::unknown(SystemTime::UNIX_EPOCH));
        (Self::new(kind, table, || SystemTime::UNIX_EPOCH), view)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn since_is_the_time_of_the_last_change_of_status() {
        let kind = ConditionType::EtcdReachable;
        let mut table = Conditions::unknown(at(0));
        let failed = |message: &str| Problem::failed(message);
        assert!(table.set(kind, ConditionStatus::False, failed("no answer"), at(1)));
        assert!(table.set(kind, ConditionStatus::False, failed("refused"), at(2)));
        assert!(!table.set(kind, ConditionStatus::False, failed("refused"), at(3)));
        assert_eq!(table.get(kind).since, at(1));
        assert_eq!(table.get(kind).message, "refused");
        assert!(table.set(kind, ConditionStatus::True, failed(""), at(3)));
        assert_eq!(table.get(kind).since, at(3));
    }

    #[test]
    fn every_change_of_every_condition_wakes_the_views_and_nothing_else_does() {
        for kind in ConditionType::ALL {
            let (sender, mut views) = watch::channel(Conditions::unknown(at(0)));
            let writer = ConditionWriter::new(kind, sender, || at(1));
            for status in [ConditionStatus::False, ConditionStatus::True] {
                writer.set(status, Problem::failed(""));
                assert!(views.has_changed().expect("a sender"), "{kind}: {status:?}");
                views.mark_unchanged();
                writer.set(status, Problem::failed(""));
                assert!(
                    !views.has_changed().expect("a sender"),
                    "{kind}: {status:?}"
                );
            }
        }
    }
}
