use super::*;
use crate::model::node_id::NodeId;
use crate::peers::table::tests::{lease, membership};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::task::LocalSet;

/// A roster loop, and all that it hears and tells.
struct Rig {
    updates: mpsc::Sender<LeaseUpdate>,
    kernel: mpsc::Receiver<PeerUpdate>,
    snapshot: watch::Receiver<Option<Arc<Snapshot>>>,
    stopping: oneshot::Sender<Infallible>,
}

impl Rig {
    fn start(last_known: Option<Snapshot>) -> Self {
        let (updates, heard) = mpsc::channel(8);
        let (tell, kernel) = mpsc::channel(8);
        let (membership, _) = watch::channel(None);
        let (save, snapshot) = watch::channel(None);
        let (summary, _) = watch::channel(PeerSummary::default());
        let (stopping, stops) = oneshot::channel();
        let channels = PeerChannels {
            updates: heard,
            kernel: tell,
            membership,
            snapshot: save,
            summary,
            stopping: stops,
        };
        tokio::task::spawn_local(
            PeerTask::new(
                place(),
                last_known,
                Duration::from_secs(60),
                channels,
                wall_time,
            )
            .run(),
        );
        Self {
            updates,
            kernel,
            snapshot,
            stopping,
        }
    }

    async fn next(&mut self) -> String {
        let update = tokio::time::timeout(Duration::from_secs(3600), self.kernel.recv()).await;
        match update
            .expect("an update within the hour")
            .expect("the roster runs")
        {
            PeerUpdate::Joined(membership) => format!("joined {}", membership.own.subnet),
            PeerUpdate::Peers(leases) => format!("{} leases", leases.len()),
            PeerUpdate::Changes(changes) => format!("{} changes", changes.len()),
        }
    }

    async fn send(&self, update: LeaseUpdate) {
        self.updates.send(update).await.expect("the peer task runs");
    }
}

fn place() -> SnapshotOwner {
    let (prefix, node, interface) = ("/test".to_owned(), NodeId::named("a"), "eth0".to_owned());
    SnapshotOwner {
        prefix,
        node,
        interface,
        hardware: None,
    }
}

fn last_known() -> Option<Snapshot> {
    Some(Snapshot::new(
        &place(),
        membership(),
        (1..=5).map(lease).collect(),
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

fn on_paused_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    LocalSet::new().block_on(&runtime.expect("a runtime for a test"), test);
}

#[test]
fn comes_up_from_the_last_known_state_when_etcd_fails() {
    on_paused_time(async {
        let mut rig = Rig::start(last_known());
        let started = Instant::now();
        rig.send(unreachable()).await;
        assert_eq!(rig.next().await, "joined 10.5.200.0/24");
        assert_eq!(rig.next().await, "5 leases");
        assert_eq!(started.elapsed(), Duration::ZERO);
    });
}

#[test]
fn comes_up_when_etcd_keeps_silent_and_follows_it_later() {
    on_paused_time(async {
        let mut rig = Rig::start(last_known());
        let started = Instant::now();
        assert_eq!(rig.next().await, "joined 10.5.200.0/24");
        assert_eq!(rig.next().await, "5 leases");
        assert_eq!(started.elapsed(), FIRST_ANSWER);
        rig.send(LeaseUpdate::Joined(membership())).await;
        rig.send(LeaseUpdate::Leases((1..=6).map(lease).collect()))
            .await;
        assert_eq!(
            rig.next().await,
            "6 leases",
            "the same membership again tells nobody anything"
        );
    });
}

#[test]
fn leaves_the_last_known_state_alone_when_etcd_answers() {
    on_paused_time(async {
        let mut rig = Rig::start(last_known());
        rig.send(LeaseUpdate::Waiting).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(rig.kernel.try_recv().is_err());
    });
}

#[test]
fn does_not_come_up_on_a_subnet_that_is_another_hosts() {
    on_paused_time(async {
        for silent in [true, false] {
            let mut rig = Rig::start(last_known());
            rig.send(LeaseUpdate::SubnetTaken(membership().own.subnet))
                .await;
            if !silent {
                rig.send(unreachable()).await;
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(rig.kernel.try_recv().is_err());
            rig.send(LeaseUpdate::Joined(membership())).await;
            assert_eq!(
                rig.next().await,
                "joined 10.5.200.0/24",
                "etcd says so itself"
            );
        }
    });
}

#[test]
fn a_snapshot_is_as_old_as_what_etcd_has_said() {
    on_paused_time(async {
        let mut rig = Rig::start(last_known());
        rig.send(unreachable()).await;
        rig.snapshot.changed().await.expect("the roster runs");
        let known_at = |rig: &mut Rig| {
            rig.snapshot
                .borrow_and_update()
                .as_deref()
                .and_then(Snapshot::known_at)
        };
        assert_eq!(
            known_at(&mut rig),
            Some(SystemTime::UNIX_EPOCH),
            "written anew, but etcd has told nothing"
        );
        rig.send(LeaseUpdate::Synced).await;
        rig.snapshot
            .changed()
            .await
            .expect("it is written now and then");
        assert_eq!(known_at(&mut rig), Some(wall_time()));
    });
}

#[test]
fn keeps_a_snapshot_of_changes_but_not_of_each() {
    on_paused_time(async {
        let mut rig = Rig::start(None);
        rig.send(LeaseUpdate::Joined(membership())).await;
        let mut snapshots = 0;
        for n in 1..=60 {
            let update = LeaseUpdate::Changes(vec![(lease(n).subnet, Some(lease(n)))]);
            rig.updates.send(update).await.expect("the roster listens");
            tokio::time::sleep(Duration::from_millis(100)).await;
            while rig.kernel.try_recv().is_ok() {}
            snapshots += usize::from(rig.snapshot.has_changed().expect("the roster runs"));
            rig.snapshot.mark_unchanged();
        }
        assert!((4..=7).contains(&snapshots), "{snapshots} in 6 s");
        tokio::time::sleep(PAUSE * 2).await;
        let last = rig
            .snapshot
            .borrow_and_update()
            .clone()
            .expect("a snapshot");
        assert_eq!(last.leases.len(), 60);
        tokio::time::sleep(PAUSE * 100).await;
        assert!(
            !rig.snapshot.has_changed().expect("the roster runs"),
            "nothing is written while nothing changes"
        );
    });
}

#[test]
fn the_first_snapshot_comes_at_once() {
    on_paused_time(async {
        let mut rig = Rig::start(None);
        rig.send(LeaseUpdate::Joined(membership())).await;
        rig.send(LeaseUpdate::Leases((1..=6).map(lease).collect()))
            .await;
        let started = Instant::now();
        rig.snapshot.changed().await.expect("the roster runs");
        assert_eq!(started.elapsed(), SOON);
        assert_eq!(
            rig.snapshot
                .borrow()
                .as_ref()
                .map(|snapshot| snapshot.leases.len()),
            Some(6)
        );
    });
}

#[test]
fn a_stop_saves_what_is_not_saved_yet() {
    on_paused_time(async {
        let Rig {
            updates,
            stopping,
            mut snapshot,
            mut kernel,
        } = Rig::start(None);
        updates
            .send(LeaseUpdate::Joined(membership()))
            .await
            .expect("the roster listens");
        kernel.recv().await.expect("the roster runs");
        drop(stopping);
        snapshot.changed().await.expect("a snapshot before the end");
        assert!(snapshot.changed().await.is_err(), "the roster has ended");
    });
}
