//! Kernel settings of this host that break the overlay, or may: what is wrong, what it breaks, what to type. It sets
//! nothing. Pure: an adapter reads the values.

use crate::conditions::{Problem, Reason};

/// The kernel settings that matter. A setting that this kernel does not have is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSysctls {
    /// `net.ipv4.ip_forward`.
    pub ip_forward: Option<i32>,
    /// The external interface.
    pub external: InterfaceSysctls,
    /// The interfaces that have an address of our subnet: bridges of pods.
    pub bridges: Vec<InterfaceSysctls>,
    /// `net.ipv4.conf.all`. For some settings the larger one of this and the interface's own value counts.
    pub all: InterfaceSysctls,
    /// `net.ipv4.conf.default`: what interfaces get that are created from now on, such as the VXLAN device.
    pub default: InterfaceSysctls,
    /// `net.bridge.bridge-nf-call-iptables`.
    pub bridge_nf: Option<i32>,
}

/// The settings of one interface, below `net.ipv4.conf`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceSysctls {
    /// Name of the interface.
    pub name: String,
    /// Whether packets that arrive on it are forwarded.
    pub forwarding: Option<i32>,
    /// Whether packets are dropped whose answers would leave by another interface.
    pub rp_filter: Option<i32>,
    /// For which of the addresses of this host it answers ARP.
    pub arp_ignore: Option<i32>,
}

impl InterfaceSysctls {
    /// Returns the full name of a setting for sysctl(8), to which a dot in the name of an interface is a slash.
    fn setting(&self, setting: &str) -> String {
        format!("net.ipv4.conf.{}.{setting}", self.name.replace('.', "/"))
    }
}

/// Never answer ARP, for any address.
const ARP_IGNORE_ALL: i32 = 8;

/// Returns the problem, if a setting keeps packets from flowing for certain.
///
/// `ip_forward` switches all interfaces on at once, but each has a setting of its own, and that of the interface on which
/// a packet arrives decides. The overlay keeps that of our device; those of others are only named.
pub(crate) fn problem(sysctls: &HostSysctls) -> Option<Problem> {
    if sysctls.ip_forward == Some(0) {
        let message = "net.ipv4.ip_forward is 0: this host forwards no packets between pods and other hosts; \
            sysctl -w net.ipv4.ip_forward=1";
        return Some(Problem::new(Reason::KernelSetting, message));
    }
    let bridges = sysctls.bridges.iter();
    let bridges = bridges.map(|bridge| (bridge, "this host forwards no packets of the pods on it"));
    let external_effect = "pods get no packets and no answers from outside of the overlay";
    let forwarding = bridges.chain([(&sysctls.external, external_effect)]);
    let forwarding = forwarding.filter(|(interface, _)| interface.forwarding == Some(0));
    let forwarding = forwarding.map(|(interface, effect)| {
        let setting = interface.setting("forwarding");
        format!("{setting} is 0: {effect}; sysctl -w {setting}=1")
    });
    let all: Vec<String> = forwarding.chain(check_arp(sysctls)).collect();
    (!all.is_empty()).then(|| Problem::new(Reason::KernelSetting, all.join("; ")))
}

/// Pods ask for their gateway by ARP, and the other hosts for this one.
fn check_arp(sysctls: &HostSysctls) -> Vec<String> {
    let message = |interface: &InterfaceSysctls| {
        let setting = interface.setting("arp_ignore");
        format!("{setting} is 8: this host does not answer ARP there; sysctl -w {setting}=0")
    };
    let ignores_all = |interface: &&InterfaceSysctls| interface.arp_ignore == Some(ARP_IGNORE_ALL);
    let everywhere = Some(&sysctls.all).filter(ignores_all);
    let interfaces = sysctls.bridges.iter().chain([&sysctls.external]);
    let places = everywhere.into_iter().chain(interfaces.filter(ignores_all));
    places.map(message).collect()
}

/// Returns a sentence for each setting that breaks something on some hosts.
pub(crate) fn warnings(sysctls: &HostSysctls) -> Vec<String> {
    let checks = [check_reverse_path(sysctls), check_bridge_netfilter(sysctls)];
    checks.into_iter().flatten().collect()
}

/// 1 is strict: the kernel drops a packet unless the answer to it would leave by the interface on which it came.
fn check_reverse_path(sysctls: &HostSysctls) -> Option<String> {
    let all = sysctls.all.rp_filter.unwrap_or(0);
    let external = &sysctls.external.name;
    let places = match (
        is_strict(sysctls.external.rp_filter, all),
        is_strict(sysctls.default.rp_filter, all),
    ) {
        (true, true) => format!("{external} and our device"),
        (true, false) => external.clone(),
        (false, true) => "our device".to_owned(),
        (false, false) => return None,
    };
    Some(format!(
        "net.ipv4.conf.*.rp_filter is 1 (strict) for {places}: on a host with several routes to a peer or to a client, \
         the kernel silently drops packets that arrive on another interface than the one that the answer would take; \
         sysctl -w net.ipv4.conf.all.rp_filter=2"
    ))
}

