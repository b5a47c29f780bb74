//! What is wrong with a value that is no JSON object: most often a shell, or a tool between, has added or taken something.
//! It shows how the value begins, and names what is probable. Pure.

use crate::model::network_config::error::ConfigError;
use crate::model::network_config::fields::{Fields, NotAnObject};

/// How much of the value is shown.
const SHOWN: usize = 40;
/// Quotation marks of word processors and of web pages.
const SMART_QUOTES: [char; 5] = ['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}'];
/// What writes a value past the quoting of shells.
const WRITE_FROM_A_FILE: &str = "write it from a file: etcdctl put PREFIX/config < config.json";

pub(super) fn refuse(value: &[u8], error: &NotAnObject) -> ConfigError {
    let text = String::from_utf8_lossy(value);
    let (what, reason) = match error {
        NotAnObject::NotJson(reason) => ("not JSON", Some(reason)),
        NotAnObject::OtherJson => ("not a JSON object", None),
    };
    let begins = if text.is_empty() {
        "empty".to_owned()
    } else {
        format!(
            "begins with {:?}",
            text.chars().take(SHOWN).collect::<String>()
        )
    };
    let expected = match (cause(&text), reason) {
        (Some(cause), _) => format!("{cause}; {WRITE_FROM_A_FILE}"),
        (None, Some(reason)) => reason.clone(),
        (None, None) => "expected {\"Network\": \"10.5.0.0/16\", ...}".to_owned(),
    };
    ConfigError {
        key: "the network config".to_owned(),
        value: format!("{what} ({begins})"),
        expected,
    }
}

/// Returns what has probably happened to it. What stands in front is looked at first.
fn cause(text: &str) -> Option<&'static str> {
    let text = text.trim();
    let is_config = |text: &str| Fields::parse(text.as_bytes()).is_ok();
    let inside = |mark: char| {
        text.strip_prefix(mark)
            .map(|rest| rest.trim_end_matches(mark))
    };
    if text.is_empty() {
        Some("the value is empty")
    } else if inside('\'').is_some() {
        Some("the value is wrapped in single quotes, which belong to the shell")
    } else if inside('"').is_some() {
        Some("the value is wrapped in double quotes, which belong to the shell")
    } else if text.contains(SMART_QUOTES) {
        Some("it has the quotation marks of a word processor: only \" is one in JSON")
    } else if is_config(&text.replace("\\\"", "\"")) {
        Some("its quotes have backslashes in front, which belong to the shell")
    } else if text.starts_with('@') {
        Some("it is the name of a file")
    } else if without_last_line(text).is_some_and(is_config) {
        Some("its last line is no part of the JSON: probably the end of a here-document")
    } else if is_yaml(text) {
        Some("it is YAML: the network config is JSON")
    } else if is_without_quotes(text) {
        Some("its keys and texts have lost their quotes, probably to the shell")
    } else if is_base64(text) {
        Some("it is probably base64: decode it first")
    } else {
        None
    }
}

fn without_last_line(text: &str) -> Option<&str> {
    let (before, last) = text.rsplit_once(char::is_whitespace)?;
    last.chars().all(char::is_alphanumeric).then_some(before)
}

fn is_yaml(text: &str) -> bool {
    let is_key = |line: &str| line.split_once(": ").is_some_and(|(key, _)| is_word(key));
    !text.starts_with(['{', '[']) && text.lines().any(is_key)
}

fn is_without_quotes(text: &str) -> bool {
    let key = text.strip_prefix('{').and_then(|rest| rest.split_once(':'));
    key.is_some_and(|(key, _)| is_word(key.trim()))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(char::is_alphanumeric)
}

/// `{"` is `ey` in base64, and a `{` before a line break is `ew`.
fn is_base64(text: &str) -> bool {
    (text.starts_with("ey") || text.starts_with("ew"))
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+/=\n\r".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(value: &str) -> String {
        let error = Fields::parse(value.as_bytes()).expect_err("no JSON object");
        refuse(value.as_bytes(), &error).to_string()
    }

    #[test]
    fn names_what_has_happened_to_the_value_on_its_way() {
        for (value, expected) in [
            ("", "the value is empty"),
            (r#"'{"Network":"10.5.0.0/16"}'"#, "wrapped in single quotes"),
            (r#""{"Network":"10.5.0.0/16"}""#, "wrapped in double quotes"),
            (
                r#""{\"Network\":\"10.5.0.0/16\"}""#,
                "wrapped in double quotes",
            ),
            (
                r#"{\"Network\":\"10.5.0.0/16\"}"#,
                "have backslashes in front",
            ),
            (
                "{\"Network\":\"10.5.0.0/16\"}\nEOF\n",
                "end of a here-document",
            ),
            (
                "{\"Network\":\"10.5.0.0/16\"} EOF",
                "end of a here-document",
            ),
            (
                "{\u{201c}Network\u{201d}:\u{201c}10.5.0.0/16\u{201d}}",
                "of a word processor",
            ),
            (
                "Network: 10.5.0.0/16\nBackend:\n  Type: vxlan\n",
                "it is YAML",
            ),
            ("---\nNetwork: 10.5.0.0/16\n", "it is YAML"),
            ("{Network:10.5.0.0/16}", "have lost their quotes"),
            ("eyJOZXR3b3JrIjoiMTAuNS4wLjAvMTYifQ==", "probably base64"),
            ("@config.json", "the name of a file"),
        ] {
            let found = refusal(value);
            assert!(found.contains(expected), "{found}");
            assert!(found.contains(WRITE_FROM_A_FILE), "{found}");
        }
    }

    #[test]
    fn shows_how_the_value_begins_and_the_words_of_the_parser() {
        let long = format!("{{\"Network\":\"10.5.0.0/16\",\"{}", "x".repeat(100));
        let found = refusal(&long);
        let start = "the network config is not JSON (begins with \"{\\\"Network\\\":\\\"10.5.0.0/16\\\",\\\"xxxxxxxxxxxxxx\"): EOF";
        assert!(found.starts_with(start), "{found}");
        assert!(refusal("[]").contains("not a JSON object (begins with \"[]\"): expected {"));
    }
}
