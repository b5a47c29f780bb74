//! Judges etcd's certificate. webpki does; it is overruled in two cases that Go takes, and only after name, validity and
//! purpose have been checked here:
//!
//! - the very certificate stands in the file of authorities. Whoever put it there trusts it, whatever signed it.
//! - it is that of an authority (CA:TRUE), or for any purpose, and an authority of the file has signed it itself.
//!
//! That etcd holds the key of its certificate is always proven by the handshake.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};

use crate::adapters::etcd::certificate::{
    ANY_PURPOSE, Elements, MINIMAL_RSA, SERVER_PURPOSE, ShortKey, public_key, rsa_key_bits,
};
use crate::adapters::etcd::fault::certificate::Refusal;

#[derive(Debug)]
pub(super) struct ServerVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// The certificates of the file, as they are.
    listed: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
}

impl ServerVerifier {
    /// # Errors
    /// If none of these can be an authority.
    pub(super) fn new(
        authorities: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, VerifierBuilderError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().cloned());
        let roots = Arc::new(roots);
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
        Ok(Self {
            webpki: builder.build()?,
            listed: authorities,
            roots,
            algorithms: provider.signature_verification_algorithms.all,
        })
    }

    /// Returns whether Go would take what webpki has refused, as far as it is about who vouches for the certificate.
    fn is_vouched_for(&self, certificate: &CertificateDer<'_>, refusal: &Error) -> bool {
        let is_listed = self.listed.iter().any(|listed| listed == certificate);
        is_listed || (is_about_its_kind(refusal) && self.is_signed_by_a_root(certificate))
    }

    fn is_signed_by_a_root(&self, certificate: &CertificateDer<'_>) -> bool {
        Elements::read(certificate).is_some_and(|certificate| {
            let mut roots = self.roots.roots.iter();
            roots.any(|root| self.has_signed(root, &certificate).is_some())
        })
    }

    fn has_signed(&self, root: &TrustAnchor<'_>, certificate: &Elements<'_>) -> Option<()> {
        // What a root may sign for is webpki's to judge.
        if root.name_constraints.is_some() || *root.subject != *certificate.issuer {
            return None;
        }
        let (key_algorithm, key) = public_key(&root.subject_public_key_info)?;
        let mut algorithms = self.algorithms.iter().filter(|algorithm| {
            *algorithm.public_key_alg_id() == *key_algorithm
                && *algorithm.signature_alg_id() == *certificate.signature_algorithm
        });
        let algorithm = algorithms.next()?;
        let (signed, signature) = (certificate.signed, certificate.signature);
        algorithm.verify_signature(key, signed, signature).ok()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        expect_long_keys(std::iter::once(end_entity).chain(intermediates))?;
        let verified = self.webpki.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            Err(refusal) if self.is_vouched_for(end_entity, &refusal) => {
                expect_valid(end_entity, server_name, now)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Returns whether a certificate was refused as that of an authority, or for its purpose.
fn is_about_its_kind(refusal: &Error) -> bool {
    let Error::InvalidCertificate(why) = refusal else {
        return false;
    };
    let is_about_purpose = matches!(
        why,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }
    );
    is_about_purpose || Refusal::of(why) == Some(Refusal::Authority)
}

/// A signature by a short key would only be called wrong.
fn expect_long_keys<'a>(chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Result<(), Error> {
    for certificate in chain {
        let bits = Elements::read(certificate).and_then(|found| rsa_key_bits(found.public_key));
        if let Some(bits) = bits.filter(|bits| *bits < MINIMAL_RSA) {
            let refusal = OtherError(Arc::new(ShortKey(bits)));
            return Err(CertificateError::Other(refusal).into());
        }
    }
    Ok(())
}

/// Checks name, validity and purpose; reading the certificate refuses critical extensions that nobody knows.
fn expect_valid(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let elements = Elements::read(certificate).ok_or(CertificateError::BadEncoding)?;
    let validity = elements.validity().ok_or(CertificateError::BadEncoding)?;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    if now < validity.not_before.time {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.time {
        return Err(CertificateError::Expired.into());
    }
    let purposes = elements.purposes().ok_or(CertificateError::BadEncoding)?;
    let is_for_servers = |purpose: &&[u8]| [SERVER_PURPOSE, ANY_PURPOSE].contains(purpose);
    if !purposes.is_empty() && !purposes.iter().any(is_for_servers) {
        return Err(CertificateError::InvalidPurpose.into());
    }
    verify_server_name(&parsed, name)
}

#[cfg(test)]
mod tests;
