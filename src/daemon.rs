//! Owns the order of things: what is started when, with what, and how it ends. The only module that knows all others.

mod access;
mod external;
mod health;
mod publish;

use std::io;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tracing::{info, warn};

use crate::addr::MacAddr;
use crate::cli::Options;
use crate::envfile;
use crate::etcd::Etcd;
use crate::iface::External;
use crate::netlink;
use crate::readiness::{Health, Published};
use crate::subnet::claim::Identity;
use crate::subnet::keeper::Keeper;
use crate::vxlan::run::Runner;
use crate::vxlan::{Local, OWNER};

/// Updates that may wait for the kernel. etcd's stream waits when they are full.
const UPDATES: usize = 64;

/// Questions for leases that may wait for etcd; further ones are asked again by the next packet.
const QUESTIONS: usize = 16;

/// Runs until a signal says stop; the network stays as it is then.
///
/// # Errors
/// What cannot mend itself: a file that was named and cannot be read, a port that is taken, missing capabilities.
pub async fn run(options: Options) -> anyhow::Result<()> {
    LocalSet::new().run_until(run_local(options)).await
}

async fn run_local(options: Options) -> anyhow::Result<()> {
    let mut stop = Stop::new().context("failed to listen for signals")?;
    let etcd = Etcd::new(access::load(&options.etcd)?, access::source(&options.etcd), &options.etcd.prefix);
    let health_listener = health::bind(options.healthz).await?;
    let (netlink, driver) = netlink::open()?;
    let mut tasks = JoinSet::new();
    tasks.spawn_local(endless("the netlink connection", driver));
    info!(version = env!("CARGO_PKG_VERSION"), etcd = options.etcd.endpoints.join(","), "starting");
    if !netlink.forwards() {
        warn!("net.ipv4.ip_forward is 0: this host passes no packets between pods and other hosts; set it to 1");
    }
    let (health, healthy) = watch::channel(Health::Waiting);
    let (published, publishing) = watch::channel(Published::default());
    tasks.spawn_local(health::announce(healthy.clone(), publishing.clone()));
    if let Some(listener) = health_listener {
        tasks.spawn_local(health::serve(listener, healthy, publishing));
    }
    let external = tokio::select! {
        external = external::wait_for(&netlink, &options) => external,
        name = stop.received() => return stopped(name),
    };

    let (updates, receiver) = mpsc::channel(UPDATES);
    let (membership, joined) = watch::channel(None);
    let (ask, questions) = mpsc::channel(QUESTIONS);
    let identity = identity(&options, &external);
    let keeper = Keeper::new(etcd, identity, options.renew_margin, updates, membership, questions, random);
    let local = local(&options, &external);
    let runner = Runner::new(netlink, local, health, ask, random);
    let publisher = publish::Publisher::new(&options, external, joined, published);
    tasks.spawn_local(endless("the keeper of the lease", keeper.run()));
    tasks.spawn_local(endless("the keeper of the kernel state", runner.run(receiver)));
    tasks.spawn_local(endless("the publisher", publisher.run()));
    tokio::select! {
        name = stop.received() => stopped(name),
        Some(task) = tasks.join_next() => task.context("a task of the daemon broke down")?,
    }
}

/// A task that must not end by itself while the daemon runs.
async fn endless(name: &'static str, task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Err(anyhow::anyhow!("{name} ended"))
}

/// Uniform in 0..1. The daemon is where randomness comes from.
#[expect(clippy::disallowed_methods, reason = "this is the one source of randomness")]
fn random() -> f64 {
    rand::random()
}

fn stopped(signal: &str) -> anyhow::Result<()> {
    info!(signal, "stopping; device, routes, rules and lease stay in place");
    health::stopping();
    Ok(())
}

/// The two signals that mean "stop".
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "six random bytes for an Ethernet address")]
fn identity(options: &Options, external: &External) -> Identity {
    let subnet_env = envfile::write::read(&options.subnet_file);
    Identity {
        public_ip: options.public_ip.unwrap_or(external.address),
        previous: subnet_env.as_deref().and_then(envfile::previous_subnet),
        vtep_mac: MacAddr::locally_administered(rand::random()),
    }
}

fn local(options: &Options, external: &External) -> Local {
    let alias = format!("{OWNER}{}", options.etcd.prefix);
    let (blackhole, peering, idle) = (options.blackhole, options.peering, options.idle);
    Local { external: external.clone(), alias, blackhole, peering, idle }
}
