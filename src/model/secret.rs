//! Owns text that must never appear in a log. Pure.

use std::fmt;

/// Text that prints as nothing: a password, a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Who we say we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Name of the user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_show() {
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
