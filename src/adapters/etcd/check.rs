//! Checks the certificates and the key as far as that works without asking etcd. Pure; never reads
//! a file.

use std::path::{Path, PathBuf};

use tonic::transport::{self, ClientTlsConfig, Endpoint, Identity};

use crate::adapters::etcd::access::EtcdAccess;
use crate::adapters::etcd::certificate;
use crate::model::secret::Secret;

/// rustls' word for a key that belongs to another certificate.
const KEY_MISMATCH: &str = "KeyMismatch";

/// A file that cannot be used, whatever etcd says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableFile {
    /// The file holds something else, or is only half written.
    #[error(
        "\"{}\" contains no readable certificate: expected a block -----BEGIN CERTIFICATE-----",
        .0.display()
    )]
    NoCertificate(PathBuf),
    #[error(
        "the key in \"{}\" cannot be used with the certificate in \"{}\": {reason}",
        key.display(),
        certificate.display()
    )]
    Key {
        key: PathBuf,
        certificate: PathBuf,
        reason: String,
    },
}

/// Checks what was read. An expired certificate passes: its file may be renewed at any time.
///
/// # Errors
/// Returns which file cannot be used, and why.
pub(crate) fn check(access: &EtcdAccess) -> Result<(), UnusableFile> {
    let (tls, files) = (&access.tls, &access.files);
    if let Some(ca) = &tls.ca {
        expect_certificate(ca, files.ca.as_deref())?;
    }
    let Some((certificate, key)) = &tls.identity else {
        return Ok(());
    };
    expect_certificate(certificate, files.certificate.as_deref())?;
    try_identity(certificate, key).map_err(|error| UnusableFile::Key {
        key: files.key.clone().unwrap_or_default(),
        certificate: files.certificate.clone().unwrap_or_default(),
        reason: key_problem(&error),
    })
}

fn expect_certificate(pem: &[u8], file: Option<&Path>) -> Result<(), UnusableFile> {
    if certificate::all(pem).is_empty() {
        let file = file.map(Path::to_owned).unwrap_or_default();
        return Err(UnusableFile::NoCertificate(file));
    }
    Ok(())
}

/// Lets the TLS library put certificate and key together, as for a connection; none is made.
fn try_identity(certificate: &[u8], key: &Secret) -> Result<(), transport::Error> {
    let tls = ClientTlsConfig::new().identity(Identity::from_pem(certificate, &key.0));
    Endpoint::from_static("https://etcd")
        .tls_config(tls)
        .map(drop)
}

fn key_problem(error: &transport::Error) -> String {
    let text = crate::error::chain(error);
    if text.contains(KEY_MISMATCH) {
        return "it belongs to another certificate".to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::etcd::access::{AccessFiles, EtcdTls};
    use crate::adapters::etcd::certificate::tests::identity;

    fn access(certificate: &str, key: &str) -> EtcdAccess {
        let files = AccessFiles {
            ca: Some("ca.pem".into()),
            certificate: Some("cert.pem".into()),
            key: Some("key.pem".into()),
            ..AccessFiles::default()
        };
        let identity = Some((certificate.as_bytes().to_vec(), Secret(key.to_owned())));
        EtcdAccess {
            tls: EtcdTls { ca: None, identity },
            files,
            ..EtcdAccess::default()
        }
    }

    fn problem(access: &EtcdAccess) -> String {
        check(access).expect_err("the files are wrong").to_string()
    }

    #[test]
    fn accepts_a_certificate_with_its_key_and_no_files_at_all() {
        let (certificate, key) = identity();
        assert!(check(&access(&certificate, &key)).is_ok());
        assert!(check(&EtcdAccess::default()).is_ok());
    }

    #[test]
    fn names_the_key_that_does_not_fit() {
        let ((certificate, _), (_, other_key)) = (identity(), identity());
        let both = "the key in \"key.pem\" cannot be used with the certificate in \"cert.pem\": ";
        assert_eq!(
            problem(&access(&certificate, &other_key)),
            format!("{both}it belongs to another certificate")
        );
        let half_written = problem(&access(&certificate, "-----BEGIN PRIVATE KEY-----\n"));
        assert!(half_written.starts_with(both), "{half_written}");
    }

    #[test]
    fn names_the_file_without_a_certificate() {
        let (certificate, key) = identity();
        let half_written = problem(&access(&certificate[..100], &key));
        assert!(
            half_written.starts_with("\"cert.pem\" contains no readable certificate"),
            "{half_written}"
        );
        let mut wrong_ca = access(&certificate, &key);
        wrong_ca.tls.ca = Some(key.into_bytes());
        let wrong_ca = problem(&wrong_ca);
        assert!(
            wrong_ca.starts_with("\"ca.pem\" contains no readable certificate"),
            "{wrong_ca}"
        );
    }
}
