//! Owns that our rules are in the packet filter: puts them there when our lease comes or changes, and again whenever
//! somebody takes them away. What they are is `masq`'s, who runs the tools `firewall`.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::adapters::netlink::RuleChanges;
use crate::adapters::packet_filter::{Firewall, Outcome};
use crate::cli::Options;
use crate::conditions::ConditionWriter;
use crate::model::addr::Vni;
use crate::model::external_interface::ExternalInterface;
use crate::model::membership::Membership;
use crate::reconcile::backoff::Backoff;
use crate::reconcile::debounce::Debounce;
use crate::reconcile::limiter::{LogDecision, RepairLimiter};
use crate::rules::choice::{Asked, Choice};
use crate::rules::desired::Wanted;

/// The longest time that nothing is done although there is a sign that something could be, or once was.
const PATIENCE: Duration = Duration::from_secs(2);

const FIGHT: &str = "somebody keeps taking our rules away; putting them back slowly from now on";

/// See the module.
pub(crate) struct RulesReconciler {
    external: ExternalInterface,
    asked: Asked,
    ip_masq: bool,
    random_fully: bool,
    forward: bool,
    /// Time between two looks at rules of which the kernel does not tell.
    resync: Duration,
    joined: watch::Receiver<Option<Membership>>,
    condition: ConditionWriter,
    firewall: Firewall,
    /// None on a kernel that has no nftables.
    changes: Option<RuleChanges>,
    backoff: Backoff,
    pace: RepairLimiter,
    debounce: Debounce,
    started: Instant,
    /// When to look next, if there is a reason.
    next_look: Option<Instant>,
    /// No sign brings the next look earlier than this.
    not_before: Instant,
    /// What was put in place last, and by whom.
    known: Option<(Wanted, Option<Choice>)>,
    /// What could not be put in place, as it was said last.
    lacking: Vec<String>,
}

