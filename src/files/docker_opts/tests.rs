//! What is written for Docker, letter for letter.

use super::*;

const SUBNET_ENV: &str = "FLANNEL_NETWORK=172.16.0.0/16\nFLANNEL_SUBNET=172.16.99.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

fn check(subnet_env: &str, form: &Form, expected: &str) {
    let settings = DockerSettings::read(subnet_env).expect("a subnet.env that is accepted");
    assert_eq!(settings.render(form), expected);
}

fn variables(individual: bool, combined: Option<&str>) -> Form {
    Form::Variables {
        individual,
        combined: combined.map(str::to_owned),
    }
}

#[test]
fn writes_what_flannels_script_writes() {
    let individual = "DOCKER_OPT_BIP=\"--bip=172.16.99.1/24\"\nDOCKER_OPT_MTU=\"--mtu=1450\"\n\
                      DOCKER_OPT_IPMASQ=\"--ip-masq=false\"\n";
    let all = "\"--bip=172.16.99.1/24 --mtu=1450 --ip-masq=false\"\n";
    check(
        SUBNET_ENV,
        &Form::usual(),
        &format!("{individual}DOCKER_OPTS={all}"),
    );
    check(SUBNET_ENV, &variables(true, None), individual);
    check(
        SUBNET_ENV,
        &variables(false, Some("DOCKER_NETWORK_OPTIONS")),
        &format!("DOCKER_NETWORK_OPTIONS={all}"),
    );
}

#[test]
fn writes_keys_of_daemon_json() {
    let expected = "{\n  \"bip\": \"172.16.99.1/24\",\n  \"mtu\": 1450,\n  \"ip-masq\": false\n}\n";
    check(SUBNET_ENV, &Form::Json, expected);
    let parsed: serde_json::Value = serde_json::from_str(expected).expect("JSON");
    assert_eq!(parsed["mtu"], 1450);
}

#[test]
fn docker_masquerades_exactly_when_flannel_does_not() {
    let without = SUBNET_ENV.replace("IPMASQ=true", "IPMASQ=false");
    check(
        &without,
        &variables(false, Some("X")),
        "X=\"--bip=172.16.99.1/24 --mtu=1450 --ip-masq=true\"\n",
    );
    let silent = SUBNET_ENV.replace("FLANNEL_IPMASQ=true\n", "");
    check(
        &silent,
        &variables(false, Some("X")),
        "X=\"--bip=172.16.99.1/24 --mtu=1450\"\n",
    );
}

#[test]
fn earlier_options_stay_in_front_and_ours_appear_once() {
    let settings = DockerSettings::read(SUBNET_ENV)
        .expect("a subnet.env")
        .after(" --debug --bip=10.1.1.1/24 -H fd://");
    let expected = "X=\"--debug -H fd:// --bip=172.16.99.1/24 --mtu=1450 --ip-masq=false\"\n";
    assert_eq!(settings.render(&variables(false, Some("X"))), expected);
}

#[test]
fn names_what_subnet_env_lacks() {
    let error = |text: &str| {
        DockerSettings::read(text)
            .expect_err("a subnet.env that is refused")
            .to_string()
    };
    assert_eq!(
        error("FLANNEL_MTU=1450"),
        "expected FLANNEL_SUBNET=ADDRESS/LENGTH, got no such line"
    );
    assert_eq!(
        error("FLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=big"),
        "expected FLANNEL_MTU=BYTES, got \"big\""
    );
}

fn with(networks: &str) -> DockerSettings {
    let mut settings = DockerSettings::read(SUBNET_ENV).expect("a subnet.env");
    settings.networks = networks.parse().expect("a value of the option");
    settings
}

#[test]
fn half_of_the_subnet_is_for_networks_that_docker_makes() {
    let divided = with("8");
    let options = "--bip=172.16.99.1/25 --mtu=1450 --ip-masq=false \
        --default-address-pool=base=172.16.99.128/25,size=28 \
        --default-network-opt=bridge=com.docker.network.driver.mtu=1450 \
        --default-network-opt=bridge=com.docker.network.bridge.enable_ip_masquerade=false";
    let text = divided.render(&Form::usual());
    assert!(
        text.ends_with(&format!("DOCKER_OPTS=\"{options}\"\n")),
        "{text}"
    );
    assert!(
        text.starts_with("DOCKER_OPT_BIP=\"--bip=172.16.99.1/25\"\n"),
        "{text}"
    );
    let again = divided.after(&format!(
        "--debug --default-address-pool=base=10.9.0.0/16,size=24 {options}"
    ));
    let expected = format!("X=\"--debug {options}\"\n");
    assert_eq!(again.render(&variables(false, Some("X"))), expected);
}

#[test]
fn options_of_the_operator_stay_where_we_set_none() {
    let own = "--default-address-pool=base=10.9.0.0/16,size=24";
    let text = with("docker0")
        .after(own)
        .render(&variables(false, Some("X")));
    assert!(text.contains(own), "{text}");
}

#[test]
fn networks_masquerade_when_flannel_does_not() {
    let without = SUBNET_ENV.replace("IPMASQ=true", "IPMASQ=false");
    let mut settings = DockerSettings::read(&without).expect("a subnet.env");
    settings.networks = DockerNetworks::Divided(0);
    let text = settings.render(&Form::usual()) + &settings.network_create("pods");
    assert!(!text.contains("enable_ip_masquerade"), "{text}");
}

#[test]
fn a_subnet_that_cannot_be_divided_is_docker0s() {
    let small = SUBNET_ENV.replace("99.1/24", "99.1/29");
    let mut settings = DockerSettings::read(&small).expect("a subnet.env");
    settings.networks = DockerNetworks::Divided(3);
    let text = settings.render(&variables(false, Some("X")));
    assert_eq!(
        text,
        "X=\"--bip=172.16.99.1/29 --mtu=1450 --ip-masq=false\"\n"
    );
}

#[test]
fn a_network_of_ones_own_has_the_whole_subnet() {
    let own = with("own");
    assert_eq!(
        own.render(&variables(false, Some("X"))),
        "X=\"--bridge=none\"\n"
    );
    assert_eq!(
        own.network_create("pods"),
        "docker network create --subnet=172.16.99.0/24 --gateway=172.16.99.1 \
         --opt=com.docker.network.bridge.name=pods --opt=com.docker.network.driver.mtu=1450 \
         --opt=com.docker.network.bridge.enable_ip_masquerade=false pods\n"
    );
}

#[test]
fn keys_of_daemon_json_say_the_same() {
    let parse = |networks: &str| -> serde_json::Value {
        serde_json::from_str(&with(networks).render(&Form::Json)).expect("JSON")
    };
    let divided = parse("4");
    assert_eq!(divided["bip"], "172.16.99.1/25");
    assert_eq!(
        divided["default-address-pools"][0]["base"],
        "172.16.99.128/25"
    );
    assert_eq!(divided["default-address-pools"][0]["size"], 27);
    let options = &divided["default-network-opts"]["bridge"];
    assert_eq!(options["com.docker.network.driver.mtu"], "1450");
    assert_eq!(
        options["com.docker.network.bridge.enable_ip_masquerade"],
        "false"
    );
    assert_eq!(parse("own"), serde_json::json!({ "bridge": "none" }));
}
