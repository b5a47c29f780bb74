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
pub(crate) fn problem(sysctls: &HostSysctls) -> Option<Problem> {
    (sysctls.ip_forward == Some(0)).then(|| {
        let message = "net.ipv4.ip_forward is 0: this host forwards no packets between pods and other hosts; \
            sysctl -w net.ipv4.ip_forward=1";
        Problem::new(Reason::KernelSetting, message)
    })
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
}
