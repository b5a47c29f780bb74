//! Owns reading what opens etcd to us from the disk: certificates, keys, passwords. What is wrong with them is for
//! [`Access::check`] to say.
#![expect(
    clippy::disallowed_methods,
    reason = "the files that open etcd to us are read here, and the time of day with them"
)]

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, bail};

use crate::adapters::etcd::{Access, Files, Source, Tls};
use crate::cli::{EtcdOptions, Password};
use crate::model::secret::{Credentials, Secret};

/// Reads the files as they are now.
pub(super) fn load(options: &EtcdOptions) -> anyhow::Result<Access> {
    let identity = match (&options.certfile, &options.keyfile) {
        (Some(certificate), Some(key)) => Some((pem(certificate)?.into_bytes(), Secret(pem(key)?))),
        (None, _) | (_, None) => None,
    };
    let ca = options
        .cafile
        .as_deref()
        .map(pem)
        .transpose()?
        .map(String::into_bytes);
    let (credentials, password) = credentials(options)?;
    let files = Files {
        ca: options.cafile.clone(),
        certificate: options.certfile.clone(),
        key: options.keyfile.clone(),
        password,
    };
    let access = Access {
        endpoints: options.endpoints.clone(),
        tls: Tls { ca, identity },
        credentials,
        files,
    };
    access.check()?;
    Ok(access)
}

/// Reads them again, whenever they may have been renewed.
pub(super) fn source(options: &EtcdOptions) -> Source {
    let options = options.clone();
    let read = Box::new(move || load(&options).map_err(|error| format!("{error:#}")));
    Source {
        read,
        now: SystemTime::now,
        random: super::random,
    }
}

/// With the file of the password, if it comes from one.
fn credentials(
    options: &EtcdOptions,
) -> anyhow::Result<(Option<Credentials>, Option<std::path::PathBuf>)> {
    let Some(login) = &options.login else {
        return Ok((None, None));
    };
    let (password, file) = match &login.password {
        Password::Given(password) => (password.clone(), None),
        Password::File(file) => (password(file)?, Some(file.clone())),
    };
    Ok((
        Some(Credentials {
            user: login.user.clone(),
            password,
        }),
        file,
    ))
}

fn password(path: &Path) -> anyhow::Result<Secret> {
    let text = read(path)?;
    // Editors and `echo` end a file with a newline that nobody means.
    match text.trim_end_matches(['\r', '\n']) {
        "" => bail!("\"{}\" is empty: expected a password", path.display()),
        password => Ok(Secret(password.to_owned())),
    }
}

fn pem(path: &Path) -> anyhow::Result<String> {
    let text = read(path)?;
    match text.contains("-----BEGIN ") {
        true => Ok(text),
        false => bail!(
            "\"{}\" is not PEM: expected a line such as -----BEGIN CERTIFICATE-----",
            path.display()
        ),
    }
}

/// Bytes that are no text are left for the caller to refuse, in its own words.
fn read(path: &Path) -> anyhow::Result<String> {
    let bytes =
        std::fs::read(path).with_context(|| format!("failed to read \"{}\"", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
