//! The daemon under test: its command line, its start, and what it tells systemd. It owns the
//! process, and judges nothing about what the daemon does.

use std::env;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use crate::command::Finished;
use crate::host::Host;
use crate::notify::Notify;
use crate::process::Process;
use crate::wait::{SLOW, eventually};

/// How operators start it; see [`FlanneldCommand::arg`] for other values.
const USUAL: [&str; 4] = [
    "--etcd-endpoints=http://10.99.0.1:2379",
    "--iface=eth0",
    "--ip-masq",
    "-v=1",
];

/// Finds the daemon: `LAB_FLANNELD`, else beside this test in the target directory.
///
/// # Errors
/// When it has not been built; the error says how to.
pub fn flanneld_binary() -> Result<PathBuf> {
    let binary = match env::var_os("LAB_FLANNELD") {
        Some(path) => PathBuf::from(path),
        None => target_dir()?.join("flanneld"),
    };
    ensure!(
        binary.is_file(),
        "no daemon at {binary:?}: build it with `make` or `cargo build`, or name one in LAB_FLANNELD"
    );
    // It is started from within other mount namespaces, with another working directory.
    Ok(binary.canonicalize()?)
}

/// Path of a program of the lab itself, such as `flood`.
///
/// # Errors
/// When it has not been built.
pub fn tool(name: &str) -> Result<String> {
    let path = target_dir()?.join(name);
    ensure!(
        path.is_file(),
        "no program at {path:?}: build it with `cargo build -p integration --bins`"
    );
    Ok(path.display().to_string())
}

/// `target/debug` or `target/release`: tests lie in `deps` below it, programs in it.
fn target_dir() -> Result<PathBuf> {
    let this = env::current_exe().context("failed to find this program's own file")?;
    let dir = this.parent().context("a program lies in a directory")?;
    let inner = dir.ends_with("deps") || dir.ends_with("examples");
    let target = if inner { dir.parent() } else { Some(dir) };
    Ok(target.unwrap_or(dir).to_owned())
}

/// A daemon to be started on a host.
#[derive(Debug)]
pub struct FlanneldCommand<'a> {
    host: &'a Host,
    binary: Option<PathBuf>,
    usual: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl<'a> FlanneldCommand<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Self {
            host,
            binary: None,
            usual: USUAL.iter().map(|&arg| arg.to_owned()).collect(),
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Adds an option. It takes the place of the usual option of the same name, if there is one.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self = self.without(option_name(arg));
        self.args.push(arg.to_owned());
        self
    }

    /// Adds some options, see [`FlanneldCommand::arg`].
    #[must_use]
    pub fn args(self, args: &[&str]) -> Self {
        args.iter().fold(self, |command, arg| command.arg(arg))
    }

    /// Leaves one of the usual options out; `name` is what stands before the `=`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.usual.retain(|usual| option_name(usual) != name);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts another program than the daemon that was built here, such as another version.
    #[must_use]
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_owned());
        self
    }

    /// Starts it and does not wait.
    ///
    /// # Errors
    /// When the daemon has not been built, or cannot be started.
    pub fn start(mut self) -> Result<Flanneld> {
        let name = format!("flanneld{}", self.host.next_start());
        let socket = format!("/run/{name}.notify");
        let notify = Notify::bind(&self.host.path(&socket))?;
        self.env.push(("NOTIFY_SOCKET".to_owned(), socket));
        let line = self.command_line()?;
        let argv: Vec<&str> = line.iter().map(String::as_str).collect();
        let process = self.host.start(&argv, &[], &name)?;
        Ok(Flanneld { process, notify })
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it does not in time; the error holds its log.
    pub fn start_ready(self) -> Result<Flanneld> {
        let flanneld = self.start()?;
        flanneld.wait_ready()?;
        Ok(flanneld)
    }

    /// Runs it to its end: for subcommands such as `cleanup`. The usual options are for the daemon
    /// proper and are left out.
    ///
    /// # Errors
    /// When the daemon has not been built, cannot be started or does not end in time.
    pub fn finish(mut self) -> Result<Finished> {
        self.usual.clear();
        let line = self.command_line()?;
        let argv: Vec<&str> = line.iter().map(String::as_str).collect();
        self.host.finish(&argv, "")
    }

    /// `env` sets the variables inside the host: the lab's own tools must not see them.
    fn command_line(&self) -> Result<Vec<String>> {
        let binary = self.binary.clone().map_or_else(flanneld_binary, Ok)?;
        let mut line = vec!["env".to_owned()];
        line.extend(self.env.iter().map(|(key, value)| format!("{key}={value}")));
        line.push(binary.display().to_string());
        line.extend(self.usual.iter().cloned());
        line.extend(self.args.iter().cloned());
        Ok(line)
    }
}

fn option_name(arg: &str) -> &str {
    arg.split('=').next().unwrap_or(arg)
}

/// A daemon that was started. Everything that a [`Process`] offers works on it as well.
#[derive(Debug)]
pub struct Flanneld {
    process: Process,
    notify: Arc<Notify>,
}

impl Flanneld {
    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends or does not say so in time; the error holds its log.
    pub fn wait_ready(&self) -> Result<()> {
        self.wait_told("READY=1")
    }

    /// Waits until it has told systemd a line, such as `STOPPING=1`.
    ///
    /// # Errors
    /// When it ends or does not say so in time; the error holds its log.
    pub fn wait_told(&self, line: &str) -> Result<()> {
        let told = eventually(SLOW, format_args!("{line} from flanneld"), || {
            // Asked before the messages are read: what it said last must not be missed.
            let ended = self.process.exit_status()?;
            let told = self.told().iter().any(|known| known == line);
            ensure!(told || ended.is_some(), "it said {:?}", self.told());
            Ok(told)
        });
        let told = told.with_context(|| self.log_or_reason())?;
        ensure!(
            told,
            "flanneld ended without {line}: {}",
            self.log_or_reason()
        );
        Ok(())
    }

    /// Waits until a text is in its log.
    ///
    /// # Errors
    /// When it is not in time; the error holds the log.
    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        eventually(SLOW, format_args!("{text:?} in the log"), || {
            let log = self.process.log()?;
            ensure!(log.contains(text), "{log}");
            Ok(())
        })
    }

    /// All lines that it has told systemd so far, in order.
    pub fn told(&self) -> Vec<String> {
        self.notify.lines()
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it has ended before, or does not end in time.
    pub fn stop(&self) -> Result<ExitStatus> {
        let stopped = self.process.stop(SLOW);
        stopped.with_context(|| self.log_or_reason())
    }

    fn log_or_reason(&self) -> String {
        let log = self.process.log();
        log.map_or_else(
            |error| format!("{error:#}"),
            |log| format!("its log:\n{log}"),
        )
    }
}

impl Deref for Flanneld {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

#[cfg(test)]
mod tests {
    use super::option_name;

    #[test]
    fn options_are_told_apart_by_name() {
        assert_eq!(option_name("--iface=eth0"), "--iface");
        assert_eq!(option_name("--ip-masq"), "--ip-masq");
    }
}
