//! Authorities, certificates and keys, as files. Two authorities have different names, and the same authority can be
//! asked again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use integration::Tls;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority that has just come into being.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// Until when a certificate is good.
#[derive(Clone, Copy)]
pub enum Good {
    ForLong,
    /// Until the day before the year that it says.
    Until2021,
}

impl Authority {
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// A certificate for `key`, good for etcd and for its clients.
    pub fn sign(&self, key: &KeyPair, name: &str, good: Good) -> Result<String> {
        let mut params =
            CertificateParams::new(vec!["10.99.0.1".to_owned(), "127.0.0.1".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = match good {
            Good::ForLong => date_time_ymd(1970, 1, 1) + now()? + Duration::from_secs(86_400),
            Good::Until2021 => date_time_ymd(2021, 1, 1),
        };
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    /// Writes the files of a server or client, over those that are there, as a renewal does.
    pub fn issue(&self, dir: &Path, name: &str) -> Result<Tls> {
        self.issue_until(dir, name, Good::ForLong)
    }

    pub fn issue_until(&self, dir: &Path, name: &str, good: Good) -> Result<Tls> {
        let key = KeyPair::generate()?;
        let tls = paths(dir, name)?;
        fs::write(&tls.ca, &self.pem)?;
        fs::write(&tls.cert, self.sign(&key, name, good)?)?;
        fs::write(&tls.key, key.serialize_pem())?;
        Ok(tls)
    }
}

/// The paths of the files of a server or client.
pub fn paths(dir: &Path, name: &str) -> Result<Tls> {
    let dir: PathBuf = dir.join(name);
    fs::create_dir_all(&dir)?;
    Ok(Tls {
        ca: dir.join("ca.pem"),
        cert: dir.join("cert.pem"),
        key: dir.join("key.pem"),
    })
}

fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?)
}

/// The old form of a key, which PKCS8 carries inside: SEC1 for curves, PKCS1 for RSA. RFC 5208: a sequence of version,
/// algorithm, and the old form as an octet string.
pub fn old_form(key: &KeyPair, label: &str) -> Result<String> {
    let der = key.serialize_der();
    let (_, content) = der_element(&der).context("a sequence")?;
    let mut rest = content;
    let inner = loop {
        let (length, content) = der_element(rest).context("an octet string")?;
        if rest[0] == 0x04 {
            break content;
        }
        rest = &rest[length..];
    };
    let body = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, inner);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(64)
        .map(std::str::from_utf8)
        .collect::<Result<_, _>>()?;
    Ok(format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    ))
}

/// Length of the whole element, and its content.
fn der_element(input: &[u8]) -> Option<(usize, &[u8])> {
    let first = usize::from(*input.get(1)?);
    let (length, start) = match first {
        0..=0x7f => (first, 2),
        _ => {
            let bytes = input.get(2..2 + (first & 0x7f))?;
            (
                bytes
                    .iter()
                    .fold(0, |length, &byte| length << 8 | usize::from(byte)),
                2 + (first & 0x7f),
            )
        }
    };
    Some((start + length, input.get(start..start + length)?))
}
