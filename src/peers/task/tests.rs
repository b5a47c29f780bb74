use crate::paused_time::on_paused_time;
use tokio::task::JoinHandle;

use super::*;
use crate::model::lease::Lease;
use crate::model::node_id::NodeId;
use crate::peers::fake::FakeSnapshotStore;
use crate::peers::snapshot::SnapshotOwner;
use crate::peers::snapshot_writer::{PAUSE, TIMING};
use crate::peers::table::tests::{lease, listed, membership};
use crate::peers::update::LeaseChange;

const HOUR: Duration = Duration::from_secs(3600);

/// A peer task, and all that it reads and writes.
struct Rig {
    updates: mpsc::Sender<LeaseUpdate>,
    overlay: mpsc::Receiver<PeerUpdate>,
    summary: watch::Receiver<PeerSummary>,
    last_known: watch::Receiver<BTreeMap<Ipv4Network, SystemTime>>,
    store: FakeSnapshotStore,
    shutdown: oneshot::Sender<Infallible>,
    task: JoinHandle<()>,
}

impl Rig {
    fn start(last_run: Option<Snapshot>) -> Self {
        let (updates, from_manager) = mpsc::channel(8);
        let (to_overlay, overlay) = mpsc::channel(8);
        let (membership, _) = watch::channel(None);
        let (summary_sender, summary) = watch::channel(PeerSummary::default());
        let (last_known_sender, last_known) = watch::channel(BTreeMap::new());
        let (shutdown, on_shutdown) = oneshot::channel();
        let channels = PeerChannels {
            updates: from_manager,
            overlay: to_overlay,
            membership,
            summary: summary_sender,
            last_known: last_known_sender,
            underlay: Followed::nothing(),
            shutdown: on_shutdown,
        };
        let settings = PeerSettings {
            owner: owner(),
            removal_grace: Duration::from_secs(60),
            wall_time,
            random: || 0.0,
        };
        let store = FakeSnapshotStore::default();
        let task = PeerTask::new(settings, store.clone(), last_run, channels);
        Self {
            updates,
            overlay,
            summary,
            last_known,
            store,
            shutdown,
            task: tokio::task::spawn_local(task.run()),
        }
    }

    /// A rig whose host has joined.
    async fn joined() -> Self {
        let mut rig = Self::start(None);
        rig.send(LeaseUpdate::Joined(membership())).await;
        assert_eq!(rig.next_update().await, "joined 10.5.200.0/24");
        rig
    }

    async fn next_update(&mut self) -> String {
        let update = tokio::time::timeout(HOUR, self.overlay.recv()).await;
        match update
            .expect("an update within the hour")
            .expect("the peer task runs")
        {
            PeerUpdate::Joined(membership) => format!("joined {}", membership.own.subnet),
            PeerUpdate::Peers(leases) => format!("{} leases", leases.len()),
            PeerUpdate::Changes(changes) => format!("{} changes", changes.len()),
        }
    }

    async fn send(&self, update: LeaseUpdate) {
        self.updates.send(update).await.expect("the peer task runs");
    }

    async fn put(&mut self, n: u8) {
        let changes = vec![LeaseChange::Usable(lease(n))];
        self.send(LeaseUpdate::Changes(changes)).await;
        assert_eq!(self.next_update().await, "1 changes");
    }

    /// Waits for a save that succeeds and returns what was saved.
    async fn next_saved(&self) -> Snapshot {
        let saved = tokio::time::timeout(HOUR * 24, self.store.saved.notified()).await;
        saved.expect("a save within a day");
        let disk = self.store.disk.borrow();
        disk.saved.last().expect("one was saved").clone()
    }

    fn saves(&self) -> usize {
        self.store.disk.borrow().saved.len()
    }
}

pub(crate) fn owner() -> SnapshotOwner {
    SnapshotOwner {
        prefix: "/test".to_owned(),
        node: NodeId::named("a"),
        interface: "eth0".to_owned(),
        hardware: None,
    }
}

fn leases(range: std::ops::RangeInclusive<u8>) -> Vec<Lease> {
    range.map(lease).collect()
}

