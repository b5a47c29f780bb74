//! What went wrong with a connection to etcd, found in the typed causes of an error: kernel, TLS, HTTP/2, proxy. The
//! texts of the libraries are read only where they have no type. Pure; never judges whose fault it is: that is
//! [`diagnose`](super::diagnose)'s.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

use etcd_client::Error as EtcdError;
use rustls::AlertDescription;
use tonic::Status;

pub(super) mod certificate;

/// The library's words when a host name cannot be resolved; the cause below says why.
const DNS_ERROR: &str = "dns error";
/// Our own words when a TLS server does not agree to HTTP/2.
pub(super) const NO_HTTP2_IN_TLS: &str = "HTTP/2 was not negotiated";
/// The library's words when HTTP/2 probes go unanswered.
const PROBE_TIMED_OUT: &str = "keep-alive timed out";
/// What stands before the HTTP status in the library's two texts for an answer that is not gRPC.
const BEFORE_HTTP_STATUS: [&str; 2] = ["receiving response with status: ", "HTTP status code "];
/// The library's words for an alert, where its type is lost: HTTP/2 keeps only the text of an error.
const ALERT: &str = "received fatal alert: ";
/// Alerts of a server that wants another client certificate than it got.
pub(super) const ABOUT_OUR_CERTIFICATE: [AlertDescription; 10] = [
    AlertDescription::NoCertificate,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::DecryptError,
    AlertDescription::CertificateRequired,
];
/// The longest part of an answer of an unknown server that is shown.
const MAX_SHOWN: usize = 60;

/// What errors of the kernel mean.
const KINDS: [(ErrorKind, Fault); 11] = [
    (ErrorKind::ConnectionRefused, Fault::Refused),
    (ErrorKind::HostUnreachable, Fault::HostUnreachable),
    (ErrorKind::NetworkUnreachable, Fault::NetworkUnreachable),
    (ErrorKind::NetworkDown, Fault::NetworkUnreachable),
    (ErrorKind::AddrNotAvailable, Fault::NetworkUnreachable),
    (ErrorKind::PermissionDenied, Fault::NotPermitted),
    (ErrorKind::UnexpectedEof, Fault::Closed),
    (ErrorKind::BrokenPipe, Fault::Closed),
    (ErrorKind::ConnectionReset, Fault::Closed),
    (ErrorKind::ConnectionAborted, Fault::Closed),
    (ErrorKind::NotConnected, Fault::Closed),
];

/// What went wrong below etcd.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fault {
    /// The kernel refused: ECONNREFUSED.
    Refused,
    /// No answer to a SYN.
    ConnectTimedOut,
    /// EHOSTUNREACH: no answer to ARP, or an ICMP message.
    HostUnreachable,
    /// ENETUNREACH: no route, or an ICMP message.
    NetworkUnreachable,
    /// EPERM or EACCES: this host does not let the connection out.
    NotPermitted,
    /// The resolver's words.
    UnknownName(String),
    /// The other side closed the connection.
    Closed,
    /// The other side closed the connection in the TLS handshake.
    ClosedInHandshake,
    /// What was sent was not acknowledged, or a probe was not answered.
    WentSilent,
    /// The other side ended an HTTP/2 connection, for the reason that it gave.
    GoAway(String),
    /// The other side does not speak HTTP/2.
    NotHttp2,
    /// The other side speaks HTTP/2 and no gRPC: the HTTP status.
    NotGrpc(String),
    Tls(rustls::Error),
    /// Another error of the kernel.
    Io(String),
}

impl Fault {
    /// Finds the fault behind an error; `None` if etcd itself has answered.
    pub(super) fn of(error: &EtcdError) -> Option<Self> {
        match error {
            EtcdError::TransportError(error) => {
                Some(in_chain(error).unwrap_or_else(|| other(error)))
            }
            EtcdError::IoError(error) => Some(of_io(error)),
            EtcdError::GRpcStatus(status) => of_status(status),
            // The library's error for a stream that ended without an answer.
            EtcdError::WatchError(_) => Some(Self::Closed),
            EtcdError::InvalidArgs(_)
            | EtcdError::InvalidUri(_)
            | EtcdError::Utf8Error(_)
            | EtcdError::LeaseKeepAliveError(_)
            | EtcdError::ElectError(_)
            | EtcdError::InvalidMetadataValue(_)
            | EtcdError::EndpointError(_)
            | EtcdError::EndpointsNotManaged
            | EtcdError::Internal(_) => None,
        }
    }

