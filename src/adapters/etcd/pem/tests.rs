//! Tables: what a file holds, and what is said of it.

use super::*;

fn block(label: &str) -> String {
    format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n")
}

#[test]
fn says_what_stands_instead_of_a_certificate() {
    let file = Path::new("a.pem");
    for (label, expected) in [
        ("TRUSTED CERTIFICATE", "openssl x509 -in a.pem -out NEW"),
        ("CERTIFICATE", "damaged or not complete"),
        ("PKCS7", "openssl pkcs7 -in a.pem -print_certs -out NEW"),
        ("CERTIFICATE REQUEST", "openssl x509 -req -in a.pem -CA"),
        ("EC PRIVATE KEY", "are certificate and key swapped?"),
        ("DH PARAMETERS", "expected a block"),
    ] {
        let found = instead_of_certificate(block(label).as_bytes(), file);
        assert!(found.contains(expected), "{label}: {found}");
    }
}

#[test]
fn says_why_a_key_cannot_be_used() {
    let file = Path::new("a.key");
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n\
        -----END RSA PRIVATE KEY-----\n";
    let without =
        "encrypted with a passphrase; write it without one: openssl pkey -in a.key -out NEW";
    for (pem, expected) in [
        (block("ENCRYPTED PRIVATE KEY"), without),
        (legacy.to_owned(), without),
        (block("OPENSSH PRIVATE KEY"), "a key for SSH"),
        (block("PUBLIC KEY"), "the private one is needed"),
        (block("CERTIFICATE"), "are certificate and key swapped?"),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n".to_owned(),
            "damaged or not complete",
        ),
        (block("PRIVATE KEY"), "P-256, P-384 or P-521"),
        (block("DSA PRIVATE KEY"), "openssl genpkey"),
    ] {
        let found = unusable_key(&pem, file);
        assert!(found.contains(expected), "{pem}: {found}");
    }
}

#[test]
fn says_what_a_file_without_pem_is() {
    let file = Path::new("a");
    let pkcs12 = [0x30, 0x82, 0x04, 0x00, 0x02, 0x01, 0x03, 0x30, 0x82, 0x03];
    for (content, wanted, expected) in [
        (&b"hello"[..], Wanted::Key, "expected a line such as"),
        (b"", Wanted::Key, "expected a line such as"),
        (b"\xff\xfe-\0-\0", Wanted::Certificate, "iconv -f UTF-16"),
        (
            b"0\x82\x01\0",
            Wanted::Certificate,
            "openssl x509 -inform der -in a -out NEW",
        ),
        (
            b"0\x82\x01\0",
            Wanted::Key,
            "openssl pkey -inform der -in a -out NEW",
        ),
        (&pkcs12, Wanted::Certificate, "openssl pkcs12 -in a -nokeys"),
        (&pkcs12, Wanted::Key, "openssl pkcs12 -in a -nocerts -nodes"),
    ] {
        let found = instead_of_pem(content, file, wanted);
        assert!(found.contains(expected), "{content:?}: {found}");
    }
}

#[test]
fn finds_certificates_among_other_things_and_under_their_old_names() {
    let pem = include_str!("../tls/fixtures/p521.pem");
    let windows = pem.replace('\n', "\r\n");
    let old = pem.replace("CERTIFICATE", "TRUSTED CERTIFICATE");
    let damaged = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    let key = include_str!("../tls/fixtures/p521-key.pem");
    for text in [
        format!("Certificate:\n    Data:\n{pem}"),
        windows,
        old,
        format!("{damaged}{pem}{damaged}"),
        format!("{key}{pem}"),
    ] {
        assert_eq!(certificates(text.as_bytes()).len(), 1, "{text}");
    }
    assert!(private_key(&format!("{pem}{key}")).is_some());
}
