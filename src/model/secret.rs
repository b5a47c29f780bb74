//! Defines text that must never appear in a log, such as a password. Pure.

use std::fmt;

/// A password or a private key. `Debug` prints a placeholder instead of the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The user and the password with which we log in to etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_contain_the_password() {
        let credentials = Credentials {
            user: "flannel".to_owned(),
            password: Secret("hunter2".to_owned()),
        };
        assert_eq!(
            format!("{credentials:?}"),
            "Credentials { user: \"flannel\", password: (secret) }"
        );
    }
}
