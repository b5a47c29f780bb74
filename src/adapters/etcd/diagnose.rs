//! Turns a failure of etcd into a hint: the probable cause and what to do, from what came back and what we know of our
//! own files. Pure; never asks anything.

mod reach;
mod refusal;
mod tls;

use std::path::Path;
use std::time::SystemTime;

use crate::adapters::etcd::access::EtcdAccess;
use crate::adapters::etcd::call_error::CallCause;
use crate::adapters::etcd::fault::Fault;

/// What we know about the connection on which an error came.
#[derive(Clone, Copy)]
pub(super) struct ErrorContext<'a> {
    pub(super) endpoint: &'a str,
    pub(super) access: &'a EtcdAccess,
    /// `PREFIX/`
    pub(super) prefix: &'a str,
    /// Whether this connection has brought an answer before.
    pub(super) proven: bool,
    pub(super) now: SystemTime,
}

/// Returns the probable cause of a failure and what to do, unless its words say it all.
pub(super) fn hint(cause: &CallCause, context: &ErrorContext<'_>) -> Option<String> {
    match cause {
        CallCause::TimedOut => Some(reach::no_answer(context.endpoint)),
        CallCause::PathChanged => None,
        CallCause::LoginOnHold(words) => hint_for_words(words, context),
        CallCause::Etcd(error) => match Fault::of(error) {
            Some(Fault::Tls(error)) => tls::hint(&error, context),
            Some(fault) if fault.is_hang_up() => Some(hang_up(&fault, context)),
            Some(fault) => reach::hint(&fault, context.endpoint),
            None => hint_for_words(&cause.words(), context),
        },
    }
}

/// Returns what etcd's own words mean.
pub(super) fn hint_for_words(words: &str, context: &ErrorContext<'_>) -> Option<String> {
    refusal::hint(words, context)
}

/// Returns a text if our own client certificate is not valid at this time.
pub(super) fn invalid_now(access: &EtcdAccess, now: SystemTime) -> Option<String> {
    let certificate = access.certificate()?;
    let file = quoted(access.files.certificate.as_deref());
    if certificate.validity.not_after.time < now {
        let expiry = certificate.validity.not_after.text;
        Some(format!(
            "our certificate {file} expired at {expiry}: renew the file"
        ))
    } else if certificate.validity.not_before.time > now {
        let start = certificate.validity.not_before.text;
        Some(format!(
            "our certificate {file} is not valid before {start}: check this host's clock"
        ))
    } else {
        None
    }
}

/// Says why the other side may have hung up. TLS tells a client little, least of all why its own certificate was refused.
fn hang_up(fault: &Fault, context: &ErrorContext<'_>) -> String {
    // An etcd that shuts down hangs up as well, but on connections that worked until then.
    if context.proven {
        return reach::cut(context.endpoint).to_owned();
    }
    if !context.endpoint.starts_with("https://") {
        return "if etcd is running there, it may require TLS: use https:// in --etcd-endpoints"
            .to_owned();
    }
    if *fault == Fault::ClosedInHandshake {
        return "if etcd is running there, it does not use TLS: use http:// in --etcd-endpoints"
            .to_owned();
    }
    tls::refused_client(context)
}

fn quoted(file: Option<&Path>) -> String {
    file.map(|file| format!("\"{}\"", file.display()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
