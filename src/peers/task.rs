//! The loop around the table of peers: passes updates of the lease manager on to the overlay, starts from the last known
//! state when etcd does not answer at the start, and has the snapshot saved. It decides nothing about peers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::conditions::status::PeerSummary;
use crate::model::lease::TTL;
use crate::model::membership::Membership;
use crate::model::underlay::Underlay;
use crate::peers::guard::GuardDecision;
use crate::peers::port::SnapshotStore;
use crate::peers::settings::PeerSettings;
use crate::peers::snapshot::Snapshot;
use crate::peers::snapshot_writer::SnapshotWriter;
use crate::peers::table::{DAMAGE_GRACE, PeerTable, TableStep};
use crate::peers::update::{LeaseUpdate, PeerUpdate};
use crate::reconcile::followed::Followed;

/// How long etcd may take for its first answer before the last known state is used.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Peers with damaged leases that are shown. The first change of each is logged.
const MAX_SHOWN: usize = 1000;

pub(crate) struct PeerChannels {
    /// From the lease manager.
    pub(crate) updates: mpsc::Receiver<LeaseUpdate>,
    /// To the overlay.
    pub(crate) overlay: mpsc::Sender<PeerUpdate>,
    pub(crate) membership: watch::Sender<Option<Membership>>,
    pub(crate) summary: watch::Sender<PeerSummary>,
    /// Peers that are kept as last known because their leases are damaged, and until when.
    pub(crate) last_known: watch::Sender<BTreeMap<Ipv4Network, SystemTime>>,
    /// The snapshot says through which interface this host is reached.
    pub(crate) underlay: Followed<Underlay>,
    /// Its sender is dropped when the daemon shuts down.
    pub(crate) shutdown: oneshot::Receiver<Infallible>,
}

/// Whether the last known state may still be used.
enum Startup {
    /// An earlier run left this snapshot, and etcd has not answered yet.
    LastRun(Snapshot),
    /// etcd has answered, the snapshot is in use, or there is none.
    Done,
}

/// Whether etcd confirms what the table holds.
enum EtcdSync {
    Synced,
    NotSynced,
}

pub(crate) struct PeerTask<S> {
    table: PeerTable,
    settings: PeerSettings,
    startup: Startup,
    etcd: EtcdSync,
    /// When etcd last confirmed what the table holds.
    known_at: Option<SystemTime>,
    writer: SnapshotWriter<S>,
    channels: PeerChannels,
    started: Instant,
}

/// The lease manager or the overlay has ended: the daemon stops.
struct ChannelClosed;

enum PeerInput {
    Lease(LeaseUpdate),
    /// Removals are due.
    Tick,
    SnapshotDue,
    /// etcd has not answered in time.
    NoFirstAnswer,
    Shutdown,
    Closed,
}

impl<S: SnapshotStore> PeerTask<S> {
    /// `last_run` is the snapshot that an earlier run left.
    pub(crate) fn new(
        settings: PeerSettings,
        store: S,
        last_run: Option<Snapshot>,
        channels: PeerChannels,
    ) -> Self {
        let known = last_run.as_ref().map(Snapshot::usable_leases);
        Self {
            table: PeerTable::new(settings.removal_grace, known.unwrap_or_default()),
            known_at: last_run.as_ref().and_then(Snapshot::known_at),
            startup: last_run.map_or(Startup::Done, Startup::LastRun),
            etcd: EtcdSync::NotSynced,
            writer: SnapshotWriter::new(store, settings.random),
            settings,
            channels,
            started: Instant::now(),
        }
    }

    /// Runs until the daemon shuts down; then the last snapshot is saved when this returns. Ends without it when another
    /// task has ended.
    pub(crate) async fn run(mut self) {
        loop {
            let handled = match self.next().await {
                PeerInput::Lease(update) => self.handle(update).await,
                PeerInput::Tick => self.tick().await,
                PeerInput::NoFirstAnswer => {
                    self.start_from_last_run("etcd has not answered yet").await
                }
                PeerInput::SnapshotDue => {
                    self.save();
                    Ok(())
                }
                PeerInput::Shutdown => return self.save_last().await,
                PeerInput::Closed => return,
            };
            if let Err(ChannelClosed) = handled {
                return;
            }
        }
    }

    async fn next(&mut self) -> PeerInput {
        let tick_at = self.table.due().map(|due| self.started + due);
        let first_answer_until = self.started + FIRST_ANSWER_TIMEOUT;
        let is_starting = matches!(self.startup, Startup::LastRun(_));
        // Each arm is cancel-safe: a message stays in its queue, a time is a time, and a save that runs goes on.
        tokio::select! {
            update = self.channels.updates.recv() => update.map_or(PeerInput::Closed, PeerInput::Lease),
            () = sleep_until(tick_at.unwrap_or(self.started)), if tick_at.is_some() => PeerInput::Tick,
            () = self.writer.due() => PeerInput::SnapshotDue,
            () = sleep_until(first_answer_until), if is_starting => PeerInput::NoFirstAnswer,
            _ = &mut self.channels.shutdown => PeerInput::Shutdown,
        }
    }

