//! What lets us in to etcd: certificates, key, user and password, with the names of the files they
//! come from. Pure: whoever makes an [`AccessSource`] reads the files;
//! [`check`](super::check::check) judges them.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::adapters::etcd::certificate;
use crate::adapters::etcd::certificate::CertificateInfo;
use crate::model::secret::{Credentials, Secret};

/// How to reach etcd and be let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EtcdAccess {
    /// URLs of the members of etcd, at least one.
    pub(crate) endpoints: Vec<String>,
    pub(crate) tls: EtcdTls,
    /// User and password, if etcd has authentication enabled.
    pub(crate) credentials: Option<Credentials>,
    pub(crate) files: AccessFiles,
}

/// PEM texts for TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EtcdTls {
    /// CAs that we trust; `None` means those of the system.
    pub(crate) ca: Option<Vec<u8>>,
    /// Our client certificate and its key.
    pub(crate) identity: Option<(Vec<u8>, Secret)>,
}

/// The names of the files, so that an error can say which file to mend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AccessFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) password: Option<PathBuf>,
}

/// What this adapter needs from outside: the files, the time of day and randomness.
pub(crate) struct AccessSource {
    /// Reads and checks the files as they are on the disk now; the error is a text for the log.
    pub(crate) read: Box<dyn Fn() -> Result<EtcdAccess, String>>,
    /// Returns the time of day, to tell which certificate has expired.
    pub(crate) now: fn() -> SystemTime,
    /// Returns a number in 0..1.
    pub(crate) random: fn() -> f64,
}

impl EtcdAccess {
    /// Returns our client certificate: the first of its file. Those after it are its chain of CAs.
    pub(super) fn certificate(&self) -> Option<CertificateInfo> {
        let (pem, _) = self.tls.identity.as_ref()?;
        certificate::all(pem).into_iter().next()
    }

    /// Names what differs from `before`, for the log. Never shows the content.
    pub(super) fn changes_since(&self, before: &Self) -> String {
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

    #[test]
    fn names_what_was_renewed_and_never_shows_its_content() {
        let before = EtcdAccess::default();
        let identity = (
            b"certificate".to_vec(),
            Secret("-----BEGIN PRIVATE KEY-----".to_owned()),
        );
        let credentials = Credentials {
            user: "flannel".to_owned(),
            password: Secret("hunter2".to_owned()),
        };
        let mut after = EtcdAccess {
            credentials: Some(credentials),
            ..before.clone()
        };
        assert_eq!(after.changes_since(&before), "password");
        after.tls.ca = Some(b"ca".to_vec());
        assert_eq!(after.changes_since(&before), "CA, password");
        after.tls.identity = Some(identity);
        assert_eq!(
            after.changes_since(&before),
            "CA, certificate and key, password"
        );
        assert!(
            !format!("{after:?}").contains("hunter2") && !format!("{after:?}").contains("PRIVATE")
        );
    }
}
