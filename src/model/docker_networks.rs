//! How Docker's networks share the subnet of this host. Pure.

use std::fmt;
use std::str::FromStr;

/// More of them have no room for containers in any usual subnet.
const MAX_NETWORKS: u8 = 64;

/// What Docker makes of the subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DockerNetworks {
    /// Its default bridge, docker0, has the whole subnet.
    Docker0,
    /// docker0 has the first half. The second half is divided into networks of equal size, 2 to the power of this number, for
    /// `docker network create` and Compose.
    Divided(u8),
    /// There is no docker0. A network that the operator creates has the whole subnet.
    Own,
}

impl FromStr for DockerNetworks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "docker0" => return Ok(Self::Docker0),
            "own" => return Ok(Self::Own),
            _ => {}
        }
        let number = text.parse::<u8>().ok();
        number
            .filter(|number| number.is_power_of_two() && *number <= MAX_NETWORKS)
            .and_then(|number| u8::try_from(number.trailing_zeros()).ok())
            .map(Self::Divided)
            .ok_or_else(|| {
                "expected docker0, own, or a number of networks: 1, 2, 4, 8, 16, 32 or 64"
                    .to_owned()
            })
    }
}

impl fmt::Display for DockerNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker0 => f.write_str("docker0"),
            Self::Divided(bits) => write!(f, "{}", 1_u32 << bits),
            Self::Own => f.write_str("own"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in ["docker0", "own", "1", "2", "8", "64"] {
            let value: DockerNetworks = text.parse().expect(text);
            assert_eq!(value.to_string(), text);
        }
        for text in ["", "0", "3", "128", "256", "-1", "none", "eight"] {
            assert!(text.parse::<DockerNetworks>().is_err(), "{text}");
        }
    }
}
