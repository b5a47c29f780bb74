//! Owns the view of all parts at once: how the daemon is, for systemd, HTTP and `flanneld status`.

use anyhow::Context as _;
use tokio::sync::watch;

use crate::conditions::readiness::{Health, Published, Readiness, state};
use crate::conditions::report::{LeaseReport, Report};
use crate::lease::status::LeaseStatus;
use crate::model::membership::Membership;
use crate::peers::task::Summary;

/// What each part says of itself.
#[derive(Clone)]
pub(crate) struct StatusReceivers {
    pub(crate) health: watch::Receiver<Health>,
    pub(crate) published: watch::Receiver<Published>,
    pub(crate) standing: watch::Receiver<LeaseStatus>,
    pub(crate) membership: watch::Receiver<Option<Membership>>,
    pub(crate) summary: watch::Receiver<Summary>,
}

/// The other ends: one for each part.
pub(crate) struct StatusSenders {
    pub(crate) health: watch::Sender<Health>,
    pub(crate) published: watch::Sender<Published>,
    pub(crate) standing: watch::Sender<LeaseStatus>,
    pub(crate) membership: watch::Sender<Option<Membership>>,
    pub(crate) summary: watch::Sender<Summary>,
}

/// All channels, while nothing is known yet.
pub(crate) fn channels() -> (StatusSenders, StatusReceivers) {
    let (health_tell, health) = watch::channel(Health::Waiting);
    let (published_tell, published) = watch::channel(Published::default());
    let (standing_tell, standing) = watch::channel(LeaseStatus::default());
    let (membership_tell, membership) = watch::channel(None);
    let (summary_tell, summary) = watch::channel(Summary::default());
    let tell = StatusSenders {
        health: health_tell,
        published: published_tell,
        standing: standing_tell,
        membership: membership_tell,
        summary: summary_tell,
    };
    (
        tell,
        StatusReceivers {
            health,
            published,
            standing,
            membership,
            summary,
        },
    )
}

impl StatusReceivers {
    /// How we are now.
    pub(crate) fn state(&self) -> Readiness {
        state(
            &self.health.borrow(),
            &self.published.borrow(),
            &self.standing.borrow().contact,
        )
    }

    /// Waits until anything may have changed that makes us ready or not.
    pub(crate) async fn changed(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            changed = self.health.changed() => changed.context("the keeper of the kernel state ended"),
            changed = self.published.changed() => changed.context("the publisher ended"),
            changed = self.standing.changed() => changed.context("the keeper of the lease ended"),
        }
    }

    /// All that `flanneld status` says; `fixed` holds what never changes.
    pub(crate) fn report(&self, fixed: &Report) -> Report {
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
