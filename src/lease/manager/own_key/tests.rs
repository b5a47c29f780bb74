use super::*;
use crate::lease::manager::state::{Renewal, ValueState};
use crate::lease::manager::test_data::{MINE, OTHER, UNNAMED, config, identity, own_lease, rivals};

const OWN_KEY: &str = "10.5.1.0-24";
const OTHER_KEY: &str = "10.5.40.0-24";

/// A lease on etcd lease 7, written at revision 5.
fn held() -> HeldLease {
    HeldLease {
        own: own_lease("10.5.1.0/24"),
        renewal: Some(Renewal {
            lease: 7,
            at: std::time::Duration::ZERO,
        }),
        created: 1,
        revision: 5,
        value: ValueState::Complete,
    }
}

fn put(name: &str, value: &str, lease: i64, revision: i64) -> RegistryChange {
    RegistryChange::Put(Entry {
        name: name.to_owned(),
        value: value.as_bytes().to_vec(),
        created: 1,
        revision,
        lease: Some(lease),
    })
}

/// A key that was gone in between.
fn created_later(name: &str, value: &str) -> RegistryChange {
    RegistryChange::Put(Entry {
        name: name.to_owned(),
        value: value.as_bytes().to_vec(),
        created: 6,
        revision: 6,
        lease: Some(8),
    })
}

#[test]
fn a_lease_stands_until_its_key_says_something_else_or_an_older_rival_appears() {
    use OwnKey::{Confirmed, Overwritten, Unaffected};
    use RelistReason::{
        OwnKeyDeleted, OwnKeyLostNodeId, OwnKeyMoved, OwnKeyOverwritten, RivalAppeared,
    };
    let udp = MINE.replace("vxlan", "udp");
    let overwritten = |value: &str| {
        let change = put(OWN_KEY, value, 7, 6);
        match &change {
            RegistryChange::Put(entry) => {
                let entry = entry.clone();
                (change, Ok(Overwritten(entry)))
            }
            RegistryChange::Config(_) | RegistryChange::Delete(_) => unreachable!(),
        }
    };
    let copy = MINE.replace("10.99.0.2", "10.99.0.9");
    let delete = |name: &str| RegistryChange::Delete(name.to_owned());
    for (change, expected) in [
        (put(OWN_KEY, MINE, 7, 6), Ok(Confirmed { revision: 6 })),
        (put(OWN_KEY, "late", 7, 4), Ok(Unaffected)),
        (put(OWN_KEY, MINE, 8, 6), Err(OwnKeyMoved)),
        (put(OWN_KEY, UNNAMED, 7, 6), Err(OwnKeyLostNodeId)),
        (put(OWN_KEY, &udp, 7, 6), Err(OwnKeyOverwritten)),
        overwritten(&rivals()),
        overwritten(&copy),
        overwritten(OTHER),
        overwritten("garbage"),
        overwritten("{}"),
        overwritten(""),
        (created_later(OWN_KEY, OTHER), Err(OwnKeyDeleted)),
        (delete(OWN_KEY), Err(OwnKeyDeleted)),
        (put(OTHER_KEY, OTHER, 8, 6), Ok(Unaffected)),
        (put(OTHER_KEY, "garbage", 8, 6), Ok(Unaffected)),
        (put(OTHER_KEY, &rivals(), 8, 4), Err(RivalAppeared)),
        (put(OTHER_KEY, &copy, 8, 4), Err(RivalAppeared)),
        (put(OTHER_KEY, &copy, 8, 6), Ok(Unaffected)),
        (delete(OTHER_KEY), Ok(Unaffected)),
        (RegistryChange::Config(None), Ok(Unaffected)),
    ] {
        let result = check(&change, &held(), &config(), &identity(None));
        assert_eq!(result, expected, "{change:?}");
    }
}
