//! What to do when etcd is not reached: hosts, firewalls, names, ports, proxies. Pure.

use std::net::IpAddr;

use crate::adapters::etcd::fault::Fault;

/// A connection that has worked ended.
const CUT: &str =
    "etcd was stopped or restarted, or a proxy or firewall in between cut the connection";
/// What to do when something else than etcd answers.
pub(super) const NO_ETCD: &str = "this is not the client port of an etcd v3: correct --etcd-endpoints, or let the proxy there pass \
    gRPC (HTTP/2; in nginx: grpc_pass)";

/// Returns what to do, unless the words say it all.
pub(super) fn hint(fault: &Fault, endpoint: &str) -> Option<String> {
    let text = match fault {
        Fault::Refused => {
            "nothing listens on this port, or a firewall rejects the packets: start etcd, or correct --etcd-endpoints"
        }
        Fault::ConnectTimedOut => {
            "the host is down, or a firewall drops the packets: check both, and --etcd-endpoints"
        }
        Fault::HostUnreachable => {
            "the host is down, or a firewall or router rejects the packets: check both, and --etcd-endpoints"
        }
        Fault::NetworkUnreachable => return Some(no_route(endpoint)),
        Fault::NotPermitted => {
            "a firewall on this host, or IPAddressDeny= in the unit of flanneld, forbids it: allow TCP to this port"
        }
        Fault::UnknownName(_) => {
            "correct the name in --etcd-endpoints, or make it known in DNS or /etc/hosts"
        }
        Fault::WentSilent => {
            "etcd hangs or its host is gone, or the network drops packets: check all three"
        }
        Fault::GoAway(_) => cut(endpoint),
        Fault::NotHttp2 => NO_ETCD,
        Fault::NotGrpc(status) if is_gateway_error(status) => {
            "a proxy there does not reach etcd: check that etcd is running behind it and that the proxy passes gRPC"
        }
        Fault::NotGrpc(_) => NO_ETCD,
        Fault::Closed | Fault::ClosedInHandshake | Fault::Tls(_) | Fault::Io(_) => return None,
    };
    Some(text.to_owned())
}

/// The connection was accepted, as far as we know.
pub(super) fn no_answer(endpoint: &str) -> String {
    let hangs = "etcd hangs or is overloaded, or another program has this port";
    if is_address(host(endpoint)) {
        format!("{hangs}: check etcd's log")
    } else {
        format!("the look-up of the name takes too long, or {hangs}: check DNS and etcd's log")
    }
}

/// A connection that has worked was closed.
pub(super) fn cut(endpoint: &str) -> &'static str {
    if endpoint.ends_with(":2380") {
        return "2380 is usually the port for the other members of etcd, which closes idle connections: clients use 2379";
    }
    CUT
}

fn no_route(endpoint: &str) -> String {
    let host = host(endpoint);
    let look = if is_address(host) {
        format!("ip route get {host}")
    } else {
        format!("getent ahosts {host}, and ip route get for each address")
    };
    format!("this host has no route there, or a router rejects the packets: look at {look}")
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// Bad gateway, unavailable, gateway timeout.
fn is_gateway_error(status: &str) -> bool {
    ["502", "503", "504"]
        .iter()
        .any(|code| status.starts_with(code))
}

/// Returns the host of a URL.
fn host(endpoint: &str) -> &str {
    let rest = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_name_is_suspected_only_where_there_is_a_name() {
        for (endpoint, expected) in [
            ("http://10.0.0.1:2379", false),
            ("https://[fd00::1]:2379/", false),
            ("http://etcd.example:2379", true),
        ] {
            assert_eq!(no_answer(endpoint).contains("DNS"), expected, "{endpoint}");
        }
        assert_eq!(host("https://[fd00::1]:2379/"), "fd00::1");
    }

    #[test]
    fn every_fault_that_is_not_left_to_others_has_a_remedy() {
        for fault in [
            Fault::Refused,
            Fault::ConnectTimedOut,
            Fault::HostUnreachable,
            Fault::NetworkUnreachable,
            Fault::NotPermitted,
            Fault::UnknownName(String::new()),
            Fault::WentSilent,
            Fault::GoAway(String::new()),
            Fault::NotHttp2,
            Fault::NotGrpc("404 Not Found".to_owned()),
        ] {
            assert!(hint(&fault, "http://10.0.0.1:2379").is_some(), "{fault:?}");
        }
        let bad_gateway = hint(&Fault::NotGrpc("502 Bad Gateway".to_owned()), "http://a:1");
        assert!(bad_gateway.is_some_and(|text| text.contains("a proxy there does not reach etcd")));
    }
}
