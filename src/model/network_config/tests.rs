use super::*;
use proptest::prelude::*;

fn config(json: &str) -> NetworkConfig {
    parse(json.as_bytes())
        .expect("a configuration that is accepted")
        .config
}

/// `key | value | text that the refusal must hold`
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
fn cuts_a_small_network_in_four() {
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
fn refuses_with_the_key_the_value_and_what_would_be_right() {
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
        (r#"{"EnableIPv6":true}"#, "IPv6Network", "missing"),
        (
            r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::/125"}"#,
            "IPv6Network",
            "from /1 to /124",
        ),
        (
            r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::1/48"}"#,
            "IPv6Network",
            "\"fd00:5::/48\" was probably meant",
        ),
        (
            r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::/48","IPv6SubnetLen":127}"#,
            "IPv6SubnetLen",
            "to 126",
        ),
        (
            r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::/48","IPv6SubnetMin":"fd01::"}"#,
            "IPv6SubnetMin",
            "in IPv6Network",
        ),
        (
            r#"{"EnableIPv6":true,"IPv6Network":"fd00:5::/48"}"#,
            "EnableIPv6",
            "IPv4 only",
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
    fn what_is_accepted_is_coherent(a in any::<u32>(), prefix in 0u8..=32, len in 0i64..40) {
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
fn who_masquerades_is_said_or_not() {
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
