//! Owns what we make of an error of etcd: its words, held against what we know of our own files, give a cause and a remedy.
//! TLS tells its client little, least of all why its own certificate was refused. Pure.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::adapters::etcd::access::Access;

/// What the way to etcd says when somebody hangs up on us: reasons are not given to those who are not let in.
const HUNG_UP: [&str; 7] = [
    "connection closed",
    "connection reset",
    "broken pipe",
    "stream closed",
    "fatal alert",
    "connection error",
    "operation was canceled",
];

/// What an error is held against.
pub(super) struct Known<'a> {
    pub(super) endpoint: &'a str,
    pub(super) access: &'a Access,
    /// `PREFIX/`
    pub(super) prefix: &'a str,
    /// Whether this connection has brought an answer before.
    pub(super) proven: bool,
    pub(super) now: SystemTime,
}

/// The probable cause of an error and what to do, if there is something to say beyond its words.
pub(super) fn hint(words: &str, known: &Known<'_>) -> Option<String> {
    let says = |part: &str| words.contains(part);
    match () {
        () if says("invalid peer certificate") => Some(their_certificate(words, known)),
        () if says("InvalidContentType") => {
            Some("etcd does not speak TLS there: use http://".to_owned())
        }
        () if says("permission denied") => Some(permission(known)),
        () if says("invalid user ID or password") => Some(password(known)),
        () if says("user name is empty") => Some(
            "etcd has authentication on: give --etcd-username and --etcd-password-file".to_owned(),
        ),
        () if says("authentication is not enabled") => {
            Some("leave --etcd-username out, or turn it on: etcdctl auth enable".to_owned())
        }
        // A member that ends hangs up as well, but on connections that were good until then.
        () if known.proven || says("refused") => None,
        () if words == "transport error" || HUNG_UP.iter().any(|part| says(part)) => {
            Some(hung_up(known))
        }
        () => None,
    }
}

/// Our own certificate is not good now, or not yet.
pub(super) fn expired(access: &Access, now: SystemTime) -> Option<String> {
    let certificate = access.certificate()?;
    let file = quoted(access.files.certificate.as_ref());
    match () {
        () if certificate.not_after.time < now => Some(format!(
            "our certificate {file} expired at {}: renew the file",
            certificate.not_after.text
        )),
        () if certificate.not_before.time > now => Some(format!(
            "our certificate {file} is good from {} on: check the clock",
            certificate.not_before.text
        )),
        () => None,
    }
}

fn their_certificate(words: &str, known: &Known<'_>) -> String {
    let says = |part: &str| words.contains(part);
    let endpoint = known.endpoint;
    match &known.access.files.ca {
        _ if says("expired") || says("Expired") => {
            format!("the certificate of etcd at {endpoint} has expired: renew it there, or check this host's clock")
        }
        _ if says("not valid yet") || says("NotValidYet") => {
            format!("the certificate of etcd at {endpoint} is not good yet: check this host's clock")
        }
        _ if says("not valid for name") || says("NotValidForName") => format!(
            "the certificate of etcd does not name the host in {endpoint}: use a name that it holds, or add this one to it"
        ),
        Some(ca) => format!(
            "etcd's certificate is not signed by an authority in \"{}\" (--etcd-cafile): put the right one there",
            ca.display()
        ),
        None => "etcd's certificate is not signed by an authority of this system: name its own with --etcd-cafile"
            .to_owned(),
    }
}

fn permission(known: &Known<'_>) -> String {
    let prefix = known.prefix;
    format!(
        "{} needs to read \"{prefix}\" and write \"{prefix}subnets/\", see docs/etcd.md",
        user(known.access)
    )
}

/// Who etcd takes us for.
fn user(access: &Access) -> String {
    if let Some(credentials) = &access.credentials {
        return format!("user {:?}", credentials.user);
    }
    match access
        .certificate()
        .and_then(|certificate| certificate.name)
    {
        Some(name) => format!(
            "user {name:?}, the name in {},",
            quoted(access.files.certificate.as_ref())
        ),
        None => "a user, who is named by --etcd-username,".to_owned(),
    }
}

fn password(known: &Known<'_>) -> String {
    let from = match &known.access.files.password {
        Some(file) => format!("the password in \"{}\"", file.display()),
        None => "the password of --etcd-password".to_owned(),
    };
    format!(
        "{}: {from} is not the right one, or etcd knows no such user",
        user(known.access)
    )
}

