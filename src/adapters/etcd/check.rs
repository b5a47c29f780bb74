//! Checks the certificates and the key as far as that works without asking etcd. Pure; never reads
//! a file.

use std::path::{Path, PathBuf};

use crate::adapters::etcd::access::EtcdAccess;
use crate::adapters::etcd::tls::IdentityProblem;
use crate::adapters::etcd::{certificate, pem, tls};

/// A file that cannot be used, whatever etcd says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableFile {
    /// The file holds something else, or is only half written.
    #[error("\"{}\" contains no readable certificate: {instead}", file.display())]
    NoCertificate { file: PathBuf, instead: String },
    #[error("the key in \"{}\" cannot be used: {reason}", key.display())]
    Key { key: PathBuf, reason: String },
    #[error(
        "the key in \"{}\" cannot be used with the certificate in \"{}\": it belongs to another certificate",
        key.display(),
        certificate.display()
    )]
    OtherKey { key: PathBuf, certificate: PathBuf },
    #[error(
        "the certificate of the key in \"{}\" is not the first in \"{}\": put it before those of its authorities",
        key.display(),
        certificate.display()
    )]
    NotFirst { key: PathBuf, certificate: PathBuf },
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
    let Err(problem) = tls::identity(certificate, key) else {
        return Ok(());
    };
    let (key_file, certificate) = (files.key.clone(), files.certificate.clone());
    let (key_file, certificate) = (
        key_file.unwrap_or_default(),
        certificate.unwrap_or_default(),
    );
    Err(match problem {
        IdentityProblem::UnusableKey => UnusableFile::Key {
            reason: pem::unusable_key(&key.0, &key_file),
            key: key_file,
        },
        IdentityProblem::OtherKey => UnusableFile::OtherKey {
            key: key_file,
            certificate,
        },
        IdentityProblem::NotFirst => UnusableFile::NotFirst {
            key: key_file,
            certificate,
        },
    })
}

/// Returns what works and should be renewed all the same, for the log.
pub(crate) fn weak_keys(access: &EtcdAccess) -> Vec<String> {
    let (tls, files) = (&access.tls, &access.files);
    let ca = tls.ca.as_deref().zip(files.ca.as_deref());
    let identity = tls.identity.as_ref().map(|(pem, _)| pem.as_slice());
    let own = identity.zip(files.certificate.as_deref());
    [ca, own]
        .into_iter()
        .flatten()
        .filter_map(|(content, file)| weak_key(content, file))
        .collect()
}

fn weak_key(content: &[u8], file: &Path) -> Option<String> {
    let found = pem::certificates(content);
    let bits = found.iter().find_map(|der| certificate::weak_rsa(der))?;
    Some(format!(
        "a certificate in \"{}\" has an RSA key of {bits} bits, which is too short to be safe: make one of 2048 or more",
        file.display()
    ))
}

fn expect_certificate(content: &[u8], file: Option<&Path>) -> Result<(), UnusableFile> {
    if certificate::all(content).is_empty() {
        let file = file.map(Path::to_owned).unwrap_or_default();
        let instead = pem::instead_of_certificate(content, &file);
        return Err(UnusableFile::NoCertificate { file, instead });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::etcd::access::{AccessFiles, EtcdTls};
    use crate::adapters::etcd::certificate::tests::identity;
    use crate::model::secret::Secret;

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
        let start = "the key in \"key.pem\" cannot be used: it is damaged or not complete";
        assert!(half_written.starts_with(start), "{half_written}");
        let (authority, _) = identity();
        let (certificate, key) = identity();
        let behind = problem(&access(&format!("{authority}{certificate}"), &key));
        assert!(
            behind.contains("is not the first in \"cert.pem\""),
            "{behind}"
        );
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

    #[test]
    fn names_the_files_with_keys_that_are_too_short_to_be_safe() {
        let (certificate, key) = identity();
        let mut access = access(&certificate, &key);
        assert_eq!(weak_keys(&access), Vec::<String>::new());
        access.tls.ca = Some(include_bytes!("tls/fixtures/rsa1024.pem").to_vec());
        let [warning] = &weak_keys(&access)[..] else {
            panic!("one warning")
        };
        assert!(
            warning.contains("\"ca.pem\" has an RSA key of 1024 bits"),
            "{warning}"
        );
    }
}