fn last_run() -> Option<Snapshot> {
    Some(Snapshot::new(
        &owner(),
        membership(),
        leases(1..=5),
        Some(SystemTime::UNIX_EPOCH),
    ))
}

fn wall_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + TTL * 2
}

fn unreachable() -> LeaseUpdate {
    LeaseUpdate::Unreachable {
        reason: "refused".to_owned(),
    }
}

#[test]
fn starts_from_the_last_known_state_when_etcd_is_unreachable() {
    on_paused_time(async {
        let mut rig = Rig::start(last_run());
        let started = Instant::now();
        rig.send(unreachable()).await;
        assert_eq!(rig.next_update().await, "joined 10.5.200.0/24");
        assert_eq!(rig.next_update().await, "5 leases");
        assert_eq!(started.elapsed(), Duration::ZERO);
    });
}

#[test]
fn starts_from_the_last_known_state_when_etcd_is_silent_and_follows_etcd_later() {
    on_paused_time(async {
        let mut rig = Rig::start(last_run());
        let started = Instant::now();
        assert_eq!(rig.next_update().await, "joined 10.5.200.0/24");
        assert_eq!(rig.next_update().await, "5 leases");
        assert_eq!(started.elapsed(), FIRST_ANSWER_TIMEOUT);
        rig.send(LeaseUpdate::Joined(membership())).await;
        rig.send(LeaseUpdate::Leases(listed(leases(1..=6)))).await;
        // The same membership again is no update.
        assert_eq!(rig.next_update().await, "6 leases");
    });
}

#[test]
fn does_not_use_the_last_known_state_when_etcd_answers() {
    on_paused_time(async {
        let mut rig = Rig::start(last_run());
        rig.send(LeaseUpdate::Waiting).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(rig.overlay.try_recv().is_err());
    });
}

