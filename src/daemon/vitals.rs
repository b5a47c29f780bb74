//! Owns the view of all parts at once: how the daemon is, for systemd, HTTP and `flanneld status`.

use anyhow::Context as _;
use tokio::sync::watch;

use crate::readiness::{Health, Published, State, state};
use crate::roster::run::Summary;
use crate::status::{LeaseReport, Report};
use crate::subnet::standing::Standing;
use crate::subnet::update::Membership;

/// What each part says of itself.
#[derive(Clone)]
pub(super) struct Vitals {
    pub(super) health: watch::Receiver<Health>,
    pub(super) published: watch::Receiver<Published>,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) membership: watch::Receiver<Option<Membership>>,
    pub(super) summary: watch::Receiver<Summary>,
}

/// The other ends: one for each part.
pub(super) struct Tell {
    pub(super) health: watch::Sender<Health>,
    pub(super) published: watch::Sender<Published>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) membership: watch::Sender<Option<Membership>>,
    pub(super) summary: watch::Sender<Summary>,
}

/// All channels, while nothing is known yet.
pub(super) fn channels() -> (Tell, Vitals) {
    let (health_tell, health) = watch::channel(Health::Waiting);
    let (published_tell, published) = watch::channel(Published::default());
    let (standing_tell, standing) = watch::channel(Standing::default());
    let (membership_tell, membership) = watch::channel(None);
    let (summary_tell, summary) = watch::channel(Summary::default());
    let tell = Tell {
        health: health_tell,
        published: published_tell,
        standing: standing_tell,
        membership: membership_tell,
        summary: summary_tell,
    };
    (
        tell,
        Vitals {
            health,
            published,
            standing,
            membership,
            summary,
        },
    )
}

impl Vitals {
    /// How we are now.
    pub(super) fn state(&self) -> State {
        state(
            &self.health.borrow(),
            &self.published.borrow(),
            &self.standing.borrow().contact,
        )
    }

    /// Waits until anything may have changed that makes us ready or not.
    pub(super) async fn changed(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            changed = self.health.changed() => changed.context("the keeper of the kernel state ended"),
            changed = self.published.changed() => changed.context("the publisher ended"),
            changed = self.standing.changed() => changed.context("the keeper of the lease ended"),
        }
    }

    /// All that `flanneld status` says; `fixed` holds what never changes.
    pub(super) fn report(&self, fixed: &Report) -> Report {
        let standing = self.standing.borrow();
        let Summary { peers, kept } = *self.summary.borrow();
        Report {
            state: self.state().to_string(),
            contact: standing.contact.to_string(),
            lease: self.membership.borrow().as_ref().map(lease),
            peers,
            kept,
            ignored: standing.ignored.clone(),
            ..fixed.clone()
        }
    }
}

fn lease(membership: &Membership) -> LeaseReport {
    let Membership { own, config } = membership;
    LeaseReport {
        network: config.network.to_string(),
        subnet: own.subnet.to_string(),
        public_ip: own.public_ip.to_string(),
        vtep_mac: own.vtep_mac.to_string(),
        device: config.vxlan.vni.device(),
    }
}
