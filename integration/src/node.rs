//! A node: a machine that boots with systemd as its process 1, in namespaces of its own (systemd-nspawn), with a disk that
//! outlives a boot. It owns the boot, the cables and the end, and knows nothing of flanneld.
//!
//! Like a machine that Vagrant makes, it has two interfaces: eth0, whose address and default route are the same on every
//! node and lead nowhere, and eth1, on the network that the nodes share.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cgroups::Cgroups;
use crate::command::{self, Finished};
use crate::netns::{Netns, words};
use crate::process::Process;
use crate::wait::{QUICK, SLOW, eventually};

/// Starting systemd and Docker, and installing packages, takes long on a small machine that does other things as well.
pub const BOOT: Duration = Duration::from_secs(120);

/// Mounts the disk over the base image. It runs in the node's own mount namespace, so that nothing is left to unmount.
const MOUNT: &str =
    r#"mount -t overlay -o "lowerdir=$1,upperdir=$2/up,workdir=$2/work" overlay "$2/root""#;

/// Becomes the machine. Docker's data must not lie on an overlay. A new systemd boots with cgroup v2 alone, and Docker makes
/// groups there; with controllers or without.
const POWER_ON: &str = r#"
for procs in $2; do echo $$ > "$procs"; done
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=1 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn --quiet --directory="$1/root" --boot --network-namespace-path=/proc/self/ns/net \
    --machine="$0" --hostname="$0" --console=pipe --register=no --keep-unit --capability=all \
    --system-call-filter='add_key keyctl bpf' --bind="$1/docker:/var/lib/docker"
"#;

/// Commands inside a node get a fixed environment, and nothing of ours.
const ENVIRONMENT: [&str; 5] = [
    "env",
    "-i",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
];

/// A machine with a disk; it runs from [`Node::boot`] until [`Node::power_off`].
#[derive(Debug)]
pub struct Node {
    name: String,
    address: Ipv4Addr,
    base: PathBuf,
    disk: PathBuf,
    log_dir: PathBuf,
    switch: Arc<Netns>,
    boots: u32,
    machine: Option<Machine>,
}

/// What exists while it runs. The order is that of the end: process, cgroups, namespaces.
#[derive(Debug)]
struct Machine {
    nspawn: Process,
    leader: u32,
    _cgroups: Cgroups,
    netns: Netns,
}

impl Node {
    /// Prepares the disk of a machine that is called `name` and has `address` on the shared network.
    pub(crate) fn new(
        name: &str,
        address: Ipv4Addr,
        base: &Path,
        dir: &Path,
        switch: &Arc<Netns>,
    ) -> Result<Self> {
        let node = Self {
            name: name.to_owned(),
            address,
            base: base.to_owned(),
            disk: dir.join(name),
            log_dir: dir.to_owned(),
            switch: Arc::clone(switch),
            boots: 0,
            machine: None,
        };
        node.prepare_disk()
            .with_context(|| format!("failed to prepare the disk of {name}"))?;
        Ok(node)
    }

    fn prepare_disk(&self) -> Result<()> {
        for dir in [
            "up/etc/systemd/network",
            "up/etc/systemd/system/docker.service.d",
            "up/etc/systemd/system/systemd-sysctl.service.d",
            "work",
            "root",
            "docker",
        ] {
            fs::create_dir_all(self.disk.join(dir))?;
        }
        let etc = self.disk.join("up/etc");
        let write = |file: &str, text: String| {
            fs::write(etc.join(file), text).with_context(|| format!("/etc/{file}"))
        };
        write("machine-id", format!("{:032x}\n", self.address.to_bits()))?;
        write("hostname", format!("{}\n", self.name))?;
        let eth0 = "[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n";
        write("systemd/network/10-eth0.network", eth0.to_owned())?;
        // Without this, a restart of networkd would take the underlay away for a moment.
        let eth1 = format!(
            "[Match]\nName=eth1\n[Network]\nAddress={}/24\nKeepConfiguration=yes\n",
            self.address
        );
        write("systemd/network/10-eth1.network", eth1)?;
        // Tests restart Docker, and install packages, more often than these units allow.
        for unit in ["docker", "systemd-sysctl"] {
            let limit = "[Unit]\nStartLimitIntervalSec=0\n";
            write(
                &format!("systemd/system/{unit}.service.d/lab.conf"),
                limit.to_owned(),
            )?;
        }
        Ok(())
    }

    /// Its host name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address on the network that the nodes share.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Switches it on and waits until its systemd takes orders. Network and kernel state are new, the disk is the old one.
    ///
    /// # Errors
    /// When it runs already, or does not come up in time; the error holds its console.
    pub fn boot(&mut self) -> Result<()> {
        ensure!(self.machine.is_none(), "{} runs already", self.name);
        self.boots += 1;
        let netns = Netns::new(&self.name, &self.log_dir, None)?;
        self.lay_cables(&netns)?;
        self.mount(&netns)?;
        // Several labs run at once: their directories have names of their own.
        let lab = self
            .log_dir
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let cgroups = Cgroups::new(&format!("{lab}-{}", self.name))?;
        let nspawn = self.power_on(&netns, &cgroups)?;
        let leader = eventually(QUICK, format_args!("{} to start", self.name), || {
            child_of(nspawn.pid())
        });
        let console = || nspawn.log().unwrap_or_default();
        let leader = leader.with_context(console)?;
        self.machine = Some(Machine {
            nspawn,
            leader,
            _cgroups: cgroups,
            netns,
        });
        eventually(BOOT, format_args!("{} to boot", self.name), || {
            let state = self
                .finish(&words(&["systemctl", "is-system-running"]), QUICK)?
                .stdout;
            ensure!(
                ["starting", "running", "degraded"].contains(&state.trim()),
                "it is {state:?}"
            );
            Ok(())
        })
    }

