//! What to do about an error of TLS: which certificate is wrong, and whose. Pure.

use std::net::IpAddr;
use std::path::Path;

use rustls::{AlertDescription, CertificateError, Error};

use crate::adapters::etcd::diagnose::{ErrorContext, invalid_now, reach};
use crate::adapters::etcd::fault::ABOUT_OUR_CERTIFICATE;
use crate::adapters::etcd::fault::certificate::{Refusal, old_hash};

/// Returns what to do, unless the words say it all.
pub(super) fn hint(error: &Error, context: &ErrorContext<'_>) -> Option<String> {
    let endpoint = context.endpoint;
    if let Error::InvalidCertificate(why) = error {
        return server_certificate(why, context);
    }
    if let Error::AlertReceived(alert) = error {
        return of_alert(*alert, context);
    }
    if matches!(error, Error::InvalidMessage(_)) {
        return Some(format!(
            "etcd does not use TLS at {endpoint}: use http:// in --etcd-endpoints"
        ));
    }
    matches!(error, Error::PeerIncompatible(_)).then(no_common_version)
}

fn of_alert(alert: AlertDescription, context: &ErrorContext<'_>) -> Option<String> {
    if ABOUT_OUR_CERTIFICATE.contains(&alert) {
        Some(refused_client(context))
    } else if alert == AlertDescription::NoApplicationProtocol {
        Some(reach::NO_ETCD.to_owned())
    } else if [
        AlertDescription::ProtocolVersion,
        AlertDescription::HandshakeFailure,
        AlertDescription::InsufficientSecurity,
    ]
    .contains(&alert)
    {
        Some(no_common_version())
    } else {
        None
    }
}

fn no_common_version() -> String {
    "flanneld and the server have no TLS version or cipher in common: flanneld speaks TLS 1.2 and 1.3, with ECDHE and \
    AES-GCM or ChaCha20 (see etcd's --cipher-suites)"
        .to_owned()
}

fn server_certificate(why: &CertificateError, context: &ErrorContext<'_>) -> Option<String> {
    use CertificateError as Why;
    let endpoint = context.endpoint;
    let of_etcd = format!("the certificate of etcd at {endpoint}");
    let text = if matches!(why, Why::Expired | Why::ExpiredContext { .. }) {
        format!("{of_etcd} has expired: renew it there, or check this host's clock")
    } else if matches!(why, Why::NotValidYet | Why::NotValidYetContext { .. }) {
        format!("{of_etcd} is not valid yet: check this host's clock")
    } else if matches!(why, Why::UnknownIssuer | Why::BadSignature) {
        wrong_ca(context.access.files.ca.as_deref())
    } else {
        let (problem, remedy) = wrong_kind(why, endpoint)?;
        let command = sign_for(endpoint);
        format!("{of_etcd} {problem}: {remedy}: {command}")
    };
    Some(text)
}

/// Says what a certificate lacks that has to be signed again, and how.
fn wrong_kind(why: &CertificateError, endpoint: &str) -> Option<(String, &'static str)> {
    use CertificateError as Why;
    if let Why::NotValidForNameContext { presented, .. } = why
        && presented.is_empty()
    {
        let problem = "names no host, since a common name does not count";
        return Some((problem.to_owned(), "sign it with subjectAltName"));
    }
    if let Some(refusal) = Refusal::of(why) {
        return Some(of_refusal(refusal));
    }
    if let Some(hash) = old_hash(why) {
        let problem = format!("or that of an authority above it is signed with {hash}");
        return Some((problem, "sign it with SHA-256"));
    }
    let found = if matches!(
        why,
        Why::NotValidForName | Why::NotValidForNameContext { .. }
    ) {
        (
            format!("does not name the host in {endpoint}"),
            "use a name that it contains, or sign one with this name",
        )
    } else if matches!(why, Why::InvalidPurpose | Why::InvalidPurposeContext { .. }) {
        (
            "is not one for servers".to_owned(),
            "sign one with the extended key usage serverAuth, or with none",
        )
    } else if matches!(
        why,
        Why::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    ) {
        (
            "is signed by an authority whose key is not supported".to_owned(),
            "use an authority with a key of RSA, Ed25519, P-256, P-384 or P-521",
        )
    } else {
        return None;
    };
    Some(found)
}

