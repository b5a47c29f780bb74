//! Loads the snapshot that an earlier run of this host left. It decides nothing about its use.

use tracing::warn;

use crate::model::node_id::NodeId;
use crate::peers::port::SnapshotStore;
use crate::peers::snapshot::Snapshot;

/// Returns the snapshot of the earlier run, if it is whole and belongs to this host and overlay. Warns if there is one
/// that cannot be used.
pub(crate) fn load(store: &impl SnapshotStore, prefix: &str, node: &NodeId) -> Option<Snapshot> {
    try_load(store, prefix, node)
        .inspect_err(|reason| warn!(reason, "ignoring the last known state"))
        .ok()
        .flatten()
}

fn try_load(
    store: &impl SnapshotStore,
    prefix: &str,
    node: &NodeId,
) -> Result<Option<Snapshot>, String> {
    let Some(text) = store.load()? else {
        return Ok(None);
    };
    let snapshot = Snapshot::parse(&text, prefix, node);
    snapshot.map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::fake::FakeSnapshotStore;
    use crate::peers::table::tests::{lease, membership};
    use crate::peers::task::tests::owner;

    fn check(text: Option<String>, expected: Result<usize, &str>) {
        let store = FakeSnapshotStore::default();
        store.disk.borrow_mut().text = text;
        let loaded = try_load(&store, "/test", &NodeId::named("a"));
        let peers = loaded.map(|snapshot| snapshot.map_or(0, |snapshot| snapshot.leases.len()));
        assert_eq!(peers, expected.map_err(str::to_owned));
    }

    #[test]
    fn loads_what_was_saved_and_says_why_a_snapshot_is_not_used() {
        let leases = (1..=5).map(lease).collect();
        let text = Snapshot::new(&owner(), membership(), leases, None).render();
        check(None, Ok(0));
        check(Some(text.clone()), Ok(5));
        let damaged = text.replace("10.99.0.3", "10.99.0.9");
        check(Some(damaged), Err("it is damaged: its checksum is wrong"));
    }
}
