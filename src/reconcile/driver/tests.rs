use crate::paused_time::on_paused_time;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;
use crate::conditions::{ConditionStatus, ConditionType, Conditions};
use crate::reconcile::slice::OpFailed;

const TIMING: Timing = Timing {
    debounce: Duration::from_millis(20),
    max_debounce: Duration::from_secs(1),
    audit: Some(Duration::from_secs(60)),
    min_backoff: Duration::from_millis(100),
    max_backoff: Duration::from_secs(30),
    max_backoff_once_in_sync: Duration::from_secs(2),
    rest: 4,
};

/// A slice whose state is a number.
#[derive(Debug, Default)]
struct World {
    desired: u32,
    observed: u32,
    effects: VecDeque<Effect>,
    /// Plans from now on that fail.
    failing_plans: usize,
    /// Operations from now on that fail.
    failing_ops: usize,
    /// Operations from now on that claim success and do nothing.
    lost_ops: usize,
    plans: usize,
    applied: usize,
    logged_in_sync: usize,
    no_audit: bool,
    /// Operations from now on that fail although the slice can do without them.
    optional_ops: usize,
    optional_failures: usize,
    /// 0 stands for one.
    rounds: usize,
    chosen_anew: bool,
    recheck_after: Option<Duration>,
}

#[derive(Clone, Default)]
struct NumberSlice {
    world: Rc<RefCell<World>>,
    wake: Rc<tokio::sync::Notify>,
}

impl NumberSlice {
    fn say(&self, effect: Effect) {
        self.world.borrow_mut().effects.push_back(effect);
        self.wake.notify_one();
    }
}

impl Slice for NumberSlice {
    type Input = Effect;
    type Op = u32;

    async fn next(&mut self) -> Effect {
        loop {
            if let Some(effect) = self.world.borrow_mut().effects.pop_front() {
                return effect;
            }
            self.wake.notified().await;
        }
    }

    async fn handle(&mut self, effect: Effect) -> Effect {
        effect
    }

    async fn plan(&mut self) -> Result<Vec<u32>, Problem> {
        let mut world = self.world.borrow_mut();
        world.plans += 1;
        if world.failing_plans > 0 {
            world.failing_plans -= 1;
            return Err(Problem::failed("the state cannot be observed"));
        }
        let differs = world.observed != world.desired;
        Ok(differs.then_some(world.desired).into_iter().collect())
    }

    async fn apply(&mut self, ops: &[u32]) -> Vec<OpFailed> {
        let mut world = self.world.borrow_mut();
        world.optional_failures = 0;
        let mut failed = Vec::new();
        for op in ops {
            world.applied += 1;
            if world.optional_ops > 0 {
                world.optional_ops -= 1;
                world.optional_failures += 1;
                world.desired = world.observed;
            } else if world.failing_ops > 0 {
                world.failing_ops -= 1;
                failed.push(OpFailed {
                    command: format!("set {op}"),
                    reason: "No buffer space available".to_owned(),
                });
            } else if world.lost_ops > 0 {
                world.lost_ops -= 1;
            } else {
                world.observed = *op;
            }
        }
        failed
    }

    fn command(&self, op: &u32) -> String {
        format!("set {op}")
    }

    fn needs_audit(&self) -> bool {
        !self.world.borrow().no_audit
    }

    fn max_rounds(&self) -> usize {
        self.world.borrow().rounds.max(1)
    }

    fn optional_failures(&self) -> usize {
        self.world.borrow().optional_failures
    }

    fn has_chosen_anew(&self) -> bool {
        self.world.borrow().chosen_anew
    }

    fn recheck_after(&mut self) -> Option<Duration> {
        self.world.borrow_mut().recheck_after.take()
    }

    fn log_in_sync(&mut self) {
        self.world.borrow_mut().logged_in_sync += 1;
    }
}

/// A driver over the slice, and what a test sees of it.
struct Rig {
    slice: NumberSlice,
    conditions: watch::Receiver<Conditions>,
}