fn hung_up(known: &Known<'_>) -> String {
    if !known.endpoint.starts_with("https://") {
        return "if etcd is up, it may expect TLS: use https://".to_owned();
    }
    if let Some(expired) = expired(known.access, known.now) {
        return expired;
    }
    match &known.access.files.certificate {
        Some(file) => format!(
            "if etcd is up, it does not trust our certificate \"{}\": its --trusted-ca-file must hold who signed it",
            file.display()
        ),
        None => {
            "if etcd is up, it demands a certificate of us: give --etcd-certfile and --etcd-keyfile"
                .to_owned()
        }
    }
}

fn quoted(file: Option<&PathBuf>) -> String {
    file.map(|file| format!("\"{}\"", file.display()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::adapters::etcd::access::{Files, Tls};
    use crate::adapters::etcd::certificate::tests::identity;
    use crate::model::secret::{Credentials, Secret};

    /// While the certificate of the tests is good.
    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn with_certificate() -> Access {
        let (certificate, key) = identity();
        let identity = Some((certificate.into_bytes(), Secret(key)));
        let files = Files {
            ca: Some("ca.pem".into()),
            certificate: Some("cert.pem".into()),
            ..Files::default()
        };
        Access {
            tls: Tls { ca: None, identity },
            files,
            ..Access::default()
        }
    }

    fn check(words: &str, access: &Access, days: u64, expected: &str) {
        let good = access
            .certificate()
            .map_or(NOW, |certificate| certificate.not_before.time);
        let now = good + Duration::from_secs(days * 86_400);
        let known = Known {
            endpoint: "https://a:2379",
            access,
            prefix: "/net/",
            proven: false,
            now,
        };
        let hint = hint(words, &known).unwrap_or_default();
        assert!(
            hint.contains(expected),
            "{words}: {hint:?} lacks {expected:?}"
        );
    }

    #[test]
    fn names_the_file_behind_an_error_of_tls() {
        let ours = with_certificate();
        check(
            "invalid peer certificate: UnknownIssuer",
            &ours,
            1,
            "in \"ca.pem\"",
        );
        check(
            "invalid peer certificate: BadSignature",
            &ours,
            1,
            "in \"ca.pem\"",
        );
        check(
            "invalid peer certificate: UnknownIssuer",
            &Access::default(),
            1,
            "name its own with --etcd-cafile",
        );
        check(
            "invalid peer certificate: certificate expired: verified",
            &ours,
            1,
            "of etcd at https://a:2379 has expired",
        );
        check(
            "invalid peer certificate: certificate not valid for name \"a\"",
            &ours,
            1,
            "host in https://a:2379",
        );
        check(
            "connection closed",
            &ours,
            1,
            "does not trust our certificate \"cert.pem\"",
        );
        check(
            "connection closed",
            &ours,
            11,
            "our certificate \"cert.pem\" expired at 20",
        );
        check(
            "connection closed",
            &Access::default(),
            1,
            "give --etcd-certfile",
        );
    }

    #[test]
    fn names_user_and_keys_behind_an_error_of_authentication() {
        let credentials = Some(Credentials {
            user: "flannel".to_owned(),
            password: Secret("hunter2".to_owned()),
        });
        let files = Files {
            password: Some("pw".into()),
            ..Files::default()
        };
        let user = Access {
            credentials,
            files,
            ..Access::default()
        };
        check(
            "etcdserver: permission denied",
            &user,
            1,
            "user \"flannel\" needs to read \"/net/\"",
        );
        check(
            "etcdserver: permission denied",
            &with_certificate(),
            1,
            "user \"flannel\", the name in \"cert.pem\",",
        );
        check(
            "etcdserver: permission denied",
            &Access::default(),
            1,
            "named by --etcd-username",
        );
        check(
            "etcdserver: authentication failed, invalid user ID or password",
            &user,
            1,
            "the password in \"pw\"",
        );
        check(
            "etcdserver: user name is empty",
            &Access::default(),
            1,
            "give --etcd-username",
        );
    }

    #[test]
    fn keeps_silent_where_the_words_say_it_all() {
        let access = &Access::default();
        let known = Known {
            endpoint: "http://a:2379",
            access,
            prefix: "/net/",
            proven: false,
            now: NOW,
        };
        for words in [
            "no answer within 5 s",
            "tcp connect error: Connection refused (os error 111)",
            "no leader",
        ] {
            assert_eq!(hint(words, &known), None, "{words}");
        }
        assert_eq!(
            hint(
                "connection closed",
                &Known {
                    proven: true,
                    ..known
                }
            ),
            None,
            "etcd was restarted"
        );
    }
}
