//! Owns what opens etcd to us: certificates, key, user and password, with the names of the files they came from, and the
//! judgement whether they can be used at all. Pure: the files are read by whoever makes a [`Source`].

use std::path::PathBuf;
use std::time::SystemTime;

use crate::adapters::etcd::certificate;
use crate::adapters::etcd::certificate::Certificate;
use crate::adapters::etcd::connect;
use crate::model::secret::{Credentials, Secret};

/// How to reach etcd and be let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// URLs of the members, at least one.
    pub endpoints: Vec<String>,
    /// Certificates and key.
    pub tls: Tls,
    /// User and password, if etcd asks for them.
    pub credentials: Option<Credentials>,
    /// Where all this came from.
    pub files: Files,
}

/// PEM texts for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that we trust; those of the system if there is none.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate and its key.
    pub identity: Option<(Vec<u8>, Secret)>,
}

/// The names of the files, for errors that must name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Of the authorities.
    pub ca: Option<PathBuf>,
    /// Of our certificate.
    pub certificate: Option<PathBuf>,
    /// Of its key.
    pub key: Option<PathBuf>,
    /// Of the password.
    pub password: Option<PathBuf>,
}

/// Reads the files again when they may have been renewed.
pub struct Source {
    /// All of it as it is on the disk now, [checked](Access::check); the error is for the log.
    pub read: Box<dyn Fn() -> Result<Access, String>>,
    /// The time of day, to tell which certificate has expired.
    pub now: fn() -> SystemTime,
    /// Yields numbers in 0..1.
    pub random: fn() -> f64,
}

/// Files that cannot be used, whatever etcd says.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Something else, or a file that is only half written.
    #[error("\"{}\" holds no certificate: expected a block -----BEGIN CERTIFICATE----- that can be read", .0.display())]
    NoCertificate(PathBuf),
    /// The certificate is of another key, or the key is none that we know.
    #[error("the key in \"{}\" cannot be used for the certificate in \"{}\": {cause}", key.display(), certificate.display())]
    Key {
        /// File of the key.
        key: PathBuf,
        /// File of the certificate.
        certificate: PathBuf,
        /// What the library says.
        cause: String,
    },
}

impl Access {
    /// Finds what can be found without asking etcd. An expired certificate passes: it may be renewed at any time.
    ///
    /// # Errors
    /// [`Unusable`], which names the file.
    pub fn check(&self) -> Result<(), Unusable> {
        let files = &self.files;
        if self
            .tls
            .ca
            .as_deref()
            .is_some_and(|pem| certificate::all(pem).is_empty())
        {
            return Err(Unusable::NoCertificate(
                files.ca.clone().unwrap_or_default(),
            ));
        }
        let Some((certificate, key)) = &self.tls.identity else {
            return Ok(());
        };
        let name = files.certificate.clone().unwrap_or_default();
        if certificate::all(certificate).is_empty() {
            return Err(Unusable::NoCertificate(name));
        }
        connect::try_identity(certificate, key).map_err(|error| {
            let cause = match crate::error::chain(&error) {
                text if text.contains("KeyMismatch") => "it belongs to another one".to_owned(),
                text => text,
            };
            Unusable::Key {
                key: files.key.clone().unwrap_or_default(),
                certificate: name,
                cause,
            }
        })
    }

    /// Our own certificate, if we show one: the first of its file, those after it lead to its authority.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        let (pem, _) = self.tls.identity.as_ref()?;
        certificate::all(pem).into_iter().next()
    }

    /// In words, what is not as it was in `before`.
    pub(super) fn renewed_since(&self, before: &Self) -> String {
        let ca = (self.tls.ca != before.tls.ca).then_some("CA");
        let identity = (self.tls.identity != before.tls.identity).then_some("certificate and key");
        let password = (self.credentials != before.credentials).then_some("password");
        let parts: Vec<&str> = [ca, identity, password].into_iter().flatten().collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::etcd::certificate::tests::identity;

    fn access(certificate: &str, key: &str) -> Access {
        let files = Files {
            ca: Some("ca.pem".into()),
            certificate: Some("cert.pem".into()),
            key: Some("key.pem".into()),
            ..Files::default()
        };
        let identity = Some((certificate.as_bytes().to_vec(), Secret(key.to_owned())));
        Access {
            tls: Tls { ca: None, identity },
            files,
            ..Access::default()
        }
    }

    #[test]
    fn names_the_file_that_is_wrong() {
        let check = |access: Access| access.check().map_err(|error| error.to_string());
        let ((certificate, key), (_, other_key)) = (&identity(), &identity());
        assert_eq!(check(access(certificate, key)), Ok(()));
        let wrong = "the key in \"key.pem\" cannot be used for the certificate in \"cert.pem\": ";
        assert_eq!(
            check(access(certificate, other_key)),
            Err(format!("{wrong}it belongs to another one"))
        );
        let none = check(access(certificate, "-----BEGIN PRIVATE KEY-----\n"))
            .expect_err("files that are wrong");
        assert!(none.starts_with(wrong), "{none}");
        let half = check(access(&certificate[..100], key)).expect_err("files that are wrong");
        assert!(
            half.starts_with("\"cert.pem\" holds no certificate"),
            "{half}"
        );
        let mut wrong_ca = access(certificate, key);
        wrong_ca.tls.ca = Some(key.as_bytes().to_vec());
        assert!(
            check(wrong_ca)
                .expect_err("files that are wrong")
                .starts_with("\"ca.pem\" holds no certificate")
        );
    }

    #[test]
    fn says_what_was_renewed_and_never_what_it_holds() {
        let (certificate, key) = &identity();
        let before = access(certificate, key);
        let credentials = Credentials {
            user: "flannel".to_owned(),
            password: Secret("hunter2".to_owned()),
        };
        let mut after = Access {
            credentials: Some(credentials),
            ..before.clone()
        };
        assert_eq!(after.renewed_since(&before), "password");
        after.tls.ca = Some(certificate.as_bytes().to_vec());
        assert_eq!(after.renewed_since(&before), "CA, password");
        assert!(
            !format!("{after:?}").contains("hunter2") && !format!("{after:?}").contains("PRIVATE")
        );
    }
}
