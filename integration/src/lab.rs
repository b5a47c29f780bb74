//! The lab as a whole: an underlay, an etcd and hosts. It owns them all and the directory of
//! their logs, and shows the evidence when a test fails.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::etcd::{CLIENT_PORT, Etcd, EtcdOptions};
use crate::evidence;
use crate::host::Host;
use crate::scratch::Scratch;
use crate::stopwatch::{self, Stopwatch};
use crate::tools;
use crate::underlay::Underlay;

/// Makes a lab, runs a test in it, and prints the evidence when the test fails.
///
/// # Errors
/// When the lab cannot be made, or the test fails.
pub fn in_lab(hosts: u8, test: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    let mut lab = Lab::new(hosts)?;
    let outcome = test(&mut lab);
    if let Err(error) = &outcome {
        lab.print_evidence(&format!("{error:#}"));
    }
    outcome
}

/// An underlay with an etcd and hosts. A lab shares nothing with other labs.
#[derive(Debug)]
pub struct Lab {
    hosts: Vec<Host>,
    /// The etcd that is there from the start, at `http://10.99.0.1:2379`.
    pub etcd: Etcd,
    /// The network between the hosts.
    pub underlay: Arc<Underlay>,
    // After the others, so that it outlives all who write into it.
    dir: Scratch,
    // Last: the teardown counts.
    _stopwatch: Stopwatch,
}

impl Lab {
    /// Makes a lab with hosts 1 to `hosts`.
    ///
    /// # Errors
    /// When we are not root, a tool is missing, or the kernel refuses.
    pub fn new(hosts: u8) -> Result<Self> {
        let stopwatch = stopwatch::start_for_this_test();
        tools::check()?;
        let dir = Scratch::new()?;
        let underlay = Arc::new(Underlay::new(dir.path())?);
        let options = EtcdOptions::new("etcd", CLIENT_PORT);
        let etcd = Etcd::start_ready(&underlay, options)?;
        let mut lab = Self {
            hosts: Vec::new(),
            etcd,
            underlay,
            dir,
            _stopwatch: stopwatch,
        };
        (0..hosts).try_for_each(|_| lab.add_host().map(drop))?;
        Ok(lab)
    }

    /// Returns host `number`, counted from 1.
    ///
    /// # Panics
    /// When there is no such host: that is an error of the test itself.
    pub fn host(&self, number: u8) -> &Host {
        let found = self.hosts.iter().find(|host| host.number() == number);
        found.unwrap_or_else(|| panic!("the lab has no host {number}"))
    }

    /// Returns all hosts, by number.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    fn print_evidence(&self, reason: &str) {
        evidence::print(self.dir(), self.hosts(), &self.etcd, reason);
    }

    /// The directory of logs and of the hosts' disks; it goes with the lab.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds a host with the next number. One without a daemon serves as a client from outside.
    ///
    /// # Errors
    /// When the kernel refuses, or the numbers are used up.
    pub fn add_host(&mut self) -> Result<&Host> {
        let last = self.hosts.last().map_or(0, Host::number);
        let number = last.checked_add(1).context("a lab has 255 hosts at most")?;
        let host = Host::new(&self.underlay, self.dir.path(), number)?;
        self.hosts.push(host);
        Ok(&self.hosts[self.hosts.len() - 1])
    }

    /// Reboots a host: network and /run are new, its disk and machine id stay. End its daemons and
    /// pods before: they would go on in the old namespaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn reboot(&mut self, number: u8) -> Result<()> {
        let position = self.hosts.iter().position(|host| host.number() == number);
        let position = position.with_context(|| format!("the lab has no host {number}"))?;
        let old = self.hosts.remove(position);
        self.underlay.disconnect(old.name())?;
        drop(old);
        let new = Host::new(&self.underlay, self.dir.path(), number)?;
        self.hosts.insert(position, new);
        Ok(())
    }

    /// Starts another etcd in the underlay: with TLS, say, or small limits.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn start_etcd(&self, options: EtcdOptions) -> Result<Etcd> {
        Etcd::start_ready(&self.underlay, options)
    }

    /// Starts another etcd without waiting for it, for an etcd that refuses the client of the lab.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch_etcd(&self, options: EtcdOptions) -> Result<Etcd> {
        Etcd::launched(&self.underlay, options)
    }

    /// Starts a cluster of etcd members in the underlay, beside the etcd that is there.
    ///
    /// # Errors
    /// When they do not serve in time.
    pub fn start_etcd_cluster(&self, members: u16) -> Result<Vec<Etcd>> {
        Etcd::start_cluster(&self.underlay, EtcdOptions::cluster(members))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_evidence("a panic, see above");
        }
    }
}
