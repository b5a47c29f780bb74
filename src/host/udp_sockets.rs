//! Reads the kernel's lists of UDP sockets, `/proc/net/udp` and `/proc/net/udp6`. Pure: an adapter reads the files.

/// Returns the ports in the text of `/proc/net/udp`.
pub(crate) fn udp_ports(text: &str) -> Vec<u16> {
    sockets(text).map(|(_, port)| port).collect()
}

/// Returns the ports in the text of `/proc/net/udp6` that may be taken for IPv4 as well: those of sockets that are bound
/// to no address or to an IPv4-mapped one (`::ffff:192.0.2.1`).
pub(crate) fn udp6_ports(text: &str) -> Vec<u16> {
    let for_ipv4 = sockets(text).filter(|(address, _)| may_be_ipv4(address));
    for_ipv4.map(|(_, port)| port).collect()
}

fn may_be_ipv4(address: &str) -> bool {
    // The third word is in the byte order of the machine.
    const MAPPED: [&str; 2] = ["0000000000000000FFFF0000", "00000000000000000000FFFF"];
    let is_unspecified = address.bytes().all(|digit| digit == b'0');
    is_unspecified || MAPPED.iter().any(|mapped| address.starts_with(mapped))
}

/// Local address and port, in hexadecimal, are the second word of each line.
fn sockets(text: &str) -> impl Iterator<Item = (&str, u16)> {
    text.lines().filter_map(|line| {
        let (address, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        Some((address, u16::from_str_radix(port, 16).ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_list_of_sockets() {
        let text = "  sl  local_address rem_address\n 1: 00000000:2118 00000000:0000 07\n 2: 0100007F:0035 0:0 07\n";
        assert_eq!(udp_ports(text), [8472, 53]);
        let text = " sl local\n 1: 00000000000000000000000000000000:2118 0:0\n 2: 00000000000000000000000001000000:0035 0:0\n \
            3: 0000000000000000FFFF00000100007F:12B5 0:0\n";
        assert_eq!(
            udp6_ports(text),
            [8472, 4789],
            "a socket bound to ::1 leaves IPv4 alone"
        );
    }
}
