//! Turns an error of etcd into a hint: the probable cause and what to do, from etcd's words and
//! what we know of our own files. TLS tells a client little, least of all why its own certificate
//! was refused. Pure; never asks anything.

use std::path::Path;
use std::time::SystemTime;

use crate::adapters::etcd::access::EtcdAccess;

/// The words of an error when the other side only closes the connection: TLS gives no reason to a
/// client that it refuses.
const HANG_UP_WORDS: [&str; 7] = [
    "connection closed",
    "connection reset",
    "broken pipe",
    "stream closed",
    "fatal alert",
    "connection error",
    "operation was canceled",
];

/// What we know about the connection on which an error came.
pub(super) struct ErrorContext<'a> {
    pub(super) endpoint: &'a str,
    pub(super) access: &'a EtcdAccess,
    /// `PREFIX/`
    pub(super) prefix: &'a str,
    /// Whether this connection has brought an answer before.
    pub(super) proven: bool,
    pub(super) now: SystemTime,
}

/// Returns the probable cause of an error and what to do, unless its words say it all.
pub(super) fn hint(words: &str, context: &ErrorContext<'_>) -> Option<String> {
    tls_hint(words, context)
        .or_else(|| auth_hint(words, context))
        .or_else(|| hang_up_hint(words, context))
}

/// Returns a text if our own client certificate is not valid at this time.
pub(super) fn invalid_now(access: &EtcdAccess, now: SystemTime) -> Option<String> {
    let certificate = access.certificate()?;
    let file = quoted(access.files.certificate.as_deref());
    if certificate.not_after.time < now {
        let expiry = certificate.not_after.text;
        Some(format!(
            "our certificate {file} expired at {expiry}: renew the file"
        ))
    } else if certificate.not_before.time > now {
        let start = certificate.not_before.text;
        Some(format!(
            "our certificate {file} is not valid before {start}: check this host's clock"
        ))
    } else {
        None
    }
}

fn tls_hint(words: &str, context: &ErrorContext<'_>) -> Option<String> {
    let endpoint = context.endpoint;
    if words.contains("invalid peer certificate") {
        Some(server_certificate_hint(words, context))
    } else if words.contains("InvalidContentType") {
        Some(format!(
            "etcd does not use TLS at {endpoint}: use http:// in --etcd-endpoints"
        ))
    } else {
        None
    }
}

fn server_certificate_hint(words: &str, context: &ErrorContext<'_>) -> String {
    let endpoint = context.endpoint;
    if contains_any(words, &["expired", "Expired"]) {
        format!(
            "the certificate of etcd at {endpoint} has expired: \
            renew it there, or check this host's clock"
        )
    } else if contains_any(words, &["not valid yet", "NotValidYet"]) {
        format!(
            "the certificate of etcd at {endpoint} is not valid yet: \
            check this host's clock"
        )
    } else if contains_any(words, &["not valid for name", "NotValidForName"]) {
        format!(
            "the certificate of etcd does not name the host in {endpoint}: \
            use a name that it contains, or add this one to it"
        )
    } else {
        wrong_ca_hint(context.access.files.ca.as_deref())
    }
}

fn wrong_ca_hint(ca: Option<&Path>) -> String {
    match ca {
        Some(ca) => format!(
            "etcd's certificate is not signed by an authority in \"{}\": \
            put the CA that signed it into this file (--etcd-cafile)",
            ca.display()
        ),
        None => "etcd's certificate is not signed by an authority that this system trusts: \
            set --etcd-cafile to the CA that signed it"
            .to_owned(),
    }
}

fn auth_hint(words: &str, context: &ErrorContext<'_>) -> Option<String> {
    if words.contains("permission denied") {
        Some(permission_hint(context))
    } else if words.contains("invalid user ID or password") {
        Some(password_hint(context.access))
    } else if words.contains("user name is empty") {
        Some(
            "etcd has authentication enabled: \
            set --etcd-username and --etcd-password-file"
                .to_owned(),
        )
    } else if words.contains("authentication is not enabled") {
        Some(
            "etcd has authentication disabled: \
            remove --etcd-username, or enable it: etcdctl auth enable"
                .to_owned(),
        )
    } else {
        None
    }
}

fn permission_hint(context: &ErrorContext<'_>) -> String {
    let (user, prefix) = (user(context.access), context.prefix);
    format!(
        "{user} needs to read \"{prefix}\" and write \"{prefix}subnets/\": \
            grant both as in docs/how-to/etcd-tls-and-auth.md"
    )
}

/// Returns the user that etcd sees: the one we log in as, or else the common name of our
/// certificate.
fn user(access: &EtcdAccess) -> String {
    if let Some(credentials) = &access.credentials {
        return format!("user {:?}", credentials.user);
    }
    let certificate = access.certificate();
    match certificate.and_then(|certificate| certificate.common_name) {
        Some(name) => {
            let file = quoted(access.files.certificate.as_deref());
            format!("user {name:?} (the common name in {file})")
        }
        None => "the user, to be set by --etcd-username,".to_owned(),
    }
}

fn password_hint(access: &EtcdAccess) -> String {
    let user = user(access);
    let password = match &access.files.password {
        Some(file) => format!("the password in \"{}\"", file.display()),
        None => "the password of --etcd-password".to_owned(),
    };
    format!("{user}: {password} is wrong, or etcd has no such user")
}

fn hang_up_hint(words: &str, context: &ErrorContext<'_>) -> Option<String> {
    // An etcd that shuts down hangs up as well, but on connections that worked until then.
    if context.proven || words.contains("refused") || !is_hang_up(words) {
        return None;
    }
    if !context.endpoint.starts_with("https://") {
        return Some(
            "if etcd is running, it may require TLS: \
            use https:// in --etcd-endpoints"
                .to_owned(),
        );
    }
    let access = context.access;
    invalid_now(access, context.now)
        .or_else(|| Some(refused_client_hint(access.files.certificate.as_deref())))
}

fn is_hang_up(words: &str) -> bool {
    words == "transport error" || contains_any(words, &HANG_UP_WORDS)
}

fn refused_client_hint(certificate: Option<&Path>) -> String {
    match certificate {
        Some(file) => format!(
            "if etcd is running, it does not trust our certificate \"{}\": \
            add the CA that signed it to etcd's --trusted-ca-file",
            file.display()
        ),
        None => "if etcd is running, it requires a client certificate: \
            set --etcd-certfile and --etcd-keyfile"
            .to_owned(),
    }
}

fn contains_any(words: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| words.contains(part))
}

fn quoted(file: Option<&Path>) -> String {
    file.map(|file| format!("\"{}\"", file.display()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
