//! Owns the loop around the roster: hands on updates, waits for what is due, brings up the last known state when etcd
//! is away at the start, and says what should be kept on the disk.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnetwork::Ipv4Network;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::conditions::status::PeerSummary;
use crate::model::lease::TTL;
use crate::model::membership::Membership;
use crate::peers::snapshot::{Snapshot, SnapshotOwner};
use crate::peers::table::{Decision, PeerTable};
use crate::peers::update::{LeaseUpdate, PeerUpdate};

/// How long etcd may take for its first answer before the last known state is used.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// Time from a change to the next snapshot.
const SOON: Duration = Duration::from_millis(200);
/// Time between two snapshots, and what each lease adds to it: 60,000 leases are 9 MB, written every 16 s at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_PER_LEASE: Duration = Duration::from_micros(250);
/// Time after which a snapshot is written again though nothing has changed: it says since when it may be out of date.
const REFRESH: Duration = Duration::from_secs(6 * 3600);

/// Whom the roster hears and tells.
pub(crate) struct PeerChannels {
    /// The keeper of the lease.
    pub(crate) updates: mpsc::Receiver<LeaseUpdate>,
    /// The keeper of the kernel state.
    pub(crate) kernel: mpsc::Sender<PeerUpdate>,
    /// What we are.
    pub membership: watch::Sender<Option<Membership>>,
    /// What should be on the disk.
    pub snapshot: watch::Sender<Option<Arc<Snapshot>>>,
    /// How many peers there are, and how many of them are kept though gone from etcd.
    pub summary: watch::Sender<PeerSummary>,
    /// Ends when the daemon is about to: the time for a last snapshot.
    pub stopping: oneshot::Receiver<Infallible>,
}

/// See the module.
pub(crate) struct PeerTask {
    roster: PeerTable,
    place: SnapshotOwner,
    /// Whether etcd answers and the leases are followed.
    synced: bool,
    /// The last known state, until etcd has told a newer one.
    last_known: Option<Snapshot>,
    channels: PeerChannels,
    started: Instant,
    /// When the next snapshot is due, if anything has changed.
    save_at: Option<Instant>,
    saved_at: Option<Instant>,
    /// When etcd last told what we know.
    known_at: Option<SystemTime>,
    /// The time of day.
    wall_time: fn() -> SystemTime,
}

/// The daemon stops.
struct Closed;

impl PeerTask {
    /// `last_known` is what an earlier run left; `grace` how long removals are held; `wall_time` is asked for the time of
    /// day.
    pub fn new(
        place: SnapshotOwner,
        last_known: Option<Snapshot>,
        grace: Duration,
        channels: PeerChannels,
        wall_time: fn() -> SystemTime,
    ) -> Self {
        let known = last_known
            .as_ref()
            .map(Snapshot::usable_leases)
            .unwrap_or_default();
        let known_at = last_known.as_ref().and_then(Snapshot::known_at);
        let roster = PeerTable::new(grace, known);
        let (started, save_at, saved_at) = (Instant::now(), None, None);
        Self {
            roster,
            place,
            synced: false,
            last_known,
            channels,
            started,
            save_at,
            saved_at,
            known_at,
            wall_time,
        }
    }

    /// Runs until nobody tells of leases any more, or the daemon stops.
    pub async fn run(mut self) {
        while let Ok(()) = self.turn().await {}
    }

    async fn turn(&mut self) -> Result<(), Closed> {
        let due = self.roster.due().map(|due| self.started + due);
        let first_answer = self.started + FIRST_ANSWER;
        let alone = self.last_known.is_some();
        // Each arm is cancel-safe: a message stays in its queue, a watch keeps its value, a time is a time.
        tokio::select! {
            update = self.channels.updates.recv() => match update {
                Some(update) => self.take(update).await,
                None => Err(Closed),
            },
            () = sleep_until(due.unwrap_or(self.started)), if due.is_some() => self.tick().await,
            () = sleep_until(self.save_at.unwrap_or(self.started)), if self.save_at.is_some() => {
                self.save();
                Ok(())
            }
            () = sleep_until(first_answer), if alone => self.come_up("etcd has not answered yet").await,
            _ = &mut self.channels.stopping => {
                self.save_at.is_some().then(|| self.save());
                Err(Closed)
            }
        }
    }

