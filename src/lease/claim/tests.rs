use super::*;

const CONFIG: &str = r#"{"Network":"10.5.0.0/16"}"#;
const MINE: &str = "02:00:00:00:00:01";

fn config() -> NetworkConfig {
    crate::model::network_config::parse(CONFIG.as_bytes())
        .expect("a configuration in a test")
        .config
}

fn entry(name: &str, public_ip: &str, data: &str) -> Entry {
    let value =
        format!(r#"{{"PublicIP":"{public_ip}","BackendType":"vxlan","BackendData":{data}}}"#);
    Entry {
        name: name.to_owned(),
        value: value.into_bytes(),
        created: 1,
        revision: 7,
        lease: Some(1),
    }
}

/// An entry with a node id.
fn named(name: &str, public_ip: &str, node: &str, revision: i64) -> Entry {
    let value = format!(
        r#"{{"PublicIP":"{public_ip}","BackendType":"vxlan","BackendData":{COMPLETE},"NodeID":"{node}"}}"#
    );
    Entry {
        name: name.to_owned(),
        value: value.into_bytes(),
        created: 1,
        revision,
        lease: Some(1),
    }
}

fn identity() -> Identity {
    Identity {
        node: NodeId::named("a"),
        prefix: "/test".to_owned(),
        public_ip: Ipv4Addr::new(10, 99, 0, 2),
        earlier_public_ips: Vec::new(),
        previous: PreviousLease {
            vtep_mac: MINE.parse().ok(),
            ..PreviousLease::default()
        },
        host: HostNetwork::default(),
    }
}

fn text_of(entries: Vec<Entry>, identity: &Identity, dead: &[&str]) -> String {
    let exclusions = Exclusions {
        taken: Vec::new(),
        dead_keys: dead.iter().map(|name| (name.to_string(), 1)).collect(),
        conceded_keys: BTreeMap::new(),
    };
    match claim(
        &Listing {
            revision: 9,
            config: None,
            entries,
        },
        &config(),
        identity,
        None,
        &exclusions,
        0.0,
    ) {
        Claim::Keep(own, _) => format!("keep {} {}", own.subnet, own.vtep_mac),
        Claim::Rewrite(own, _) => format!("rewrite {} {}", own.subnet, own.vtep_mac),
        Claim::Defend(own, _) => format!("defend {} {}", own.subnet, own.vtep_mac),
        Claim::Create(own) => format!("create {} {}", own.subnet, own.vtep_mac),
        Claim::Rival(rival) => format!("rival {} {:?}", rival.entry.name, rival.shares),
        Claim::NoFreeSubnet => "exhausted".to_owned(),
    }
}

fn check(entries: Vec<Entry>, previous: Option<&str>, expected: &str) {
    let mut identity = identity();
    identity.previous.subnet = previous.map(|text| text.parse().expect("a subnet in a test"));
    assert_eq!(text_of(entries, &identity, &[]), expected);
}

#[test]
fn keeps_the_key_with_our_node_id_and_its_mac() {
    let entries = vec![
        named("10.5.9.0-24", "10.99.0.2", "a", 5),
        named("10.5.7.0-24", "10.99.0.3", "b", 3),
    ];
    check(
        entries,
        Some("10.5.8.0/24"),
        "keep 10.5.9.0/24 b6:bf:4c:81:cf:3b",
    );
}

#[test]
fn yields_to_a_rival_with_an_older_key() {
    let address = named("10.5.7.0-24", "10.99.0.2", "b", 3);
    check(vec![address.clone()], None, "rival 10.5.7.0-24 PublicIp");
    let name = named("10.5.7.0-24", "10.99.0.3", "a", 3);
    check(vec![name.clone()], None, "rival 10.5.7.0-24 NodeId");
    for other in [address, name] {
        let (older, newer) = (
            named("10.5.9.0-24", "10.99.0.2", "a", 2),
            named("10.5.9.0-24", "10.99.0.2", "a", 4),
        );
        assert!(
            text_of(vec![other.clone(), newer], &identity(), &[]).starts_with("rival 10.5.7.0-24")
        );
        assert!(text_of(vec![other, older], &identity(), &[]).starts_with("keep 10.5.9.0/24"));
    }
}

#[test]
fn takes_over_the_key_of_a_dead_host() {
    let address = named("10.5.7.0-24", "10.99.0.2", "b", 3);
    let text = text_of(vec![address], &identity(), &["10.5.7.0-24"]);
    assert_eq!(
        text,
        format!("rewrite 10.5.7.0/24 {MINE}"),
        "the dead host may come back with its MAC address"
    );
    let name = named("10.5.7.0-24", "10.99.0.3", "a", 3);
    assert_eq!(
        text_of(vec![name], &identity(), &["10.5.7.0-24"]),
        "rewrite 10.5.7.0/24 b6:bf:4c:81:cf:3b"
    );
}

#[test]
fn keeps_the_subnet_when_this_very_machine_has_a_new_address() {
    let mut identity = identity();
    identity.previous.public_ip = Some(Ipv4Addr::new(10, 99, 0, 77));
    let before = named("10.5.7.0-24", "10.99.0.77", "a", 3);
    assert_eq!(
        text_of(vec![before], &identity, &[]),
        "rewrite 10.5.7.0/24 b6:bf:4c:81:cf:3b"
    );
}

#[test]
fn the_message_about_a_rival_names_both_hosts_and_what_to_do() {
    for (entry, hints) in [
        (
            named("10.5.7.0-24", "10.99.0.2", "b", 3),
            [
                "node b",
                "node a",
                "--iface",
                "etcdctl del /test/subnets/10.5.7.0-24",
            ],
        ),
        (
            named("10.5.7.0-24", "10.99.0.3", "a", 3),
            [
                "10.99.0.3",
                "node id a",
                "--node-id",
                "etcdctl del /test/subnets/10.5.7.0-24",
            ],
        ),
    ] {
        let listing = Listing {
            revision: 9,
            config: None,
            entries: vec![entry],
        };
        let Claim::Rival(rival) = claim(
            &listing,
            &config(),
            &identity(),
            None,
            &Exclusions::default(),
            0.0,
        ) else {
            panic!("a rival is expected");
        };
        let text = RivalMessage {
            rival: &rival,
            sign: None,
            identity: &identity(),
        }
        .to_string();
        assert!(hints.iter().all(|hint| text.contains(hint)), "{text}");
    }
}

const COMPLETE: &str = r#"{"VNI":1,"VtepMAC":"b6:bf:4c:81:cf:3b"}"#;

#[test]
fn takes_over_the_key_of_go_flannel_with_our_public_ip_and_its_mac() {
    let entries = vec![
        entry("10.5.7.0-24", "10.99.0.3", COMPLETE),
        entry("10.5.9.0-24", "10.99.0.2", COMPLETE),
    ];
    check(
        entries,
        Some("10.5.8.0/24"),
        "rewrite 10.5.9.0/24 b6:bf:4c:81:cf:3b",
    );
}

#[test]
fn prefers_the_previous_subnet_among_several_of_ours() {
    let entries = vec![
        entry("10.5.7.0-24", "10.99.0.2", COMPLETE),
        entry("10.5.9.0-24", "10.99.0.2", COMPLETE),
    ];
    check(
        entries,
        Some("10.5.9.0/24"),
        "rewrite 10.5.9.0/24 b6:bf:4c:81:cf:3b",
    );
}

#[test]
fn completes_the_value_of_an_old_flannel_and_of_another_backend() {
    let old = entry(
        "10.5.9.0-24",
        "10.99.0.2",
        r#"{"VtepMAC":"b6:bf:4c:81:cf:3b"}"#,
    );
    check(vec![old], None, "rewrite 10.5.9.0/24 b6:bf:4c:81:cf:3b");
    let mut udp = entry("10.5.9.0-24", "10.99.0.2", "null");
    udp.value = br#"{"PublicIP":"10.99.0.2","BackendType":"udp"}"#.to_vec();
    check(vec![udp], None, &format!("rewrite 10.5.9.0/24 {MINE}"));
}

#[test]
fn does_not_keep_a_key_that_does_not_fit_the_config() {
    let entries = vec![entry("10.5.9.0-25", "10.99.0.2", COMPLETE)];
    check(entries, None, &format!("create 10.5.1.0/24 {MINE}"));
}

#[test]
fn takes_the_previous_subnet_if_it_is_free_and_fits() {
    check(
        vec![],
        Some("10.5.8.0/24"),
        &format!("create 10.5.8.0/24 {MINE}"),
    );
    check(
        vec![],
        Some("10.6.8.0/24"),
        &format!("create 10.5.1.0/24 {MINE}"),
    );
    let taken = vec![entry("10.5.8.0-24", "10.99.0.3", COMPLETE)];
    check(
        taken,
        Some("10.5.8.0/24"),
        &format!("create 10.5.1.0/24 {MINE}"),
    );
}

#[test]
fn garbage_still_occupies_the_subnet_it_names() {
    let mut garbage = entry("10.5.1.0-24", "10.99.0.3", COMPLETE);
    garbage.value = b"garbage".to_vec();
    check(vec![garbage], None, &format!("create 10.5.2.0/24 {MINE}"));
}

#[test]
fn takes_no_subnet_that_contains_the_address_of_a_host() {
    let config = br#"{"Network":"10.99.0.0/16","SubnetMin":"10.99.0.0","SubnetMax":"10.99.2.0"}"#;
    let config = crate::model::network_config::parse(config)
        .expect("a configuration in a test")
        .config;
    // Our address is in the first subnet, for which we even have a key; the address of another host is in the second.
    let ours = named("10.99.0.0-24", "10.99.0.2", "a", 5);
    let entries = vec![ours, named("10.99.9.0-24", "10.99.1.9", "b", 3)];
    let mut identity = identity();
    identity.previous.subnet = "10.99.0.0/24".parse().ok();
    let listing = Listing {
        revision: 9,
        config: None,
        entries,
    };
    let claimed = claim(
        &listing,
        &config,
        &identity,
        None,
        &Exclusions::default(),
        0.0,
    );
    let free = "10.99.2.0/24".parse().expect("a subnet in a test");
    assert!(
        matches!(&claimed, Claim::Create(own) if own.subnet == free),
        "{claimed:?}"
    );
}

#[test]
fn finds_no_free_subnet_when_all_are_taken() {
    let entries = (0..=255)
        .map(|n| entry(&format!("10.5.{n}.0-24"), "10.99.0.3", COMPLETE))
        .collect();
    check(entries, None, "exhausted");
}

#[test]
fn does_not_advise_to_delete_a_reservation() {
    for (ip, node, advice) in [
        ("10.99.0.2", "b", "or give this host that --node-id"),
        ("10.99.0.3", "a", "and with PublicIP 10.99.0.2"),
    ] {
        for (lease, reserved) in [(None, true), (Some(1), false)] {
            let entry = Entry {
                lease,
                ..named("10.5.7.0-24", ip, node, 3)
            };
            let Some(rival) = oldest_rival(
                &Listing {
                    revision: 9,
                    config: None,
                    entries: vec![entry],
                },
                &config(),
                &identity(),
                &Exclusions::default(),
            ) else {
                panic!("a rival")
            };
            let text = RivalMessage {
                rival: &rival,
                sign: None,
                identity: &identity(),
            }
            .to_string();
            assert_eq!(
                text.contains("etcdctl del /test/subnets/10.5.7.0-24"),
                !reserved,
                "{text}"
            );
            assert_eq!(text.contains(advice), reserved, "{text}");
        }
    }
}

#[test]
fn another_host_holds_a_subnet_if_it_holds_a_part_of_it() {
    let subnet = "10.5.9.0/24".parse().expect("a subnet in a test");
    let check = |entry: Entry, expected: bool| {
        let listing = Listing {
            revision: 9,
            config: None,
            entries: vec![entry.clone()],
        };
        assert_eq!(
            held_by_other_host(&listing, subnet, &identity()),
            expected,
            "{entry:?}"
        );
    };
    check(named("10.5.9.0-24", "10.99.0.2", "a", 3), false);
    check(entry("10.5.9.0-24", "10.99.0.2", COMPLETE), false);
    check(named("10.5.8.0-24", "10.99.0.3", "b", 3), false);
    check(named("10.5.9.0-24", "10.99.0.3", "b", 3), true);
    check(named("10.5.8.0-23", "10.99.0.3", "b", 3), true);
    check(named("10.5.9.0-24&fd00:5::-64", "10.99.0.3", "b", 3), true);
}
