//! Tables: what came back, what we know, and the hint.

use std::io;
use std::time::Duration;

use etcd_client::Error as EtcdError;
use rustls::{AlertDescription, CertificateError};

use super::*;
use crate::adapters::etcd::access::{AccessFiles, EtcdTls};
use crate::adapters::etcd::call_error::tests::from_etcd;
use crate::adapters::etcd::certificate::ShortKey;
use crate::adapters::etcd::certificate::tests::identity;
use crate::model::secret::{Credentials, Secret};

/// Access with a client certificate that is valid for ten days.
fn with_certificate() -> EtcdAccess {
    let (certificate, key) = identity();
    let identity = Some((certificate.into_bytes(), Secret(key)));
    let files = AccessFiles {
        ca: Some("ca.pem".into()),
        certificate: Some("cert.pem".into()),
        ..AccessFiles::default()
    };
    EtcdAccess {
        tls: EtcdTls { ca: None, identity },
        files,
        ..EtcdAccess::default()
    }
}

fn with_password() -> EtcdAccess {
    let credentials = Some(Credentials {
        user: "flannel".to_owned(),
        password: Secret("hunter2".to_owned()),
    });
    let files = AccessFiles {
        password: Some("pw".into()),
        ..AccessFiles::default()
    };
    EtcdAccess {
        credentials,
        files,
        ..EtcdAccess::default()
    }
}

fn context<'a>(endpoint: &'a str, access: &'a EtcdAccess) -> ErrorContext<'a> {
    ErrorContext {
        endpoint,
        access,
        prefix: "/net/",
        proven: false,
        now: access
            .certificate()
            .map_or(SystemTime::UNIX_EPOCH, |certificate| {
                certificate.validity.not_before.time
            }),
    }
}

/// Checks the hint for an error of TLS from an https endpoint, on the first day of our certificate.
fn check_tls(error: rustls::Error, access: &EtcdAccess, expected: &str) {
    let error = io::Error::new(io::ErrorKind::InvalidData, error);
    check(error, &context("https://a:2379", access), expected);
}

/// Checks the hint for an error of the connection.
fn check(error: impl Into<io::Error>, context: &ErrorContext<'_>, expected: &str) {
    check_cause(
        &CallCause::Etcd(EtcdError::IoError(error.into())),
        context,
        expected,
    );
}

fn check_cause(cause: &CallCause, context: &ErrorContext<'_>, expected: &str) {
    let hint = hint(cause, context).unwrap_or_default();
    assert!(
        hint.contains(expected),
        "{cause:?}: {hint:?} lacks {expected:?}"
    );
}

#[test]
fn explains_why_etcds_certificate_is_refused() {
    let (ours, nothing) = (&with_certificate(), &EtcdAccess::default());
    for (cause, access, expected) in [
        (CertificateError::UnknownIssuer, ours, "in \"ca.pem\""),
        (CertificateError::BadSignature, ours, "in \"ca.pem\""),
        (
            CertificateError::UnknownIssuer,
            nothing,
            "set --etcd-cafile",
        ),
        (
            CertificateError::Expired,
            ours,
            "of etcd at https://a:2379 has expired",
        ),
        (CertificateError::NotValidYet, ours, "is not valid yet"),
        (
            CertificateError::NotValidForName,
            ours,
            "host in https://a:2379",
        ),
        (CertificateError::InvalidPurpose, ours, "serverAuth"),
    ] {
        check_tls(rustls::Error::InvalidCertificate(cause), access, expected);
    }
    check_tls(
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
        nothing,
        "etcd does not use TLS at https://a:2379: use http://",
    );
}

/// As rustls wraps what it has no name for.
fn unnamed(error: webpki::Error) -> CertificateError {
    CertificateError::Other(rustls::OtherError(std::sync::Arc::new(error)))
}

#[test]
fn names_the_command_that_makes_a_good_certificate_for_etcd() {
    let nothing = &EtcdAccess::default();
    let sha1 = CertificateError::UnsupportedSignatureAlgorithmContext {
        signature_algorithm_id: b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\0".to_vec(),
        supported_algorithms: Vec::new(),
    };
    let short = CertificateError::Other(rustls::OtherError(std::sync::Arc::new(ShortKey(768))));
    for (cause, expected) in [
        (unnamed(webpki::Error::CaUsedAsEndEntity), "(CA:TRUE)"),
        (unnamed(webpki::Error::UnsupportedCertVersion), "version 1"),
        (
            unnamed(webpki::Error::UnsupportedCriticalExtension),
            "a critical extension",
        ),
        (
            unnamed(webpki::Error::NameConstraintViolation),
            "may not sign for",
        ),
        (sha1, "is signed with SHA-1"),
        (short, "an RSA key of 768 bits"),
        (CertificateError::NotValidForName, "does not name the host"),
    ] {
        let error = rustls::Error::InvalidCertificate(cause);
        check_tls(error.clone(), nothing, expected);
        check_tls(error, nothing, "subjectAltName=DNS:a) -out etcd.pem");
    }
}

#[test]
fn names_the_host_of_an_endpoint_for_a_certificate() {
    let refused = || rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
    for (endpoint, expected) in [
        ("https://10.0.0.1:2379", "IP:10.0.0.1)"),
        ("https://[fd00::1]:2379", "IP:fd00::1)"),
        ("https://etcd.example", "DNS:etcd.example)"),
    ] {
        let error = io::Error::new(io::ErrorKind::InvalidData, refused());
        check(error, &context(endpoint, &EtcdAccess::default()), expected);
    }
}

