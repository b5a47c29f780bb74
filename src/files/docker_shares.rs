//! Divides the subnet of this host between docker0 and networks of Docker's users. Pure.

use ipnetwork::Ipv4Network;

/// The smallest network that Docker is given: its gateway and five containers.
const LONGEST_PREFIX: u8 = 29;

/// docker0's half of the subnet, and the pool from which Docker takes networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::files) struct Shares {
    /// The address of docker0, with the length of its network.
    pub(in crate::files) docker0: Ipv4Network,
    pub(in crate::files) pool: Ipv4Network,
    /// The prefix length of each network in the pool.
    pub(in crate::files) size: u8,
}

/// Divides the subnet whose first address is `gateway`; the pool is for 2 to the power of `bits` networks, or fewer if they
/// were too small otherwise. Returns `None` if not even the halves are large enough.
pub(in crate::files) fn divide(gateway: Ipv4Network, bits: u8) -> Option<Shares> {
    let half = gateway.prefix().saturating_add(1);
    if half > LONGEST_PREFIX {
        return None;
    }
    let docker0 = Ipv4Network::new(gateway.ip(), half).ok()?;
    let beyond = u32::from(docker0.broadcast()).checked_add(1)?;
    Some(Shares {
        docker0,
        pool: Ipv4Network::new(beyond.into(), half).ok()?,
        size: half.saturating_add(bits).min(LONGEST_PREFIX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gateway: &str, bits: u8, expected: &str) {
        let shares = divide(gateway.parse().expect("a network"), bits);
        let text = shares.map_or("none".to_owned(), |shares| {
            format!("{} {} {}", shares.docker0, shares.pool, shares.size)
        });
        assert_eq!(text, expected, "{gateway}, {bits}");
    }

    #[test]
    fn halves_lie_beside_each_other_in_the_subnet() {
        check("10.5.99.1/24", 3, "10.5.99.1/25 10.5.99.128/25 28");
        check("10.5.99.1/24", 0, "10.5.99.1/25 10.5.99.128/25 25");
        check("10.8.0.1/20", 4, "10.8.0.1/21 10.8.8.0/21 25");
        check(
            "255.255.255.1/24",
            1,
            "255.255.255.1/25 255.255.255.128/25 26",
        );
    }

    #[test]
    fn a_network_has_room_for_containers() {
        check("10.5.99.1/24", 6, "10.5.99.1/25 10.5.99.128/25 29");
        check("10.5.99.1/28", 3, "10.5.99.1/29 10.5.99.8/29 29");
        check("10.5.99.1/29", 3, "none");
    }
}
