//! Walks over DER: nested elements of tag, length, content. Total: no bytes make it panic. Pure.

/// Returns tag and content of the first element, and what follows it.
pub(super) fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = input.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // The low bits count the bytes of the length; four are enough for any file.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (big_endian(bytes), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | usize::from(byte))
}

/// Returns the contents of all elements.
pub(super) fn each(mut input: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !input.is_empty() {
        let (_, content, rest) = element(input)?;
        found.push(content);
        input = rest;
    }
    Some(found)
}

/// Returns what stands before `rest`, which is the end of `whole`.
pub(super) fn without<'a>(whole: &'a [u8], rest: &[u8]) -> Option<&'a [u8]> {
    whole.get(..whole.len().checked_sub(rest.len())?)
}
