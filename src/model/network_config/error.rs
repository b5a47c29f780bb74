//! Why a network config is refused, in words that say what to write instead.

/// A network config that cannot be used: which key is wrong, what it holds, and what would be
/// right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {value}: {expected}")]
pub struct ConfigError {
    /// The key as flannel spells it, with its parent: `Backend.VNI`.
    pub(crate) key: String,
    /// The value as JSON, or `missing`.
    pub(crate) value: String,
    /// What would be right.
    pub(crate) expected: String,
}