    async fn handle(&mut self, update: LeaseUpdate) -> Result<(), ChannelClosed> {
        let now = self.started.elapsed();
        match update {
            LeaseUpdate::Unreachable { reason } => {
                self.etcd = EtcdSync::NotSynced;
                self.start_from_last_run(&reason).await
            }
            LeaseUpdate::Waiting => {
                self.etcd = EtcdSync::NotSynced;
                self.startup = Startup::Done;
                Ok(())
            }
            LeaseUpdate::Synced => {
                self.etcd = EtcdSync::Synced;
                Ok(())
            }
            LeaseUpdate::SubnetTaken(subnet) => {
                self.forget_last_run(subnet);
                Ok(())
            }
            LeaseUpdate::Suspect => {
                self.known_at = Some((self.settings.wall_time)());
                self.table.suspect_next_list();
                Ok(())
            }
            LeaseUpdate::Joined(membership) => {
                self.startup = Startup::Done;
                let step = self.table.join(membership);
                self.confirmed(step).await
            }
            LeaseUpdate::Leases(leases) => {
                let step = self.table.replace(leases, now);
                self.confirmed(step).await
            }
            LeaseUpdate::Changes(changes) => {
                let step = self.table.change(changes, now);
                self.confirmed(step).await
            }
        }
    }

    /// Passes on what etcd has just said.
    async fn confirmed(&mut self, step: TableStep) -> Result<(), ChannelClosed> {
        self.known_at = Some((self.settings.wall_time)());
        self.pass_on(step).await
    }

    async fn tick(&mut self) -> Result<(), ChannelClosed> {
        let step = self.table.tick(self.started.elapsed());
        self.pass_on(step).await
    }

    async fn pass_on(&mut self, step: TableStep) -> Result<(), ChannelClosed> {
        if let Some(decision) = step.decision {
            log(decision);
        }
        for update in step.updates {
            if let PeerUpdate::Joined(membership) = &update {
                let membership = Some(membership.clone());
                self.channels.membership.send_replace(membership);
            }
            let sent = self.channels.overlay.send(update).await;
            sent.map_err(|_| ChannelClosed)?;
            self.writer.changed();
        }
        let summary = PeerSummary {
            peers: self.table.peers().len(),
            held: self.table.missing(),
        };
        self.channels
            .summary
            .send_if_modified(|before| std::mem::replace(before, summary) != summary);
        self.show_last_known();
        Ok(())
    }

    fn show_last_known(&self) {
        let (elapsed, wall_time) = (self.started.elapsed(), (self.settings.wall_time)());
        let damaged = self.table.damaged().take(MAX_SHOWN);
        let last_known: BTreeMap<Ipv4Network, SystemTime> = damaged
            .map(|(subnet, since)| {
                let left = (since + DAMAGE_GRACE).saturating_sub(elapsed);
                (subnet, wall_time + left)
            })
            .collect();
        self.channels.last_known.send_if_modified(|before| {
            // The times differ a little each time that they are computed.
            let is_new = !before.keys().eq(last_known.keys());
            if is_new {
                let added = last_known.keys().find(|subnet| !before.contains_key(subnet));
                if let Some(subnet) = added {
                    let kept = last_known.len();
                    warn!(%subnet, kept, "the lease of a peer is damaged; keeping the peer as it was last known");
                }
                *before = last_known;
            }
            is_new
        });
    }

    /// The subnet of the last run belongs to another host now: the overlay must not come up with it.
    fn forget_last_run(&mut self, subnet: Ipv4Network) {
        if let Startup::LastRun(_) = std::mem::replace(&mut self.startup, Startup::Done) {
            warn!(%subnet, "not using the last known state: this subnet belongs to another host now");
        }
    }

    /// Brings up the last known state, so that packets flow until etcd says what has changed.
    async fn start_from_last_run(&mut self, reason: &str) -> Result<(), ChannelClosed> {
        let startup = std::mem::replace(&mut self.startup, Startup::Done);
        let Startup::LastRun(snapshot) = startup else {
            return Ok(());
        };
        let (subnet, peers) = (snapshot.membership.own.subnet, self.table.peers().len());
        warn!(%subnet, peers, reason, "starting from the last known state, without etcd");
        warn_if_old(&snapshot, (self.settings.wall_time)());
        let leases = self.table.peers().cloned().collect();
        let mut step = self.table.join(snapshot.membership);
        step.updates.push(PeerUpdate::Peers(leases));
        self.pass_on(step).await
    }

    fn save(&mut self) {
        match self.snapshot() {
            Some(snapshot) => self.writer.start(snapshot),
            None => self.writer.skip(),
        }
    }

    async fn save_last(&mut self) {
        if let Some(snapshot) = self.snapshot() {
            self.writer.save_last(snapshot).await;
        }
    }

    /// Returns the snapshot to save, once this host has a lease.
    fn snapshot(&mut self) -> Option<Snapshot> {
        match self.etcd {
            EtcdSync::Synced => self.known_at = Some((self.settings.wall_time)()),
            EtcdSync::NotSynced => {}
        }
        let membership = self.table.membership()?.clone();
        if let Some(underlay) = self.channels.underlay.take() {
            self.settings.owner.interface = underlay.external.name;
            self.settings.owner.hardware = underlay.external.mac;
        }
        let leases = self.table.peers().cloned().collect();
        Some(Snapshot::new(
            &self.settings.owner,
            membership,
            leases,
            self.known_at,
        ))
    }
}

fn warn_if_old(snapshot: &Snapshot, now: SystemTime) {
    let known_at = snapshot.known_at();
    let age = known_at.and_then(|at| now.duration_since(at).ok());
    if let Some(age) = age.filter(|age| *age > TTL) {
        let age = humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
        warn!(
            age,
            "the last known state is older than a lease lasts: this subnet and the subnets of peers may belong to \
             other hosts now"
        );
    }
}

fn log(decision: GuardDecision) {
    match decision {
        GuardDecision::Hold { gone, of } => warn!(
            gone,
            of,
            "peers have vanished from etcd at once; holding their removal, in case etcd lost keys"
        ),
        GuardDecision::AllBack => info!("all peers that had vanished from etcd are back"),
        GuardDecision::Remove { gone } => {
            warn!(gone, "removing the peers that have not come back to etcd");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