    /// Returns whether the other side hung up without a reason.
    pub(super) const fn is_hang_up(&self) -> bool {
        matches!(self, Self::Closed | Self::ClosedInHandshake)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::ConnectTimedOut => f.write_str("no answer to the attempt to connect"),
            Self::HostUnreachable => f.write_str("host unreachable"),
            Self::NetworkUnreachable => f.write_str("network unreachable"),
            Self::NotPermitted => f.write_str("this host does not permit the connection"),
            Self::UnknownName(words) => write!(f, "the host name cannot be resolved: {words}"),
            Self::Closed => f.write_str("the other side closed the connection"),
            Self::ClosedInHandshake => {
                f.write_str("the other side closed the connection during the TLS handshake")
            }
            Self::WentSilent => f.write_str("the connection went silent"),
            Self::GoAway(reason) => {
                write!(
                    f,
                    "the other side ended the connection (HTTP/2 GOAWAY, {reason})"
                )
            }
            Self::NotHttp2 => f.write_str("the server does not speak HTTP/2"),
            Self::NotGrpc(status) => {
                write!(f, "the server answers HTTP status {status}, and no gRPC")
            }
            Self::Tls(rustls::Error::InvalidCertificate(why)) => {
                write!(f, "invalid peer certificate: {}", certificate::problem(why))
            }
            Self::Tls(error) => write!(f, "{error}"),
            Self::Io(words) => f.write_str(words),
        }
    }
}

/// Without a cause, a status is etcd's own, unless it came with a page for people.
fn of_status(status: &Status) -> Option<Fault> {
    let Some(source) = status.source() else {
        return http_status(status).map(Fault::NotGrpc);
    };
    Some(in_chain(source).unwrap_or_else(|| other(source)))
}

/// Returns the HTTP status of an answer that is not gRPC.
fn http_status(status: &Status) -> Option<String> {
    let words = status.message();
    let mut starts = BEFORE_HTTP_STATUS.iter();
    let (_, rest) = starts.find_map(|before| words.split_once(before))?;
    let shown: String = rest.chars().take(MAX_SHOWN).collect();
    Some(shown.escape_debug().to_string())
}

/// Finds the innermost cause that has a meaning.
fn in_chain(error: &(dyn Error + 'static)) -> Option<Fault> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        found = match (of_one(error), found) {
            // An error without a meaning says less than what is known already.
            (Some(Fault::Io(_)) | None, Some(known)) => Some(known),
            (inner, _) => inner,
        };
        next = error.source();
    }
    found
}

fn of_one(error: &(dyn Error + 'static)) -> Option<Fault> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(of_io(error));
    }
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return of_h2(error);
    }
    let words = error.to_string();
    if words == DNS_ERROR {
        let why = error.source().map(crate::error::chain);
        return Some(Fault::UnknownName(resolver_words(&why.unwrap_or_default())));
    }
    if words.contains(NO_HTTP2_IN_TLS) {
        return Some(Fault::NotHttp2);
    }
    if words.contains(PROBE_TIMED_OUT) {
        return Some(Fault::WentSilent);
    }
    // hyper has a type for it, and keeps it to itself.
    (words == "connection closed" || words == "operation was canceled").then_some(Fault::Closed)
}

/// The resolver's errors come as kernel errors without a number.
fn resolver_words(words: &str) -> String {
    let end = words.rsplit(": ").next();
    end.unwrap_or(words).to_owned()
}

/// An error of TLS is wrapped into one of the kernel, and no source of it.
fn of_io(error: &io::Error) -> Fault {
    let inner = error.get_ref();
    if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return Fault::Tls(tls.clone());
    }
    let (kind, words) = (error.kind(), error.to_string());
    if let Some(alert) = about_our_certificate(&words) {
        return Fault::Tls(rustls::Error::AlertReceived(alert));
    }
    if kind == ErrorKind::TimedOut {
        // What the kernel gives up was sent on a connection that stood.
        let by_kernel = error.raw_os_error().is_some();
        return if by_kernel {
            Fault::WentSilent
        } else {
            Fault::ConnectTimedOut
        };
    }
    if kind == ErrorKind::UnexpectedEof && words.contains("handshake") {
        return Fault::ClosedInHandshake;
    }
    let mut kinds = KINDS.iter();
    let known = kinds.find(|(known, _)| *known == kind);
    known.map_or(Fault::Io(words), |(_, fault)| fault.clone())
}

fn about_our_certificate(words: &str) -> Option<AlertDescription> {
    let (_, name) = words.split_once(ALERT)?;
    let mut alerts = ABOUT_OUR_CERTIFICATE.into_iter();
    alerts.find(|alert| format!("{alert:?}") == name)
}

fn of_h2(error: &h2::Error) -> Option<Fault> {
    if let Some(io) = error.get_io() {
        return Some(of_io(io));
    }
    let reason = error.reason()?;
    if error.is_library() {
        // What came is no frame.
        let no_frame = [h2::Reason::FRAME_SIZE_ERROR, h2::Reason::PROTOCOL_ERROR];
        return no_frame.contains(&reason).then_some(Fault::NotHttp2);
    }
    Some(if error.is_go_away() {
        Fault::GoAway(reason.description().to_owned())
    } else {
        Fault::Closed
    })
}

fn other(error: &(dyn Error + 'static)) -> Fault {
    Fault::Io(crate::error::chain(error))
}

#[cfg(test)]
mod tests;
