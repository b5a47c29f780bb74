//! Owns how an error with its causes becomes one line of text. Pure.

use std::error::Error;
use std::fmt::Write as _;

/// The error and its causes, from the outermost to the first, parted by colons. A cause whose text is part of
/// its parent's already is left out: several libraries repeat it.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            _ = write!(text, ": {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("failed to read \"config\"")]
    struct Outer(#[source] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("transport error: refused")]
    struct Middle(#[source] std::io::Error);

    #[test]
    fn joins_causes_and_leaves_out_repetitions() {
        let error = Outer(Middle(std::io::Error::other("refused")));
        assert_eq!(
            chain(&error),
            "failed to read \"config\": transport error: refused"
        );
    }
}
