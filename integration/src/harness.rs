//! Runs the tests of a file that has a `main` of its own (`harness = false`): one after another, in
//! the order of the table, because they share what is too slow to make for each. It takes the
//! arguments of libtest and prints what libtest prints; it knows nothing of the tests' subject.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::stopwatch;

/// Which tests to run: the arguments of `cargo test` after `--`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    ignored_only: bool,
}

impl Selection {
    /// Parses the arguments of this process.
    ///
    /// # Errors
    /// When libtest has no such option.
    pub fn from_args() -> Result<Self> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut selection = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let (name, value) = match arg.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (arg.clone(), None),
            };
            match name.as_str() {
                "--exact" => selection.exact = true,
                "--list" => selection.list = true,
                "--ignored" => selection.ignored_only = true,
                "--skip" => selection.skipped.extend(value.or_else(|| args.next())),
                // They change how libtest runs and prints; here is one way.
                "--test-threads" | "--color" | "--format" | "--logfile" => {
                    drop(value.or_else(|| args.next()));
                }
                "--nocapture" | "--no-capture" | "--show-output" | "--quiet" | "-q"
                | "--include-ignored" => {}
                _ if arg.starts_with('-') => bail!("unexpected argument {arg}"),
                _ => selection.filters.push(arg),
            }
        }
        Ok(selection)
    }

    /// Whether a filter has this word in it.
    pub fn names(&self, word: &str) -> bool {
        self.filters.iter().any(|filter| filter.contains(word))
    }

    fn takes(&self, name: &str) -> bool {
        let matches = |pattern: &String| {
            if self.exact {
                name == pattern
            } else {
                name.contains(pattern.as_str())
            }
        };
        !self.ignored_only
            && (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skipped.iter().any(matches)
    }
}

/// The result of a run. [`Summary::report`] prints it, once what the tests shared has gone.
#[derive(Debug)]
#[must_use = "the result is printed by `report`"]
pub struct Summary {
    passed: usize,
    failed: Vec<String>,
    left_out: usize,
    took: Duration,
    listed: bool,
}

/// Runs the tests that were selected. `run` runs one of them, and prints why it failed.
pub fn run<T>(
    selection: &Selection,
    tests: &[(impl AsRef<str>, T)],
    mut run: impl FnMut(&T) -> Result<()>,
) -> Summary {
    let selected: Vec<_> = tests
        .iter()
        .map(|(name, test)| (name.as_ref(), test))
        .filter(|(name, _)| selection.takes(name))
        .collect();
    let mut summary = Summary {
        passed: 0,
        failed: Vec::new(),
        left_out: tests.len() - selected.len(),
        took: Duration::ZERO,
        listed: selection.list,
    };
    if selection.list {
        selected
            .iter()
            .for_each(|(name, _)| println!("{name}: test"));
        return summary;
    }
    println!("\nrunning {} tests", selected.len());
    let started = Instant::now();
    for (name, test) in selected {
        let timed = stopwatch::start(name);
        let outcome = run(test);
        drop(timed);
        if outcome.is_ok() {
            summary.passed += 1;
            println!("test {name} ... ok");
        } else {
            summary.failed.push(name.to_owned());
            println!("test {name} ... FAILED");
        }
    }
    summary.took = started.elapsed();
    summary
}

impl Summary {
    /// Prints the result in libtest's form, and says how the process should end.
    pub fn report(&self) -> ExitCode {
        if !self.listed {
            print!("{}", self.text());
        }
        if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            // As libtest does; `cargo test` tells this from a crash.
            ExitCode::from(101)
        }
    }

    fn text(&self) -> String {
        let failures: String = self
            .failed
            .iter()
            .map(|name| format!("    {name}\n"))
            .collect();
        let (failures, verdict) = if self.failed.is_empty() {
            (String::new(), "ok")
        } else {
            (format!("\nfailures:\n{failures}"), "FAILED")
        };
        format!(
            "{failures}\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; \
             {} filtered out; finished in {:.2}s\n\n",
            self.passed,
            self.failed.len(),
            self.left_out,
            self.took.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: [(&str, bool); 3] = [
        ("dogs::bark", true),
        ("dogs::sing", false),
        ("cats::purr", true),
    ];

    fn select(args: &[&str]) -> Result<Selection> {
        Selection::parse(args.iter().map(|&arg| arg.to_owned()))
    }

    /// Runs `TESTS` with these arguments; returns the names that ran, and the summary.
    fn check(args: &[&str]) -> Result<(Vec<bool>, Summary)> {
        let mut ran = Vec::new();
        let summary = run(&select(args)?, &TESTS, |&good| {
            ran.push(good);
            anyhow::ensure!(good, "it cannot");
            Ok(())
        });
        Ok((ran, summary))
    }

    #[test]
    fn a_failure_does_not_hide_the_tests_after_it() -> Result<()> {
        let (ran, summary) = check(&["--nocapture", "--test-threads", "1"])?;
        assert_eq!(ran, [true, false, true]);
        assert_eq!((summary.passed, summary.failed.len()), (2, 1));
        assert_ne!(summary.report(), ExitCode::SUCCESS);
        Ok(())
    }

    #[test]
    fn a_name_or_a_part_of_it_selects_a_test() -> Result<()> {
        assert_eq!(check(&["purr"])?.0.len(), 1);
        assert_eq!(check(&["dogs"])?.0.len(), 2);
        assert_eq!(check(&["dogs", "--skip", "sing"])?.0, [true]);
        assert_eq!(check(&["--exact", "dogs"])?.0.len(), 0);
        assert_eq!(check(&["--exact", "cats::purr"])?.0, [true]);
        assert_eq!(check(&["--ignored"])?.0.len(), 0);
        Ok(())
    }

    #[test]
    fn an_unknown_option_is_refused() {
        assert!(select(&["--nocaptures"]).is_err());
    }

    #[test]
    fn the_last_line_has_the_form_of_libtest() -> Result<()> {
        let text = check(&["dogs"])?.1.text();
        let form = "\nfailures:\n    dogs::sing\n\ntest result: FAILED. 1 passed; 1 failed; \
                    0 ignored; 0 measured; 1 filtered out; finished in 0.00s\n\n";
        assert_eq!(text, form);
        let text = check(&["bark"])?.1.text();
        assert!(
            text.starts_with("\ntest result: ok. 1 passed; 0 failed;"),
            "{text}"
        );
        Ok(())
    }
}
