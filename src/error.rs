//! Turns an error and its causes into one line of text. Pure.

use std::error::Error;
use std::fmt::Write as _;

/// Returns the error and its causes, from the outermost to the innermost, with colons between them.
/// Several libraries repeat a cause in the text of the error that it caused: such a cause is left
/// out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
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
    fn joins_causes_and_omits_repetitions() {
        let error = Outer(Middle(std::io::Error::other("refused")));
        assert_eq!(
            chain(&error),
            "failed to read \"config\": transport error: refused"
        );
    }
}