#[test]
fn explains_why_etcd_hangs_up() {
    let (ours, nothing) = (&with_certificate(), &EtcdAccess::default());
    let not_trusted = "does not trust our certificate \"cert.pem\"";
    let required = "requires a client certificate: set --etcd-certfile";
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    check(reset(), &context("https://a:2379", ours), not_trusted);
    check(reset(), &context("https://a:2379", nothing), required);
    check(reset(), &context("http://a:2379", nothing), "use https://");
    let eof = io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof");
    check(eof, &context("https://a:2379", nothing), "use http://");
    let alert = |alert| rustls::Error::AlertReceived(alert);
    check_tls(alert(AlertDescription::BadCertificate), ours, not_trusted);
    // HTTP/2 keeps only the words.
    let words = io::Error::other("received fatal alert: BadCertificate");
    check(words, &context("https://a:2379", ours), not_trusted);
    check_tls(
        alert(AlertDescription::CertificateRequired),
        nothing,
        required,
    );
    check_tls(
        alert(AlertDescription::NoApplicationProtocol),
        nothing,
        "grpc_pass",
    );
    check_tls(alert(AlertDescription::ProtocolVersion), nothing, "TLS 1.2");
}

#[test]
fn a_connection_that_worked_was_cut_and_needs_no_other_certificate() {
    let access = EtcdAccess::default();
    let unproven = context("https://a:2379", &access);
    let proven = ErrorContext {
        proven: true,
        ..unproven
    };
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    check(reset, &proven, "etcd was stopped or restarted");
}

#[test]
fn names_our_own_certificate_outside_its_time() {
    let ours = with_certificate();
    let first_day = context("https://a:2379", &ours);
    let late = ErrorContext {
        now: first_day.now + Duration::from_secs(11 * 86_400),
        ..first_day
    };
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    check(
        reset(),
        &late,
        "our certificate \"cert.pem\" expired at 2026-03-07 00:00:00 UTC",
    );
    let early = ErrorContext {
        now: SystemTime::UNIX_EPOCH,
        ..late
    };
    check(
        reset(),
        &early,
        "our certificate \"cert.pem\" is not valid before 2026-02-25 00:00:00 UTC",
    );
}

#[test]
fn names_what_etcd_cannot_take_of_our_certificate() {
    let mut ours = with_certificate();
    let sha1 = include_bytes!("../tls/fixtures/sha1.pem").to_vec();
    ours.tls.identity = Some((sha1, Secret(String::new())));
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    let words = "our certificate \"cert.pem\" is signed with SHA-1";
    check(reset, &context("https://a:2379", &ours), words);
}

#[test]
fn names_user_and_keys_behind_an_error_of_authentication() {
    let (user, certificate, nothing) = (
        &with_password(),
        &with_certificate(),
        &EtcdAccess::default(),
    );
    for (words, access, expected) in [
        (
            "permission denied",
            user,
            "user \"flannel\" needs to read \"/net/\" and write \"/net/subnets/\"",
        ),
        (
            "permission denied",
            certificate,
            "user \"flannel\" (the common name in \"cert.pem\") needs to read",
        ),
        (
            "permission denied",
            nothing,
            "set by --etcd-username, needs to read",
        ),
        (
            "authentication failed, invalid user ID or password",
            user,
            "user \"flannel\": the password in \"pw\" is wrong",
        ),
        ("user name is empty", nothing, "set --etcd-username"),
        (
            "authentication is not enabled",
            user,
            "remove --etcd-username",
        ),
    ] {
        let cause = from_etcd(
            tonic::Code::PermissionDenied,
            &format!("etcdserver: {words}"),
        );
        check_cause(&cause, &context("https://a:2379", access), expected);
    }
}

#[test]
fn names_the_remedy_for_an_etcd_that_is_unwell() {
    let access = EtcdAccess::default();
    for (words, expected) in [
        (
            "etcdserver: mvcc: database space exceeded",
            "etcdctl alarm disarm",
        ),
        ("etcdserver: corrupt cluster", "etcdctl alarm list"),
        ("etcdserver: no leader", "etcdctl endpoint status --cluster"),
        (
            "etcdserver: request timed out",
            "etcdctl endpoint status --cluster",
        ),
        ("etcdserver: request is too large", "--max-request-bytes"),
        ("etcdserver: invalid auth token", "logging in again"),
        (
            "etcdserver: rpc not supported for learner",
            "member promote",
        ),
        ("unknown service etcdserverpb.KV", "grpc_pass"),
    ] {
        let cause = from_etcd(tonic::Code::Unavailable, words);
        check_cause(&cause, &context("http://a:2379", &access), expected);
    }
}

#[test]
fn says_nothing_about_words_that_are_unknown() {
    let access = EtcdAccess::default();
    let cause = from_etcd(tonic::Code::Unknown, "etcdserver: leader changed");
    assert_eq!(hint(&cause, &context("http://a:2379", &access)), None);
    assert_eq!(
        hint(&CallCause::PathChanged, &context("http://a:2379", &access)),
        None
    );
}
