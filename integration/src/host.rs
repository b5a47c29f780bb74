//! A host: a namespace with a cable to the underlay, an identity and a disk. It owns the cable's
//! host end and the bridge for pods, and does not know how the daemon works.

use std::fs;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use anyhow::{Context, Result};

use crate::flanneld::FlanneldCommand;
use crate::netns::Netns;
use crate::pod::Pod;
use crate::underlay::{self, Underlay};
use crate::wait::{QUICK, eventually};

/// Where the daemon writes what it leased, unless it is told otherwise.
pub const SUBNET_ENV: &str = "/run/flannel/subnet.env";

/// Where the daemon keeps the last known state of the overlay of `coreos.com/network`.
pub const SNAPSHOT: &str = "/var/lib/flannel/coreos.com-network.snapshot";

/// The bridge that stands in for Docker's.
const DOCKER0: &str = "docker0";

/// A host of the lab. Everything that a [`Netns`] offers works on it as well.
#[derive(Debug)]
pub struct Host {
    netns: Netns,
    number: u8,
    underlay: Arc<Underlay>,
    next_pod: AtomicU8,
    starts: AtomicU8,
}

impl Host {
    pub(crate) fn new(underlay: &Arc<Underlay>, dir: &Path, number: u8) -> Result<Self> {
        let name = format!("host{number}");
        let disk = dir.join(&name);
        prepare_disk(&disk, number)?;
        let netns = Netns::new(&name, dir, Some(&disk))?;
        underlay.connect(&netns)?;
        let host = Self {
            netns,
            number,
            underlay: Arc::clone(underlay),
            next_pod: AtomicU8::new(2),
            starts: AtomicU8::new(0),
        };
        host.configure()?;
        Ok(host)
    }

    /// Lays a new cable after the old one was deleted: a new `eth0` with the old address and route.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn connect_again(&self) -> Result<()> {
        self.underlay.connect(&self.netns)?;
        self.configure()
    }

    fn configure(&self) -> Result<()> {
        let (address, gateway) = (self.address(), underlay::ADDRESS);
        self.sh(&format!(
            "ip address add {address}/16 dev eth0
             ip link set eth0 up
             ip route add default via {gateway}
             echo 1 > /proc/sys/net/ipv4/ip_forward"
        ))?;
        Ok(())
    }

    /// Its number, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Its address on the underlay, 10.99.1.N.
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 1, self.number)
    }

    /// Prepares a flanneld for this host, with the usual options.
    pub fn flanneld(&self) -> FlanneldCommand<'_> {
        FlanneldCommand::new(self)
    }

    /// Counts the daemons that were started here, to tell their logs apart.
    pub(crate) fn next_start(&self) -> u8 {
        self.starts.fetch_add(1, Relaxed) + 1
    }

    /// Pulls the cable at the far end: the host sees its carrier go, and keeps addresses and routes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn unplug(&self) -> Result<()> {
        self.set_port("down")
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plug(&self) -> Result<()> {
        self.set_port("up")
    }

    fn set_port(&self, state: &str) -> Result<()> {
        let argv = ["ip", "link", "set", self.name(), state];
        self.underlay.run(&argv).map(drop)
    }

    /// One value of the daemon's subnet file, such as `FLANNEL_SUBNET`.
    ///
    /// # Errors
    /// When the file or the value is missing.
    pub fn subnet_env(&self, key: &str) -> Result<String> {
        let content = self.read(SUBNET_ENV)?;
        let pairs = content.lines().filter_map(|line| line.split_once('='));
        let value = pairs.filter(|pair| pair.0 == key).map(|pair| pair.1).next();
        value
            .map(str::to_owned)
            .with_context(|| format!("no {key} in {SUBNET_ENV}: {content:?}"))
    }

    /// Waits until the daemon has written down who it is: from then on it can start without etcd, however it ends.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_snapshot(&self) -> Result<()> {
        eventually(QUICK, "the snapshot", || self.read(SNAPSHOT).map(drop))
    }

    /// Makes the bridge for pods, or gives it the address and MTU that the subnet file says now.
    ///
    /// # Errors
    /// When there is no subnet file, or the kernel refuses.
    pub fn docker0(&self) -> Result<()> {
        let (address, mtu) = (self.subnet_env("FLANNEL_SUBNET")?, self.mtu()?);
        self.sh(&format!(
            "ip link show {DOCKER0} > /dev/null 2>&1 || ip link add {DOCKER0} type bridge
             ip -4 address flush dev {DOCKER0}
             ip address add {address} dev {DOCKER0}
             ip link set {DOCKER0} mtu {mtu} up"
        ))?;
        Ok(())
    }

    fn mtu(&self) -> Result<u32> {
        let mtu = self.subnet_env("FLANNEL_MTU")?;
        mtu.parse().with_context(|| format!("not an MTU: {mtu:?}"))
    }

    /// Starts a pod on this host, with the next free address. The bridge must be there, see
    /// [`Host::docker0`].
    ///
    /// # Errors
    /// When there is no subnet file, or the kernel refuses.
    pub fn pod(&self) -> Result<Pod> {
        let subnet = self.subnet_env("FLANNEL_SUBNET")?;
        let offset = self.next_pod.fetch_add(1, Relaxed);
        let pod = Pod::new(self.log_dir(), self.number, &subnet, offset)?;
        self.connect(&pod)?;
        pod.configure(self.mtu()?)?;
        Ok(pod)
    }

    /// The pod's end of the cable goes with the pod, and the other end with it.
    fn connect(&self, pod: &Pod) -> Result<()> {
        let (port, pid) = (format!("veth{}", pod.offset()), pod.pid());
        self.sh(&format!(
            "ip link add {port} type veth peer name eth0 netns {pid}
             ip link set {port} mtu {} master {DOCKER0} up",
            self.mtu()?
        ))?;
        Ok(())
    }
}

impl Deref for Host {
    type Target = Netns;
    fn deref(&self) -> &Netns {
        &self.netns
    }
}

/// Gives the host a machine id: the same one after every reboot, and another one than its peers'.
fn prepare_disk(disk: &Path, number: u8) -> Result<()> {
    let etc = disk.join("etc");
    fs::create_dir_all(&etc)
        .and_then(|()| fs::write(etc.join("machine-id"), format!("{number:032x}\n")))
        .with_context(|| format!("failed to prepare the disk {disk:?}"))
}