impl Rig {
    fn start() -> Self {
        Self::start_with(None)
    }

    fn start_with(heartbeat: Option<Heartbeat>) -> Self {
        let slice = NumberSlice::default();
        let (condition, conditions) = ConditionWriter::for_test(ConditionType::KernelInSync);
        let driver = Driver::new("number", slice.clone(), TIMING, condition, || 0.0);
        tokio::task::spawn_local(driver.with_heartbeat(heartbeat).run());
        Self { slice, conditions }
    }

    /// A rig whose slice has reached the desired state 1.
    async fn in_sync() -> Self {
        let rig = Self::start();
        rig.desire(1).await;
        assert_eq!(rig.status(), ConditionStatus::True);
        rig
    }

    async fn desire(&self, desired: u32) {
        self.slice.world.borrow_mut().desired = desired;
        self.slice.say(Effect::Desired);
        settle().await;
    }

    fn status(&self) -> ConditionStatus {
        self.conditions
            .borrow()
            .get(ConditionType::KernelInSync)
            .status
    }

    fn message(&self) -> String {
        let conditions = self.conditions.borrow();
        conditions.get(ConditionType::KernelInSync).message.clone()
    }
}

/// Lets the driver do all that it can do without time passing, or a millisecond of it.
async fn settle() {
    pass(Duration::from_millis(1)).await;
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[test]
fn nothing_runs_before_the_first_input() {
    on_paused_time(async {
        let rig = Rig::start();
        pass(Duration::from_secs(3600)).await;
        assert_eq!(rig.slice.world.borrow().plans, 0);
        assert_eq!(rig.status(), ConditionStatus::Unknown);
    });
}

#[test]
fn a_desired_state_is_installed_read_back_and_logged_once() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        let world = rig.slice.world.borrow();
        assert_eq!((world.observed, world.applied, world.plans), (1, 1, 2));
        assert_eq!(world.logged_in_sync, 1);
    });
}

#[test]
fn a_quiet_slice_is_audited_and_what_another_program_changed_is_repaired() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().observed = 7;
        pass(Duration::from_secs(61)).await;
        assert_eq!(rig.slice.world.borrow().observed, 1);
        assert_eq!(rig.slice.world.borrow().logged_in_sync, 1, "a repair");
    });
}

#[test]
fn an_audit_that_the_slice_does_not_need_plans_nothing() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().no_audit = true;
        let plans = rig.slice.world.borrow().plans;
        pass(Duration::from_secs(3600)).await;
        assert_eq!(rig.slice.world.borrow().plans, plans);
        // An event is no audit.
        rig.slice.say(Effect::Resync);
        pass(Duration::from_millis(50)).await;
        assert_eq!(rig.slice.world.borrow().plans, plans + 1);
    });
}

#[test]
fn a_burst_of_events_leads_to_one_run() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        let plans = rig.slice.world.borrow().plans;
        (0..100).for_each(|_| rig.slice.say(Effect::Resync));
        pass(Duration::from_millis(50)).await;
        assert_eq!(rig.slice.world.borrow().plans, plans + 1);
    });
}

#[test]
fn a_failed_operation_is_the_message_and_is_retried_until_it_succeeds() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().failing_ops = 3;
        rig.desire(2).await;
        assert_eq!(rig.status(), ConditionStatus::False);
        assert_eq!(
            rig.message(),
            "failed to run \"set 2\": No buffer space available"
        );
        pass(Duration::from_secs(1)).await;
        assert_eq!(rig.status(), ConditionStatus::True);
        assert_eq!(rig.slice.world.borrow().observed, 2);
    });
}

#[test]
fn what_cannot_be_observed_is_the_message() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().failing_plans = 1;
        rig.slice.say(Effect::Resync);
        pass(Duration::from_millis(50)).await;
        assert_eq!(rig.message(), "the state cannot be observed");
        pass(Duration::from_secs(1)).await;
        assert_eq!(rig.status(), ConditionStatus::True);
    });
}

