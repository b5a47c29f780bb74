//! Reads the files for etcd from the disk: certificates, keys, passwords. Whether they can be used
//! is for the etcd adapter's [`etcd::check`] to say.
#![expect(
    clippy::disallowed_methods,
    reason = "the files for etcd are read here, and the adapter gets the time of day from here"
)]

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};

use crate::adapters::etcd;
use crate::adapters::etcd::{AccessFiles, AccessSource, EtcdAccess, EtcdTls, Wanted};
use crate::cli::{EtcdOptions, Password};
use crate::model::secret::{Credentials, Secret};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the files as they are now, and checks them.
///
/// # Errors
/// Returns which file cannot be read or cannot be used, and why.
pub(super) fn load(options: &EtcdOptions) -> anyhow::Result<EtcdAccess> {
    let tls = tls(options)?;
    let (credentials, password) = credentials(options)?;
    let access = EtcdAccess {
        endpoints: options.endpoints.clone(),
        tls,
        credentials,
        files: AccessFiles {
            ca: options.cafile.clone(),
            certificate: options.certfile.clone(),
            key: options.keyfile.clone(),
            password,
        },
    };
    etcd::check(&access)?;
    Ok(access)
}

/// Returns what the adapter uses to read the files again: they may be renewed at any time.
pub(super) fn source(options: &EtcdOptions) -> AccessSource {
    let options = options.clone();
    AccessSource {
        read: Box::new(move || load(&options).map_err(|error| format!("{error:#}"))),
        now: SystemTime::now,
        random: super::random,
    }
}

fn tls(options: &EtcdOptions) -> anyhow::Result<EtcdTls> {
    let identity = match (&options.certfile, &options.keyfile) {
        (Some(certificate), Some(key)) => {
            let certificate = read_pem(certificate, Wanted::Certificate)?;
            let key = read_pem(key, Wanted::Key)?;
            Some((certificate.into_bytes(), Secret(key)))
        }
        (None, _) | (_, None) => None,
    };
    let ca = options.cafile.as_deref();
    let ca = ca
        .map(|file| read_pem(file, Wanted::Certificate))
        .transpose()?;
    Ok(EtcdTls {
        ca: ca.map(String::into_bytes),
        identity,
    })
}

/// Returns the credentials, and the file of the password if it comes from one.
fn credentials(options: &EtcdOptions) -> anyhow::Result<(Option<Credentials>, Option<PathBuf>)> {
    let Some(login) = &options.login else {
        return Ok((None, None));
    };
    let (password, file) = match &login.password {
        Password::Given(password) => (password.clone(), None),
        Password::File(file) => (read_password(file)?, Some(file.clone())),
    };
    let user = login.user.clone();
    Ok((Some(Credentials { user, password }), file))
}

fn read_password(path: &Path) -> anyhow::Result<Secret> {
    let content = read(path)?;
    let text = String::from_utf8_lossy(without_mark(&content));
    // Editors and `echo` end a file with a newline that is not part of the password.
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("\"{}\" is empty: expected a password", path.display());
    }
    Ok(Secret(password.to_owned()))
}

fn read_pem(path: &Path, wanted: Wanted) -> anyhow::Result<String> {
    let content = read(path)?;
    let text = String::from_utf8_lossy(without_mark(&content));
    if !text.contains("-----BEGIN ") {
        let instead = etcd::instead_of_pem(&content, path, wanted);
        bail!("\"{}\" is not PEM: {instead}", path.display());
    }
    Ok(text.into_owned())
}

/// Editors of Windows put a mark before the first line.
fn without_mark(content: &[u8]) -> &[u8] {
    content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("failed to read \"{}\"", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), content).expect("the file is ours");
        file
    }

    #[test]
    fn a_password_may_end_with_newlines_but_not_be_empty() {
        for (content, expected) in [("hunter2", "hunter2"), (" two words\r\n\n", " two words")] {
            let password = read_password(file(content).path()).expect("a password");
            assert_eq!(password.0, expected, "{content:?}");
        }
        let empty = file("\n");
        let error = read_password(empty.path()).expect_err("no password");
        assert_eq!(
            error.to_string(),
            format!(
                "\"{}\" is empty: expected a password",
                empty.path().display()
            )
        );
    }

    #[test]
    fn names_a_file_that_is_not_pem_or_not_there() {
        let der = file("0\u{82}");
        let error = read_pem(der.path(), Wanted::Certificate).expect_err("not PEM");
        let start = format!("\"{}\" is not PEM", der.path().display());
        assert!(error.to_string().starts_with(&start), "{error}");
        let error = read_pem(Path::new("/nowhere.pem"), Wanted::Key).expect_err("no file");
        assert_eq!(error.to_string(), "failed to read \"/nowhere.pem\"");
    }
}
