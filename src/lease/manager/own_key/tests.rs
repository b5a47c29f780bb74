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
        revision: 5,
        value: ValueState::Complete,
    }
}

fn put(name: &str, value: &str, lease: i64, revision: i64) -> RegistryChange {
    RegistryChange::Put(Entry {
        name: name.to_owned(),
        value: value.as_bytes().to_vec(),
        revision,
        lease: Some(lease),
    })
}

#[test]
fn a_lease_stands_until_its_key_says_something_else_or_an_older_rival_appears() {
    use RelistReason::{
        OwnKeyDeleted, OwnKeyLostNodeId, OwnKeyMoved, OwnKeyOverwritten, RivalAppeared,
    };
    let copy = MINE.replace("10.99.0.2", "10.99.0.9");
    let delete = |name: &str| RegistryChange::Delete(name.to_owned());
    for (change, expected) in [
        (put(OWN_KEY, MINE, 7, 6), Ok(())),
        (put(OWN_KEY, MINE, 8, 6), Err(OwnKeyMoved)),
        (put(OWN_KEY, UNNAMED, 7, 6), Err(OwnKeyLostNodeId)),
        (put(OWN_KEY, &rivals(), 7, 6), Err(OwnKeyOverwritten)),
        (put(OWN_KEY, OTHER, 7, 6), Err(OwnKeyOverwritten)),
        (put(OWN_KEY, "garbage", 7, 6), Err(OwnKeyOverwritten)),
        (delete(OWN_KEY), Err(OwnKeyDeleted)),
        (put(OTHER_KEY, OTHER, 8, 6), Ok(())),
        (put(OTHER_KEY, "garbage", 8, 6), Ok(())),
        (put(OTHER_KEY, &rivals(), 8, 4), Err(RivalAppeared)),
        (put(OTHER_KEY, &copy, 8, 4), Err(RivalAppeared)),
        (put(OTHER_KEY, &copy, 8, 6), Ok(())),
        (delete(OTHER_KEY), Ok(())),
        (RegistryChange::Config(None), Ok(())),
    ] {
        let result = check(&change, &held(), &config(), &identity(None));
        assert_eq!(result, expected, "{change:?}");
    }
}
