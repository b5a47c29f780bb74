//! Bridges whose subnet is a part of the overlay network, but not of the subnet of this host: docker0 with Docker's default
//! 172.17.0.1/16 in a Network 172.17.0.0/16, or a bridge that has kept an earlier subnet. Pure.

use ipnetwork::Ipv4Network;

use crate::model::addr::{covers, overlap};
use crate::model::pod_bridge::PodBridge;

/// Returns a sentence for each such bridge. That is no reason to be not ready: Docker waits for this daemon before it gives
/// docker0 the right address.
pub(crate) fn warnings(
    bridges: &[PodBridge],
    network: Ipv4Network,
    subnet: Ipv4Network,
) -> Vec<String> {
    let wrong = bridges
        .iter()
        .filter(|bridge| overlap(bridge.address, network) && !covers(subnet, bridge.address));
    wrong
        .map(|PodBridge { name, address }| {
            format!(
                "{name} has {address}, which shares addresses with Network {network} but is not in the subnet of this \
                 host, {subnet}: other hosts do not reach its containers, and an address may be in use twice; {}, or \
                 choose another Network",
                cure(name)
            )
        })
        .collect()
}

fn cure(name: &str) -> &'static str {
    match name {
        "docker0" => "start Docker with the options of flanneld: systemctl restart docker",
        "cni0" => {
            "stop the pods, delete it (ip link del cni0) and let the CNI plugin create it again"
        }
        _ if name.starts_with("br-") => {
            "create this network of Docker again, with a subnet that flanneld leaves to it (--docker-networks)"
        }
        _ => "give it addresses outside of Network",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, address: &str, expected: Option<&str>) {
        let bridge = PodBridge {
            name: name.to_owned(),
            address: address.parse().expect("an address in a test"),
        };
        let net = |text: &str| text.parse().expect("a network in a test");
        let found = warnings(&[bridge], net("172.17.0.0/16"), net("172.17.5.0/24"));
        match (found.as_slice(), expected) {
            ([], None) => {}
            ([sentence], Some(cure)) => {
                assert!(
                    sentence.starts_with(&format!("{name} has {address}")),
                    "{sentence}"
                );
                assert!(sentence.contains(cure), "{sentence}");
            }
            other => panic!("{name} {address}: {other:?}"),
        }
    }

    #[test]
    fn a_bridge_in_the_overlay_network_but_not_in_our_subnet_is_said_with_the_cure() {
        check("docker0", "172.17.0.1/16", Some("systemctl restart docker"));
        check("docker0", "172.17.4.1/24", Some("systemctl restart docker"));
        check("docker0", "172.16.0.1/12", Some("systemctl restart docker"));
        check(
            "br-0a1b2c3d4e5f",
            "172.17.9.1/24",
            Some("--docker-networks"),
        );
        check("cni0", "172.17.3.1/24", Some("ip link del cni0"));
        check(
            "virbr0",
            "172.17.122.1/24",
            Some("addresses outside of Network"),
        );
    }

    #[test]
    fn the_bridge_of_our_subnet_and_its_parts_are_right() {
        check("docker0", "172.17.5.1/24", None);
        check("docker0", "172.17.5.1/25", None);
        check("br-0a1b2c3d4e5f", "172.17.5.129/28", None);
        check("docker0", "172.18.0.1/16", None);
        check("virbr0", "192.168.122.1/24", None);
    }
}