#[test]
fn success_that_cannot_be_read_back_is_a_failure() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().lost_ops = 1;
        rig.desire(2).await;
        assert_eq!(
            rig.message(),
            "still to do after all operations succeeded: \"set 2\""
        );
    });
}

#[test]
fn a_slice_with_several_rounds_plans_again_before_it_fails() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().rounds = 3;
        rig.slice.world.borrow_mut().lost_ops = 2;
        rig.desire(2).await;
        assert_eq!(rig.status(), ConditionStatus::True);
        assert_eq!(rig.slice.world.borrow().observed, 2);
        rig.slice.world.borrow_mut().lost_ops = 3;
        rig.desire(3).await;
        assert_eq!(rig.status(), ConditionStatus::False);
    });
}

#[test]
fn an_operation_that_fails_ends_the_rounds() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().rounds = 3;
        rig.slice.world.borrow_mut().failing_ops = 1;
        rig.desire(2).await;
        assert_eq!(rig.status(), ConditionStatus::False);
    });
}

#[test]
fn optional_operations_that_fail_count_as_no_repair() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        // So many repairs would be a fight, and the next one would have to wait for two seconds.
        for _ in 0..200 {
            rig.slice.world.borrow_mut().desired = 2;
            rig.slice.world.borrow_mut().optional_ops = 1;
            rig.slice.say(Effect::Resync);
            pass(Duration::from_millis(1100)).await;
        }
        rig.slice.world.borrow_mut().observed = 7;
        rig.slice.say(Effect::Resync);
        pass(Duration::from_millis(1100)).await;
        assert_eq!(rig.slice.world.borrow().observed, 1);
    });
}

#[test]
fn a_state_that_the_slice_chose_anew_is_logged_as_in_place() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().chosen_anew = true;
        rig.slice.world.borrow_mut().observed = 7;
        rig.slice.say(Effect::Resync);
        pass(Duration::from_millis(50)).await;
        assert_eq!(rig.slice.world.borrow().logged_in_sync, 2);
    });
}

#[test]
fn a_slice_in_sync_can_ask_for_one_more_run() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().recheck_after = Some(Duration::from_secs(2));
        rig.slice.world.borrow_mut().no_audit = true;
        rig.slice.say(Effect::Resync);
        pass(Duration::from_millis(50)).await;
        let plans = rig.slice.world.borrow().plans;
        pass(Duration::from_millis(1900)).await;
        assert_eq!(rig.slice.world.borrow().plans, plans);
        pass(Duration::from_millis(150)).await;
        assert_eq!(rig.slice.world.borrow().plans, plans + 1);
        pass(Duration::from_secs(3600)).await;
        assert_eq!(rig.slice.world.borrow().plans, plans + 1);
    });
}

#[test]
fn a_failure_outside_of_a_run_leads_to_a_run() {
    on_paused_time(async {
        let rig = Rig::in_sync().await;
        rig.slice.world.borrow_mut().observed = 9;
        rig.slice.say(Effect::Failed(Problem::failed("refused")));
        settle().await;
        assert_eq!(rig.message(), "refused");
        pass(Duration::from_millis(200)).await;
        assert_eq!(rig.status(), ConditionStatus::True);
        assert_eq!(rig.slice.world.borrow().observed, 1);
    });
}

#[test]
fn the_heart_beats_while_nothing_happens_and_stops_with_the_loop() {
    on_paused_time(async {
        let (sender, mut beats) = watch::channel(());
        let interval = Duration::from_secs(5);
        let rig = Rig::start_with(Some(Heartbeat::new(sender, interval)));
        for _ in 0..20 {
            let beat = tokio::time::timeout(interval + Duration::from_millis(1), beats.changed());
            assert!(matches!(beat.await, Ok(Ok(()))));
        }
        rig.slice.say(Effect::Closed);
        while beats.changed().await.is_ok() {}
    });
}
