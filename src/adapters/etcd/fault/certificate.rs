//! Why etcd's certificate was refused, in words. The library adds times in seconds since 1970 and object identifiers as
//! lists of bytes, and wraps what it has no name for. Pure.

use rustls::{CertificateError, OtherError};

use crate::adapters::etcd::certificate::{ShortKey, old_signature};

/// What webpki alone tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::adapters::etcd) enum Refusal {
    /// It is that of an authority.
    Authority,
    Version1,
    CriticalExtension,
    NameConstraints,
    ShortKey(usize),
}

const KNOWN: [(webpki::Error, Refusal); 4] = [
    (webpki::Error::CaUsedAsEndEntity, Refusal::Authority),
    (webpki::Error::UnsupportedCertVersion, Refusal::Version1),
    (
        webpki::Error::UnsupportedCriticalExtension,
        Refusal::CriticalExtension,
    ),
    (
        webpki::Error::NameConstraintViolation,
        Refusal::NameConstraints,
    ),
];

impl Refusal {
    pub(in crate::adapters::etcd) fn of(why: &CertificateError) -> Option<Self> {
        let CertificateError::Other(OtherError(inner)) = why else {
            return None;
        };
        if let Some(ShortKey(bits)) = inner.downcast_ref() {
            return Some(Self::ShortKey(*bits));
        }
        let error = inner.downcast_ref()?;
        let mut known = KNOWN.into_iter();
        let (_, refusal) = known.find(|(known, _)| known == error)?;
        Some(refusal)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Authority => "it is that of an authority (CA:TRUE)",
            Self::Version1 => "it is an X.509 certificate of version 1",
            Self::CriticalExtension => "it has a critical extension that flanneld does not know",
            Self::NameConstraints => "an authority above it may not sign for its names",
            Self::ShortKey(_) => "its RSA key, or that of an authority above it, is too short",
        }
    }
}

pub(super) fn problem(why: &CertificateError) -> String {
    use CertificateError as Why;
    if let Some(refusal) = Refusal::of(why) {
        return refusal.words().to_owned();
    }
    let text = why.to_string();
    if matches!(why, Why::Expired | Why::ExpiredContext { .. }) {
        "expired".to_owned()
    } else if matches!(why, Why::NotValidYet | Why::NotValidYetContext { .. }) {
        "not valid yet".to_owned()
    } else if matches!(
        why,
        Why::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    ) {
        "the key of an authority above it is of a kind that is not supported".to_owned()
    } else if let Some(hash) = old_hash(why) {
        format!("signed with {hash}")
    } else if matches!(why, Why::Other(_)) {
        let inner = text.rsplit('(').next().unwrap_or(&text);
        inner.trim_end_matches(')').to_owned()
    } else {
        text
    }
}

/// Returns the hash of a signature that does not count any more, or that is not known.
pub(in crate::adapters::etcd) fn old_hash(why: &CertificateError) -> Option<&'static str> {
    let CertificateError::UnsupportedSignatureAlgorithmContext {
        signature_algorithm_id,
        ..
    } = why
    else {
        return None;
    };
    Some(old_signature(signature_algorithm_id).unwrap_or("an unknown algorithm"))
}