    fn power_on(&self, netns: &Netns, cgroups: &Cgroups) -> Result<Process> {
        let (disk, procs) = (self.disk.display().to_string(), cgroups.procs().join(" "));
        let line = ["sh", "-euc", POWER_ON, &self.name, &disk, &procs];
        netns.start(&line, &[], &format!("console{}", self.boots))
    }

    /// The kernel may still hold the mount of the boot before.
    fn mount(&self, netns: &Netns) -> Result<()> {
        let (base, disk) = (
            self.base.display().to_string(),
            self.disk.display().to_string(),
        );
        let mounted = || netns.run(&["sh", "-euc", MOUNT, &self.name, &base, &disk]);
        eventually(SLOW, format_args!("the disk of {}", self.name), mounted).map(drop)
    }

    /// Those of the boot before go with its namespaces, but not at once.
    fn lay_cables(&self, netns: &Netns) -> Result<()> {
        let (name, pid) = (&self.name, netns.pid());
        self.switch.sh(&format!(
            "ip link delete {name} 2> /dev/null || true
             ip link add {name} type veth peer name eth1 netns {pid}
             ip link set {name} master br0 up
             ip link delete {name}-nat 2> /dev/null || true
             ip link add {name}-nat type veth peer name eth0 netns {pid}
             ip link set {name}-nat up"
        ))?;
        Ok(())
    }

    /// Shuts it down properly and waits for its end.
    ///
    /// # Errors
    /// When it does not run, or does not end in time.
    pub fn power_off(&mut self) -> Result<()> {
        self.sh("systemctl --no-block poweroff")?;
        let machine = self.machine.take().context("it does not run")?;
        machine
            .nspawn
            .wait(BOOT)
            .with_context(|| machine.nspawn.log().unwrap_or_default())?;
        Ok(())
    }

    /// Shuts it down and boots it again.
    ///
    /// # Errors
    /// See [`Node::power_off`] and [`Node::boot`].
    pub fn reboot(&mut self) -> Result<()> {
        self.power_off()?;
        self.boot()
    }

    fn machine(&self) -> Result<&Machine> {
        self.machine
            .as_ref()
            .with_context(|| format!("{} is switched off", self.name))
    }

    /// The process 1 of the node, as we see it: `nsenter -t PID -a` enters it by hand.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn leader(&self) -> Result<u32> {
        self.machine().map(|machine| machine.leader)
    }

    /// Runs a shell script inside and hands on its standard output.
    ///
    /// # Errors
    /// When it fails or takes longer than a minute.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.sh_within(SLOW, script)
    }

    /// The same, with a deadline of its own.
    ///
    /// # Errors
    /// When it fails or exceeds the deadline.
    pub fn sh_within(&self, deadline: Duration, script: &str) -> Result<String> {
        self.finish(&words(&["sh", "-euc", script]), deadline)?
            .success()
            .with_context(|| self.name.clone())
    }

    /// Runs a command inside to its end, good or bad.
    ///
    /// # Errors
    /// When it cannot be started or exceeds the deadline.
    pub fn finish(&self, argv: &[String], deadline: Duration) -> Result<Finished> {
        let leader = self.leader()?.to_string();
        let mut line = words(&["nsenter", "-t", &leader, "-a", "--"]);
        line.extend(words(&ENVIRONMENT));
        line.extend_from_slice(argv);
        command::finish(&line, "", deadline).with_context(|| format!("in {}", self.name))
    }

    /// Copies a file to the node.
    ///
    /// # Errors
    /// When one of them cannot be opened.
    pub fn put(&self, from: &Path, to: &str) -> Result<()> {
        fs::copy(from, self.path(to)?)
            .with_context(|| format!("failed to copy {from:?} to {}:{to}", self.name))?;
        Ok(())
    }

    /// Where this process finds a file that lies at `path` inside.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn path(&self, path: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!(
            "/proc/{}/root{path}",
            self.leader()?
        )))
    }

    /// Waits until all that shall run after a boot runs, and nothing has failed.
    ///
    /// # Errors
    /// When it takes too long, or a unit has failed; the error names it.
    pub fn wait_running(&self) -> Result<()> {
        eventually(BOOT, format_args!("{} to be up", self.name), || {
            let state = self
                .finish(&words(&["systemctl", "is-system-running"]), QUICK)?
                .stdout;
            ensure!(
                state.trim() == "running",
                "{state}{}",
                self.sh("systemctl --failed; systemctl list-jobs")?
            );
            Ok(())
        })
    }

    /// Where a process of the lab that belongs to this node writes.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.log_dir.join(format!("{}-{name}.log", self.name))
    }

    /// The network namespace of the node as a lab host sees it, for commands of the lab.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn netns(&self) -> Result<&Netns> {
        self.machine().map(|machine| &machine.netns)
    }
}

/// nspawn has one child: the machine's systemd.
fn child_of(pid: u32) -> Result<u32> {
    let children = command::finish(
        &words(&["ps", "-o", "pid=", "--ppid", &pid.to_string()]),
        "",
        QUICK,
    )?
    .stdout;
    let child = children
        .split_whitespace()
        .next()
        .context("it has no process yet")?
        .parse()?;
    ensure!(
        fs::read_to_string(format!("/proc/{child}/comm"))?.trim() == "systemd",
        "systemd is not there yet"
    );
    Ok(child)
}