#[test]
fn does_not_start_with_a_subnet_that_belongs_to_another_host_now() {
    on_paused_time(async {
        for becomes_unreachable in [false, true] {
            let mut rig = Rig::start(last_run());
            rig.send(LeaseUpdate::SubnetTaken(membership().own.subnet))
                .await;
            if becomes_unreachable {
                rig.send(unreachable()).await;
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(rig.overlay.try_recv().is_err());
            // It joins when etcd says so.
            rig.send(LeaseUpdate::Joined(membership())).await;
            assert_eq!(rig.next_update().await, "joined 10.5.200.0/24");
        }
    });
}

#[test]
fn the_summary_counts_peers_and_held_removals() {
    on_paused_time(async {
        let mut rig = Rig::joined().await;
        rig.send(LeaseUpdate::Leases(listed(leases(1..=8)))).await;
        assert_eq!(rig.next_update().await, "8 leases");
        rig.send(LeaseUpdate::Leases(listed(leases(1..=3)))).await;
        assert_eq!(rig.next_update().await, "8 leases");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let held = PeerSummary { peers: 8, held: 5 };
        assert_eq!(*rig.summary.borrow_and_update(), held);
        assert_eq!(rig.next_update().await, "5 changes");
        tokio::time::sleep(Duration::from_millis(1)).await;
        let removed = PeerSummary { peers: 3, held: 0 };
        assert_eq!(*rig.summary.borrow_and_update(), removed);
    });
}

#[test]
fn a_snapshot_is_as_old_as_the_last_word_of_etcd() {
    on_paused_time(async {
        let rig = Rig::start(last_run());
        rig.send(unreachable()).await;
        // Saved again, but etcd has confirmed nothing.
        let unconfirmed = rig.next_saved().await.known_at();
        assert_eq!(unconfirmed, Some(SystemTime::UNIX_EPOCH));
        rig.send(LeaseUpdate::Synced).await;
        let refreshed_after = Instant::now();
        assert_eq!(rig.next_saved().await.known_at(), Some(wall_time()));
        assert!(refreshed_after.elapsed() <= HOUR * 6);
    });
}

#[test]
fn changes_are_saved_together_and_nothing_is_saved_without_a_change() {
    on_paused_time(async {
        let mut rig = Rig::joined().await;
        for n in 1..=60 {
            rig.put(n).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!((4..=7).contains(&rig.saves()), "{} in 6 s", rig.saves());
        tokio::time::sleep(PAUSE * 2).await;
        let saves = rig.saves();
        let last = rig.store.disk.borrow().saved.last().cloned();
        assert_eq!(last.expect("a snapshot").leases.len(), 60);
        tokio::time::sleep(PAUSE * 100).await;
        assert_eq!(rig.saves(), saves);
    });
}

#[test]
fn the_first_snapshot_is_saved_soon() {
    on_paused_time(async {
        let rig = Rig::start(None);
        rig.send(LeaseUpdate::Joined(membership())).await;
        rig.send(LeaseUpdate::Leases(listed(leases(1..=6)))).await;
        let started = Instant::now();
        assert_eq!(rig.next_saved().await.leases.len(), 6);
        assert_eq!(started.elapsed(), TIMING.debounce);
    });
}

#[test]
fn a_change_during_a_slow_save_is_saved_after_it() {
    on_paused_time(async {
        let mut rig = Rig::joined().await;
        rig.store.disk.borrow_mut().save_time = PAUSE * 20;
        tokio::time::sleep(PAUSE * 2).await;
        rig.put(1).await;
        assert_eq!(rig.store.disk.borrow().started_saves, 1, "one at a time");
        assert_eq!(rig.next_saved().await.leases.len(), 0);
        assert_eq!(rig.next_saved().await.leases.len(), 1);
        assert_eq!(rig.store.disk.borrow().started_saves, 2);
    });
}

#[test]
fn a_save_that_fails_is_tried_again() {
    on_paused_time(async {
        let rig = Rig::start(None);
        rig.store.disk.borrow_mut().failing_saves = 2;
        let started = Instant::now();
        rig.send(LeaseUpdate::Joined(membership())).await;
        rig.next_saved().await;
        assert_eq!(rig.store.disk.borrow().started_saves, 3);
        let waited = TIMING.debounce + TIMING.min_backoff * 3;
        assert_eq!(started.elapsed(), waited);
    });
}

#[test]
fn a_shutdown_saves_what_is_not_saved_yet() {
    on_paused_time(async {
        let rig = Rig::joined().await;
        drop(rig.shutdown);
        rig.task.await.expect("the task ends without a panic");
        assert_eq!(rig.store.disk.borrow().saved.len(), 1);
    });
}

#[test]
fn a_shutdown_waits_for_the_running_save_and_for_the_last_one() {
    on_paused_time(async {
        let mut rig = Rig::joined().await;
        rig.store.disk.borrow_mut().save_time = PAUSE;
        tokio::time::sleep(TIMING.debounce * 2).await;
        rig.put(1).await;
        drop(rig.shutdown);
        rig.task.await.expect("the task ends without a panic");
        let disk = rig.store.disk.borrow();
        let saved: Vec<usize> = disk.saved.iter().map(|s| s.leases.len()).collect();
        assert_eq!(saved, [0, 1]);
    });
}

#[test]
fn shows_until_when_a_peer_with_a_damaged_lease_is_kept() {
    on_paused_time(async {
        let mut rig = Rig::joined().await;
        rig.put(7).await;
        let damaged = || LeaseUpdate::Changes(vec![LeaseChange::Damaged(lease(7).subnet)]);
        rig.send(damaged()).await;
        rig.last_known.changed().await.expect("the peer task runs");
        let until = rig.last_known.borrow_and_update().clone();
        assert_eq!(until, [(lease(7).subnet, wall_time() + TTL)].into());
        rig.send(damaged()).await;
        rig.put(7).await;
        rig.last_known.changed().await.expect("the peer task runs");
        assert!(rig.last_known.borrow().is_empty());
        rig.send(damaged()).await;
        tokio::time::sleep(TTL).await;
        assert_eq!(rig.next_update().await, "1 changes");
        assert_eq!(rig.summary.borrow().peers, 0, "a day has passed");
    });
}