    async fn take(&mut self, update: LeaseUpdate) -> Result<(), Closed> {
        match &update {
            LeaseUpdate::Unreachable { reason } => {
                self.synced = false;
                return self.come_up(reason).await;
            }
            LeaseUpdate::Waiting => {
                self.synced = false;
                self.last_known = None;
                return Ok(());
            }
            LeaseUpdate::Synced => {
                self.synced = true;
                return Ok(());
            }
            LeaseUpdate::SubnetTaken(subnet) => {
                self.forget_last_known(*subnet);
                return Ok(());
            }
            LeaseUpdate::Joined(_) => self.last_known = None,
            LeaseUpdate::Suspect | LeaseUpdate::Leases(_) | LeaseUpdate::Changes(_) => {}
        }
        self.known_at = Some((self.wall_time)());
        let (updates, decision) = self.roster.take(update, self.started.elapsed());
        self.hand_on(updates, decision).await
    }

    async fn tick(&mut self) -> Result<(), Closed> {
        let (updates, decision) = self.roster.tick(self.started.elapsed());
        self.hand_on(updates, decision).await
    }

    async fn hand_on(
        &mut self,
        updates: Vec<PeerUpdate>,
        decision: Option<Decision>,
    ) -> Result<(), Closed> {
        if let Some(decision) = decision {
            say(decision);
        }
        for update in updates {
            if let PeerUpdate::Joined(membership) = &update {
                self.channels
                    .membership
                    .send_replace(Some(membership.clone()));
            }
            self.channels
                .kernel
                .send(update)
                .await
                .map_err(|_| Closed)?;
            self.save_soon();
        }
        let summary = PeerSummary {
            peers: self.roster.peers().len(),
            held: self.roster.kept(),
        };
        self.channels
            .summary
            .send_if_modified(|before| std::mem::replace(before, summary) != summary);
        Ok(())
    }

    /// The subnet of the last run belongs to another host now: its state must not come up.
    fn forget_last_known(&mut self, subnet: Ipv4Network) {
        if self.last_known.take().is_some() {
            warn!(%subnet, "not using the last known state: this subnet belongs to another host now");
        }
    }

    /// Brings up the last known state: packets flow, and etcd will tell what has changed.
    async fn come_up(&mut self, reason: &str) -> Result<(), Closed> {
        let Some(snapshot) = self.last_known.take() else {
            return Ok(());
        };
        let (subnet, peers) = (snapshot.membership.own.subnet, self.roster.peers().len());
        warn!(%subnet, peers, reason, "starting from the last known state, without etcd");
        self.warn_if_old(&snapshot);
        let leases = self.roster.peers().cloned().collect();
        let (mut updates, _) = self.roster.take(
            LeaseUpdate::Joined(snapshot.membership),
            self.started.elapsed(),
        );
        updates.push(PeerUpdate::Peers(leases));
        self.hand_on(updates, None).await
    }

    fn warn_if_old(&self, snapshot: &Snapshot) {
        let age = snapshot
            .known_at()
            .and_then(|at| (self.wall_time)().duration_since(at).ok());
        if let Some(age) = age.filter(|age| *age > TTL) {
            let age = humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
            warn!(
                age,
                "the last known state is older than a lease lasts: this subnet, and those of peers, may be other hosts' now"
            );
        }
    }

    fn save_soon(&mut self) {
        let soon = Instant::now() + SOON;
        let leases = u32::try_from(self.roster.peers().len()).unwrap_or(u32::MAX);
        let rested = self
            .saved_at
            .map_or(soon, |at| at + PAUSE + PAUSE_PER_LEASE * leases);
        let at = rested.max(soon);
        self.save_at = Some(self.save_at.map_or(at, |before| before.min(at)));
    }

    fn save(&mut self) {
        let now = Instant::now();
        (self.save_at, self.saved_at) = (Some(now + REFRESH), Some(now));
        if self.synced {
            self.known_at = Some((self.wall_time)());
        }
        let Some(membership) = self.roster.membership().cloned() else {
            return;
        };
        let leases = self.roster.peers().cloned().collect();
        self.channels
            .snapshot
            .send_replace(Some(Arc::new(Snapshot::new(
                &self.place,
                membership,
                leases,
                self.known_at,
            ))));
    }
}

fn say(decision: Decision) {
    match decision {
        Decision::Hold { gone, of } => {
            warn!(
                gone,
                of,
                "peers have vanished from etcd at once; keeping them for a while, in case it lost keys"
            );
        }
        Decision::AllBack => info!("all peers that had vanished from etcd are back"),
        Decision::Remove { gone } => {
            warn!(gone, "removing the peers that have not come back to etcd")
        }
    }
}

#[cfg(test)]
mod tests;
