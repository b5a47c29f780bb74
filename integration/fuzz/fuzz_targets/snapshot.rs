//! Any text as the last known state, with a wrong checksum and with a right one: not used unless it is ours.
#![no_main]

use flanneld::model::node_id::NodeId;
use flanneld::peers::snapshot::Snapshot;
use flanneld::model::lease::validate::validate;
use libfuzzer_sys::fuzz_target;

const PREFIX: &str = "/coreos.com/network";

fuzz_target!(|text: &str| {
    let node = NodeId::named("a");
    let whole = Snapshot::parse(text, PREFIX, &node);
    for snapshot in [whole, Snapshot::of_json(text, PREFIX, &node)]
        .into_iter()
        .flatten()
    {
        assert_eq!(
            (snapshot.node_id.as_str(), snapshot.prefix.as_str()),
            ("a", PREFIX)
        );
        let membership = &snapshot.membership;
        assert!(
            snapshot.usable_leases().iter().all(|lease| validate(
                lease,
                &membership.config,
                &membership.own
            )
            .is_ok())
        );
        let _ = snapshot.is_of_machine(None);
    }
});
