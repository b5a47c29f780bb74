//! Owns what of a host's settings would break the overlay, in words: what is wrong, what it breaks, what to type. Sets
//! nothing. Pure: `netlink` reads the values.

use std::collections::BTreeSet;

use crate::model::addr::Vni;
use crate::overlay::state::Device;

/// HostSettings of a host; one that this kernel does not have is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSettings {
    /// Name of the external interface.
    pub external: String,
    /// `net.ipv4.ip_forward`.
    pub ip_forward: Option<i32>,
    /// `net.ipv4.conf.all.rp_filter`; the larger one of this and an interface's own counts.
    pub rp_filter_all: Option<i32>,
    /// The same of the external interface.
    pub rp_filter_external: Option<i32>,
    /// The same of interfaces that are made from now on, our device among them.
    pub rp_filter_default: Option<i32>,
    /// `net.bridge.bridge-nf-call-iptables`.
    pub bridge_nf: Option<i32>,
}

/// The word of `ip link` for a device that takes the packets of all VNIs and leaves it to others to sort them.
pub const EXTERNAL: &str = "external";
/// The same for the group based policy extension.
pub const GBP: &str = "gbp";

/// What may be in the way of our device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortUse {
    /// All vxlan devices of the host.
    pub vxlans: Vec<Vxlan>,
    /// UDP ports that somebody has for IPv4, vxlan devices included.
    pub udp_ports: Vec<u16>,
    /// UDP ports that somebody has for IPv6, and for IPv4 as well unless the socket says no: the list does not tell.
    pub udp6_ports: Vec<u16>,
}

/// A vxlan device, as far as it may be in the way of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// Name of the interface.
    pub name: String,
    /// VXLAN network identifier, 0 where it takes those of all.
    pub vni: Vni,
    /// UDP port.
    pub port: u16,
    /// Whether it is up: it has a socket only then.
    pub up: bool,
    /// Whether its outer packets are IPv6.
    pub ipv6: bool,
    /// The kinds of packets that it takes, in the words of `ip link`.
    pub receives: BTreeSet<&'static str>,
}

impl Vxlan {
    /// An external device has a socket of each family.
    fn needs_ipv4(&self) -> bool {
        !self.ipv6 || self.receives.contains(EXTERNAL)
    }
}

