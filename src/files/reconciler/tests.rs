use crate::paused_time::on_paused_time;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::*;
use crate::conditions::{ConditionStatus, ConditionType, ConditionWriter, Conditions};
use crate::files::fake::FakeFiles;
use crate::model::docker_networks::DockerNetworks;
use crate::model::external_interface::ExternalInterface;
use crate::peers::table::tests::membership;
use crate::reconcile::driver::Driver;

const DOCKER_OPTS: &str = "/run/flannel/docker_opts.env";
const SUBNET_ENV: &str = "/run/flannel/subnet.env";

struct Rig {
    files: FakeFiles,
    membership: watch::Sender<Option<Membership>>,
    reload: mpsc::Sender<()>,
    underlay: watch::Sender<Underlay>,
    conditions: watch::Receiver<Conditions>,
}

impl Rig {
    fn start() -> Self {
        let files = FakeFiles::default();
        let (membership, receiver) = watch::channel(None);
        let (reload, reloads) = mpsc::channel(1);
        let settings = FilesSettings {
            subnet_file: SUBNET_ENV.into(),
            docker_opts_file: DOCKER_OPTS.into(),
            docker_networks: DockerNetworks::Docker0,
            ip_masq: true,
            external: ExternalInterface {
                name: "eth0".to_owned(),
                mac: None,
                address: Ipv4Addr::new(10, 99, 0, 2),
                mtu: 1500,
            },
        };
        let (underlay, followed) = watch::channel(Underlay {
            external: settings.external.clone(),
            index: 2,
            problem: None,
        });
        let slice = FilesSlice::new(
            files.clone(),
            settings,
            receiver,
            reloads,
            Followed::new(followed),
        );
        let (condition, conditions) = ConditionWriter::for_test(ConditionType::FilesWritten);
        tokio::task::spawn_local(Driver::new("files", slice, TIMING, condition, || 0.0).run());
        Self {
            files,
            membership,
            reload,
            underlay,
            conditions,
        }
    }

    async fn join(&self) {
        self.membership.send_replace(Some(membership()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn writes(&self) -> Vec<PathBuf> {
        self.files.disk.borrow().writes.clone()
    }

    fn status(&self) -> ConditionStatus {
        let conditions = self.conditions.borrow();
        conditions.get(ConditionType::FilesWritten).status
    }
}

#[test]
fn the_options_for_docker_are_there_before_subnet_env() {
    on_paused_time(async {
        let rig = Rig::start();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(rig.writes(), [] as [&Path; 0], "nothing without a lease");
        rig.join().await;
        assert_eq!(rig.writes(), [DOCKER_OPTS, SUBNET_ENV].map(PathBuf::from));
        assert_eq!(rig.status(), ConditionStatus::True);
        let disk = rig.files.disk.borrow();
        let subnet_env = &disk.texts[Path::new(SUBNET_ENV)];
        assert!(subnet_env.contains("FLANNEL_SUBNET=10.5.200.1/24\nFLANNEL_MTU=1450\n"));
    });
}

#[test]
fn a_full_disk_leaves_no_subnet_env_without_options_and_is_retried() {
    on_paused_time(async {
        let rig = Rig::start();
        rig.files.disk.borrow_mut().failing_writes = 1;
        rig.join().await;
        assert_eq!(rig.writes(), [] as [&Path; 0]);
        assert_eq!(rig.status(), ConditionStatus::False);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(rig.writes(), [DOCKER_OPTS, SUBNET_ENV].map(PathBuf::from));
        assert_eq!(rig.status(), ConditionStatus::True);
    });
}

#[test]
fn sighup_writes_what_differs_and_nothing_else() {
    on_paused_time(async {
        let rig = Rig::start();
        rig.join().await;
        let edited = "FLANNEL_SUBNET=10.5.7.1/24\n".to_owned();
        let path = PathBuf::from(SUBNET_ENV);
        rig.files
            .disk
            .borrow_mut()
            .texts
            .insert(path.clone(), edited);
        for _ in 0..3 {
            rig.reload.send(()).await.expect("the slice listens");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(rig.writes().len(), 3, "{:?}", rig.writes());
        assert_eq!(rig.writes().last(), Some(&path));
    });
}

#[test]
fn what_another_program_does_to_a_file_is_undone_at_once() {
    on_paused_time(async {
        let rig = Rig::start();
        rig.join().await;
        let path = Path::new(SUBNET_ENV);
        let desired = rig.files.disk.borrow().texts[path].clone();
        for text in [None, Some(""), Some("FLANNEL_SUBNET=10.5.7.1/24\n")] {
            rig.files.change(path, text);
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(rig.files.disk.borrow().texts[path], desired, "{text:?}");
        }
        assert_eq!(rig.writes().len(), 5, "nothing else was written");
    });
}

#[test]
fn a_disk_that_reports_nothing_is_audited() {
    on_paused_time(async {
        let rig = Rig::start();
        rig.files.disk.borrow_mut().is_blind = true;
        rig.join().await;
        rig.files.change(Path::new(SUBNET_ENV), None);
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(rig.writes().len(), 3);
    });
}

#[test]
fn the_mtu_of_the_external_interface_is_followed_and_nothing_else_of_it_is_written() {
    on_paused_time(async {
        let rig = Rig::start();
        rig.join().await;
        let set_mtu = |mtu| {
            rig.underlay
                .send_modify(|underlay| underlay.external.mtu = mtu);
            tokio::time::sleep(Duration::from_millis(1))
        };
        set_mtu(1400).await;
        let texts = || rig.files.disk.borrow().texts.clone();
        assert!(texts()[Path::new(SUBNET_ENV)].contains("FLANNEL_MTU=1350\n"));
        assert!(texts()[Path::new(DOCKER_OPTS)].contains("--mtu=1350"));
        let address = Ipv4Addr::new(10, 99, 0, 3);
        rig.underlay
            .send_modify(|underlay| underlay.external.address = address);
        set_mtu(1400).await;
        assert_eq!(rig.writes().len(), 4);
        set_mtu(1500).await;
        assert_eq!(rig.writes().len(), 6);
    });
}
