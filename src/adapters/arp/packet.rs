//! ARP packets in Ethernet frames (RFC 826). Pure.

use std::net::Ipv4Addr;

use crate::model::addr::MacAddr;

/// An Ethernet header of 14 bytes, and an ARP packet for IPv4 of 28.
const FRAME_BYTES: usize = 42;
const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const ETHERNET_AND_IPV4: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];

/// Returns a broadcast that asks who has `target`, and names no sender address.
pub(super) fn probe(sender: MacAddr, target: Ipv4Addr) -> Vec<u8> {
    [
        &BROADCAST[..],
        &sender.0,
        &ETHERTYPE_ARP,
        &ETHERNET_AND_IPV4,
        &REQUEST,
        &sender.0,
        &Ipv4Addr::UNSPECIFIED.octets(),
        &[0; 6],
        &target.octets(),
    ]
    .concat()
}

/// Returns the MAC and the IPv4 address that the sender of a frame gives itself; `None` if it is no ARP packet.
pub(super) fn sender(frame: &[u8]) -> Option<(MacAddr, Ipv4Addr)> {
    let (_addresses, rest) = frame.get(..FRAME_BYTES)?.split_at_checked(12)?;
    let rest = rest.strip_prefix(&ETHERTYPE_ARP)?;
    let rest = rest.strip_prefix(&ETHERNET_AND_IPV4)?;
    let (_operation, rest) = rest.split_first_chunk::<2>()?;
    let (mac, rest) = rest.split_first_chunk::<6>()?;
    let (ip, _target) = rest.split_first_chunk::<4>()?;
    Some((MacAddr(*mac), Ipv4Addr::from(*ip)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const TARGET: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);

    #[test]
    fn a_probe_names_no_sender_address() {
        let frame = probe(MAC, TARGET);
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "ffffffffffff02000000000108060001080006040001020000000001000000000000000000000a630002"
        );
        assert_eq!(sender(&frame), Some((MAC, Ipv4Addr::UNSPECIFIED)));
    }

    #[test]
    fn the_sender_of_requests_and_replies_is_read_whatever_padding_follows() {
        let mut frame = probe(MAC, TARGET);
        frame[21] = 2;
        frame[28..32].copy_from_slice(&TARGET.octets());
        frame.resize(60, 0);
        assert_eq!(sender(&frame), Some((MAC, TARGET)));
    }

    #[test]
    fn other_frames_have_no_sender() {
        let frame = probe(MAC, TARGET);
        assert_eq!(sender(&frame[..41]), None, "cut off");
        // The EtherType, the hardware type, the protocol type and the two lengths.
        for at in [13, 15, 17, 18, 19] {
            let mut other = frame.clone();
            other[at] ^= 1;
            assert_eq!(sender(&other), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            _ = sender(&bytes);
        }
    }
}
