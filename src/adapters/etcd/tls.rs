//! The TLS settings of a connection to etcd: what etcdctl takes works here too. rustls and ring do almost all;
//! `curves`, `old_rsa` and `verifier` add the keys, signatures and certificates that they refuse. Nothing here takes a
//! certificate of etcd without its name, its validity and its purpose.

mod algorithms;
mod curves;
mod old_rsa;
mod verifier;

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::adapters::etcd::access::EtcdTls;
use crate::adapters::etcd::certificate::Elements;
use crate::adapters::etcd::pem;
use crate::adapters::etcd::tls::verifier::ServerVerifier;
use crate::model::secret::Secret;

/// How HTTP/2 is named in the handshake.
pub(super) const HTTP2: &[u8] = b"h2";

/// Why a certificate and a key are no identity.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IdentityProblem {
    /// It is of a kind that TLS or we cannot use, or damaged.
    UnusableKey,
    /// It belongs to no certificate of the file.
    OtherKey,
    /// Its certificate stands behind another one.
    NotFirst,
}

/// Makes the settings for TLS. The files have passed [`check`](super::check::check).
///
/// # Errors
/// Returns what is missing: the system's authorities, or what the files have lost since.
pub(super) fn client_config(tls: &EtcdTls) -> io::Result<ClientConfig> {
    let provider = Arc::new(CryptoProvider {
        signature_verification_algorithms: algorithms::ALL,
        ..ring::default_provider()
    });
    let authorities = match &tls.ca {
        Some(ca) => pem::certificates(ca),
        None => rustls_native_certs::load_native_certs().certs,
    };
    let verifier = ServerVerifier::new(authorities, &provider).map_err(io::Error::other)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls.identity {
        Some((certificate, key)) => builder.with_client_cert_resolver(resolver(certificate, key)?),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

fn resolver(certificate: &[u8], key: &Secret) -> io::Result<Arc<dyn ResolvesClientCert>> {
    let identity = identity(certificate, key)
        .map_err(|problem| io::Error::other(format!("client certificate: {problem:?}")))?;
    Ok(Arc::new(SingleCertAndKey::from(identity)))
}

/// Puts our certificate and its key together. rustls would read the certificate for that and refuses version 1, though
/// only etcd has to judge it.
///
/// # Errors
/// Returns why they are no identity.
pub(super) fn identity(certificate: &[u8], key: &Secret) -> Result<CertifiedKey, IdentityProblem> {
    let key = pem::private_key(&key.0).ok_or(IdentityProblem::UnusableKey)?;
    let key = signing_key(&key).ok_or(IdentityProblem::UnusableKey)?;
    let chain = pem::certificates(certificate);
    let fits = |der: &CertificateDer<'_>| {
        let found = Elements::read(der);
        found.is_some_and(|found| {
            key.public_key()
                .is_some_and(|public| public.as_ref() == found.public_key)
        })
    };
    match chain.iter().position(fits) {
        Some(0) => Ok(CertifiedKey::new(chain, key)),
        Some(_) => Err(IdentityProblem::NotFirst),
        None => Err(IdentityProblem::OtherKey),
    }
}

/// ring has most keys, and what it has is used.
fn signing_key(key: &PrivateKeyDer<'_>) -> Option<Arc<dyn SigningKey>> {
    ring::sign::any_supported_type(key)
        .ok()
        .or_else(|| curves::signing_key(key))
        .or_else(|| old_rsa::signing_key(key))
}

#[cfg(test)]
mod tests;
