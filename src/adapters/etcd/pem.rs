//! Reads PEM, and says what a file holds instead of what we look for, with the command that makes it right. Pure.
//!
//! Text around the blocks, other blocks and the ends of lines of other systems do no harm.

use std::path::Path;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What stands between a key and its passphrase, in the two forms of OpenSSL.
const ENCRYPTED: [&str; 2] = ["BEGIN ENCRYPTED PRIVATE KEY", "4,ENCRYPTED"];
/// The version 3, with which a PKCS12 file begins.
const PKCS12: [u8; 3] = [0x02, 0x01, 0x03];
/// What OpenSSL also calls a certificate.
const OLD_NAMES: [&str; 2] = ["TRUSTED CERTIFICATE", "X509 CERTIFICATE"];
/// Makes a key that everyone takes.
const NEW_KEY: &str = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW";

/// Returns the certificates; blocks that are damaged and what else stands in the file are left out.
pub(super) fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut pem = String::from_utf8_lossy(pem).into_owned();
    for name in OLD_NAMES {
        pem = pem.replace(&format!(" {name}-----"), " CERTIFICATE-----");
    }
    let blocks = CertificateDer::pem_slice_iter(pem.as_bytes());
    blocks.filter_map(Result::ok).collect()
}

/// Returns the first readable key.
pub(super) fn private_key(pem: &str) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::pem_slice_iter(pem.as_bytes()).find_map(Result::ok)
}

/// Says why a file has no certificate for us.
pub(super) fn instead_of_certificate(pem: &[u8], file: &Path) -> String {
    let pem = String::from_utf8_lossy(pem);
    let (has, file) = (|label| has_block(&pem, label), file.display());
    if has("TRUSTED CERTIFICATE") {
        format!(
            "it has trust settings of OpenSSL; write it without: openssl x509 -in {file} -out NEW"
        )
    } else if has("CERTIFICATE") {
        format!("its block is damaged or not complete; look: openssl x509 -in {file} -noout -text")
    } else if has("PKCS7") {
        format!("it is a PKCS7 bundle; unpack it: openssl pkcs7 -in {file} -print_certs -out NEW")
    } else if has("CERTIFICATE REQUEST") || has("NEW CERTIFICATE REQUEST") {
        format!(
            "it is a request, which a CA has to sign: openssl x509 -req -in {file} -CA ca.pem \
            -CAkey ca-key.pem -CAcreateserial -days 365 -out NEW"
        )
    } else if pem.contains("PRIVATE KEY-----") {
        "it is a key: are certificate and key swapped?".to_owned()
    } else {
        "expected a block -----BEGIN CERTIFICATE-----".to_owned()
    }
}

/// Says why the key of a file cannot be used.
pub(super) fn unusable_key(pem: &str, file: &Path) -> String {
    let (has, file) = (|label| has_block(pem, label), file.display());
    if ENCRYPTED.iter().any(|mark| pem.contains(mark)) {
        format!(
            "it is encrypted with a passphrase; write it without one: openssl pkey -in {file} -out NEW"
        )
    } else if has("OPENSSH PRIVATE KEY") {
        format!("it is a key for SSH; make one for TLS, and a certificate for it: {NEW_KEY}")
    } else if has("PUBLIC KEY") {
        "it is the public key; the private one is needed".to_owned()
    } else if !pem.contains("PRIVATE KEY-----") && pem.contains("CERTIFICATE-----") {
        "it is a certificate: are certificate and key swapped?".to_owned()
    } else if private_key(pem).is_none() && !has("DSA PRIVATE KEY") {
        format!("it is damaged or not complete; look: openssl pkey -in {file} -noout -check")
    } else {
        format!(
            "expected RSA of at most 8192 bits, ECDSA on the named curve P-256, P-384 or P-521, or Ed25519; make \
            one, and a certificate for it: {NEW_KEY}"
        )
    }
}

fn has_block(pem: &str, label: &str) -> bool {
    pem.contains(&format!("-----BEGIN {label}-----"))
}

/// What a file should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Certificate,
    Key,
}

/// Says what a file is that holds no PEM at all.
pub(crate) fn instead_of_pem(content: &[u8], file: &Path, wanted: Wanted) -> String {
    let file = file.display();
    if content.starts_with(&[0xff, 0xfe]) || content.starts_with(&[0xfe, 0xff]) {
        return format!("it is text in UTF-16; convert it: iconv -f UTF-16 -t UTF-8 {file} -o NEW");
    }
    // DER begins with a sequence.
    if content.first() != Some(&0x30) {
        return "expected a line such as -----BEGIN CERTIFICATE-----".to_owned();
    }
    let is_pkcs12 = content
        .windows(PKCS12.len())
        .take(8)
        .any(|bytes| bytes == PKCS12);
    match (is_pkcs12, wanted) {
        (true, Wanted::Certificate) => {
            format!("it is PKCS12; unpack it: openssl pkcs12 -in {file} -nokeys -out NEW")
        }
        (true, Wanted::Key) => {
            format!("it is PKCS12; unpack it: openssl pkcs12 -in {file} -nocerts -nodes -out NEW")
        }
        (false, Wanted::Certificate) => {
            format!("it is DER; convert it: openssl x509 -inform der -in {file} -out NEW")
        }
        (false, Wanted::Key) => {
            format!("it is DER; convert it: openssl pkey -inform der -in {file} -out NEW")
        }
    }
}

#[cfg(test)]
mod tests;