impl RulesReconciler {
    /// Must be called inside a runtime.
    pub(crate) fn new(
        options: &Options,
        external: ExternalInterface,
        joined: watch::Receiver<Option<Membership>>,
        condition: ConditionWriter,
    ) -> Self {
        let changes = RuleChanges::open();
        if let Err(error) = &changes {
            debug!(%error, "the kernel does not tell of changes of nftables; rules are polled");
        }
        Self {
            external,
            asked: crate::daemon::settings::rule_backend(options),
            ip_masq: options.ip_masq,
            random_fully: options.random_fully,
            forward: options.forward_rules,
            resync: options.iptables_resync,
            joined,
            condition,
            firewall: Firewall::default(),
            changes: changes.ok(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
            pace: RepairLimiter::new(Duration::ZERO),
            debounce: Debounce::new(Duration::from_millis(20), Duration::from_secs(1)),
            started: Instant::now(),
            next_look: None,
            not_before: Instant::now(),
            known: None,
            lacking: Vec::new(),
        }
    }

    /// Runs until nobody can tell of leases any more.
    pub(crate) async fn run(mut self) {
        loop {
            let membership = self.joined.borrow_and_update().clone();
            if let Some(membership) = &membership {
                self.look(membership).await;
            }
            if !self
                .wait(membership.map(|membership| membership.config.vxlan.vni))
                .await
            {
                return;
            }
        }
    }

    /// Waits for a reason to look; answers false when there will be none.
    async fn wait(&mut self, vni: Option<Vni>) -> bool {
        // Fixed here: others may change rules that are not our business more often than it is due.
        let mut poll = Instant::now() + self.resync;
        loop {
            let next = self.next_look.unwrap_or(poll);
            // Each arm is cancel-safe: a message stays in its queue, a time is a time.
            tokio::select! {
                changed = self.joined.changed() => return changed.is_ok(),
                heard = heard(&mut self.changes, vni), if vni.is_some() => {
                    if heard {
                        let soon = (Instant::now() + self.debounce.event(self.started.elapsed()).max(self.pace.delay(self.started.elapsed()))).max(self.not_before);
                        self.next_look = Some(self.next_look.map_or(soon, |at| at.min(soon)));
                    }
                }
                () = sleep_until(next) => {
                    // What is polled for nothing is asked without a process.
                    if self.next_look.is_some() || (vni.is_some() && self.must_poll()) {
                        return true;
                    }
                    poll = Instant::now() + self.resync;
                }
            }
        }
    }

    fn must_poll(&self) -> bool {
        self.changes.is_none() || self.firewall.needs_polling()
    }

    /// Looks, and puts right what is not.
    async fn look(&mut self, membership: &Membership) {
        self.next_look = None;
        // What was heard before a look is seen by it, our own last change included.
        self.forget_what_was_heard(membership.config.vxlan.vni);
        let wanted = self.wanted(membership);
        match self
            .firewall
            .ensure(&wanted, self.asked, membership.config.nftables)
            .await
        {
            Ok(outcome) => {
                self.backoff.reset();
                self.report(wanted, outcome);
                self.condition.set_true();
            }
            Err(error) => {
                if self.known.is_none() {
                    // Nobody has taken anything away: these are our own vain attempts, no sign.
                    self.forget_what_was_heard(membership.config.vxlan.vni);
                }
                self.failed(crate::error::chain(&error));
            }
        }
    }

    fn forget_what_was_heard(&mut self, vni: Vni) {
        while heard(&mut self.changes, Some(vni)).now_or_never().is_some() {}
    }

    fn wanted(&self, membership: &Membership) -> Wanted {
        let Membership { own, config } = membership;
        Wanted {
            vni: config.vxlan.vni,
            network: config.network,
            subnet: own.subnet,
            local: self.external.address,
            port: config.vxlan.port,
            masquerade: self.ip_masq,
            random_fully: self.random_fully,
            forward: self.forward,
        }
    }

    /// One line for what is in place, when that is new, and one for each repair, but not for each of many.
    fn report(&mut self, wanted: Wanted, outcome: Outcome) {
        let Outcome {
            choice,
            changed,
            lacking,
        } = outcome;
        let is_known = self
            .known
            .as_ref()
            .is_some_and(|known| known.0 == wanted && same(&known.1, &choice));
        if !is_known {
            tell(&wanted, choice.as_ref());
            self.known = Some((wanted, choice));
            self.debounce.needless_run();
        } else if changed.is_empty() {
            self.debounce.needless_run();
        } else {
            let changed = changed.join(", ");
            match self.pace.repaired(self.started.elapsed()) {
                LogDecision::Repair => info!(changed, "put our rules back"),
                LogDecision::Debug | LogDecision::Installed => {
                    debug!(changed, "put our rules back")
                }
                LogDecision::Throttled => warn!(changed, "{FIGHT}"),
            }
        }
        for reason in lacking
            .iter()
            .filter(|reason| !self.lacking.contains(reason))
        {
            warn!(
                reason,
                "some rules could not be put in place; as this host is now, the overlay works without them"
            );
        }
        if lacking.iter().any(|reason| !self.lacking.contains(reason)) {
            // Once more: it may have been a moment in which somebody else changed rules.
            self.next_look = Some(Instant::now() + PATIENCE);
        }
        self.lacking = lacking;
    }

    /// Says a reason when it is new, and tries again after a while. Who takes our rules away faster than we can look at
    /// them is met as slowly as one who is slower. Where they never were in place nobody takes them away: what others
    /// change is no reason to ask the tools more often.
    fn failed(&mut self, reason: String) {
        let now = self.started.elapsed();
        let (fight, pause) = (self.pace.repaired(now), self.pace.delay(now));
        let wait = self.backoff.next(crate::daemon::random()).max(pause);
        let (tell, wait, earliest) = match self.known.is_some() {
            true => (fight, wait.min(PATIENCE), pause),
            false => (LogDecision::Repair, wait, wait.min(PATIENCE)),
        };
        self.not_before = Instant::now() + earliest;
        self.next_look = Some(Instant::now() + wait);
        let is_new = self.condition.message() != reason;
        self.condition.set_false(&reason);
        match tell {
            LogDecision::Repair if is_new => {
                warn!(reason, "the rules are not in place; trying again");
            }
            LogDecision::Repair | LogDecision::Debug | LogDecision::Installed => {
                debug!(reason, "the rules are still not in place")
            }
            LogDecision::Throttled => warn!(reason, "{FIGHT}"),
        }
    }
}

/// Whether the rules are in the same places, for no other concern.
fn same(one: &Option<Choice>, other: &Option<Choice>) -> bool {
    let places = |choice: &Choice| {
        (
            choice.masquerade,
            choice.forward.clone(),
            choice.warning.clone(),
        )
    };
    one.as_ref().map(places) == other.as_ref().map(places)
}

/// Waits for changes; answers whether they may concern us. What was lost may have. Cancel-safe.
async fn heard(changes: &mut Option<RuleChanges>, vni: Option<Vni>) -> bool {
    let (Some(socket), Some(vni)) = (changes.as_mut(), vni) else {
        return std::future::pending().await;
    };
    match socket.next().await {
        Ok(Some(found)) => found.iter().any(|change| change.concerns(vni)),
        Ok(None) => true,
        Err(error) => {
            warn!(%error, "failed to listen to changes of nftables; rules are polled from now on");
            *changes = None;
            true
        }
    }
}

fn tell(wanted: &Wanted, choice: Option<&Choice>) {
    let Some(Choice {
        masquerade,
        forward,
        why,
        warning,
    }) = choice
    else {
        info!("no rules are wanted in the packet filter");
        return;
    };
    let nothing = || "nothing".to_owned();
    let names = |there: bool, names: Vec<String>| {
        if there && !names.is_empty() {
            names.join(",")
        } else {
            nothing()
        }
    };
    let forward = names(
        wanted.forward,
        forward.iter().map(ToString::to_string).collect(),
    );
    let masquerade = names(wanted.masquerade, vec![masquerade.to_string()]);
    info!(masquerade, forward, subnet = %wanted.subnet, why, "rules are in place");
    if let Some(warning) = warning {
        warn!("{warning}");
    }
}
