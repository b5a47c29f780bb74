use super::*;
use proptest::prelude::*;

fn config(json: &str) -> NetworkConfig {
    parse(json.as_bytes())
        .expect("a configuration that is accepted")
        .config
}

/// Checks that the configuration is refused because of `key`, with a text that contains `hint`.
fn check_refused(json: &str, key: &str, hint: &str) {
    let error = parse(json.as_bytes()).expect_err(json);
    assert_eq!(error.key, key, "{json}: {error}");
    assert!(error.to_string().contains(hint), "{json}: {error}");
}

#[test]
fn fills_in_the_defaults_of_flannel() {
    let config = config(r#"{"Network":"10.5.0.0/16"}"#);
    assert_eq!(config.subnet_len, 24);
    assert_eq!(config.subnet_min.to_string(), "10.5.1.0");
    assert_eq!(config.subnet_max.to_string(), "10.5.255.0");
    let vxlan = VxlanConfig {
        vni: Vni::DEFAULT,
        port: 8472,
        mtu: None,
        gbp: false,
        learning: false,
    };
    assert_eq!(config.vxlan, vxlan);
}

#[test]
fn cuts_a_small_network_into_four_subnets() {
    let small = config(r#"{"Network":"10.5.0.0/23"}"#);
    assert_eq!(
        (small.subnet_len, small.subnet_min.to_string().as_str()),
        (25, "10.5.0.128")
    );
    assert_eq!(config(r#"{"Network":"10.5.0.0/22"}"#).subnet_len, 24);
    let smallest = config(r#"{"Network":"10.5.0.16/28"}"#);
    assert_eq!(
        (
            smallest.subnet_len,
            smallest.subnet_max.to_string().as_str()
        ),
        (30, "10.5.0.28")
    );
}

#[test]
fn reads_every_key_in_any_case() {
    let config = config(
        r#"{"network":"172.16.0.0/16","SUBNETLEN":26,"subnetmin":"172.16.9.64","SubnetMax":"172.16.200.0",
            "EnableIPv4":true,"EnableNFTables":true,
            "backend":{"type":"VXLAN","vni":7,"port":4789,"mtu":9000,"gbp":true,"learning":true}}"#,
    );
    assert_eq!(
        (config.subnet_len, config.subnet_min.to_string().as_str()),
        (26, "172.16.9.64")
    );
    let vni = Vni::try_from(7).expect("7 fits 24 bits");
    assert_eq!(
        config.vxlan,
        VxlanConfig {
            vni,
            port: 4789,
            mtu: Some(9000),
            gbp: true,
            learning: true
        }
    );
    assert_eq!(
        (config.overlay_mtu(9001), config.overlay_mtu(1500)),
        (8950, 1450)
    );
}

#[test]
fn takes_null_and_zero_for_not_set_as_go_does() {
    let json = r#"{"Network":"10.5.0.0/16","SubnetLen":0,"SubnetMin":null,"Backend":{"Type":"vxlan","MTU":0}}"#;
    assert_eq!(config(json), config(r#"{"Network":"10.5.0.0/16"}"#));
}

#[test]
fn names_unknown_keys_and_goes_on() {
    let parsed = parse(
        br#"{"Network":"10.5.0.0/16","Netwrok":1,"Backend":{"Tpye":"vxlan","DirectRouting":true}}"#,
    );
    let warnings = parsed.expect("unknown keys do no harm").warnings.join("\n");
    assert!(warnings.contains("unknown key Netwrok"), "{warnings}");
    assert!(warnings.contains("unknown key Backend.Tpye"), "{warnings}");
    assert!(
        warnings.contains("Backend.DirectRouting is ignored"),
        "{warnings}"
    );
}

#[test]
fn ignores_the_keys_of_ipv6_while_it_is_off() {
    let parsed = parse(br#"{"Network":"10.5.0.0/16","IPv6Network":"nonsense","EnableIPv6":false}"#);
    assert_eq!(parsed.expect("IPv6 is off").warnings, Vec::<String>::new());
}

#[test]
fn refuses_ipv6_by_name_whatever_its_keys_hold() {
    for json in [
        r#"{"EnableIPv6":true}"#,
        r#"{"Network":"10.5.0.0/16","EnableIPv6":true}"#,
        r#"{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}"#,
        r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::/125"}"#,
        r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::1/48"}"#,
        r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::/48","IPv6SubnetLen":127}"#,
        r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::/48","IPv6SubnetMin":"fd01::"}"#,
        r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}"#,
    ] {
        check_refused(json, "EnableIPv6", "IPv4 only");
    }
}

#[test]
fn names_the_whole_path_of_a_key_inside_an_object() {
    let json = br#"{"a":{"B":{"c":1,"d":2}}}"#;
    let mut fields = fields::Fields::parse(json).expect("an object");
    let mut inner = fields
        .object("a")
        .and_then(|mut fields| fields.object("b"))
        .expect("an object inside an object");
    let error = inner.boolean("c").expect_err("a number");
    assert_eq!(error.to_string(), "a.b.c is 1: expected true or false");
    assert_eq!(inner.unknown(), ["unknown key a.b.d is ignored"]);
}

#[test]
fn names_the_key_the_value_and_what_would_be_right() {
    for (json, key, hint) in [
        ("", "the network config", "not JSON"),
        ("[]", "the network config", "not a JSON object"),
        ("{}", "Network", "missing"),
        (r#"{"Network":5}"#, "Network", "expected a string"),
        (r#"{"Network":"10.5.0.0"}"#, "Network", "CIDR"),
        (r#"{"Network":"fd00::/48"}"#, "Network", "CIDR"),
        (
            r#"{"Network":"10.5.3.0/16"}"#,
            "Network",
            "\"10.5.0.0/16\" was probably meant",
        ),
        (r#"{"Network":"10.5.0.0/29"}"#, "Network", "from /1 to /28"),
        (r#"{"Network":"0.0.0.0/0"}"#, "Network", "from /1 to /28"),
        (
            r#"{"Network":"0.0.0.0/8"}"#,
            "Network",
            "overlaps 0.0.0.0/8, which no host can have",
        ),
        (
            r#"{"Network":"127.0.0.0/8"}"#,
            "Network",
            "overlaps 127.0.0.0/8",
        ),
        (
            r#"{"Network":"169.254.0.0/20"}"#,
            "Network",
            "overlaps 169.254.0.0/16",
        ),
        (
            r#"{"Network":"224.0.0.0/8"}"#,
            "Network",
            "overlaps 224.0.0.0/4",
        ),
        (
            r#"{"Network":"250.0.0.0/8"}"#,
            "Network",
            "overlaps 240.0.0.0/4",
        ),
        (
            r#"{"Network":"128.0.0.0/1"}"#,
            "Network",
            "overlaps 169.254.0.0/16",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetLen":31}"#,
            "SubnetLen",
            "from 18 (Network /16 plus 2) to 30",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetLen":17}"#,
            "SubnetLen",
            "from 18",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetLen":-1}"#,
            "SubnetLen",
            "from 18",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetLen":24.5}"#,
            "SubnetLen",
            "whole number",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.6.0.0"}"#,
            "SubnetMin",
            "in Network 10.5.0.0/16",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.7"}"#,
            "SubnetMin",
            "such as \"10.5.1.0\"",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetMin":"x"}"#,
            "SubnetMin",
            "first address of a subnet",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetMax":"10.4.9.0"}"#,
            "SubnetMax",
            "in Network",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetMax":"10.5.9.1"}"#,
            "SubnetMax",
            "such as \"10.5.9.0\"",
        ),
        (
            r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.8.0"}"#,
            "SubnetMin",
            "at most SubnetMax, which is 10.5.8.0",
        ),
        (
            r#"{"Network":"10.5.0.0/16","EnableIPv4":false}"#,
            "EnableIPv4",
            "one of",
        ),
        (
            r#"{"Network":"10.5.0.0/16","EnableIPv4":"yes"}"#,
            "EnableIPv4",
            "true or false",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":[]}"#,
            "Backend",
            "expected an object",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"Type":"udp"}}"#,
            "Backend.Type",
            "only backend",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"VNI":16777216}}"#,
            "Backend.VNI",
            "0 to 16777215",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"VNI":-1}}"#,
            "Backend.VNI",
            "0 to 16777215",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"Port":0}}"#,
            "Backend.Port",
            "1 to 65535",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"Port":65536}}"#,
            "Backend.Port",
            "1 to 65535",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"MTU":117}}"#,
            "Backend.MTU",
            "from 118",
        ),
        (
            r#"{"Network":"10.5.0.0/16","Backend":{"GBP":1}}"#,
            "Backend.GBP",
            "true or false",
        ),
    ] {
        check_refused(json, key, hint);
    }
}

