//! What the lease manager knows of etcd, and the conditions that it sets.

use crate::conditions::ConditionWriter;

/// The conditions of the lease slice.
#[derive(Debug, Clone)]
pub(crate) struct LeaseConditions {
    pub(crate) lease: ConditionWriter,
    pub(crate) etcd: ConditionWriter,
}

/// The state of etcd, as the last exchange with it showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EtcdState {
    /// There was no exchange yet.
    Connecting,
    /// etcd answers, and this host cannot have a lease.
    Waiting,
    /// This host holds its lease, and follows those of the others.
    Synced,
    /// etcd does not answer.
    Unreachable,
}

#[cfg(test)]
impl LeaseConditions {
    /// Conditions of a table of their own, and the view of it.
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
