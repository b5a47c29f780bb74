//! Records how long each test takes, for the list that `make test` prints at its end. It writes
//! lines of seconds and a name to the file that `LAB_TEST_TIMES` names, and nothing without it.

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

/// The variable that names the file.
const FILE: &str = "LAB_TEST_TIMES";

/// Writes its line when it is dropped, whether the test has passed or not.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    name: String,
    started: Instant,
    file: Option<PathBuf>,
}

/// Starts to measure the test that runs on this thread; libtest names threads after tests.
pub(crate) fn start_for_this_test() -> Stopwatch {
    start(
        thread::current()
            .name()
            .unwrap_or("a thread without a name"),
    )
}

/// Starts to measure a test with this name.
pub(crate) fn start(name: &str) -> Stopwatch {
    Stopwatch {
        name: format!("{}::{name}", program()),
        started: Instant::now(),
        file: env::var_os(FILE)
            .filter(|file| !file.is_empty())
            .map(PathBuf::from),
    }
}

/// The name of the test file: cargo appends a hash to that of the program.
fn program() -> String {
    let path = env::current_exe().unwrap_or_default();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match stem.rsplit_once('-') {
        Some((name, _)) => name.to_owned(),
        None => stem.into_owned(),
    }
}

impl Stopwatch {
    fn line(&self) -> String {
        format!(
            "{:.2} {}\n",
            self.started.elapsed().as_secs_f64(),
            self.name
        )
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        let Some(path) = &self.file else { return };
        let file = File::options().create(true).append(true).open(path);
        // One write for each line: tests that end together do not mix. A file that cannot be
        // written must not make a test fail.
        let _ = file.and_then(|mut file| file.write_all(self.line().as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_seconds_and_the_name_of_file_and_test() {
        let line = start("some::test").line();
        let (seconds, name) = line.trim_end().split_once(' ').unwrap_or_default();
        assert_eq!(name, "integration::some::test");
        assert!(
            seconds.parse::<f64>().is_ok_and(|seconds| seconds < 60.0),
            "{line}"
        );
    }

    #[test]
    fn the_line_is_appended_when_the_test_ends() -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        for name in ["one", "other"] {
            let mut stopwatch = start(name);
            stopwatch.file = Some(file.path().to_owned());
        }
        let text = std::fs::read_to_string(file.path())?;
        assert_eq!(text.lines().count(), 2, "{text}");
        Ok(())
    }
}
