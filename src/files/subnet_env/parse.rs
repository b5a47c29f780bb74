//! Reads one variable of a subnet.env as a shell that sources the file would. It is the only reader
//! of such files; it does not interpret values. Pure.

/// Returns the value of the variable `key`: the last assignment counts, and quotes around the value
/// are not part of it. `None` if no line assigns it.
pub(in crate::files) fn value<'a>(subnet_env: &'a str, key: &str) -> Option<&'a str> {
    subnet_env
        .lines()
        .filter_map(|line| assigned_value(line, key))
        .next_back()
}

fn assigned_value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.trim()
        .strip_prefix(key)?
        .strip_prefix('=')
        .map(without_quotes)
}

fn without_quotes(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(subnet_env: &str, expected: Option<&str>) {
        assert_eq!(value(subnet_env, "KEY"), expected, "{subnet_env:?}");
    }

    #[test]
    fn reads_what_a_shell_would_read() {
        check("KEY=a", Some("a"));
        check("KEY=\"a\"\n", Some("a"));
        check("KEY='a'\n", Some("a"));
        check("KEY=\"it's\"\n", Some("it's"));
        check("  KEY=a\r\n", Some("a"));
        check("KEY=\n", Some(""));
        check("KEY=\"\"\n", Some(""));
    }

    #[test]
    fn the_last_assignment_counts() {
        check("KEY=a\nKEY=b\n", Some("b"));
        check("KEY='a'\nOTHER=c\nKEY=\"b\"\n", Some("b"));
        check("KEY=a\nKEY=\n", Some(""));
    }

    #[test]
    fn other_lines_assign_nothing() {
        check("", None);
        check("# KEY=a\n", None);
        check("KEYS=a\nMY_KEY=a\n", None);
        check("KEY\n", None);
        check("KEY =a\n", None);
    }

    #[test]
    fn a_quote_without_its_partner_stays_for_the_caller_to_refuse() {
        check("KEY=\"a\n", Some("\"a"));
        check("KEY=a'\n", Some("a'"));
        check("KEY=\"a'\n", Some("\"a'"));
        check("KEY=\"\n", Some("\""));
    }

    /// A line that assigns `text` with one of the three ways to quote it.
    fn assignment() -> impl Strategy<Value = (String, String)> {
        ("[0-9a-z./]{0,12}", 0..3usize).prop_map(|(text, quote)| {
            let quote = ["", "\"", "'"][quote];
            (format!("KEY={quote}{text}{quote}\n"), text)
        })
    }

    proptest! {
        #[test]
        fn any_quoting_of_any_assignment_gives_the_last_value(
            assignments in proptest::collection::vec(assignment(), 1..6),
            other in "(OTHER=[0-9a-z./]{0,12}\n){0,3}",
        ) {
            let lines: String = assignments.iter().map(|(line, _)| format!("{line}{other}")).collect();
            let last = assignments.last().map(|(_, text)| text.as_str());
            prop_assert_eq!(value(&lines, "KEY"), last);
        }

        #[test]
        fn never_panics_on_what_stands_in_the_file(text in ".{0,80}", key in "[A-Z_]{0,10}") {
            let _ = value(&text, &key);
        }
    }
}
