//! Reads two things in our own certificate: how long it is valid and whose it is, so that an error
//! can name the cause. Never decides whether a certificate is genuine: the TLS library does. Pure.
//!
//! A certificate is DER: nested elements of tag, length, content (RFC 5280, section 4.1). The walk
//! over it is short and total; a crate for X.509 would add 18 others to the process, for two hints.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// DER tags.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The element that announces a common name: object identifier 2.5.4.3.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateInfo {
    pub(super) not_before: CertificateTime,
    pub(super) not_after: CertificateTime,
    /// Common name of the subject: etcd takes it for the name of the user.
    pub(super) common_name: Option<String>,
}

/// A time in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateTime {
    pub(super) time: SystemTime,
    /// `2026-11-21 04:52:48 UTC`
    pub(super) text: String,
}

/// Returns the readable certificates of a PEM file.
pub(super) fn all(pem: &[u8]) -> Vec<CertificateInfo> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(|der| read(&der.ok()?))
        .collect()
}

fn read(der: &[u8]) -> Option<CertificateInfo> {
    let (_, certificate, _) = element(der)?;
    let (_, body, _) = element(certificate)?;
    // The version is optional.
    let rest = match element(body)? {
        (VERSION, _, rest) => rest,
        _ => body,
    };
    let (_, _serial, rest) = element(rest)?;
    let (_, _algorithm, rest) = element(rest)?;
    let (_, _issuer, rest) = element(rest)?;
    let (_, validity, rest) = element(rest)?;
    let (_, subject, _) = element(rest)?;
    let (tag, not_before, rest) = element(validity)?;
    let not_before = time(tag, not_before)?;
    let (tag, not_after, _) = element(rest)?;
    Some(CertificateInfo {
        not_before,
        not_after: time(tag, not_after)?,
        common_name: common_name(subject),
    })
}

/// Returns tag and content of the first element, and what follows it.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
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

fn common_name(subject: &[u8]) -> Option<String> {
    let at = subject
        .windows(COMMON_NAME.len())
        .position(|window| window == COMMON_NAME)?;
    let (_, text, _) = element(subject.get(at + COMMON_NAME.len()..)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Reads `YYMMDDHHMMSSZ`, the form until 2049, or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &[u8]) -> Option<CertificateTime> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let century = match (tag, digits.get(..2)?) {
        (UTC_TIME, year) if year < "50" => "20",
        (UTC_TIME, _) => "19",
        (GENERALIZED_TIME, _) => "",
        _ => return None,
    };
    let all = format!("{century}{digits}");
    if all.len() != 14 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let date = [&all[..4], &all[4..6], &all[6..8]].join("-");
    let clock = [&all[8..10], &all[10..12], &all[12..]].join(":");
    Some(CertificateTime {
        time: humantime::parse_rfc3339(&format!("{date}T{clock}Z")).ok()?,
        text: format!("{date} {clock} UTC"),
    })
}

#[cfg(test)]
pub(super) mod tests;
