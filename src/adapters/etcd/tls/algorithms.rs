//! Which signatures count, in certificates and in the handshake: those of ring, and those of `curves` and `old_rsa`.
//! Go takes the same. What is missing is too weak: SHA-1 and MD5, DSA, RSA below 1024 bits.

use rustls::SignatureScheme;
use rustls::crypto::WebPkiSupportedAlgorithms;
use webpki::ring;

use crate::adapters::etcd::tls::curves::{
    P256_SHA512, P384_SHA512, P521_SHA256, P521_SHA384, P521_SHA512,
};
use crate::adapters::etcd::tls::old_rsa::{
    PKCS1_SHA256, PKCS1_SHA384, PKCS1_SHA512, PSS_SHA256, PSS_SHA384, PSS_SHA512,
};

/// In the order of rustls, and what it lacks after it. TLS 1.3 takes only the first algorithm of each line.
pub(super) const ALL: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        ring::ECDSA_P256_SHA256,
        ring::ECDSA_P256_SHA384,
        P256_SHA512,
        ring::ECDSA_P384_SHA256,
        ring::ECDSA_P384_SHA384,
        P384_SHA512,
        P521_SHA256,
        P521_SHA384,
        P521_SHA512,
        ring::ED25519,
        PSS_SHA256,
        PSS_SHA384,
        PSS_SHA512,
        PKCS1_SHA256,
        PKCS1_SHA384,
        PKCS1_SHA512,
        ring::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        ring::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        ring::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[
                ring::ECDSA_P384_SHA384,
                ring::ECDSA_P256_SHA384,
                P521_SHA384,
            ],
        ),
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[
                ring::ECDSA_P256_SHA256,
                ring::ECDSA_P384_SHA256,
                P521_SHA256,
            ],
        ),
        (
            SignatureScheme::ECDSA_NISTP521_SHA512,
            &[P521_SHA512, P384_SHA512, P256_SHA512],
        ),
        (SignatureScheme::ED25519, &[ring::ED25519]),
        (SignatureScheme::RSA_PSS_SHA512, &[PSS_SHA512]),
        (SignatureScheme::RSA_PSS_SHA384, &[PSS_SHA384]),
        (SignatureScheme::RSA_PSS_SHA256, &[PSS_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[PKCS1_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[PKCS1_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[PKCS1_SHA256]),
    ],
};
