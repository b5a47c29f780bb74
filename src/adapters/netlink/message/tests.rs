use super::*;

/// Builds a message of netfilter, as the kernel sends it: `kind` is subsystem and message, `family`
/// an `NFPROTO_`.
pub(in crate::adapters::netlink) fn netfilter_message(
    kind: u16,
    family: u8,
    attributes: &[Vec<u8>],
) -> Vec<u8> {
    request(kind, 0, [family, 0, 0, 0], &attributes.concat())
}

/// Returns the parts of a message of rtnetlink: header flags, the header of its kind, and the
/// attributes.
pub(in crate::adapters::netlink) fn route_message(
    bytes: &[u8],
    header_length: usize,
) -> (u16, &[u8], Attributes<'_>) {
    let message = messages(bytes).next().expect("a whole message");
    let flags = number16(bytes, 6).expect("a whole header");
    let (header, attributes) = message.payload.split_at(header_length);
    (flags, header, Attributes(attributes))
}

/// Builds the kernel's answer to a request; `code` is a negated error number.
pub(in crate::adapters::netlink) fn error_message(sequence: u32, code: i32) -> Vec<u8> {
    let mut bytes = request(NLMSG_ERROR, 0, code.to_ne_bytes(), &[0; 16]);
    bytes[SEQUENCE_OFFSET..SEQUENCE_OFFSET + 4].copy_from_slice(&sequence.to_ne_bytes());
    bytes
}

#[test]
fn builds_a_request_that_names_its_length_and_pads_its_attributes() {
    let list = nested_attribute(3, &[text_attribute(2, "eth0"), flag_attribute(1)]);
    let bytes = generic_request(21, 5, 12, &list);
    let expected: Vec<u8> = [
        &40u32.to_ne_bytes()[..],
        &21u16.to_ne_bytes(),
        &5u16.to_ne_bytes(),
        &[0; 8],
        &[12, 1, 0, 0],
        &20u16.to_ne_bytes(),
        &0x8003u16.to_ne_bytes(),
        &9u16.to_ne_bytes(),
        &2u16.to_ne_bytes(),
        b"eth0\0\0\0\0",
        &4u16.to_ne_bytes(),
        &1u16.to_ne_bytes(),
    ]
    .concat();
    assert_eq!(bytes, expected);
}

#[test]
fn reads_the_attributes_that_it_builds() {
    let list = nested_attribute(3, &[text_attribute(2, "eth0"), flag_attribute(1)]);
    let bytes = generic_request(21, 5, 12, &list);
    let message = messages(&bytes).next().expect("a message");
    assert_eq!((message.kind, message.protocol_byte()), (21, Some(12)));
    let nested = message.attributes().find(3).expect("a list").nested();
    assert_eq!(nested.find(2).and_then(Value::text), Some("eth0"));
    assert_eq!(
        nested.iter().map(|(kind, _)| kind).collect::<Vec<_>>(),
        [2, 1]
    );
    assert!(nested.find(3).is_none());
}

#[test]
fn reads_each_answer_in_a_datagram() {
    let datagram = [
        error_message(7, -17),
        generic_request(21, 0, 0, &[]),
        error_message(8, 0),
    ]
    .concat();
    let answers: Vec<_> = messages(&datagram)
        .map(|message| (message.sequence, message.error_code()))
        .collect();
    assert_eq!(answers, [(7, Some(17)), (0, None), (8, Some(0))]);
}

#[test]
fn a_message_that_is_cut_off_is_none() {
    let whole = error_message(7, -17);
    for end in 0..whole.len() {
        assert_eq!(messages(&whole[..end]).count(), 0, "{end}");
    }
    assert_eq!(messages(&[0; 64]).count(), 0);
    assert_eq!(messages(&[0xff; 64]).count(), 0);
}
