//! RSA where ring refuses: keys of 1024 to 2047 bits, and own keys of a size or exponent that ring does not sign with.
//! The arithmetic is that of the crate `rsa`; here it only meets rustls. Keys from 2048 bits on are verified by ring.

use std::fmt;
use std::sync::Arc;

use rsa::pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _, EncodeRsaPublicKey as _};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, PrivateKey, Pss, PublicKey};
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm,
    SubjectPublicKeyInfoDer, alg_id,
};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use webpki::ring;

use crate::adapters::etcd::certificate::{STRONG_RSA, rsa_bits};

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

pub(super) static PKCS1_SHA256: Algorithm = &RsaVerification {
    scheme: Scheme::Pkcs1Sha256,
    strong: ring::RSA_PKCS1_2048_8192_SHA256,
};
pub(super) static PKCS1_SHA384: Algorithm = &RsaVerification {
    scheme: Scheme::Pkcs1Sha384,
    strong: ring::RSA_PKCS1_2048_8192_SHA384,
};
pub(super) static PKCS1_SHA512: Algorithm = &RsaVerification {
    scheme: Scheme::Pkcs1Sha512,
    strong: ring::RSA_PKCS1_2048_8192_SHA512,
};
pub(super) static PSS_SHA256: Algorithm = &RsaVerification {
    scheme: Scheme::PssSha256,
    strong: ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
};
pub(super) static PSS_SHA384: Algorithm = &RsaVerification {
    scheme: Scheme::PssSha384,
    strong: ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
};
pub(super) static PSS_SHA512: Algorithm = &RsaVerification {
    scheme: Scheme::PssSha512,
    strong: ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
};

/// How a message becomes what RSA signs.
#[derive(Debug, Clone, Copy)]
enum Scheme {
    Pkcs1Sha256,
    Pkcs1Sha384,
    Pkcs1Sha512,
    PssSha256,
    PssSha384,
    PssSha512,
}

/// What we sign with, best first.
const SIGNING: [(SignatureScheme, Scheme); 6] = [
    (SignatureScheme::RSA_PSS_SHA512, Scheme::PssSha512),
    (SignatureScheme::RSA_PSS_SHA384, Scheme::PssSha384),
    (SignatureScheme::RSA_PSS_SHA256, Scheme::PssSha256),
    (SignatureScheme::RSA_PKCS1_SHA512, Scheme::Pkcs1Sha512),
    (SignatureScheme::RSA_PKCS1_SHA384, Scheme::Pkcs1Sha384),
    (SignatureScheme::RSA_PKCS1_SHA256, Scheme::Pkcs1Sha256),
];

impl Scheme {
    fn verify(self, key: &PublicKey, message: &[u8], signature: &[u8]) -> rsa::errors::Result<()> {
        let hash = self.hash(message);
        match self {
            Self::Pkcs1Sha256 => key.verify(Pkcs1v15Sign::new::<Sha256>(), &hash, signature),
            Self::Pkcs1Sha384 => key.verify(Pkcs1v15Sign::new::<Sha384>(), &hash, signature),
            Self::Pkcs1Sha512 => key.verify(Pkcs1v15Sign::new::<Sha512>(), &hash, signature),
            Self::PssSha256 => key.verify(Pss::<Sha256>::new(), &hash, signature),
            Self::PssSha384 => key.verify(Pss::<Sha384>::new(), &hash, signature),
            Self::PssSha512 => key.verify(Pss::<Sha512>::new(), &hash, signature),
        }
    }

    fn sign(self, key: &PrivateKey, message: &[u8]) -> rsa::errors::Result<Vec<u8>> {
        let hash = self.hash(message);
        match self {
            Self::Pkcs1Sha256 => key.sign(Pkcs1v15Sign::new::<Sha256>(), &hash),
            Self::Pkcs1Sha384 => key.sign(Pkcs1v15Sign::new::<Sha384>(), &hash),
            Self::Pkcs1Sha512 => key.sign(Pkcs1v15Sign::new::<Sha512>(), &hash),
            Self::PssSha256 => key.sign(Pss::<Sha256>::new(), &hash),
            Self::PssSha384 => key.sign(Pss::<Sha384>::new(), &hash),
            Self::PssSha512 => key.sign(Pss::<Sha512>::new(), &hash),
        }
    }

    fn hash(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Pkcs1Sha256 | Self::PssSha256 => Sha256::digest(message).to_vec(),
            Self::Pkcs1Sha384 | Self::PssSha384 => Sha384::digest(message).to_vec(),
            Self::Pkcs1Sha512 | Self::PssSha512 => Sha512::digest(message).to_vec(),
        }
    }

    /// Returns how many bytes a key must have: 1024 bits are too few for PSS with SHA-512 (RFC 8017, section 9.1.1).
    fn needs(self) -> usize {
        match self {
            Self::PssSha512 => 2 * Sha512::output_size() + 2,
            Self::PssSha384 => 2 * Sha384::output_size() + 2,
            Self::PssSha256 | Self::Pkcs1Sha256 | Self::Pkcs1Sha384 | Self::Pkcs1Sha512 => 0,
        }
    }
}

#[derive(Debug)]
struct RsaVerification {
    scheme: Scheme,
    /// ring's, for keys that it takes.
    strong: Algorithm,
}

impl SignatureVerificationAlgorithm for RsaVerification {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        if rsa_bits(public_key).is_none_or(|bits| bits >= STRONG_RSA) {
            return self.strong.verify_signature(public_key, message, signature);
        }
        // This also refuses keys below 1024 bits.
        let key = PublicKey::from_pkcs1_der(public_key).map_err(|_| InvalidSignature)?;
        let verified = self.scheme.verify(&key, message, signature);
        verified.map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.strong.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.strong.signature_alg_id()
    }
}

/// Returns the key if it is of RSA. Whether it is long enough is for etcd to judge.
pub(super) fn signing_key(key: &PrivateKeyDer<'_>) -> Option<Arc<dyn SigningKey>> {
    let key = match key {
        PrivateKeyDer::Pkcs1(pkcs1) => PrivateKey::from_pkcs1_der(pkcs1.secret_pkcs1_der()).ok()?,
        PrivateKeyDer::Pkcs8(pkcs8) => PrivateKey::from_pkcs8_der(pkcs8.secret_pkcs8_der()).ok()?,
        PrivateKeyDer::Sec1(_) | _ => return None,
    };
    let public_key = key.to_public_key().to_pkcs1_der().ok()?.into_vec();
    Some(Arc::new(OldRsaKey {
        key: Arc::new(key),
        public_key,
    }))
}

struct OldRsaKey {
    key: Arc<PrivateKey>,
    public_key: Vec<u8>,
}

impl fmt::Debug for OldRsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OldRsaKey")
    }
}

impl SigningKey for OldRsaKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let mut can = SIGNING
            .iter()
            .filter(|(name, scheme)| offered.contains(name) && self.key.size() >= scheme.needs());
        let &(name, scheme) = can.next()?;
        Some(Box::new(OldRsaSigner {
            key: Arc::clone(&self.key),
            name,
            scheme,
        }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(public_key_to_spki(
            &alg_id::RSA_ENCRYPTION,
            &self.public_key,
        ))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

struct OldRsaSigner {
    key: Arc<PrivateKey>,
    name: SignatureScheme,
    scheme: Scheme,
}

impl fmt::Debug for OldRsaSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OldRsaSigner({:?})", self.name)
    }
}

impl Signer for OldRsaSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.scheme.sign(&self.key, message);
        signature.map_err(|_| Error::General("signing failed".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.name
    }
}