fn is_strict(own: Option<i32>, all: i32) -> bool {
    own.unwrap_or(0).max(all) == 1
}

fn check_bridge_netfilter(sysctls: &HostSysctls) -> Option<String> {
    let (problem, fix) = match sysctls.bridge_nf {
        Some(0) => (
            "net.bridge.bridge-nf-call-iptables is 0",
            "sysctl -w net.bridge.bridge-nf-call-iptables=1",
        ),
        Some(_) => return None,
        None => ("br_netfilter is not loaded", "modprobe br_netfilter"),
    };
    Some(format!(
        "{problem}: if this host runs kube-proxy with iptables, a pod gets no answer from a service whose pod is on the \
         same bridge; without Kubernetes, ignore this; {fix}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sysctls: &HostSysctls, expected: &[&str]) {
        let sentences = warnings(sysctls);
        assert_eq!(sentences.len(), expected.len(), "{sentences:?}");
        for (sentence, start) in sentences.iter().zip(expected) {
            assert!(
                sentence.starts_with(start),
                "{sentence:?} instead of {start:?}"
            );
        }
    }

    fn interface(name: &str) -> InterfaceSysctls {
        InterfaceSysctls {
            name: name.to_owned(),
            forwarding: Some(1),
            rp_filter: Some(0),
            arp_ignore: Some(0),
        }
    }

    fn good() -> HostSysctls {
        HostSysctls {
            ip_forward: Some(1),
            external: InterfaceSysctls {
                rp_filter: Some(2),
                ..interface("bond0.100")
            },
            bridges: vec![interface("cni0"), interface("docker0")],
            all: interface("all"),
            default: interface("default"),
            bridge_nf: Some(1),
        }
    }

    /// The good settings, with a change.
    fn with(change: impl FnOnce(&mut HostSysctls)) -> HostSysctls {
        let mut sysctls = good();
        change(&mut sysctls);
        sysctls
    }

    #[test]
    fn names_each_setting_that_breaks_something_on_some_hosts_and_no_other() {
        check(&good(), &[]);
        check(
            &with(|sysctls| sysctls.bridge_nf = None),
            &["br_netfilter is not loaded"],
        );
        check(
            &with(|sysctls| sysctls.bridge_nf = Some(0)),
            &["net.bridge.bridge-nf-call-iptables is 0"],
        );
        let strict = "net.ipv4.conf.*.rp_filter is 1 (strict) for";
        let rp_filter = |all, external| {
            with(|sysctls| {
                sysctls.all.rp_filter = Some(all);
                sysctls.external.rp_filter = Some(external);
            })
        };
        check(&rp_filter(1, 2), &[&format!("{strict} our device:")]);
        check(&rp_filter(0, 1), &[&format!("{strict} bond0.100:")]);
        let both = format!("{strict} bond0.100 and our device:");
        check(&rp_filter(1, 0), &[&both]);
        check(&rp_filter(2, 1), &[]);
    }

    #[test]
    fn names_each_setting_that_keeps_packets_from_flowing_with_its_command() {
        type Change = fn(&mut HostSysctls);
        let cases: [(Change, &[&str]); 8] = [
            (|_| {}, &[]),
            (|sysctls| *sysctls = HostSysctls::default(), &[]),
            (
                |sysctls| sysctls.ip_forward = Some(0),
                &["net.ipv4.ip_forward=1"],
            ),
            (
                |sysctls| {
                    sysctls.ip_forward = Some(0);
                    sysctls.external.forwarding = Some(0);
                },
                &["net.ipv4.ip_forward=1"],
            ),
            (
                |sysctls| sysctls.bridges[1].forwarding = Some(0),
                &["net.ipv4.conf.docker0.forwarding=1"],
            ),
            (
                |sysctls| {
                    sysctls.bridges[0].forwarding = Some(0);
                    sysctls.external.forwarding = Some(0);
                },
                &[
                    "net.ipv4.conf.cni0.forwarding=1",
                    "net.ipv4.conf.bond0/100.forwarding=1",
                ],
            ),
            (
                |sysctls| sysctls.bridges[1].arp_ignore = Some(8),
                &["net.ipv4.conf.docker0.arp_ignore=0"],
            ),
            (
                |sysctls| {
                    sysctls.all.arp_ignore = Some(8);
                    sysctls.external.arp_ignore = Some(2);
                },
                &["net.ipv4.conf.all.arp_ignore=0"],
            ),
        ];
        for (change, expected) in cases {
            let message =
                problem(&with(change)).map_or_else(String::new, |problem| problem.message);
            let parts = message.split("; ").skip(1).step_by(2);
            let commands: Vec<&str> = parts
                .filter_map(|part| part.strip_prefix("sysctl -w "))
                .collect();
            assert_eq!(commands, expected, "{message}");
        }
    }
}
