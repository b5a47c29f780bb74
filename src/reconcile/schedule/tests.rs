use proptest::prelude::*;

use super::*;

const TIMING: Timing = Timing {
    debounce: Duration::from_millis(20),
    max_debounce: Duration::from_secs(1),
    audit: Some(Duration::from_secs(60)),
    min_backoff: Duration::from_millis(200),
    max_backoff: Duration::from_secs(30),
    max_backoff_once_in_sync: Duration::from_secs(2),
    rest: 4,
};

/// An input of the schedule.
#[derive(Debug, Clone, Copy)]
enum Input {
    Event,
    Desired,
    Recheck(u64),
    /// A run of this many milliseconds that tried so many operations.
    InSync(u64, usize),
    Failed(u64, usize),
    OperationFailed,
    SkipAudit,
    Rest(u64),
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn run(now: Duration, took: u64, operations: usize, result: RunResult) -> Run {
    Run {
        started: now.saturating_sub(ms(took)),
        operations,
        result,
    }
}

fn feed(schedule: &mut Schedule, now: Duration, input: Input) -> LogDecision {
    match input {
        Input::Event => schedule.event(now),
        Input::Desired => schedule.desired_changed(now),
        Input::Recheck(delay) => schedule.recheck(now, ms(delay)),
        Input::InSync(took, operations) => {
            let run = run(now, took, operations, RunResult::InSync);
            return schedule.finished(run, now, 0.0);
        }
        Input::Failed(took, operations) => {
            let run = run(now, took, operations, RunResult::Failed);
            return schedule.finished(run, now, 0.0);
        }
        Input::OperationFailed => schedule.failed(now, 0.0),
        Input::SkipAudit => schedule.skip_audit(now),
        Input::Rest(pause) => schedule.rest_for(now, ms(pause)),
    }
    LogDecision::Debug
}

/// Feeds inputs at their times in milliseconds and compares when the next run is due.
fn check(inputs: &[(u64, Input)], due: Option<u64>) {
    let mut schedule = Schedule::new(TIMING);
    for (at, input) in inputs {
        feed(&mut schedule, ms(*at), *input);
    }
    assert_eq!(schedule.due(), due.map(ms), "{inputs:?}");
}

#[test]
fn the_next_run_by_state_and_input() {
    use Input::{Desired, Event, Failed, InSync, OperationFailed, Recheck, Rest, SkipAudit};
    // Idle
    check(&[], None);
    check(&[(0, Event)], Some(20));
    check(&[(5, Desired)], Some(5));
    check(&[(0, Desired), (0, InSync(0, 3))], Some(60_000));
    check(&[(0, InSync(0, 3)), (30_000, SkipAudit)], Some(90_000));
    check(&[(0, InSync(0, 0)), (59_990, Event)], Some(60_000));
    // Due: the first event counts, the others are part of its burst.
    check(&[(0, Event), (15, Event)], Some(20));
    check(&[(0, Event), (1, Desired)], Some(1));
    check(&[(0, Event), (1, Recheck(2000))], Some(20));
    check(&[(0, InSync(0, 1)), (0, Recheck(2000))], Some(2000));
    // A recheck takes the place of an earlier audit, which may be skipped.
    check(&[(0, InSync(0, 1)), (0, Recheck(70_000))], Some(60_000));
    // Resting: a run of 300 ms makes events wait for 1.2 s, but not a new desired state.
    check(&[(300, InSync(300, 0)), (310, Event)], Some(1500));
    check(&[(300, InSync(300, 0)), (310, Desired)], Some(310));
    // Resting for longer than the run asks for: the later end counts, and only for events.
    let rest = [(300, InSync(300, 0)), (300, Rest(5000))];
    check(&rest, Some(60_300));
    check(&[&rest[..], &[(310, Event)]].concat(), Some(5300));
    check(&[&rest[..], &[(310, Desired)]].concat(), Some(310));
    check(
        &[(300, InSync(300, 0)), (300, Rest(1)), (310, Event)],
        Some(1500),
    );
    // Backing off while installing: an event does not end it.
    check(&[(0, Failed(0, 1))], Some(200));
    check(&[(0, Failed(0, 1)), (200, Failed(0, 1))], Some(600));
    check(&[(0, Failed(0, 1)), (1, Event)], Some(200));
    check(&[(0, Failed(0, 1)), (1, Desired)], Some(1));
    // A run that could not even try anything causes no events: one that comes brings the next run forward.
    check(&[(0, Failed(0, 0)), (1, Event)], Some(21));
    // Backing off once in sync: an event brings the run forward, and the delay has a lower limit.
    check(&[(0, InSync(0, 1)), (0, OperationFailed)], Some(200));
    check(
        &[(0, InSync(0, 1)), (0, Failed(0, 0)), (9, Event)],
        Some(29),
    );
    let failures = [(0, InSync(0, 1)), (0, Failed(0, 0)), (200, Failed(0, 0))];
    let more = [
        (600, Failed(0, 0)),
        (1400, Failed(0, 0)),
        (3000, Failed(0, 0)),
    ];
    check(&[&failures[..], &more[..]].concat(), Some(5000));
}

#[test]
fn the_back_off_of_an_installation_grows_to_its_limit_and_success_resets_it() {
    let mut schedule = Schedule::new(TIMING);
    schedule.desired_changed(Duration::ZERO);
    let mut now = Duration::ZERO;
    for _ in 0..12 {
        feed(&mut schedule, now, Input::Failed(0, 1));
        let due = schedule.due().expect("a failure leads to another run");
        assert!(due - now <= TIMING.max_backoff, "{:?}", due - now);
        now = due;
    }
    feed(&mut schedule, now, Input::Failed(0, 1));
    assert_eq!(schedule.due(), Some(now + TIMING.max_backoff));
    feed(&mut schedule, now, Input::InSync(0, 1));
    feed(&mut schedule, now, Input::OperationFailed);
    assert_eq!(schedule.due(), Some(now + TIMING.min_backoff));
}

#[test]
fn an_installation_is_no_repair_and_a_repair_is_logged() {
    let mut schedule = Schedule::new(TIMING);
    let installed = feed(&mut schedule, ms(0), Input::InSync(0, 9));
    let nothing_to_do = feed(&mut schedule, ms(1), Input::InSync(0, 0));
    let repaired = feed(&mut schedule, ms(2), Input::InSync(0, 1));
    schedule.desired_changed(ms(3));
    let changed = feed(&mut schedule, ms(3), Input::InSync(0, 9));
    assert_eq!(
        [installed, nothing_to_do, repaired, changed],
        [
            LogDecision::Installed,
            LogDecision::Debug,
            LogDecision::Repair,
            LogDecision::Installed
        ]
    );
}

#[test]
fn a_state_that_was_chosen_anew_is_installed_and_not_repaired() {
    let mut schedule = Schedule::new(TIMING);
    feed(&mut schedule, ms(0), Input::InSync(0, 9));
    schedule.chosen_anew();
    let chosen = feed(&mut schedule, ms(1), Input::InSync(0, 1));
    let repaired = feed(&mut schedule, ms(2), Input::InSync(0, 1));
    assert_eq!(
        [chosen, repaired],
        [LogDecision::Installed, LogDecision::Repair]
    );
}

#[test]
fn only_an_idle_schedule_is_due_for_an_audit() {
    let mut schedule = Schedule::new(TIMING);
    feed(&mut schedule, ms(0), Input::InSync(0, 1));
    assert!(schedule.is_audit());
    schedule.recheck(ms(0), Duration::from_secs(70));
    assert!(!schedule.is_audit(), "a recheck is never skipped");
    feed(&mut schedule, ms(0), Input::InSync(0, 1));
    schedule.event(ms(1));
    assert!(!schedule.is_audit());
}

/// Repairs each time that the schedule allows it, while another program undoes each repair at once.
fn fight(seconds: u64) -> (u32, usize) {
    let mut schedule = Schedule::new(TIMING);
    let mut now = Duration::ZERO;
    feed(&mut schedule, now, Input::InSync(0, 1));
    let (mut repairs, mut throttled) = (0, 0);
    while now < Duration::from_secs(seconds) {
        schedule.event(now);
        now = schedule.due().expect("an event leads to a run");
        let logged = feed(&mut schedule, now, Input::InSync(0, 1));
        throttled += usize::from(logged == LogDecision::Throttled);
        repairs += 1;
    }
    (repairs, throttled)
}

#[test]
fn a_fight_costs_a_burst_and_then_a_repair_each_two_seconds_and_is_logged_once() {
    let (repairs, throttled) = fight(600);
    assert!((300..=362).contains(&repairs), "{repairs}");
    assert_eq!(throttled, 1);
}

fn input() -> impl Strategy<Value = (u64, Input)> {
    let input = prop_oneof![
        4 => Just(Input::Event),
        1 => Just(Input::Desired),
        1 => (0..5000u64).prop_map(Input::Recheck),
        3 => (0..500u64, 0..3usize).prop_map(|(took, ops)| Input::InSync(took, ops)),
        2 => (0..500u64, 0..3usize).prop_map(|(took, ops)| Input::Failed(took, ops)),
        1 => Just(Input::OperationFailed),
        1 => Just(Input::SkipAudit),
    ];
    (0..3000u64, input)
}

proptest! {
    /// Whatever happened before, a change leads to a run within a bounded time, and never later than was due already.
    #[test]
    fn a_change_is_never_forgotten(inputs in proptest::collection::vec(input(), 0..60)) {
        let mut schedule = Schedule::new(TIMING);
        let mut now = Duration::from_secs(1);
        for (after, input) in inputs {
            now += ms(after);
            feed(&mut schedule, now, input);
        }
        let before = schedule.due();
        schedule.event(now);
        let due = schedule.due().expect("an event leads to a run");
        prop_assert!(due <= now + TIMING.max_backoff);
        prop_assert!(before.is_none_or(|before| due <= before));
    }

    /// A failure always leads to another run, and after quiet the audit comes.
    #[test]
    fn a_failure_is_retried_and_success_is_audited(inputs in proptest::collection::vec(input(), 0..60)) {
        let mut schedule = Schedule::new(TIMING);
        let mut now = Duration::from_secs(1);
        for (after, input) in inputs {
            now += ms(after);
            feed(&mut schedule, now, input);
        }
        feed(&mut schedule, now, Input::Failed(0, 1));
        let retry = schedule.due().expect("a failure leads to another run");
        prop_assert!(retry > now && retry <= now + TIMING.max_backoff);
        feed(&mut schedule, retry, Input::InSync(0, 0));
        prop_assert_eq!(schedule.due(), Some(retry + Duration::from_secs(60)));
    }
}
