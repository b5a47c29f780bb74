//! The table of conditions, and the handle with which a task sets one of them. The form is that of Kubernetes'
//! conditions: each is true, false or unknown, with a message and the time since when.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use tokio::sync::watch;

/// What a condition is about. Each is good when it is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConditionType {
    /// This host holds its lease and watches the leases of the peers.
    LeaseHeld,
    /// etcd answers.
    EtcdReachable,
    /// The kernel holds the device and the entries for all peers, as read back.
    KernelInSync,
    /// The packet filter holds our rules, as read back.
    RulesInstalled,
    /// subnet.env and the options for Docker are written.
    FilesWritten,
}

impl ConditionType {
    pub(crate) const ALL: [Self; 5] = [
        Self::LeaseHeld,
        Self::EtcdReachable,
        Self::KernelInSync,
        Self::RulesInstalled,
        Self::FilesWritten,
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

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) status: ConditionStatus,
    /// Why it is false or unknown, for people. Empty when it is true.
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

    /// Sets one condition. Returns whether anything changed.
    pub(crate) fn set(
        &mut self,
        kind: ConditionType,
        status: ConditionStatus,
        message: &str,
        now: SystemTime,
    ) -> bool {
        let before = self.get(kind);
        if before.status == status && before.message == message {
            return false;
        }
        let since = if before.status == status {
            before.since
        } else {
            now
        };
        let condition = Condition {
            status,
            message: message.to_owned(),
            since,
        };
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
        self.set(ConditionStatus::True, "");
    }

    pub(crate) fn set_false(&self, message: &str) {
        self.set(ConditionStatus::False, message);
    }

    fn set(&self, status: ConditionStatus, message: &str) {
        let now = (self.wall_time)();
        self.table
            .send_if_modified(|table| table.set(self.kind, status, message, now));
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
        assert!(table.set(kind, ConditionStatus::False, "no answer", at(1)));
        assert!(table.set(kind, ConditionStatus::False, "refused", at(2)));
        assert_eq!(table.get(kind).since, at(1));
        assert_eq!(table.get(kind).message, "refused");
        assert!(table.set(kind, ConditionStatus::True, "", at(3)));
        assert_eq!(table.get(kind).since, at(3));
    }

    #[test]
    fn every_change_of_every_condition_wakes_the_views_and_nothing_else_does() {
        for kind in ConditionType::ALL {
            let (sender, mut views) = watch::channel(Conditions::unknown(at(0)));
            let writer = ConditionWriter::new(kind, sender, || at(1));
            for status in [ConditionStatus::False, ConditionStatus::True] {
                writer.set(status, "");
                assert!(views.has_changed().expect("a sender"), "{kind}: {status:?}");
                views.mark_unchanged();
                writer.set(status, "");
                assert!(
                    !views.has_changed().expect("a sender"),
                    "{kind}: {status:?}"
                );
            }
        }
    }
}
