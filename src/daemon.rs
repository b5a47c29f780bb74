//! Owns the order of things: what is started when, with what, and how it ends. The only module that knows all others.

mod etcd_access;

use std::io;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use nix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tracing::info;

use crate::adapters::etcd::Etcd;
use crate::adapters::file_system::Disk;
use crate::adapters::netlink;
use crate::adapters::netlink::Netlink;
use crate::adapters::{control_socket, file_system, http, systemd};
use crate::cli::Options;
use crate::conditions::channels::StatusSenders;
use crate::conditions::report::Report;
use crate::conditions::{ConditionType, channels};
use crate::files::reconciler::{self, FilesSlice};
use crate::files::settings::FilesSettings;
use crate::files::subnet_env;
use crate::lease::claim::Identity;
use crate::lease::manager::{LeaseChannels, LeaseManager, LeaseSettings};
use crate::lease::status::LeaseConditions;
use crate::model::external_interface::ExternalInterface;
use crate::model::membership::Membership;
use crate::model::node_id::NodeId;
use crate::model::previous_lease::PreviousLease;
use crate::overlay::reconciler::OverlayReconciler;
use crate::overlay::{OWNER, OverlaySettings};
use crate::peers::snapshot::{Snapshot, SnapshotOwner};
use crate::peers::snapshot_file;
use crate::peers::task;
use crate::peers::task::PeerTask;
use crate::reconcile::driver::Driver;
use crate::rules::reconciler::RulesReconciler;

/// Where systemd keeps the name of the machine (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";
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
    let mut stop = ShutdownSignals::new().context("failed to listen for signals")?;
    // From the first moment: without somebody who listens, SIGHUP would end the daemon.
    let hangup = signal(SignalKind::hangup()).context("failed to listen for SIGHUP")?;
    let node = node_id(&options)?;
    let etcd = Etcd::new(
        etcd_access::load(&options.etcd)?,
        etcd_access::source(&options.etcd),
        &options.etcd.prefix,
    );
    let health_listener = http::bind(options.healthz).await?;
    let control_listener = control_socket::bind(&options.socket).await?;
    let (netlink, driver) = netlink::open()?;
    let mut tasks = JoinSet::new();
    let (reload_sender, reload) = mpsc::channel(1);
    tasks.spawn_local(forward(hangup, reload_sender));
    tasks.spawn_local(endless("the netlink connection", driver));
    info!(version = env!("CARGO_PKG_VERSION"), etcd = options.etcd.endpoints.join(","), %node, "starting");
    let (tell, vitals) = channels::channels(wall_time);
    tasks.spawn_local(http::announce(vitals.clone()));
    if let Some(listener) = health_listener {
        tasks.spawn_local(http::serve(listener, vitals.clone()));
    }
    if let Some(listener) = control_listener {
        tasks.spawn_local(control_socket::serve(
            listener,
            vitals.clone(),
            fixed(&options, &node),
        ));
    }
    let last_known =
        snapshot_file::load(&snapshot_file::path(&options), &options.etcd.prefix, &node);
    let external = tokio::select! {
        external = crate::underlay::reconciler::wait_for(&netlink, &options, last_known.as_ref()) => external,
        name = stop.received() => return stopped(name),
    };
    let found = crate::host::run::of_host(&netlink, &external).await;
    tasks.spawn_local(said(crate::host::run::of_network(
        found,
        local(&options, &external),
        vitals.membership.clone(),
    )));
    let last = start(
        &mut tasks,
        &options,
        TaskInputs {
            node,
            external,
            etcd,
            netlink,
            last_known,
            reload,
        },
        tell,
        vitals.membership,
    );
    tokio::select! {
        name = stop.received() => {
            last.write().await;
            stopped(name)
        }
        Some(task) = tasks.join_next() => task.context("a task of the daemon broke down")?,
    }
}

/// What the tasks are made of.
struct TaskInputs {
    node: NodeId,
    external: ExternalInterface,
    etcd: Etcd,
    netlink: Netlink,
    last_known: Option<Snapshot>,
    reload: mpsc::Receiver<()>,
}

