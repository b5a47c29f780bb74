//! Any text as the last known state: not used unless it is ours.
#![no_main]

use flanneld::identity::NodeId;
use flanneld::roster::snapshot::Snapshot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(snapshot) = Snapshot::parse(text, "/coreos.com/network", &NodeId::named("a")) {
        assert_eq!(snapshot.node_id, "a");
    }
});
