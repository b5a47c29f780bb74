//! What to do about an error of TLS: which certificate is wrong, and whose. Pure.

use std::path::Path;

use rustls::{AlertDescription, CertificateError, Error};

use crate::adapters::etcd::diagnose::{ErrorContext, invalid_now, reach};

/// Alerts of a server that wants another client certificate than it got.
const ABOUT_OUR_CERTIFICATE: [AlertDescription; 10] = [
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
    "flanneld and the server have no TLS version or cipher in common: flanneld speaks TLS 1.2 and 1.3".to_owned()
}

fn server_certificate(why: &CertificateError, context: &ErrorContext<'_>) -> Option<String> {
    use CertificateError as Why;
    let endpoint = context.endpoint;
    let text = if matches!(why, Why::Expired | Why::ExpiredContext { .. }) {
        format!(
            "the certificate of etcd at {endpoint} has expired: \
            renew it there, or check this host's clock"
        )
    } else if matches!(why, Why::NotValidYet | Why::NotValidYetContext { .. }) {
        format!(
            "the certificate of etcd at {endpoint} is not valid yet: \
            check this host's clock"
        )
    } else if matches!(
        why,
        Why::NotValidForName | Why::NotValidForNameContext { .. }
    ) {
        format!(
            "the certificate of etcd does not name the host in {endpoint}: \
            use a name that it contains, or add this one to it"
        )
    } else if matches!(why, Why::InvalidPurpose | Why::InvalidPurposeContext { .. }) {
        format!(
            "the certificate of etcd at {endpoint} is not one for servers: \
            issue one with the extended key usage serverAuth"
        )
    } else if matches!(why, Why::UnknownIssuer | Why::BadSignature) {
        wrong_ca(context.access.files.ca.as_deref())
    } else if format!("{why:?}").contains("CaUsedAsEndEntity") {
        format!(
            "the certificate of etcd at {endpoint} is that of an authority (CA:TRUE): \
            let this authority sign another one for etcd, with CA:FALSE"
        )
    } else {
        return None;
    };
    Some(text)
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
    if let Some(invalid) = invalid_now(access, context.now) {
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