#[test]
fn says_what_a_restart_would_change() {
    let before = config(r#"{"Network":"10.5.0.0/16"}"#);
    let all = config(
        r#"{"Network":"10.6.0.0/16","SubnetLen":26,"SubnetMin":"10.6.2.0","SubnetMax":"10.6.9.0",
            "Backend":{"VNI":7,"Port":4789,"MTU":1400,"GBP":true,"Learning":true}}"#,
    );
    assert_eq!(before.differences(&before), Vec::<String>::new());
    let expected = "\
        Network 10.5.0.0/16 -> 10.6.0.0/16: a restart would take a subnet of the new network
        SubnetLen 24 -> 26: a restart would take a subnet of the new size
        SubnetMin 10.5.1.0 -> 10.6.2.0: a restart would take another subnet if ours is outside the new range
        SubnetMax 10.5.255.0 -> 10.6.9.0: a restart would take another subnet if ours is outside the new range
        Backend.VNI 1 -> 7: a restart would make the device flannel.7 and remove flannel.1
        Backend.Port 8472 -> 4789: a restart would recreate the device
        Backend.GBP false -> true: a restart would recreate the device
        Backend.Learning false -> true: a restart would change the device
        Backend.MTU that of the interface -> 1400: a restart would change the MTU of the device, and of pods that start after it";
    let expected: Vec<&str> = expected.lines().map(str::trim).collect();
    assert_eq!(before.differences(&all), expected);
}

