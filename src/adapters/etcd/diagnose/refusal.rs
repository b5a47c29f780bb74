//! What to do when etcd answers and refuses: access, space, quorum. From etcd's own words, which are the same in all its
//! versions, while its gRPC codes are not. Pure.

use crate::adapters::etcd::access::EtcdAccess;
use crate::adapters::etcd::diagnose::{ErrorContext, quoted, reach};

/// Parts of etcd's words, and what to do.
const REMEDIES: [(&str, &str); 12] = [
    (
        "user name is empty",
        "etcd has authentication enabled: set --etcd-username and --etcd-password-file",
    ),
    (
        "authentication is not enabled",
        "etcd has authentication disabled: remove --etcd-username, or enable it: etcdctl auth enable",
    ),
    (
        "invalid auth token",
        "etcd has forgotten our login, as it does when it restarts; logging in again",
    ),
    (
        "database space exceeded",
        "etcd is full and takes no writes: etcdctl compact REVISION; etcdctl defrag; etcdctl alarm disarm; or raise its \
            --quota-backend-bytes",
    ),
    (
        "corrupt",
        "the members of etcd hold different data: find the damaged one with \"etcdctl alarm list\", replace it, then \
            etcdctl alarm disarm",
    ),
    (
        "no leader",
        "most members of etcd must run and reach each other: etcdctl endpoint status --cluster",
    ),
    (
        "request timed out",
        "most members of etcd must run, reach each other and have fast disks: etcdctl endpoint status --cluster",
    ),
    ("request is too large", "raise etcd's --max-request-bytes"),
    (
        "too many requests",
        "etcd is overloaded: check its load and the speed of its disk",
    ),
    (
        "learner",
        "this member of etcd does not serve clients yet: etcdctl member promote, or name other members in \
            --etcd-endpoints",
    ),
    ("server stopped", "etcd is shutting down there"),
    ("unknown service", reach::NO_ETCD),
];

/// Returns what to do, if etcd's words are known.
pub(super) fn hint(words: &str, context: &ErrorContext<'_>) -> Option<String> {
    if words.contains("permission denied") {
        return Some(permission(context));
    }
    if words.contains("invalid user ID or password") {
        return Some(password(context.access));
    }
    let mut remedies = REMEDIES.iter();
    let (_, remedy) = remedies.find(|(part, _)| words.contains(part))?;
    Some((*remedy).to_owned())
}

fn permission(context: &ErrorContext<'_>) -> String {
    let (user, prefix) = (user(context.access), context.prefix);
    let grant = "etcdctl role grant-permission ROLE --prefix=true";
    format!(
        "{user} needs to read \"{prefix}\" and write \"{prefix}subnets/\": \
            {grant} read {prefix}; {grant} readwrite {prefix}subnets/"
    )
}

/// Returns the user that etcd sees: the one we log in as, or else the common name of our certificate.
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

fn password(access: &EtcdAccess) -> String {
    let user = user(access);
    let password = match &access.files.password {
        Some(file) => format!("the password in \"{}\"", file.display()),
        None => "the password of --etcd-password".to_owned(),
    };
    format!("{user}: {password} is wrong, or etcd has no such user")
}