/// Starts the chain: keeper of the lease, roster, keeper of the kernel state; and beside it the publisher and the
/// snapshots, of which the last is to be waited for.
fn start(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    options: &Options,
    parts: TaskInputs,
    tell: StatusSenders,
    joined: watch::Receiver<Option<Membership>>,
) -> snapshot_file::FinalWrite {
    let TaskInputs {
        node,
        external,
        etcd,
        netlink,
        last_known,
        reload,
    } = parts;
    let prefix = options.etcd.prefix.clone();
    let (updates, heard) = mpsc::channel(UPDATES);
    let (kernel, for_kernel) = mpsc::channel(UPDATES);
    let (ask, questions) = mpsc::channel(QUESTIONS);
    let (snapshot, snapshots) = watch::channel(None);
    let (last, stopping, writing) = snapshot_file::last();

    let public_ip = options.public_ip.unwrap_or(external.address);
    let previous = previous_lease(options, &external, last_known.as_ref());
    let identity = Identity {
        node: node.clone(),
        prefix: prefix.clone(),
        public_ip,
        previous,
    };
    let settings = LeaseSettings {
        renew_margin: options.renew_margin,
        random,
        boot_time,
    };
    let keeper = LeaseManager::new(
        etcd,
        identity,
        settings,
        LeaseChannels {
            updates,
            conditions: LeaseConditions {
                lease: tell.condition(ConditionType::LeaseHeld),
                etcd: tell.condition(ConditionType::EtcdReachable),
            },
            ignored: tell.ignored.clone(),
            lookups: questions,
        },
    );

    let place = SnapshotOwner {
        prefix,
        node,
        interface: external.name.clone(),
        hardware: external.mac,
    };
    let (membership, summary) = (tell.membership.clone(), tell.summary.clone());
    let channels = task::PeerChannels {
        updates: heard,
        kernel,
        membership,
        snapshot,
        summary,
        stopping,
    };
    let roster = PeerTask::new(
        place,
        last_known,
        options.removal_grace,
        channels,
        wall_time,
    );

    let mut runner = OverlayReconciler::new(
        netlink,
        local(options, &external),
        tell.condition(ConditionType::KernelInSync),
        ask,
        random,
    );
    if let Some((watchdog, heart, every)) = systemd::asked_for() {
        runner = runner.with_heart(heart, every);
        tasks.spawn_local(watchdog.run(http::notify));
    }
    let rules = RulesReconciler::new(
        options,
        external.clone(),
        joined.clone(),
        tell.condition(ConditionType::RulesInstalled),
    );
    let files_settings = FilesSettings {
        subnet_file: options.subnet_file.clone(),
        docker_opts_file: options.docker_opts_file.clone(),
        ip_masq: options.ip_masq,
        external,
    };
    let files = Driver::new(
        "files",
        FilesSlice::new(Disk::default(), files_settings, joined, reload),
        reconciler::TIMING,
        tell.condition(ConditionType::FilesWritten),
        random,
    );
    tasks.spawn_local(endless("the keeper of the lease", keeper.run()));
    tasks.spawn_local(endless("the roster of peers", roster.run()));
    tasks.spawn_local(endless(
        "the keeper of the kernel state",
        runner.run(for_kernel),
    ));
    tasks.spawn_local(endless("the files", files.run()));
    tasks.spawn_local(endless("the keeper of the rules", rules.run()));
    tasks.spawn_local(endless(
        "the keeper of the snapshot",
        snapshot_file::keep(snapshot_file::path(options), snapshots, writing),
    ));
    last
}

/// Passes on each signal for as long as the receiver lives.
async fn forward(mut signal: Signal, to: mpsc::Sender<()>) -> anyhow::Result<()> {
    while signal.recv().await.is_some() {
        // A signal that finds the queue full is answered with the one in it.
        _ = to.try_send(());
    }
    std::future::pending().await
}

/// A task that has said all it has to say when it ends.
async fn said(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    std::future::pending().await
}

/// A task that must not end by itself while the daemon runs.
async fn endless(name: &'static str, task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Err(anyhow::anyhow!("{name} ended"))
}

/// Uniform in 0..1. The daemon is where randomness comes from.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one source of randomness"
)]
pub(crate) fn random() -> f64 {
    rand::random()
}

fn stopped(signal: &str) -> anyhow::Result<()> {
    info!(
        signal,
        "stopping; device, routes, rules and lease stay in place"
    );
    http::stopping();
    Ok(())
}

/// The two signals that mean "stop".
struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Our name among the members.
#[expect(
    clippy::disallowed_methods,
    reason = "the machine id is read once, at the start"
)]
fn node_id(options: &Options) -> anyhow::Result<NodeId> {
    if let Some(name) = &options.node_id {
        return Ok(NodeId::named(name));
    }
    let text = std::fs::read_to_string(MACHINE_ID).with_context(|| {
        format!("failed to read \"{MACHINE_ID}\"; name this host with --node-id")
    })?;
    Ok(NodeId::of_machine(&text)?)
}

/// What is known of our last lease: subnet.env is the older witness, and all that Go flannel leaves.
fn previous_lease(
    options: &Options,
    external: &ExternalInterface,
    last_known: Option<&Snapshot>,
) -> PreviousLease {
    let subnet_env = file_system::read(&options.subnet_file);
    let subnet = subnet_env.as_deref().and_then(subnet_env::previous_subnet);
    let past = last_known
        .map(|snapshot| snapshot.past(external.mac))
        .unwrap_or_default();
    PreviousLease {
        subnet: subnet.or(past.subnet),
        ..past
    }
}

/// What `flanneld status` says that never changes.
fn fixed(options: &Options, node: &NodeId) -> Report {
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node_id: node.to_string(),
        etcd: options.etcd.endpoints.clone(),
        prefix: options.etcd.prefix.clone(),
        ..Report::default()
    }
}

/// Time since boot, the time in which the machine slept included.
fn boot_time() -> Duration {
    // The clock exists since Linux 2.6.39.
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one source of the time of day"
)]
fn wall_time() -> SystemTime {
    SystemTime::now()
}

fn local(options: &Options, external: &ExternalInterface) -> OverlaySettings {
    let alias = format!("{OWNER}{}", options.etcd.prefix);
    let (blackhole, peering, idle) = (options.blackhole, options.peering, options.idle);
    let checksums_in_software = options.checksums_in_software;
    OverlaySettings {
        external: external.clone(),
        alias,
        blackhole,
        checksums_in_software,
        peering,
        idle,
    }
}
