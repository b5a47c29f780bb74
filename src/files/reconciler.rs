//! Owns telling the rest of the host what our lease is, in files for other programs: again whenever it changes or SIGHUP
//! asks for it, until it has worked.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::adapters::file_system;
use crate::cli::Options;
use crate::conditions::readiness::{Part, Published};
use crate::files::subnet_env::Env;
use crate::model::external_interface::ExternalInterface;
use crate::model::membership::Membership;
use crate::reconcile::backoff::Backoff;

/// See the module.
pub(crate) struct FilesReconciler {
    external: ExternalInterface,
    subnet_file: PathBuf,
    docker_opts_file: PathBuf,
    ip_masq: bool,
    joined: watch::Receiver<Option<Membership>>,
    published: watch::Sender<Published>,
    reload: Signal,
    backoff: Backoff,
}

impl FilesReconciler {
    pub(crate) fn new(
        options: &Options,
        external: ExternalInterface,
        joined: watch::Receiver<Option<Membership>>,
        published: watch::Sender<Published>,
        reload: Signal,
    ) -> Self {
        Self {
            external,
            subnet_file: options.subnet_file.clone(),
            docker_opts_file: options.docker_opts_file.clone(),
            ip_masq: options.ip_masq,
            joined,
            published,
            reload,
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
        }
    }

    /// Runs until nobody can tell of leases any more.
    pub(crate) async fn run(mut self) {
        loop {
            let membership = self.joined.borrow_and_update().clone();
            let done = match &membership {
                Some(membership) => self.publish(membership),
                None => true,
            };
            let again = self.delay(done);
            // Each arm is cancel-safe: a change and a signal stay until they are seen, a time is a time.
            tokio::select! {
                changed = self.joined.changed() => if changed.is_err() { return },
                Some(()) = self.reload.recv() => info!("SIGHUP: writing the files again"),
                () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {}
            }
        }
    }

    /// How long to wait before the next try, if one is needed.
    fn delay(&mut self, done: bool) -> Option<Duration> {
        if done {
            self.backoff.reset();
            return None;
        }
        Some(self.backoff.next(crate::daemon::random()))
    }

    /// Answers whether all of it worked.
    fn publish(&mut self, membership: &Membership) -> bool {
        let files = self.write_files(membership);
        self.published
            .send_modify(|published| published.files = files.clone());
        files == Part::Done
    }

    /// subnet.env last: whoever waits for it finds the options for Docker as well.
    fn write_files(&self, membership: &Membership) -> Part {
        let Membership { own, config } = membership;
        let mtu = config.overlay_mtu(self.external.mtu);
        if let Some(asked) = config.vxlan.mtu.filter(|asked| *asked > self.external.mtu) {
            let interface = &self.external.name;
            warn!(
                interface,
                mtu = self.external.mtu,
                asked,
                "Backend.MTU is above that of the interface, which counts"
            );
        }
        let env = Env {
            network: config.network,
            subnet: own.subnet,
            mtu,
            ip_masq: self.ip_masq,
        };
        let both = [
            (&self.docker_opts_file, env.docker_opts()),
            (&self.subnet_file, env.subnet_env()),
        ];
        for (path, text) in both {
            match file_system::replace(path, &text) {
                Ok(true) => info!(path = %path.display(), "wrote the file"),
                Ok(false) => debug!(path = %path.display(), "the file is right already"),
                Err(error) => {
                    return self
                        .failed(&self.published.borrow().files, crate::error::chain(&error));
                }
            }
        }
        Part::Done
    }

    /// Says a reason when it is new.
    fn failed(&self, before: &Part, reason: String) -> Part {
        let now = Part::Failed(reason.clone());
        match *before == now {
            true => debug!(reason, "failed again"),
            false => warn!(reason, "failed; trying again"),
        }
        now
    }
}
