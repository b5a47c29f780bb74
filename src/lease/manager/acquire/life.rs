//! Finds out whether the host that wrote a lease still lives, by evidence: who answers for its address on the link, and
//! whether its daemon renews its etcd lease when its key is written again. See docs/decisions/0031-replaced-machines.md.
//! It writes no other value than the one that is there.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::lease::claim::{LifeSign, Rival};
use crate::lease::manager::acquire::{Attempt, Setback};
use crate::lease::manager::relists::RelistReason;
use crate::lease::manager::state::Acquisition;
use crate::lease::port::{Entry, LeaseId, LinkAnswer, Registry, TimeToLive, WriteOutcome};
use crate::model::lease::OwnLease;

/// How long the daemon of a host that lives has to renew its etcd lease after its key was written.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The shortest time between two looks at an etcd lease that shows a renewal: etcd tells whole seconds.
const MIN_BETWEEN_LOOKS: Duration = Duration::from_secs(3);

/// Whether a host lives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It lives, or cannot be asked. What was found out, if anything was asked.
    Possible(Option<LifeSign>),
    /// Nothing shows that it lives. The revision of its key as that was found.
    None { revision: i64 },
}

/// So many times in a row a rival must be silent that has shown a sign of life to this run: it may be cut off for a moment,
/// and pods run there. One that never did is gone.
const SILENT_TIMES: u32 = 3;

/// The last sign of life of a rival in this run, and how often it was silent since.
#[derive(Debug, Default)]
pub(super) struct EarlierSigns {
    last: Option<(LeaseId, LifeSign)>,
    silent: u32,
}

impl EarlierSigns {
    /// Takes what was found out about the host with this etcd lease. Returns what that means after what it showed before.
    fn judge(&mut self, lease: LeaseId, now: Life) -> Life {
        match (&now, &self.last) {
            (Life::Possible(Some(sign)), _) if sign.is_proof() => {
                self.last = Some((lease, sign.clone()));
                self.silent = 0;
            }
            (Life::None { .. }, Some((seen, sign))) if *seen == lease => {
                self.silent += 1;
                if self.silent < SILENT_TIMES {
                    return Life::Possible(Some(sign.clone()));
                }
            }
            (Life::Possible(_) | Life::None { .. }, _) => {}
        }
        now
    }
}

/// How a host answers when its key is written again.
#[derive(Debug, PartialEq, Eq)]
enum ChallengeOutcome {
    Renewed,
    /// It does not. The revision of the write.
    Silence {
        revision: i64,
    },
    /// The key could not be written.
    Failed(String),
}

/// An etcd lease, and when it was looked up.
#[derive(Clone, Copy)]
struct Look {
    lease: LeaseId,
    time: TimeToLive,
    at: Duration,
}

