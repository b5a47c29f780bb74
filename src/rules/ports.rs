//! Ports that NAT may give to UDP packets, so that none of them becomes the VXLAN port of this host. Pure.

/// The first port that a program without privileges may bind. NAT keeps a port below it below it
/// (net/netfilter/nf_nat_core.c, `nf_nat_l4proto_unique_tuple`).
const FIRST_UNPRIVILEGED: u16 = 1024;

/// A smaller range is not used: two pods that use the same port could not both get one out of it.
const MIN_PORTS_TO_CHOOSE_FROM: u16 = 256;

/// Port numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
}

/// Returns the ports among which NAT would choose for a packet that comes from `port`.
pub(crate) const fn same_class(port: u16) -> PortRange {
    match port {
        FIRST_UNPRIVILEGED.. => PortRange {
            first: FIRST_UNPRIVILEGED,
            last: u16::MAX,
        },
        _ => PortRange {
            first: 0,
            last: FIRST_UNPRIVILEGED - 1,
        },
    }
}

/// Returns the class of `port` without `port` itself: the ports below it and those above it, where they are enough.
pub(crate) fn around(port: u16) -> Vec<PortRange> {
    let PortRange { first, last } = same_class(port);
    let below = PortRange {
        first: first.max(1),
        last: port.saturating_sub(1),
    };
    let above = PortRange {
        first: port.saturating_add(1),
        last,
    };
    [below, above]
        .into_iter()
        .filter(|range| range.last.saturating_sub(range.first) >= MIN_PORTS_TO_CHOOSE_FROM)
        .collect()
}

/// Returns the unprivileged ports below or above `port`, whichever are more.
pub(crate) fn larger_side(port: u16) -> PortRange {
    let below = port.saturating_sub(FIRST_UNPRIVILEGED);
    let above = u16::MAX - port.max(FIRST_UNPRIVILEGED - 1);
    if below > above {
        PortRange {
            first: FIRST_UNPRIVILEGED,
            last: port - 1,
        }
    } else {
        PortRange {
            first: port.max(FIRST_UNPRIVILEGED - 1) + 1,
            last: u16::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masqueraded_ports_are_never_the_vxlan_port() {
        for port in [
            1, 1023, 1024, 1025, 4789, 8472, 33_279, 33_280, 60_000, 65_534, 65_535,
        ] {
            let (from, to) = (same_class(port), larger_side(port));
            assert!((from.first..=from.last).contains(&port), "{port}: {from:?}");
            assert!(!(to.first..=to.last).contains(&port), "{port}: {to:?}");
            assert!(
                to.first >= 1024 && to.last - to.first > 32_000,
                "{port}: {to:?}"
            );
        }
    }

    #[test]
    fn a_rule_that_keeps_ports_never_gives_the_vxlan_port() {
        for port in (0..=2000)
            .chain([4789, 8472, 33_279])
            .chain(65_000..=65_535)
        {
            for range in around(port) {
                assert!(
                    !(range.first..=range.last).contains(&port),
                    "{port}: {range:?}"
                );
            }
        }
    }
}