fn of_refusal(refusal: Refusal) -> (String, &'static str) {
    match refusal {
        Refusal::Authority => (
            "is that of an authority (CA:TRUE), signed by an intermediate one".to_owned(),
            "put this certificate into --etcd-cafile, or sign one with CA:FALSE",
        ),
        Refusal::Version1 => (
            "is of X.509 version 1, which cannot name hosts".to_owned(),
            "sign it with extensions",
        ),
        Refusal::CriticalExtension => (
            "has a critical extension that flanneld does not know".to_owned(),
            "sign one without it",
        ),
        Refusal::NameConstraints => (
            "has a name that an authority above it may not sign for".to_owned(),
            "use another authority, or a name that it permits",
        ),
        Refusal::ShortKey(bits) => (
            format!(
                "or that of an authority above it has an RSA key of {bits} bits, which can be broken"
            ),
            "make a key of 2048 bits or more (openssl genrsa -out etcd-key.pem 2048) and sign a certificate for it",
        ),
    }
}

/// The command that signs a certificate for etcd which everyone takes.
fn sign_for(endpoint: &str) -> String {
    let host = host_of(endpoint);
    let kind = if host.parse::<IpAddr>().is_ok() {
        "IP"
    } else {
        "DNS"
    };
    format!(
        "openssl x509 -req -in etcd.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -sha256 -days 365 -extfile \
        <(echo subjectAltName={kind}:{host}) -out etcd.pem"
    )
}

/// Returns the host of `https://HOST:PORT`.
fn host_of(endpoint: &str) -> &str {
    let rest = endpoint.rsplit("://").next().unwrap_or(endpoint);
    let rest = rest.split('/').next().unwrap_or(rest);
    let host = match rest.rsplit_once(':') {
        // What follows the last colon of an IPv6 address without a port is part of it.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => rest,
    };
    host.trim_start_matches('[').trim_end_matches(']')
}

fn wrong_ca(ca: Option<&Path>) -> String {
    match ca {
        Some(ca) => format!(
            "etcd's certificate is not signed by an authority in \"{}\": \
            put the CA that signed it into this file (--etcd-cafile)",
            ca.display()
        ),
        None => "etcd's certificate is not signed by an authority that this system trusts: \
            set --etcd-cafile to the CA that signed it"
            .to_owned(),
    }
}

/// Says what may be wrong with our own certificate.
pub(super) fn refused_client(context: &ErrorContext<'_>) -> String {
    let access = context.access;
    if let Some(invalid) = invalid_now(access, context.now).or_else(|| wrong_client(context)) {
        return invalid;
    }
    match &access.files.certificate {
        Some(file) => format!(
            "if etcd is running there, it does not trust our certificate \"{}\": \
            add the CA that signed it to etcd's --trusted-ca-file",
            file.display()
        ),
        None => "if etcd is running there, it requires a client certificate: \
            set --etcd-certfile and --etcd-keyfile"
            .to_owned(),
    }
}

/// Says what etcd cannot take of our certificate, whoever signed it.
fn wrong_client(context: &ErrorContext<'_>) -> Option<String> {
    let access = context.access;
    let (certificate, file) = (access.certificate()?, access.files.certificate.as_ref()?);
    let problem = match certificate.old_signature {
        Some(hash) => format!("is signed with {hash}, which etcd does not take"),
        None if !certificate.is_for_clients => {
            "is not one for clients: it lacks the extended key usage clientAuth".to_owned()
        }
        None => return None,
    };
    Some(format!(
        "our certificate \"{}\" {problem}; sign another: openssl x509 -req -in node.csr -CA ca.pem -CAkey ca-key.pem \
        -CAcreateserial -sha256 -days 365 -out node.pem",
        file.display()
    ))
}
