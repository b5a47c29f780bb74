//! A namespace: a network, files under /run, /etc and /var, and a host name of its own, held by
//! one process. It owns that process and the way into it, and knows nothing of addresses.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::{self, Finished};
use crate::process::Process;
use crate::wait::{QUICK, eventually};

/// Runs inside the fresh namespaces. It ends by turning into `sleep`, which is how we see that
/// everything before has gone well.
///
/// A private /run gives each host its own /run/flannel and /run/xtables.lock. With a disk, /etc
/// and /var are the machine's own, but what the host writes goes to its disk and outlives it.
const HOLD: &str = r#"
hostname "$0"
mount -t tmpfs -o mode=755 tmpfs /run
if [ -n "$1" ]; then
    for dir in etc var; do
        mkdir -p "$1/$dir" "$1/work/$dir"
        mount -t overlay -o "lowerdir=/$dir,upperdir=$1/$dir,workdir=$1/work/$dir" overlay "/$dir"
    done
fi
ip link set lo up
exec sleep infinity
"#;

/// A set of namespaces, which lives as long as this value and as the processes started in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    dir: PathBuf,
    holder: Process,
}

impl Netns {
    /// Makes namespaces with the host name `name`; logs go to `dir`. With a `disk`, what is
    /// written to /etc and /var is kept there.
    ///
    /// # Errors
    /// When the kernel refuses, for instance because we are not root.
    pub fn new(name: &str, dir: &Path, disk: Option<&Path>) -> Result<Self> {
        let disk = disk.map(|disk| disk.display().to_string());
        let mut argv = words(&["unshare", "--net", "--mount", "--uts"]);
        argv.extend(words(&[
            "--propagation",
            "private",
            "sh",
            "-euc",
            HOLD,
            name,
        ]));
        argv.push(disk.unwrap_or_default());
        let holder = Process::start(&argv, &[], &dir.join(format!("{name}-namespace.log")))?;
        let netns = Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            holder,
        };
        netns.wait_until_held()?;
        Ok(netns)
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process that holds the namespaces; `nsenter -t PID -n -m -u` enters them by hand.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// The directory that takes the logs.
    pub fn log_dir(&self) -> &Path {
        &self.dir
    }

    /// Runs a command inside and hands on its standard output.
    ///
    /// # Errors
    /// When it fails or exceeds [`command::DEADLINE`].
    pub fn run(&self, argv: &[&str]) -> Result<String> {
        self.finish(argv, "")?.success()
    }

    /// Runs a shell script (`sh -eu`) inside and hands on its standard output.
    ///
    /// # Errors
    /// When it fails or exceeds [`command::DEADLINE`].
    pub fn sh(&self, script: &str) -> Result<String> {
        self.run(&["sh", "-euc", script])
    }

    /// Runs a command inside to its end, good or bad.
    ///
    /// # Errors
    /// When it cannot be started or exceeds [`command::DEADLINE`].
    pub fn finish(&self, argv: &[&str], stdin: &str) -> Result<Finished> {
        let finished = command::finish(&self.entering(argv), stdin, command::DEADLINE);
        finished.with_context(|| format!("in {}", self.name))
    }

    /// Starts a long-lived process inside, whose output goes to the log `NAME-LOG.log`. Its id is
    /// that of the program itself: `nsenter` executes it in place.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, argv: &[&str], env: &[(String, String)], log: &str) -> Result<Process> {
        let log = self.dir.join(format!("{}-{log}.log", self.name));
        Process::start(&self.entering(argv), env, &log)
    }

    /// Where this process finds a file that lies at `path` inside. Not for /proc and /sys, which
    /// show what belongs to the reader.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid()))
    }

    /// Reads a file inside.
    ///
    /// # Errors
    /// When it is missing or not text.
    pub fn read(&self, path: &str) -> Result<String> {
        let content = fs::read_to_string(self.path(path));
        content.with_context(|| format!("failed to read {path:?} in {}", self.name))
    }

    /// Reads a kernel setting, named with slashes: `net/ipv4/neigh/flannel.1/app_solicit`.
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn sysctl(&self, name: &str) -> Result<String> {
        let value = self.run(&["cat", &format!("/proc/sys/{name}")])?;
        Ok(value.trim().to_owned())
    }

    fn entering(&self, argv: &[&str]) -> Vec<String> {
        let pid = self.pid().to_string();
        let mut line = words(&["nsenter", "-t", &pid, "-n", "-m", "-u", "--"]);
        line.extend(words(argv));
        line
    }

    fn wait_until_held(&self) -> Result<()> {
        let comm = format!("/proc/{}/comm", self.pid());
        let held = eventually(QUICK, format_args!("namespace {}", self.name), || {
            // An end is final: there is nothing left to wait for.
            if !self.holder.is_running() {
                return Ok(false);
            }
            let comm = fs::read_to_string(&comm)?;
            ensure!(comm.trim() == "sleep", "it is at {comm:?}");
            Ok(true)
        })?;
        ensure!(
            held,
            "failed to make namespace {}: {}",
            self.name,
            self.holder.log()?
        );
        Ok(())
    }
}

/// Makes owned words of a command line.
pub(crate) fn words(argv: &[&str]) -> Vec<String> {
    argv.iter().map(|&word| word.to_owned()).collect()
}
