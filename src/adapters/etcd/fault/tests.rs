//! The errors are built as the libraries build them: `integration/tests/misconfigurations` shows that they come so.

use super::*;

/// A wrapper such as those of tonic and hyper.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrapped(&'static str, #[source] Box<dyn Error + Send + Sync>);

fn wrapped(words: &'static str, inner: impl Into<Box<dyn Error + Send + Sync>>) -> EtcdError {
    let inner = Wrapped(words, inner.into());
    EtcdError::GRpcStatus(Status::from_error(Box::new(Wrapped(
        "transport error",
        inner.into(),
    ))))
}

fn check(error: &EtcdError, expected: &Fault) {
    assert_eq!(Fault::of(error).as_ref(), Some(expected), "{error:?}");
}

#[test]
fn finds_the_error_of_the_kernel_behind_the_texts_of_libraries() {
    for (number, expected) in [
        (111, Fault::Refused),
        (113, Fault::HostUnreachable),
        (101, Fault::NetworkUnreachable),
        (1, Fault::NotPermitted),
        (104, Fault::Closed),
        (32, Fault::Closed),
        (110, Fault::WentSilent),
    ] {
        let error = io::Error::from_raw_os_error(number);
        check(&wrapped("tcp connect error", error), &expected);
    }
    let elapsed = io::Error::new(ErrorKind::TimedOut, "deadline has elapsed");
    check(
        &wrapped("tcp connect error", elapsed),
        &Fault::ConnectTimedOut,
    );
}

#[test]
fn finds_tls_inside_of_a_kernel_error() {
    let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    let error = io::Error::new(ErrorKind::InvalidData, tls.clone());
    check(&wrapped("connect", error), &Fault::Tls(tls));
    let text_only = io::Error::other("received fatal alert: BadCertificate");
    let alert = rustls::Error::AlertReceived(AlertDescription::BadCertificate);
    check(&wrapped("connect", text_only), &Fault::Tls(alert));
    let eof = io::Error::new(ErrorKind::UnexpectedEof, "tls handshake eof");
    check(&wrapped("connect", eof), &Fault::ClosedInHandshake);
}

#[test]
fn finds_what_the_resolver_says() {
    let words = "failed to lookup address information: Name or service not known";
    let error = wrapped("dns error", io::Error::other(words));
    check(
        &error,
        &Fault::UnknownName("Name or service not known".to_owned()),
    );
}

#[test]
fn finds_a_reason_of_http2() {
    let reset = h2::Error::from(h2::Reason::FRAME_SIZE_ERROR);
    // Only the library itself makes an error of which it is the origin.
    check(&wrapped("http2 error", reset), &Fault::Closed);
    check(
        &wrapped("http2 error", "keep-alive timed out"),
        &Fault::WentSilent,
    );
    check(
        &wrapped("x", "HTTP/2 was not negotiated."),
        &Fault::NotHttp2,
    );
    check(&wrapped("x", "connection closed"), &Fault::Closed);
}

#[test]
fn a_page_for_people_is_no_answer_of_etcd() {
    let page = "protocol error: received message with invalid compression flag: 60 (valid flags are 0 and 1) while \
        receiving response with status: 404 Not Found";
    let not_found = EtcdError::GRpcStatus(Status::internal(page));
    check(&not_found, &Fault::NotGrpc("404 Not Found".to_owned()));
    let empty = "grpc-status header missing, mapped from HTTP status code 502";
    let empty = EtcdError::GRpcStatus(Status::unavailable(empty));
    check(&empty, &Fault::NotGrpc("502".to_owned()));
    let etcd = EtcdError::GRpcStatus(Status::unavailable("etcdserver: no leader"));
    assert_eq!(Fault::of(&etcd), None);
}

#[test]
fn what_has_no_meaning_is_shown_with_all_its_causes() {
    let error = wrapped("odd", "very odd");
    check(
        &error,
        &Fault::Io("transport error: odd: very odd".to_owned()),
    );
}
