//! A long-lived process of the lab: a server or a holder of namespaces. It owns the child, which
//! is killed when its owner goes, and does not know what the program is.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::spawn::{mortal, spawn};
use crate::wait::eventually;

/// The kernel shows CPU times to user space in hundredths of a second on every architecture we know.
const TICK: Duration = Duration::from_millis(10);

/// A running process and the file that takes its output.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Process {
    /// Starts a process whose standard output and error are appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the process cannot be started.
    pub fn start(argv: &[String], env: &[(String, String)], log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log);
        let output = output.with_context(|| format!("failed to open log {log:?}"))?;
        let mut command = mortal(argv);
        command
            .envs(env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = spawn(command)?;
        Ok(Self {
            name: argv.join(" "),
            pid: child.id(),
            log: log.to_owned(),
            child: Mutex::new(child),
        })
    }

    /// The process id, as every namespace of ours sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything it has written so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("failed to read log {:?}", self.log))
    }

    /// Whether it has not ended yet. A process that is stopped by a signal counts as running.
    pub fn is_running(&self) -> bool {
        matches!(self.exit_status(), Ok(None))
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        let status = self.child().try_wait();
        status.with_context(|| format!("failed to wait for `{}`", self.name))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // Until we have waited for it, its id cannot be given to another process.
        let ended = self.exit_status()?;
        anyhow::ensure!(ended.is_none(), "`{}` ended before {signal}", self.name);
        kill(Pid::from_raw(self.pid.cast_signed()), signal)
            .with_context(|| format!("failed to send {signal} to `{}`", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs at the deadline.
    pub fn wait(&self, deadline: Duration) -> Result<ExitStatus> {
        eventually(deadline, format_args!("the end of `{}`", self.name), || {
            self.exit_status()?.context("it still runs")
        })
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it has ended before, or still runs at the deadline.
    pub fn stop(&self, deadline: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(deadline)
    }

    /// Ends it at once, without a chance to clean up (SIGKILL).
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child().wait()?;
        Ok(())
    }

    /// Makes it stand still (SIGSTOP): its sockets stay open, and no request is answered.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it has ended before.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// The CPU time that it has used, in steps of 10 ms.
    ///
    /// # Errors
    /// When it has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = self.proc_file("stat")?;
        // The second field is the program's name in parentheses, which may hold spaces.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = after_name.split_whitespace().skip(11).take(2);
        let ticks: u32 = ticks.filter_map(|field| field.parse::<u32>().ok()).sum();
        Ok(TICK * ticks)
    }

    /// The memory that it occupies now, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that it has ever occupied, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn peak_resident_bytes(&self) -> Result<u64> {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, label: &str) -> Result<u64> {
        let status = self.proc_file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix(label));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
        let kib: u64 = kib
            .with_context(|| format!("no {label} for `{}`", self.name))?
            .trim()
            .parse()?;
        Ok(kib * 1024)
    }

    fn proc_file(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).with_context(|| format!("failed to read {path:?}"))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        // A test that panicked must still be able to end its processes.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        // Both fail only when the process has ended already, which is what we want.
        let _ = child.kill();
        let _ = child.wait();
    }
}
