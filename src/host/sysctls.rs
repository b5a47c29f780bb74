//! Kernel settings of this host that break the overlay, or may: what is wrong, what it breaks, what to type. It sets
//! nothing. Pure: an adapter reads the values.

use crate::conditions::{Problem, Reason};

/// The kernel settings that matter. A setting that this kernel does not have is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostSysctls {
    /// Name of the external interface.
    pub external: String,
    /// `net.ipv4.ip_forward`.
    pub ip_forward: Option<i32>,
    /// `net.ipv4.conf.*.forwarding` of the external interface.
    pub forwarding_external: Option<i32>,
    /// The same of the interfaces that have an address of our subnet: bridges of pods.
    pub forwarding_bridges: Vec<(String, i32)>,
    /// `net.ipv4.conf.all.rp_filter`. The larger one of this and the interface's own value counts.
    pub rp_filter_all: Option<i32>,
    /// The value of the external interface.
    pub rp_filter_external: Option<i32>,
    /// The value of interfaces that are created from now on, such as the VXLAN device.
    pub rp_filter_default: Option<i32>,
    /// `net.bridge.bridge-nf-call-iptables`.
    pub bridge_nf: Option<i32>,
}

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
    let bridges = sysctls.forwarding_bridges.iter();
    let bridges = bridges.filter(|(_, value)| *value == 0);
    let bridges = bridges
        .map(|(name, _)| not_forwarding(name, "this host forwards no packets of the pods on it"));
    let external = (sysctls.forwarding_external == Some(0)).then(|| {
        let effect = "pods get no packets and no answers from outside of the overlay";
        not_forwarding(&sysctls.external, effect)
    });
    let all: Vec<String> = bridges.chain(external).collect();
    (!all.is_empty()).then(|| Problem::new(Reason::KernelSetting, all.join("; ")))
}

fn not_forwarding(interface: &str, effect: &str) -> String {
    // A dot in the name of an interface is a slash to sysctl(8).
    let setting = format!("net.ipv4.conf.{}.forwarding", interface.replace('.', "/"));
    format!("{setting} is 0: {effect}; sysctl -w {setting}=1")
}

/// Returns a sentence for each setting that breaks something on some hosts.
pub(crate) fn warnings(sysctls: &HostSysctls) -> Vec<String> {
    let checks = [check_reverse_path(sysctls), check_bridge_netfilter(sysctls)];
    checks.into_iter().flatten().collect()
}

/// 1 is strict: the kernel drops a packet unless the answer to it would leave by the interface on which it came.
fn check_reverse_path(sysctls: &HostSysctls) -> Option<String> {
    let all = sysctls.rp_filter_all.unwrap_or(0);
    let external = &sysctls.external;
    let places = match (
        is_strict(sysctls.rp_filter_external, all),
        is_strict(sysctls.rp_filter_default, all),
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

    #[test]
    fn names_each_setting_that_breaks_the_overlay_and_no_other() {
        let good = HostSysctls {
            external: "eth0".to_owned(),
            ip_forward: Some(1),
            forwarding_external: Some(1),
            forwarding_bridges: vec![("docker0".to_owned(), 1)],
            rp_filter_all: Some(0),
            rp_filter_external: Some(2),
            rp_filter_default: Some(0),
            bridge_nf: Some(1),
        };
        check(&good, &[]);
        assert_eq!(problem(&good), None);
        let off = HostSysctls {
            ip_forward: Some(0),
            ..good.clone()
        };
        let problem = problem(&off).expect("no packet is forwarded");
        assert!(problem.message.starts_with("net.ipv4.ip_forward is 0"));
        check(
            &HostSysctls {
                bridge_nf: None,
                ..good.clone()
            },
            &["br_netfilter is not loaded"],
        );
        check(
            &HostSysctls {
                bridge_nf: Some(0),
                ..good.clone()
            },
            &["net.bridge.bridge-nf-call-iptables is 0"],
        );
        let strict = "net.ipv4.conf.*.rp_filter is 1 (strict) for";
        check(
            &HostSysctls {
                rp_filter_all: Some(1),
                ..good.clone()
            },
            &[&format!("{strict} our device:")],
        );
        check(
            &HostSysctls {
                rp_filter_external: Some(1),
                ..good.clone()
            },
            &[&format!("{strict} eth0:")],
        );
        let both = HostSysctls {
            rp_filter_all: Some(1),
            rp_filter_external: Some(0),
            ..good.clone()
        };
        check(&both, &[&format!("{strict} eth0 and our device:")]);
        check(
            &HostSysctls {
                rp_filter_all: Some(2),
                rp_filter_external: Some(1),
                ..good
            },
            &[],
        );
    }

    #[test]
    fn names_each_interface_that_does_not_forward_with_its_command() {
        let sysctls = |external, bridges: &[(&str, i32)]| HostSysctls {
            external: "bond0.100".to_owned(),
            ip_forward: Some(1),
            forwarding_external: external,
            forwarding_bridges: bridges
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            ..HostSysctls::default()
        };
        let text = |sysctls| problem(&sysctls).map(|problem| problem.message);
        assert_eq!(text(sysctls(Some(1), &[("docker0", 1)])), None);
        assert_eq!(text(sysctls(None, &[])), None, "a kernel that does not say");
        let bridge = text(sysctls(Some(1), &[("cni0", 1), ("docker0", 0)]));
        let bridge = bridge.expect("a problem");
        assert!(
            bridge.starts_with("net.ipv4.conf.docker0.forwarding is 0: ")
                && bridge.ends_with("; sysctl -w net.ipv4.conf.docker0.forwarding=1"),
            "{bridge}"
        );
        let both = text(sysctls(Some(0), &[("docker0", 0)])).expect("a problem");
        let external = "net.ipv4.conf.bond0/100.forwarding";
        assert!(
            both.contains(&format!("=1; {external} is 0: "))
                && both.ends_with(&format!("; sysctl -w {external}=1")),
            "{both}"
        );
        let off = HostSysctls {
            ip_forward: Some(0),
            ..sysctls(Some(0), &[("docker0", 0)])
        };
        let off = text(off).expect("a problem");
        assert!(
            off.ends_with("; sysctl -w net.ipv4.ip_forward=1"),
            "one switch for all: {off}"
        );
    }
}
