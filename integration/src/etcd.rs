//! A real etcd in the underlay: starting, ending and disturbing it. It owns the server process
//! and its data; what is read and written through it lies in [`client`].

pub mod client;

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use client::KeyValue;

use crate::process::Process;
use crate::underlay::{self, Underlay};
use crate::wait::{SLOW, eventually};

/// The usual port of etcd.
pub const CLIENT_PORT: u16 = 2379;

/// A poll for health gives up soon, so that the next one finds a server that has just come up.
const POLL_HEALTH: [&str; 3] = ["--command-timeout=1s", "endpoint", "health"];

/// Even a server that is alone waits for an election; it need not wait a second for its own vote.
const ALONE: [&str; 2] = ["--heartbeat-interval=10", "--election-timeout=100"];

/// Certificates: what the server shows, and what it demands of its clients. `etcdctl` uses the same.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Who signed the certificates.
    pub ca: PathBuf,
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Tls {
    fn options(&self, names: [&str; 3]) -> Vec<String> {
        let files = [&self.ca, &self.cert, &self.key];
        let options = names.iter().zip(files);
        options
            .map(|(name, file)| format!("{name}={}", file.display()))
            .collect()
    }
}

/// How to start an etcd.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// Its name, which also names its log.
    pub name: String,
    /// Where clients connect; its peers use the port above. Take ports that are not neighbours.
    pub client_port: u16,
    /// Name and client port of each member of the cluster, this one included; empty when it is alone.
    pub cluster: Vec<(String, u16)>,
    /// Serve clients by TLS, and demand a certificate from them.
    pub tls: Option<Tls>,
    /// More options of the server, such as `--quota-backend-bytes=...`.
    pub args: Vec<String>,
}

impl EtcdOptions {
    /// A server of its own on a port, without TLS.
    pub fn new(name: &str, client_port: u16) -> Self {
        Self {
            name: name.to_owned(),
            client_port,
            cluster: Vec::new(),
            tls: None,
            args: Vec::new(),
        }
    }

    /// The members of one cluster, on the ports 12379, 22379 and so on.
    pub fn cluster(members: u16) -> Vec<Self> {
        let names: Vec<(String, u16)> = (1..=members)
            .map(|number| (format!("etcd{number}"), CLIENT_PORT + 10_000 * number))
            .collect();
        let member = |(name, port): &(String, u16)| Self {
            cluster: names.clone(),
            ..Self::new(name, *port)
        };
        names.iter().map(member).collect()
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn peer_urls(&self) -> String {
        let alone = [(self.name.clone(), self.client_port)];
        let members = if self.cluster.is_empty() {
            alone.as_slice()
        } else {
            &self.cluster
        };
        let urls = members
            .iter()
            .map(|(name, port)| format!("{name}={}", peer_url(*port)));
        urls.collect::<Vec<_>>().join(",")
    }

    /// The data lie in the underlay's own /run: memory, so that no test waits for a disk.
    fn data_dir(&self) -> String {
        format!("/run/{}", self.name)
    }

    fn command_line(&self, endpoint: &str) -> Vec<String> {
        let peer = peer_url(self.client_port);
        let local = format!("{}://127.0.0.1:{}", self.scheme(), self.client_port);
        let mut line = vec![
            "etcd".to_owned(),
            format!("--name={}", self.name),
            format!("--data-dir={}", self.data_dir()),
            format!("--listen-client-urls={endpoint},{local}"),
            format!("--advertise-client-urls={endpoint}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", self.peer_urls()),
        ];
        if let Some(tls) = &self.tls {
            line.extend(tls.options(["--trusted-ca-file", "--cert-file", "--key-file"]));
            line.push("--client-cert-auth".to_owned());
        }
        if self.cluster.is_empty() {
            line.extend(ALONE.map(str::to_owned));
        }
        line.extend(self.args.iter().cloned());
        line
    }
}

fn peer_url(client_port: u16) -> String {
    format!("http://{}:{}", underlay::ADDRESS, client_port + 1)
}

/// The endpoints of several members in one option value.
pub fn endpoints(members: &[Etcd]) -> String {
    let endpoints: Vec<String> = members.iter().map(Etcd::endpoint).collect();
    endpoints.join(",")
}

/// A running etcd, or one that was stopped and keeps its data.
#[derive(Debug)]
pub struct Etcd {
    underlay: Arc<Underlay>,
    options: EtcdOptions,
    process: Mutex<Option<Process>>,
}

impl Etcd {
    /// Starts a server and waits until it serves.
    pub(crate) fn start_ready(underlay: &Arc<Underlay>, options: EtcdOptions) -> Result<Self> {
        let etcd = Self::new(underlay, options);
        etcd.start()?;
        Ok(etcd)
    }

    /// Starts a server and does not wait.
    pub(crate) fn launched(underlay: &Arc<Underlay>, options: EtcdOptions) -> Result<Self> {
        let etcd = Self::new(underlay, options);
        etcd.launch()?;
        Ok(etcd)
    }

