use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::model::lease::OwnLease;

const PREFIX: &str = "/coreos.com/network";

fn snapshot() -> Snapshot {
    let own = OwnLease {
        subnet: "10.5.9.0/24".parse().expect("a subnet in a test"),
        public_ip: Ipv4Addr::new(10, 99, 1, 1),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, 1]),
    };
    let config = crate::model::network_config::parse(br#"{"Network":"10.5.0.0/16"}"#)
        .expect("a configuration")
        .config;
    let lease = |net: &str, host: u8| Lease {
        subnet: net.parse().expect("a subnet in a test"),
        public_ip: Ipv4Addr::new(10, 99, 1, host),
        vtep_mac: MacAddr([2, 0, 0, 0, 0, host]),
        vni: None,
        revision: 7,
    };
    let leases = vec![lease("10.5.40.0/24", 40), lease("8.8.8.0/24", 8)];
    let hardware = Some(MacAddr([2, 9, 9, 9, 9, 9]));
    let (prefix, node, interface) = (PREFIX.to_owned(), NodeId::named("a"), "eth0".to_owned());
    Snapshot::new(
        &SnapshotOwner {
            prefix,
            node,
            interface,
            hardware,
        },
        Membership { own, config },
        leases,
        Some(UNIX_EPOCH),
    )
}

#[test]
fn reads_back_what_it_wrote_and_uses_the_leases_that_fit() {
    let text = snapshot().render();
    let read = Snapshot::parse(&text, PREFIX, &NodeId::named("a"));
    assert_eq!(read, Ok(snapshot()));
    let usable = snapshot().usable_leases();
    assert_eq!(
        usable
            .iter()
            .map(|lease| lease.subnet.to_string())
            .collect::<Vec<_>>(),
        ["10.5.40.0/24"]
    );
}

#[test]
fn reads_a_file_without_a_time() {
    let text = snapshot().render();
    let (_, json) = text.split_once('\n').expect("two lines");
    let json = json.trim_end().replace(r#""known_at":0,"#, "");
    let read = Snapshot::parse(
        &format!("{}\n{json}\n", checksum(json.as_bytes())),
        PREFIX,
        &NodeId::named("a"),
    );
    assert_eq!(read.map(|snapshot| snapshot.known_at()), Ok(None));
    assert_eq!(snapshot().known_at(), Some(UNIX_EPOCH));
}

#[test]
fn refuses_a_damaged_or_foreign_snapshot() {
    let text = snapshot().render();
    let check = |text: &str, prefix: &str, node: &str, expected: &str| {
        let refusal = Snapshot::parse(text, prefix, &NodeId::named(node))
            .expect_err(expected)
            .to_string();
        assert!(refusal.contains(expected), "{refusal}");
    };
    check("", PREFIX, "a", "one line");
    check(&text[..text.len() - 9], PREFIX, "a", "checksum");
    check(
        &text.replace("10.5.9.0", "10.5.8.0"),
        PREFIX,
        "a",
        "checksum",
    );
    check(
        &text,
        "/other",
        "a",
        "belongs to node a of /coreos.com/network",
    );
    check(&text, PREFIX, "b", "belongs to node a");
    let newer = r#"{"format":2}"#;
    check(
        &format!("{}\n{newer}\n", checksum(newer.as_bytes())),
        PREFIX,
        "a",
        "expected format 1, got 2",
    );
}

#[test]
fn it_is_of_this_machine_only_with_the_same_hardware_address() {
    let is_of_machine = |hardware| snapshot().is_of_machine(hardware);
    assert!(is_of_machine(snapshot().hardware));
    assert!(!is_of_machine(None) && !is_of_machine(Some(MacAddr([2; 6]))));
    let unknown = Snapshot {
        hardware: None,
        ..snapshot()
    };
    assert!(!unknown.is_of_machine(None), "unknown is not the same");
}

#[test]
fn each_overlay_has_a_file_of_its_own() {
    let names = [
        "/coreos.com/network",
        "/coreos.com-network",
        "/a_b",
        "/a/b",
        "/a%2fb",
    ]
    .map(file_name);
    assert_eq!(names[0], "coreos.com-network.snapshot");
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
}

proptest! {
    #[test]
    fn takes_any_text_without_a_panic(text in ".{0,200}") {
        prop_assert!(Snapshot::parse(&text, PREFIX, &NodeId::named("a")).is_err());
    }

    /// The checksum is no proof of origin: whoever can write the file can compute it.
    #[test]
    fn takes_any_json_without_a_panic(cut in any::<prop::sample::Index>(), length in 0usize..8, put in "[0-9a-z\",:{}\\[\\]./-]{0,8}") {
        let text = snapshot().render();
        let json = text.lines().nth(1).expect("two lines");
        let from = cut.index(json.len());
        let to = (from + length).min(json.len());
        let json = format!("{}{put}{}", &json[..from], &json[to..]);
        let text = format!("{}\n{json}\n", checksum(json.as_bytes()));
        if let Ok(read) = Snapshot::parse(&text, PREFIX, &NodeId::named("a")) {
            prop_assert!(read.usable_leases().len() <= read.leases.len());
            read.is_of_machine(None);
        }
    }
}