#[test]
fn fits_only_what_it_could_have_handed_out() {
    let config =
        config(r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.2.0","SubnetMax":"10.5.8.0"}"#);
    let fits = |net: &str| config.fits(net.parse().expect("a network in a test"));
    assert!(fits("10.5.2.0/24") && fits("10.5.8.0/24"));
    assert!(
        !fits("10.5.1.0/24")
            && !fits("10.5.9.0/24")
            && !fits("10.5.4.0/25")
            && !fits("10.5.4.1/24")
    );
}

proptest! {
    #[test]
    fn never_panics_on_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn an_accepted_configuration_is_coherent(a in any::<u32>(), prefix in 0u8..=32, len in 0i64..40) {
        let ip = std::net::Ipv4Addr::from(a);
        let json = format!(r#"{{"Network":"{ip}/{prefix}","SubnetLen":{len}}}"#);
        if let Ok(Parsed { config, .. }) = parse(json.as_bytes()) {
            prop_assert!(config.subnet_min <= config.subnet_max);
            for edge in [config.subnet_min, config.subnet_max] {
                let subnet = Ipv4Network::new(edge, config.subnet_len).expect("a checked length");
                prop_assert!(config.fits(subnet));
                prop_assert!(crate::model::addr::covers(config.network, subnet));
            }
        }
    }
}

#[test]
fn enable_nftables_is_true_false_or_left_to_the_host() {
    let nftables = |json: &str| config(json).nftables;
    assert_eq!(nftables(r#"{"Network":"10.5.0.0/16"}"#), None);
    assert_eq!(
        nftables(r#"{"Network":"10.5.0.0/16","EnableNFTables":true}"#),
        Some(true)
    );
    assert_eq!(
        nftables(r#"{"Network":"10.5.0.0/16","EnableNFTables":false}"#),
        Some(false)
    );
}

#[test]
fn a_byte_order_mark_in_front_is_no_part_of_the_value() {
    let json = b"\xef\xbb\xbf{\"Network\":\"10.5.0.0/16\"}";
    let parsed = parse(json).expect("a config in a test");
    assert_eq!(parsed.config, config(r#"{"Network":"10.5.0.0/16"}"#));
}
