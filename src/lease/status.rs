//! The conditions that the lease manager sets, and the state of etcd that it reports. It decides nothing.

use crate::conditions::ConditionWriter;

/// The conditions of the lease slice.
#[derive(Debug, Clone)]
pub(crate) struct LeaseConditions {
    pub(crate) lease: ConditionWriter,
    pub(crate) etcd: ConditionWriter,
}

/// The state of etcd as it was reported last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EtcdState {
    /// etcd has not answered yet.
    Connecting,
    /// etcd answers, but this host cannot have a lease.
    Waiting,
    /// This host holds its lease and follows those of the others.
    Synced,
    /// etcd does not answer.
    Unreachable,
}

#[cfg(test)]
impl LeaseConditions {
    /// Returns conditions in a table of their own, and the view of the table.
    pub(crate) fn for_test() -> (
        Self,
        tokio::sync::watch::Receiver<crate::conditions::Conditions>,
    ) {
        use crate::conditions::{ConditionType, Conditions};
        use std::time::SystemTime;
        let (table, view) =
            tokio::sync::watch::channel(Conditions::unknown(SystemTime::UNIX_EPOCH));
        let writer = |kind| ConditionWriter::new(kind, table.clone(), || SystemTime::UNIX_EPOCH);
        let conditions = Self {
            lease: writer(ConditionType::LeaseHeld),
            etcd: writer(ConditionType::EtcdReachable),
        };
        (conditions, view)
    }
}