/// A sentence for each setting that breaks something.
pub fn settings(found: &HostSettings) -> Vec<String> {
    [
        forwarding(found),
        reverse_path(found),
        bridge_netfilter(found),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn forwarding(found: &HostSettings) -> Option<String> {
    (found.ip_forward == Some(0)).then(|| {
        "net.ipv4.ip_forward is 0: this host passes no packets between pods and other hosts; \
         sysctl -w net.ipv4.ip_forward=1"
            .to_owned()
    })
}

/// 1 is strict: a packet is dropped unless its answer would leave by the interface on which it came.
fn reverse_path(found: &HostSettings) -> Option<String> {
    let strict = |own: Option<i32>| own.unwrap_or(0).max(found.rp_filter_all.unwrap_or(0)) == 1;
    let external = &found.external;
    let places = match (
        strict(found.rp_filter_external),
        strict(found.rp_filter_default),
    ) {
        (true, true) => format!("{external} and our device"),
        (true, false) => external.clone(),
        (false, true) => "our device".to_owned(),
        (false, false) => return None,
    };
    Some(format!(
        "net.ipv4.conf.*.rp_filter is 1 (strict) for {places}: on hosts with several ways to a peer or to a client, \
         packets that come by another way than the answer would take are dropped without a word; \
         sysctl -w net.ipv4.conf.all.rp_filter=2"
    ))
}

fn bridge_netfilter(found: &HostSettings) -> Option<String> {
    let (what, cure) = match found.bridge_nf {
        Some(0) => (
            "net.bridge.bridge-nf-call-iptables is 0",
            "sysctl -w net.bridge.bridge-nf-call-iptables=1",
        ),
        Some(_) => return None,
        None => ("br_netfilter is not loaded", "modprobe br_netfilter"),
    };
    Some(format!(
        "{what}: where kube-proxy translates addresses in iptables, a pod gets no answer from a service whose pod is on \
         the same bridge; {cure}"
    ))
}

/// A sentence for each thing that keeps our device from being made or brought up.
pub fn neighbours(wanted: &Device, found: &PortUse) -> Vec<String> {
    let others = found
        .vxlans
        .iter()
        .filter(|device| device.name != wanted.name && device.port == wanted.port);
    let in_the_way = others
        .filter(|other| other.needs_ipv4())
        .filter_map(|other| in_the_way(wanted, other));
    in_the_way.chain(program(wanted, found)).collect()
}

/// Devices share a port when their VNIs differ and their kinds of packets do not (`vxlan_find_sock`).
fn in_the_way(wanted: &Device, other: &Vxlan) -> Option<String> {
    let Vxlan {
        name,
        port,
        vni,
        receives,
        ..
    } = other;
    let ours = if wanted.gbp {
        BTreeSet::from([GBP])
    } else {
        BTreeSet::new()
    };
    let different: Vec<&str> = ours.symmetric_difference(receives).copied().collect();
    if !different.is_empty() {
        return Some(format!(
            "device {name} on UDP port {port} differs in what it takes ({}): {} cannot be brought up beside it; \
             ip link del {name}, or set Backend.Port for the whole network",
            different.join(", "),
            wanted.name
        ));
    }
    (*vni == wanted.vni).then(|| {
        format!(
            "device {name} has VNI {vni} on UDP port {port} already: {} cannot be made beside it; ip link del {name}, \
             or set Backend.VNI for the whole network",
            wanted.name
        )
    })
}

/// A program that has the port. Where a vxlan device has it, the socket is that device's.
fn program(wanted: &Device, found: &PortUse) -> Option<String> {
    let (name, port) = (&wanted.name, wanted.port);
    let taken = match (
        found.udp_ports.contains(&port),
        found.udp6_ports.contains(&port),
    ) {
        _ if found
            .vxlans
            .iter()
            .any(|device| device.up && device.port == port) =>
        {
            return None;
        }
        (true, _) => {
            format!("is taken by a program that is no vxlan device: {name} cannot be brought up")
        }
        (false, true) => format!(
            "may be taken by a program that has it for IPv6: unless that one wants no IPv4, {name} cannot be brought up"
        ),
        (false, false) => return None,
    };
    Some(format!(
        "UDP port {port} {taken}; see who it is with ss -ulnp 'sport = :{port}', or set Backend.Port for the whole \
         network"
    ))
}

/// The ports in the text of `/proc/net/udp`.
pub fn udp_ports(text: &str) -> Vec<u16> {
    sockets(text).map(|(_, port)| port).collect()
}

/// The ports in the text of `/proc/net/udp6` that may be taken for IPv4 as well: a socket for no address, or for an IPv4
/// address in the clothes of IPv6 (`::ffff:192.0.2.1`), whose third word is in the byte order of the machine.
pub fn udp6_ports(text: &str) -> Vec<u16> {
    const MAPPED: [&str; 2] = ["0000000000000000FFFF0000", "00000000000000000000FFFF"];
    let unspecified = |address: &str| address.bytes().all(|digit| digit == b'0');
    let may_be_ipv4 = |address: &str| {
        unspecified(address) || MAPPED.iter().any(|mapped| address.starts_with(mapped))
    };
    sockets(text)
        .filter(|(address, _)| may_be_ipv4(address))
        .map(|(_, port)| port)
        .collect()
}

/// OverlaySettings address and port, in hexadecimal, are the second word of each line.
fn sockets(text: &str) -> impl Iterator<Item = (&str, u16)> {
    text.lines().filter_map(|line| {
        let (address, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        Some((address, u16::from_str_radix(port, 16).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::addr::MacAddr;
    use std::net::Ipv4Addr;

    fn ours() -> Device {
        Device {
            name: "flannel.1".to_owned(),
            vni: Vni::DEFAULT,
            parent: "eth0".to_owned(),
            local: Ipv4Addr::LOCALHOST,
            port: 8472,
            mac: MacAddr([2; 6]),
            mtu: 1450,
            learning: false,
            gbp: false,
            alias: String::new(),
        }
    }

    fn other(name: &str, vni: u32, port: u16, receives: &[&'static str]) -> Vxlan {
        let vni = Vni::try_from(vni).expect("a VNI in a test");
        Vxlan {
            name: name.to_owned(),
            vni,
            port,
            up: true,
            ipv6: false,
            receives: receives.iter().copied().collect(),
        }
    }

    fn check_neighbours(
        wanted: &Device,
        vxlans: &[Vxlan],
        udp: &[u16],
        udp6: &[u16],
        expected: &[&str],
    ) {
        let (vxlans, udp_ports, udp6_ports) = (vxlans.to_vec(), udp.to_vec(), udp6.to_vec());
        let sentences = neighbours(
            wanted,
            &PortUse {
                vxlans,
                udp_ports,
                udp6_ports,
            },
        );
        assert_eq!(sentences.len(), expected.len(), "{sentences:?}");
        sentences
            .iter()
            .zip(expected)
            .for_each(|(s, start)| assert!(s.starts_with(start), "{s}"));
    }

    fn check(found: &HostSettings, expected: &[&str]) {
        let sentences = settings(found);
        assert_eq!(sentences.len(), expected.len(), "{sentences:?}");
        for (sentence, start) in sentences.iter().zip(expected) {
            assert!(
                sentence.starts_with(start),
                "{sentence:?} instead of {start:?}"
            );
        }
    }

    #[test]
    fn names_what_breaks_and_is_silent_otherwise() {
        let good = HostSettings {
            external: "eth0".to_owned(),
            ip_forward: Some(1),
            rp_filter_all: Some(0),
            rp_filter_external: Some(2),
            rp_filter_default: Some(0),
            bridge_nf: Some(1),
        };
        check(&good, &[]);
        check(
            &HostSettings {
                ip_forward: Some(0),
                ..good.clone()
            },
            &["net.ipv4.ip_forward is 0"],
        );
        check(
            &HostSettings {
                bridge_nf: None,
                ..good.clone()
            },
            &["br_netfilter is not loaded"],
        );
        check(
            &HostSettings {
                bridge_nf: Some(0),
                ..good.clone()
            },
            &["net.bridge.bridge-nf-call-iptables is 0"],
        );
        let strict = "net.ipv4.conf.*.rp_filter is 1 (strict) for";
        check(
            &HostSettings {
                rp_filter_all: Some(1),
                ..good.clone()
            },
            &[&format!("{strict} our device:")],
        );
        check(
            &HostSettings {
                rp_filter_external: Some(1),
                ..good.clone()
            },
            &[&format!("{strict} eth0:")],
        );
        let both = HostSettings {
            rp_filter_all: Some(1),
            rp_filter_external: Some(0),
            ..good.clone()
        };
        check(&both, &[&format!("{strict} eth0 and our device:")]);
        check(
            &HostSettings {
                rp_filter_all: Some(2),
                rp_filter_external: Some(1),
                ..good
            },
            &[],
        );
    }

    #[test]
    fn names_the_device_that_has_our_port() {
        let check = |wanted: &Device, others: &[Vxlan], expected: &[&str]| {
            check_neighbours(wanted, others, &[8472, 4789], &[8472], expected);
        };
        let (ours, flannel) = (ours(), other("flannel.1", 1, 8472, &[]));
        check(
            &ours,
            &[
                flannel,
                other("flannel.7", 7, 8472, &[]),
                other("x", 1, 4789, &[]),
            ],
            &[],
        );
        check(
            &ours,
            &[other("vxlan.calico", 1, 8472, &[])],
            &["device vxlan.calico has VNI 1"],
        );
        let differs = "device cilium_vxlan on UDP port 8472 differs in what it takes";
        let external = other("cilium_vxlan", 0, 8472, &[EXTERNAL]);
        check(
            &ours,
            std::slice::from_ref(&external),
            &[&format!("{differs} (external): flannel.1")],
        );
        check(
            &ours,
            &[Vxlan {
                ipv6: true,
                ..external.clone()
            }],
            &[&format!("{differs} (external)")],
        );
        check(
            &ours,
            &[other("cilium_vxlan", 1, 8472, &["gpe"])],
            &[&format!("{differs} (gpe)")],
        );
        let with_gbp = Device { gbp: true, ..ours };
        check(
            &with_gbp,
            &[external],
            &[&format!("{differs} (external, gbp)")],
        );
        check(&with_gbp, &[other("x", 2, 8472, &[GBP])], &[]);
        check(
            &with_gbp,
            &[Vxlan {
                ipv6: true,
                ..other("flannel-v6.1", 1, 8472, &[])
            }],
            &[],
        );
    }

    #[test]
    fn names_the_program_that_has_our_port() {
        let check = |vxlans: &[Vxlan], udp: &[u16], udp6: &[u16], expected: &[&str]| {
            check_neighbours(&ours(), vxlans, udp, udp6, expected);
        };
        check(&[], &[53], &[53], &[]);
        check(&[], &[53, 8472], &[8472], &["UDP port 8472 is taken"]);
        check(
            &[],
            &[53],
            &[8472],
            &["UDP port 8472 may be taken by a program that has it for IPv6"],
        );
        let failed = Vxlan {
            up: false,
            ..other("flannel.1", 1, 8472, &[])
        };
        check(&[failed], &[8472], &[], &["UDP port 8472 is taken"]);
    }

    #[test]
    fn reads_the_kernels_list_of_sockets() {
        let text = "  sl  local_address rem_address\n 1: 00000000:2118 00000000:0000 07\n 2: 0100007F:0035 0:0 07\n";
        assert_eq!(udp_ports(text), [8472, 53]);
        let text = " sl local\n 1: 00000000000000000000000000000000:2118 0:0\n 2: 00000000000000000000000001000000:0035 0:0\n \
            3: 0000000000000000FFFF00000100007F:12B5 0:0\n";
        assert_eq!(
            udp6_ports(text),
            [8472, 4789],
            "what has ::1 leaves IPv4 alone"
        );
    }
}