    /// Starts all members of a cluster at once, because none can serve alone.
    pub(crate) fn start_cluster(
        underlay: &Arc<Underlay>,
        members: Vec<EtcdOptions>,
    ) -> Result<Vec<Self>> {
        let members = members.into_iter();
        let members: Vec<Self> = members
            .map(|options| Self::new(underlay, options))
            .collect();
        members.iter().try_for_each(Self::launch)?;
        members.iter().try_for_each(Self::wait_ready)?;
        Ok(members)
    }

    fn new(underlay: &Arc<Underlay>, options: EtcdOptions) -> Self {
        Self {
            underlay: Arc::clone(underlay),
            options,
            process: Mutex::new(None),
        }
    }

    /// Where its clients connect to.
    pub fn endpoint(&self) -> String {
        let (scheme, port) = (self.options.scheme(), self.options.client_port);
        format!("{scheme}://{}:{port}", underlay::ADDRESS)
    }

    /// Starts it with the data that it had, and waits until it serves.
    ///
    /// # Errors
    /// When it does not serve in time; the error holds the end of its log.
    pub fn start(&self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts it without waiting: a member of a cluster serves only when most others do.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&self) -> Result<()> {
        let line = self.options.command_line(&self.endpoint());
        let argv: Vec<&str> = line.iter().map(String::as_str).collect();
        let process = self.underlay.start(&argv, &[], &self.options.name)?;
        *self.slot() = Some(process);
        Ok(())
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// When it does not in time; the error holds its log.
    pub fn wait_ready(&self) -> Result<()> {
        let what = format!("health of etcd {}", self.options.name);
        let healthy = eventually(SLOW, what, || {
            // A client that is refused a connection waits a second before it tries again.
            ensure!(self.is_listening()?, "it does not listen");
            self.ctl(&POLL_HEALTH)
        });
        healthy.with_context(|| format!("its log:\n{}", self.log()))?;
        Ok(())
    }

    fn is_listening(&self) -> Result<bool> {
        let pid = self.with_process(|process| Ok(process.pid()))?;
        let sockets = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
        let listening = format!(":{:04X} 00000000:0000 0A", self.options.client_port);
        Ok(sockets.contains(&listening))
    }

    /// Ends it properly (SIGTERM), as an update of it does.
    ///
    /// # Errors
    /// When it does not run, or does not end in time.
    pub fn stop(&self) -> Result<ExitStatus> {
        let process = self.slot().take().context("this etcd does not run")?;
        process.stop(SLOW)
    }

    /// Ends it properly and starts it again.
    ///
    /// # Errors
    /// See [`Etcd::stop`] and [`Etcd::start`].
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<()> {
        let process = self.slot().take().context("this etcd does not run")?;
        process.kill()
    }

    /// Makes it stand still (SIGSTOP): connections stay open, and no request is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.with_process(Process::freeze)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.with_process(Process::thaw)
    }

    /// The CPU time that it has used since it was started.
    ///
    /// # Errors
    /// When it does not run.
    pub fn cpu_time(&self) -> Result<Duration> {
        self.with_process(Process::cpu_time)
    }

    /// What it has logged since it was started first.
    pub fn log(&self) -> String {
        let log = self.with_process(Process::log);
        log.unwrap_or_else(|error| format!("{error:#}"))
    }

    /// Saves all its data to a file in the underlay.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn backup(&self, name: &str) -> Result<()> {
        self.ctl(&["snapshot", "save", &backup_file(name)])?;
        Ok(())
    }

    /// Stops it, takes the data of an earlier [`Etcd::backup`], and starts it. Revisions go back,
    /// and leases start over, as they do for an operator.
    ///
    /// # Errors
    /// When any of this fails.
    pub fn restore(&self, name: &str) -> Result<()> {
        self.stop()?;
        self.remove_data()?;
        let options = &self.options;
        self.ctl(&[
            "snapshot",
            "restore",
            &backup_file(name),
            &format!("--name={}", options.name),
            &format!("--data-dir={}", options.data_dir()),
            &format!("--initial-cluster={}", options.peer_urls()),
            &format!(
                "--initial-advertise-peer-urls={}",
                peer_url(options.client_port)
            ),
        ])?;
        self.start()
    }

    /// Stops it, throws its data away, and starts it empty, as a cluster that is new.
    ///
    /// # Errors
    /// When any of this fails.
    pub fn restart_empty(&self) -> Result<()> {
        self.stop()?;
        self.remove_data()?;
        self.start()
    }

    fn remove_data(&self) -> Result<()> {
        let dir = self.options.data_dir();
        self.underlay.run(&["rm", "-rf", "--", &dir]).map(drop)
    }

    fn with_process<T>(&self, act: impl Fn(&Process) -> Result<T>) -> Result<T> {
        act(self.slot().as_ref().context("this etcd does not run")?)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Process>> {
        // A test that panicked must still be able to show what etcd holds.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn backup_file(name: &str) -> String {
    format!("/run/{name}.backup")
}