impl<R: Registry> Attempt<'_, R> {
    /// Whether a rival lives. One that has not renewed its etcd lease for half its time does not. One that shares our
    /// PublicIP is asked on the link, and then by its lease. One with another address may live behind a router or on an isolated
    /// port: silence proves nothing.
    pub(super) async fn life_of_rival(&mut self, rival: &Rival) -> Result<Life, Setback> {
        let Some(lease) = rival.entry.lease else {
            return Ok(Life::Possible(None));
        };
        let Some(time) = self.registry.time_to_live(lease).await? else {
            // That says nothing about the host, and a new list would show the same key again.
            if self.acquirer.orphaned.is_seen_again(&rival.entry) {
                return Ok(Life::Possible(None));
            }
            return Err(Setback::Relist(RelistReason::RivalExpired));
        };
        if time.is_neglected() {
            let revision = rival.entry.revision;
            return Ok(Life::None { revision });
        }
        if rival.owner.public_ip != self.request.identity.public_ip {
            return Ok(Life::Possible(None));
        }
        let look = self.look(lease, time);
        let answer = self.acquirer.probe.probe(rival.owner.public_ip).await;
        let life = match &answer {
            LinkAnswer::Nobody { .. } => match self.challenge(&rival.entry, look).await? {
                ChallengeOutcome::Silence { revision } => Life::None { revision },
                ChallengeOutcome::Renewed => Life::Possible(Some(LifeSign::Renews)),
                ChallengeOutcome::Failed(error) => Life::Possible(Some(LifeSign::NotAsked(error))),
            },
            LinkAnswer::Other { .. } | LinkAnswer::Unknown(_) => {
                Life::Possible(Some(LifeSign::Link(answer.clone())))
            }
        };
        let life = self.acquirer.earlier_signs.judge(lease, life);
        if matches!(life, Life::None { .. }) {
            let rival = &rival.owner;
            warn!(
                "taking over the lease of {rival}: {answer}, and its flanneld did not renew the lease when asked"
            );
        }
        Ok(life)
    }

    /// Whether a host lives that has written its lease into our key and has a PublicIP that is ours, or was: it may be the
    /// machine that has replaced this one.
    pub(super) async fn life_of_successor(
        &self,
        entry: &Entry,
        public_ip: Ipv4Addr,
        lease: LeaseId,
        time: TimeToLive,
    ) -> Result<Life, Setback> {
        let look = self.look(lease, time);
        let answer = self.acquirer.probe.probe(public_ip).await;
        if matches!(answer, LinkAnswer::Other { .. }) {
            return Ok(Life::Possible(Some(LifeSign::Link(answer))));
        }
        sleep(MIN_BETWEEN_LOOKS.saturating_sub(self.since(look))).await;
        Ok(match self.challenge(entry, look).await? {
            ChallengeOutcome::Renewed => Life::Possible(Some(LifeSign::Renews)),
            ChallengeOutcome::Silence { revision } => Life::None { revision },
            // It cannot be written over either, so nothing is lost: the next list finds out.
            ChallengeOutcome::Failed(_) => Life::None {
                revision: entry.revision,
            },
        })
    }

    /// Writes a key again with its value. The daemon of a host that lives answers by renewing its etcd lease.
    async fn challenge(&self, entry: &Entry, before: Look) -> Result<ChallengeOutcome, Setback> {
        let value = String::from_utf8_lossy(&entry.value);
        let revision = match self.registry.replace(entry, &value).await {
            Ok(WriteOutcome::Done { revision }) => revision,
            Ok(WriteOutcome::Lost) => return Err(Setback::Relist(RelistReason::RivalWrites)),
            Err(error) => return Ok(ChallengeOutcome::Failed(crate::error::chain(&error))),
        };
        let asked_at = self.now();
        while self.now().saturating_sub(asked_at) < ANSWER_TIMEOUT {
            sleep(POLL_INTERVAL).await;
            let time = self.registry.time_to_live(before.lease).await?;
            let Some(time) = time else {
                return Err(Setback::Relist(RelistReason::RivalExpired));
            };
            if time.is_renewed_since(before.time, self.since(before)) {
                return Ok(ChallengeOutcome::Renewed);
            }
        }
        Ok(ChallengeOutcome::Silence { revision })
    }

    /// Writes our lease over that of a host which shows no sign of life. It moves to an etcd lease of ours: should the
    /// host come back, it can tell that another one lives here.
    pub(super) async fn take_over(
        &mut self,
        own: OwnLease,
        entry: Entry,
        revision: i64,
    ) -> Result<Acquisition, Setback> {
        self.attach_to_own_etcd_lease(own, Entry { revision, ..entry })
            .await
    }

    fn look(&self, lease: LeaseId, time: TimeToLive) -> Look {
        let at = self.now();
        Look { lease, time, at }
    }

    fn since(&self, look: Look) -> Duration {
        self.now().saturating_sub(look.at)
    }

    fn now(&self) -> Duration {
        (self.acquirer.settings.boot_time)()
    }
}
