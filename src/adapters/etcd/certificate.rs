//! Reads a certificate as far as we need it ourselves: how long it is valid and whose it is, so that an error can name
//! the cause; its key, to put it together with ours; its parts, for the [verifier](super::tls). Pure; decides nothing.
//!
//! A certificate is DER (RFC 5280, section 4.1). The walk over it is short; a crate for X.509 would add 18 others to
//! the process.

use std::time::SystemTime;

use rustls_pki_types::alg_id;

use crate::adapters::etcd::der::{each, element, without};
use crate::adapters::etcd::pem;

/// DER tags.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The element that announces a common name: object identifier 2.5.4.3.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
/// Object identifiers: the extension with the purposes, and two of them (RFC 5280, section 4.2.1.12).
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
pub(super) const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
const CLIENT_PURPOSE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
pub(super) const SERVER_PURPOSE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

/// Signatures that neither etcd nor we take, by the object identifier with which they begin.
const OLD_SIGNATURES: [(&[u8], &str); 5] = [
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04", "MD5"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", "SHA-1"),
    (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0e", "SHA-224"),
    (b"\x06\x07\x2a\x86\x48\xce\x3d\x04\x01", "SHA-1"),
    (b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x01", "SHA-224"),
];

/// An RSA key below this size works with a warning.
pub(super) const STRONG_RSA: usize = 2048;
/// An RSA key below this size is refused: it can be broken.
pub(super) const MINIMAL_RSA: usize = 1024;

/// An RSA key of this size is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an RSA key of {0} bits")]
pub(super) struct ShortKey(pub(super) usize);

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateInfo {
    pub(super) validity: Validity,
    /// Common name of the subject: etcd takes it for the name of the user.
    pub(super) common_name: Option<String>,
    pub(super) is_for_clients: bool,
    /// The hash of its signature, if that is too old.
    pub(super) old_signature: Option<&'static str>,
}

/// When a certificate counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: CertificateTime,
    pub(super) not_after: CertificateTime,
}

/// A time in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CertificateTime {
    pub(super) time: SystemTime,
    /// `2026-11-21 04:52:48 UTC`
    pub(super) text: String,
}

/// The parts of a certificate, as they stand in it.
pub(super) struct Elements<'a> {
    /// What the signature is over.
    pub(super) signed: &'a [u8],
    /// The names of issuer and subject, without the outer tag.
    pub(super) issuer: &'a [u8],
    subject: &'a [u8],
    validity: &'a [u8],
    /// SubjectPublicKeyInfo, with its tag.
    pub(super) public_key: &'a [u8],
    /// Empty in version 1.
    extensions: &'a [u8],
    /// AlgorithmIdentifier, without the outer tag.
    pub(super) signature_algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// Returns the readable certificates of a PEM file.
pub(super) fn all(pem: &[u8]) -> Vec<CertificateInfo> {
    let found = pem::certificates(pem);
    found.iter().filter_map(|der| read(der)).collect()
}

fn read(der: &[u8]) -> Option<CertificateInfo> {
    let elements = Elements::read(der)?;
    let purposes = elements.purposes()?;
    let is_for_clients = |purpose: &&[u8]| [CLIENT_PURPOSE, ANY_PURPOSE].contains(purpose);
    Some(CertificateInfo {
        validity: elements.validity()?,
        is_for_clients: purposes.is_empty() || purposes.iter().any(is_for_clients),
        old_signature: old_signature(elements.signature_algorithm),
        common_name: common_name(elements.subject),
    })
}

impl<'a> Elements<'a> {
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let (_, certificate, behind) = element(der)?;
        if !behind.is_empty() {
            return None;
        }
        let (_, body, rest) = element(certificate)?;
        let signed = without(certificate, rest)?;
        let (_, signature_algorithm, rest) = element(rest)?;
        let (_, signature, _) = element(rest)?;
        // The version is optional.
        let rest = match element(body)? {
            (VERSION, _, rest) => rest,
            _ => body,
        };
        let (_, _serial, rest) = element(rest)?;
        let (_, _algorithm, rest) = element(rest)?;
        let (_, issuer, rest) = element(rest)?;
        let (_, validity, rest) = element(rest)?;
        let (_, subject, at_key) = element(rest)?;
        let (_, _, rest) = element(at_key)?;
        Some(Self {
            signed,
            issuer,
            subject,
            validity,
            public_key: without(at_key, rest)?,
            extensions: extensions(rest),
            signature_algorithm,
            // A bit string begins with the number of unused bits, which is 0 for bytes.
            signature: signature.strip_prefix(&[0])?,
        })
    }

    pub(super) fn validity(&self) -> Option<Validity> {
        let (tag, not_before, rest) = element(self.validity)?;
        let not_before = time(tag, not_before)?;
        let (tag, not_after, _) = element(rest)?;
        Some(Validity {
            not_before,
            not_after: time(tag, not_after)?,
        })
    }

    /// Returns the object identifiers of what it may be used for: none means everything. `None` if it is damaged.
    pub(super) fn purposes(&self) -> Option<Vec<&'a [u8]>> {
        let mut found = Vec::new();
        for extension in each(self.extensions)? {
            let parts = each(extension)?;
            let (Some(&name), Some(&value)) = (parts.first(), parts.last()) else {
                return None;
            };
            if name == EXTENDED_KEY_USAGE {
                let (_, list, _) = element(value)?;
                found.extend(each(list)?);
            }
        }
        Some(found)
    }
}

/// Returns the hash of a signature that does not count any more.
pub(super) fn old_signature(algorithm: &[u8]) -> Option<&'static str> {
    let mut old = OLD_SIGNATURES.into_iter();
    let (_, hash) = old.find(|(start, _)| algorithm.starts_with(start))?;
    Some(hash)
}

/// Returns algorithm and key from the content of a SubjectPublicKeyInfo.
pub(super) fn public_key(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, algorithm, rest) = element(content)?;
    let (_, key, _) = element(rest)?;
    Some((algorithm, key.strip_prefix(&[0])?))
}

/// Returns the size of the key in a SubjectPublicKeyInfo, if it is of RSA.
pub(super) fn rsa_key_bits(public_key_info: &[u8]) -> Option<usize> {
    let (_, content, _) = element(public_key_info)?;
    let (algorithm, key) = public_key(content)?;
    (*algorithm == *alg_id::RSA_ENCRYPTION).then(|| rsa_bits(key))?
}

/// Returns the size of the key of a certificate, if that is too short to be safe.
pub(super) fn weak_rsa(der: &[u8]) -> Option<usize> {
    let bits = rsa_key_bits(Elements::read(der)?.public_key)?;
    (bits < STRONG_RSA).then_some(bits)
}

/// Returns the size of an RSAPublicKey: that of its modulus.
pub(super) fn rsa_bits(key: &[u8]) -> Option<usize> {
    let (_, content, _) = element(key)?;
    let (_, modulus, _) = element(content)?;
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let digits = modulus.get(first..)?;
    let unused = usize::try_from(digits.first()?.leading_zeros()).ok()?;
    (digits.len() * 8).checked_sub(unused)
}

/// Finds the list of extensions behind the key; two optional elements may stand before it.
fn extensions(mut rest: &[u8]) -> &[u8] {
    while let Some((tag, content, next)) = element(rest) {
        if tag == EXTENSIONS {
            return element(content).map_or(&[], |(_, list, _)| list);
        }
        rest = next;
    }
    &[]
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
