//! The wiring: what is started in which order, with what, and how it ends. The only module that knows all others. It
//! decides nothing about the state of this host.

mod clock;
mod etcd_access;
mod gate;
pub(crate) mod settings;
mod signals;
mod slices;
mod tasks;
mod wiring;

use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::adapters::etcd::{self, Etcd};
use crate::adapters::netlink::{self, HostLinks, Netlink};
use crate::adapters::resolver::SystemResolver;
use crate::adapters::{control_socket, file_system, http, systemd};
use crate::cli::Options;
use crate::conditions::ConditionType;
use crate::conditions::status::{EndpointStates, StatusView, status};
pub(crate) use crate::daemon::clock::random;
use crate::daemon::signals::{ReloadSignal, ShutdownSignals};
use crate::daemon::slices::{PEER_TASK, SliceStarter};
use crate::daemon::tasks::Tasks;
use crate::host::preflight;
use crate::model::node_id::NodeId;
use crate::peers::last_run;
use crate::underlay::follower::{FollowedValues, UnderlayFollower};

/// How long the shutdown waits for the last snapshot.
const LAST_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the daemon until a signal shuts it down. What it has set up stays in place then.
///
/// # Errors
/// Something that only the operator can repair: a file that cannot be read, a port that is taken, missing capabilities.
/// Or a task that ended.
pub async fn run(options: Options) -> anyhow::Result<()> {
    LocalSet::new().run_until(run_local(options)).await
}

async fn run_local(options: Options) -> anyhow::Result<()> {
    let mut signals = ShutdownSignals::listen()?;
    // From the start: a SIGHUP without a listener would end the daemon.
    let reload = ReloadSignal::listen()?;
    let (etcd_path_sender, etcd_path) = watch::channel(0);
    let (writers, view) = status(clock::wall_time);
    let Resources {
        node,
        etcd,
        http,
        control,
        netlink,
        netlink_connections,
        links,
    } = open(&options, etcd_path, writers.endpoints.clone()).await?;
    log_start(&options, &node);

    let mut tasks = Tasks::default();
    tasks.spawn("netlink connections", netlink_connections);
    serve_status(&mut tasks, &options, &node, (http, control), &view);

    let last_run = last_run::load(
        &wiring::snapshot_file(&options),
        &options.etcd.prefix,
        &node,
    );
    let settings = settings::underlay(&options, last_run.as_ref());
    let mut follower = UnderlayFollower::new(links, SystemResolver, settings, etcd_path_sender);
    let underlay = tokio::select! {
        underlay = follower.first(writers.condition(ConditionType::LeaseHeld)) => underlay,
        signal = signals.received() => {
            announce_shutdown(signal);
            return Ok(());
        }
        error = tasks.failed() => return Err(error),
    };
    let external = underlay.external.clone();
    let host_network = follower.host_network();
    let pod_bridges = follower.pod_bridges();
    let (underlay_sender, underlay) = watch::channel(underlay);
    let (public_ip_sender, public_ip) =
        watch::channel(options.public_ip.unwrap_or(external.address));
    let follow = follower.run(FollowedValues {
        underlay: underlay_sender,
        public_ip: options.public_ip.is_none().then_some(public_ip_sender),
    });
    let port_use = preflight::port_use(&netlink).await;
    let check_network = preflight::check_network(port_use, view.membership());
    tasks.spawn_one_shot("preflight checks", check_network);

    let starter = SliceStarter {
        tasks: &mut tasks,
        options: &options,
        node: &node,
        external: &external,
        underlay: &underlay,
        public_ip: &public_ip,
        host_network: &host_network,
        pod_bridges: &pod_bridges,
        writers: &writers,
        view: &view,
    };
    let peers_shutdown = starter.start_all(etcd, netlink, last_run, reload);
    tasks.spawn("underlay", follow);
    // Only the tasks keep writers from here on, so that the views notice when all of them have ended.
    drop(writers);

    tokio::select! {
        signal = signals.received() => announce_shutdown(signal),
        error = tasks.failed() => return Err(error),
    }
    drop(peers_shutdown);
    wait_for_last_snapshot(&mut tasks).await;
    Ok(())
}

/// What the daemon opens before it changes anything, and cannot do without.
struct Resources<C> {
    node: NodeId,
    etcd: Etcd,
    http: Option<TcpListener>,
    control: Option<UnixListener>,
    netlink: Netlink,
    links: HostLinks,
    /// Carries the requests of `netlink` and `links` while it runs.
    netlink_connections: C,
}

async fn open(
    options: &Options,
    etcd_path: watch::Receiver<u64>,
    endpoints: watch::Sender<EndpointStates>,
) -> anyhow::Result<Resources<impl Future<Output = ()> + use<>>> {
    let node = wiring::node_id(options)?;
    let access = etcd_access::load(&options.etcd)?;
    for warning in etcd::weak_keys(&access) {
        warn!("{warning}");
    }
    let source = etcd_access::source(&options.etcd);
    let etcd = Etcd::new(access, source, &options.etcd.prefix, etcd_path, endpoints);
    let http = http::bind(options.healthz).await?;
    let control = {
        let path = settings::socket_path(&options.subnet_file);
        control_socket::bind(&path, file_system::bind_socket).await?
    };
    let (netlink, netlink_connection) = netlink::open()?;
    let (links, links_connection) = netlink.links_port()?;
    Ok(Resources {
        node,
        etcd,
        http,
        control,
        netlink,
        links,
        netlink_connections: either_ends(netlink_connection, links_connection),
    })
}

async fn either_ends(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::select! {
        () = one => {}
        () = other => {}
    }
}

/// Starts the views of the status: systemd, HTTP, and the control socket.
fn serve_status(
    tasks: &mut Tasks,
    options: &Options,
    node: &NodeId,
    (http, control): (Option<TcpListener>, Option<UnixListener>),
    view: &StatusView,
) {
    tasks.spawn_fallible("systemd notifications", systemd::announce(view.clone()));
    if let Some(listener) = http {
        tasks.spawn_fallible("HTTP server", http::serve(listener, view.clone()));
    }
    if let Some(listener) = control {
        let constant = wiring::constant_report(options, node);
        let serve = control_socket::serve(listener, view.clone(), constant);
        tasks.spawn_fallible("control socket", serve);
    }
}

/// The peer task saves the last snapshot before it ends.
async fn wait_for_last_snapshot(tasks: &mut Tasks) {
    let ended = timeout(LAST_SNAPSHOT_TIMEOUT, tasks.ended(PEER_TASK)).await;
    if ended.is_err() {
        warn!(
            "gave up waiting for the last snapshot to be saved; a start without etcd may use an older one"
        );
    }
}

fn log_start(options: &Options, node: &NodeId) {
    let version = env!("CARGO_PKG_VERSION");
    let etcd = options.etcd.endpoints.join(",");
    let prefix = &options.etcd.prefix;
    info!(version, etcd, prefix, %node, "starting flanneld");
}

fn announce_shutdown(signal: &str) {
    info!(
        signal,
        "shutting down; device, routes, rules, files and lease stay in place"
    );
    systemd::stopping();
}
