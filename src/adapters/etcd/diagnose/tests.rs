//! A table: the words of etcd or of a library, what we know, and the hint.

use std::time::Duration;

use super::*;
use crate::adapters::etcd::access::{AccessFiles, EtcdTls};
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
                certificate.not_before.time
            }),
    }
}

/// Checks the hint for an error that comes from an https endpoint, on the first day of our
/// certificate.
fn check(words: &str, access: &EtcdAccess, expected: &str) {
    check_in(words, &context("https://a:2379", access), expected);
}

fn check_in(words: &str, context: &ErrorContext<'_>, expected: &str) {
    let hint = hint(words, context).unwrap_or_default();
    assert!(
        hint.contains(expected),
        "{words}: {hint:?} lacks {expected:?}"
    );
}

#[test]
fn explains_why_etcds_certificate_is_refused() {
    let (ours, nothing) = (&with_certificate(), &EtcdAccess::default());
    for (cause, access, expected) in [
        ("UnknownIssuer", ours, "in \"ca.pem\""),
        ("BadSignature", ours, "in \"ca.pem\""),
        ("UnknownIssuer", nothing, "set --etcd-cafile"),
        (
            "certificate expired: verified",
            ours,
            "of etcd at https://a:2379 has expired",
        ),
        (
            "certificate not valid yet: verified",
            ours,
            "is not valid yet",
        ),
        (
            "certificate not valid for name \"a\"",
            ours,
            "host in https://a:2379",
        ),
    ] {
        check(
            &format!("invalid peer certificate: {cause}"),
            access,
            expected,
        );
    }
    check(
        "received corrupt message of type InvalidContentType",
        nothing,
        "etcd does not use TLS at https://a:2379: use http://",
    );
}

#[test]
fn explains_why_etcd_hangs_up() {
    let (ours, nothing) = (&with_certificate(), &EtcdAccess::default());
    check(
        "connection closed",
        ours,
        "does not trust our certificate \"cert.pem\"",
    );
    check(
        "transport error",
        nothing,
        "requires a client certificate: set --etcd-certfile",
    );
    let plain = context("http://a:2379", nothing);
    check_in("connection closed", &plain, "use https://");
}

#[test]
fn names_our_own_certificate_outside_its_time() {
    let ours = with_certificate();
    let first_day = context("https://a:2379", &ours);
    let late = ErrorContext {
        now: first_day.now + Duration::from_secs(11 * 86_400),
        ..first_day
    };
    check_in(
        "connection closed",
        &late,
        "our certificate \"cert.pem\" expired at 2026-03-07 00:00:00 UTC",
    );
    let early = ErrorContext {
        now: SystemTime::UNIX_EPOCH,
        ..late
    };
    check_in(
        "connection closed",
        &early,
        "our certificate \"cert.pem\" is not valid before 2026-02-25 00:00:00 UTC",
    );
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
        check(&format!("etcdserver: {words}"), access, expected);
    }
}

#[test]
fn gives_no_hint_where_the_words_say_it_all() {
    let access = EtcdAccess::default();
    let unproven = context("http://a:2379", &access);
    for words in [
        "no answer within 5 s",
        "tcp connect error: Connection refused (os error 111)",
        "no leader",
    ] {
        assert_eq!(hint(words, &unproven), None, "{words}");
    }
    let proven = ErrorContext {
        proven: true,
        ..unproven
    };
    assert_eq!(
        hint("connection closed", &proven),
        None,
        "etcd was restarted"
    );
}
