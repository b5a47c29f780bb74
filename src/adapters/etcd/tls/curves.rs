//! ECDSA where ring has none: keys on the curve P-521, and SHA-512 with P-256 and P-384. The arithmetic is that of the
//! crates `p256`, `p384` and `p521`; here they only meet rustls.

use std::fmt;
use std::sync::Arc;

use p521::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p521::pkcs8::DecodePrivateKey as _;
use rustls::sign::{Signer, SigningKey, public_key_to_spki};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm,
    SubjectPublicKeyInfoDer, alg_id,
};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

pub(super) static P256_SHA512: Algorithm = &EcdsaVerification {
    curve: Curve::P256,
    hash: Hash::Sha512,
};
pub(super) static P384_SHA512: Algorithm = &EcdsaVerification {
    curve: Curve::P384,
    hash: Hash::Sha512,
};
pub(super) static P521_SHA256: Algorithm = &EcdsaVerification {
    curve: Curve::P521,
    hash: Hash::Sha256,
};
pub(super) static P521_SHA384: Algorithm = &EcdsaVerification {
    curve: Curve::P521,
    hash: Hash::Sha384,
};
pub(super) static P521_SHA512: Algorithm = &EcdsaVerification {
    curve: Curve::P521,
    hash: Hash::Sha512,
};

#[derive(Debug, Clone, Copy)]
enum Curve {
    P256,
    P384,
    P521,
}

#[derive(Debug, Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

#[derive(Debug)]
struct EcdsaVerification {
    curve: Curve,
    hash: Hash,
}

impl SignatureVerificationAlgorithm for EcdsaVerification {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let hash = self.hash.of(message);
        let verified = match self.curve {
            Curve::P256 => verify_p256(public_key, &hash, signature),
            Curve::P384 => verify_p384(public_key, &hash, signature),
            Curve::P521 => verify_p521(public_key, &hash, signature),
        };
        verified.map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        match self.curve {
            Curve::P256 => alg_id::ECDSA_P256,
            Curve::P384 => alg_id::ECDSA_P384,
            Curve::P521 => alg_id::ECDSA_P521,
        }
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        match self.hash {
            Hash::Sha256 => alg_id::ECDSA_SHA256,
            Hash::Sha384 => alg_id::ECDSA_SHA384,
            Hash::Sha512 => alg_id::ECDSA_SHA512,
        }
    }
}

type Verified = Result<(), p521::ecdsa::Error>;

fn verify_p256(public_key: &[u8], hash: &[u8], signature: &[u8]) -> Verified {
    let signature = p256::ecdsa::Signature::from_der(signature)?;
    p256::ecdsa::VerifyingKey::from_sec1_bytes(public_key)?.verify_prehash(hash, &signature)
}

fn verify_p384(public_key: &[u8], hash: &[u8], signature: &[u8]) -> Verified {
    let signature = p384::ecdsa::Signature::from_der(signature)?;
    p384::ecdsa::VerifyingKey::from_sec1_bytes(public_key)?.verify_prehash(hash, &signature)
}

fn verify_p521(public_key: &[u8], hash: &[u8], signature: &[u8]) -> Verified {
    let signature = p521::ecdsa::Signature::from_der(signature)?;
    p521::ecdsa::VerifyingKey::from_sec1_bytes(public_key)?.verify_prehash(hash, &signature)
}

/// Returns the key if it is one on P-521.
pub(super) fn signing_key(key: &PrivateKeyDer<'_>) -> Option<Arc<dyn SigningKey>> {
    let secret = match key {
        PrivateKeyDer::Sec1(sec1) => p521::SecretKey::from_sec1_der(sec1.secret_sec1_der()).ok()?,
        PrivateKeyDer::Pkcs8(pkcs8) => {
            p521::SecretKey::from_pkcs8_der(pkcs8.secret_pkcs8_der()).ok()?
        }
        PrivateKeyDer::Pkcs1(_) | _ => return None,
    };
    Some(Arc::new(P521Key(Arc::new(secret.into()))))
}

#[derive(Clone)]
struct P521Key(Arc<p521::ecdsa::SigningKey>);

impl fmt::Debug for P521Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("P521Key")
    }
}

impl SigningKey for P521Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let can = offered.contains(&self.scheme());
        can.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let point = self.0.verifying_key().to_sec1_point(false);
        Some(public_key_to_spki(&alg_id::ECDSA_P521, point.as_bytes()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for P521Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: Result<p521::ecdsa::DerSignature, _> =
            self.0.sign_prehash(&Hash::Sha512.of(message));
        let signature = signature.map_err(|_| Error::General("signing failed".to_owned()))?;
        Ok(signature.as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP521_SHA512
    }
}
