//! Owns what of a host's settings would break the overlay, in words: what is wrong, what it breaks, what to type. Sets
//! nothing. Pure: `netlink` reads the values.

use crate::vxlan::state::Device;

/// Settings of a host; one that this kernel does not have is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
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

/// What may be in the way of our device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// All vxlan devices of the host.
    pub vxlans: Vec<Device>,
    /// UDP ports that somebody listens on, vxlan devices included.
    pub udp_ports: Vec<u16>,
}

/// A sentence for each setting that breaks something.
pub fn settings(found: &Settings) -> Vec<String> {
    [forwarding(found), reverse_path(found), bridge_netfilter(found)].into_iter().flatten().collect()
}

fn forwarding(found: &Settings) -> Option<String> {
    (found.ip_forward == Some(0)).then(|| {
        "net.ipv4.ip_forward is 0: this host passes no packets between pods and other hosts; \
         sysctl -w net.ipv4.ip_forward=1"
            .to_owned()
    })
}

/// 1 is strict: a packet is dropped unless its answer would leave by the interface on which it came.
fn reverse_path(found: &Settings) -> Option<String> {
    let strict = |own: Option<i32>| own.unwrap_or(0).max(found.rp_filter_all.unwrap_or(0)) == 1;
    let external = &found.external;
    let places = match (strict(found.rp_filter_external), strict(found.rp_filter_default)) {
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

fn bridge_netfilter(found: &Settings) -> Option<String> {
    let (what, cure) = match found.bridge_nf {
        Some(0) => ("net.bridge.bridge-nf-call-iptables is 0", "sysctl -w net.bridge.bridge-nf-call-iptables=1"),
        Some(_) => return None,
        None => ("br_netfilter is not loaded", "modprobe br_netfilter"),
    };
    Some(format!(
        "{what}: where kube-proxy translates addresses in iptables, a pod gets no answer from a service whose pod is on \
         the same bridge; {cure}"
    ))
}

/// A sentence for each thing that keeps our device from being made or brought up.
pub fn neighbours(wanted: &Device, found: &Neighbours) -> Vec<String> {
    let others = found.vxlans.iter().filter(|device| device.name != wanted.name && device.port == wanted.port);
    let mut sentences: Vec<String> = others.filter_map(|other| in_the_way(wanted, other)).collect();
    let port = wanted.port;
    if found.udp_ports.contains(&port) && !found.vxlans.iter().any(|device| device.port == port) {
        sentences.push(format!(
            "UDP port {port} is taken by a program that is no vxlan device: {} cannot be brought up; see who it is \
             with ss -ulnp 'sport = :{port}', or set Backend.Port for the whole network",
            wanted.name
        ));
    }
    sentences
}

/// Devices share a port when their VNIs differ and their kinds of packets do not (`vxlan_find_sock`).
fn in_the_way(wanted: &Device, other: &Device) -> Option<String> {
    let (name, port, vni) = (&other.name, other.port, other.vni);
    if other.vni == wanted.vni {
        return Some(format!(
            "device {name} has VNI {vni} on UDP port {port} already: {} cannot be made beside it; ip link del {name}, \
             or set Backend.VNI for the whole network",
            wanted.name
        ));
    }
    (other.gbp != wanted.gbp).then(|| {
        format!(
            "device {name} on UDP port {port} differs in GBP: {} cannot be brought up beside it; ip link del {name}, or \
             set Backend.Port for the whole network",
            wanted.name
        )
    })
}

/// The ports in the text of `/proc/net/udp`: local address and port in hexadecimal are the second word of each line.
pub fn udp_ports(text: &str) -> Vec<u16> {
    let port = |line: &str| {
        let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    text.lines().filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{MacAddr, Vni};
    use std::net::Ipv4Addr;

    fn device(name: &str, vni: u32, port: u16) -> Device {
        Device {
            name: name.to_owned(),
            vni: Vni::try_from(vni).expect("a VNI in a test"),
            parent: "eth0".to_owned(),
            local: Ipv4Addr::LOCALHOST,
            port,
            mac: MacAddr([2; 6]),
            mtu: 1450,
            learning: false,
            gbp: false,
            alias: String::new(),
        }
    }

    fn check(found: &Settings, expected: &[&str]) {
        let sentences = settings(found);
        assert_eq!(sentences.len(), expected.len(), "{sentences:?}");
        for (sentence, start) in sentences.iter().zip(expected) {
            assert!(sentence.starts_with(start), "{sentence:?} instead of {start:?}");
        }
    }

    #[test]
    fn names_what_breaks_and_is_silent_otherwise() {
        let good = Settings {
            external: "eth0".to_owned(),
            ip_forward: Some(1),
            rp_filter_all: Some(0),
            rp_filter_external: Some(2),
            rp_filter_default: Some(0),
            bridge_nf: Some(1),
        };
        check(&good, &[]);
        check(&Settings { ip_forward: Some(0), ..good.clone() }, &["net.ipv4.ip_forward is 0"]);
        check(&Settings { bridge_nf: None, ..good.clone() }, &["br_netfilter is not loaded"]);
        check(&Settings { bridge_nf: Some(0), ..good.clone() }, &["net.bridge.bridge-nf-call-iptables is 0"]);
        let strict = "net.ipv4.conf.*.rp_filter is 1 (strict) for";
        check(&Settings { rp_filter_all: Some(1), ..good.clone() }, &[&format!("{strict} our device:")]);
        check(&Settings { rp_filter_external: Some(1), ..good.clone() }, &[&format!("{strict} eth0:")]);
        let both = Settings { rp_filter_all: Some(1), rp_filter_external: Some(0), ..good.clone() };
        check(&both, &[&format!("{strict} eth0 and our device:")]);
        check(&Settings { rp_filter_all: Some(2), rp_filter_external: Some(1), ..good }, &[]);
    }

    #[test]
    fn names_who_has_our_port() {
        let ours = device("flannel.1", 1, 8472);
        let check = |vxlans: &[Device], udp_ports: &[u16], expected: &[&str]| {
            let found = Neighbours { vxlans: vxlans.to_vec(), udp_ports: udp_ports.to_vec() };
            let sentences = neighbours(&ours, &found);
            assert_eq!(sentences.len(), expected.len(), "{sentences:?}");
            sentences.iter().zip(expected).for_each(|(s, start)| assert!(s.starts_with(start), "{s}"));
        };
        check(&[ours.clone(), device("flannel.7", 7, 8472), device("x", 1, 4789)], &[8472, 4789], &[]);
        check(&[device("vxlan.calico", 1, 8472)], &[8472], &["device vxlan.calico has VNI 1"]);
        check(&[], &[53, 8472], &["UDP port 8472 is taken"]);
        let gbp = Device { gbp: true, ..device("cilium_vxlan", 2, 8472) };
        check(&[gbp], &[8472], &["device cilium_vxlan on UDP port 8472 differs in GBP"]);
    }

    #[test]
    fn reads_the_kernels_list_of_sockets() {
        let text = "  sl  local_address rem_address\n 1: 00000000:2118 00000000:0000 07\n 2: 0100007F:0035 0:0 07\n";
        assert_eq!(udp_ports(text), [8472, 53]);
    }
}
