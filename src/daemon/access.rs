//! Owns reading what opens etcd to us from the disk: certificates, keys, passwords.

use std::path::Path;

use anyhow::Context as _;

use crate::cli::EtcdOptions;
use crate::etcd::{Access, Tls};
use crate::secret::Secret;

pub(super) fn load(options: &EtcdOptions) -> anyhow::Result<Access> {
    let identity = match (&options.certfile, &options.keyfile) {
        (Some(certificate), Some(key)) => Some((pem(certificate)?.into_bytes(), Secret(pem(key)?))),
        (None, _) | (_, None) => None,
    };
    let ca = options.cafile.as_deref().map(pem).transpose()?.map(String::into_bytes);
    let tls = Tls { ca, identity };
    Ok(Access { endpoints: options.endpoints.clone(), tls, credentials: options.credentials.clone() })
}

#[expect(clippy::disallowed_methods, reason = "certificates are read once, at the start")]
fn pem(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read \"{}\"", path.display()))?;
    match text.contains("-----BEGIN ") {
        true => Ok(text),
        false => {
            anyhow::bail!("\"{}\" is not PEM: expected a line such as -----BEGIN CERTIFICATE-----", path.display())
        }
    }
}
