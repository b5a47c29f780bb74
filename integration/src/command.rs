//! Runs short commands to their end, within a deadline. It knows nothing of namespaces.
//!
//! Input and output go through unnamed files, not pipes: nothing can block on a full pipe, and a
//! grandchild that keeps an output open cannot make us wait for it.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::spawn::{mortal, spawn};
use crate::wait::eventually;

/// How long a command may take when its caller says nothing else.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A command that has ended, whether well or not.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Hands on the standard output.
    ///
    /// # Errors
    /// When the command has not ended well; the error holds what it wrote to standard error.
    pub fn success(self) -> Result<String> {
        ensure!(
            self.status.success(),
            "`{}` failed with {}: {}{}",
            self.line,
            self.status,
            self.stderr.trim_end(),
            self.stdout.trim_end()
        );
        Ok(self.stdout)
    }
}

/// Runs a command to its end; it is killed when the deadline has passed.
///
/// # Errors
/// When the command cannot be started or exceeds the deadline. A bad exit status is no error here.
pub fn finish(argv: &[String], stdin: &str, deadline: Duration) -> Result<Finished> {
    let (stdout, stderr) = (unnamed_file("")?, unnamed_file("")?);
    let mut command = mortal(argv);
    command
        .stdin(unnamed_file(stdin)?)
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?);
    let line = argv.join(" ");
    let status = end_of(spawn(command)?, &line, deadline)?;
    Ok(Finished {
        line,
        status,
        stdout: content(stdout)?,
        stderr: content(stderr)?,
    })
}

fn end_of(mut child: Child, line: &str, deadline: Duration) -> Result<ExitStatus> {
    let status = eventually(deadline, format_args!("the end of `{line}`"), || {
        child.try_wait()?.context("it still runs")
    });
    if status.is_err() {
        // The status is an error already; the process must not stay in any case.
        let _ = child.kill();
        let _ = child.wait();
    }
    status
}

fn unnamed_file(content: &str) -> Result<File> {
    let mut file = tempfile::tempfile().context("failed to make an unnamed file")?;
    file.write_all(content.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

fn content(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::words;
    use anyhow::bail;

    #[test]
    fn passes_input_and_output() -> Result<()> {
        let done = finish(&words(&["cat"]), "hello", DEADLINE)?;
        ensure!(done.success()? == "hello");
        Ok(())
    }

    #[test]
    fn a_failure_tells_command_status_and_message() -> Result<()> {
        let done = finish(&words(&["sh", "-c", "echo no >&2; exit 3"]), "", DEADLINE)?;
        let Err(error) = done.success() else {
            bail!("a failure passed as success");
        };
        ensure!(
            error
                .to_string()
                .ends_with("failed with exit status: 3: no")
        );
        Ok(())
    }

    #[test]
    fn a_command_that_hangs_is_killed() {
        let brief = Duration::from_millis(50);
        assert!(finish(&words(&["sleep", "100"]), "", brief).is_err());
    }
}
