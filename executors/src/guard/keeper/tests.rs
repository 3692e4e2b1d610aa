//! The keeper's rules, one situation each, and what must hold in every order of events.

use millrace_schemas::ids::Epoch;
use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000;

fn keeper() -> Keeper {
    Keeper::resume(State::default(), 1, false, Flavour::MySql, Limits::default(), 0)
}

fn ask(keeper: &mut Keeper, request: fn(Epoch) -> Request, epoch: u64, at: u64) -> Vec<Effect> {
    keeper.ask(request(Epoch(epoch)), at * SECOND).unwrap()
}

fn start(epoch: Epoch) -> Request {
    Request::Start { epoch, superseded: false }
}

fn stop(epoch: Epoch) -> Request {
    Request::Stop { epoch }
}

fn kill(epoch: Epoch) -> Request {
    Request::Kill { epoch }
}

fn hold(epoch: Epoch) -> Request {
    Request::Hold { epoch }
}

fn release(epoch: Epoch) -> Request {
    Request::Release { epoch }
}

fn on(keeper: &mut Keeper, event: Event, at: u64) -> Vec<Effect> {
    keeper.on(event, at * SECOND, 0)
}

fn exited(code: Option<i32>, signal: Option<i32>) -> Event {
    Event::Exited { code, signal }
}

const STARTED: Event = Event::Started { pid: 7, start_ticks: 70 };

/// A keeper whose server has been running since second 0.
fn running() -> Keeper {
    let mut keeper = keeper();
    assert_eq!(ask(&mut keeper, start, 1, 0), [Effect::Start]);
    assert_eq!(on(&mut keeper, STARTED, 0), []);
    keeper
}

#[test]
fn a_new_instance_waits_for_its_first_start() {
    let mut keeper = keeper();
    assert_eq!(on(&mut keeper, Event::Time, 100), []);
    assert_eq!(keeper.wake_us(), None);
    assert_eq!(ask(&mut keeper, start, 1, 100), [Effect::Start]);
}

#[test]
fn a_crash_is_held_and_lapses_into_a_start() {
    let mut keeper = running();
    assert_eq!(on(&mut keeper, exited(None, Some(9)), 5), []);
    let exit = keeper.state().last_exit.clone().unwrap();
    assert_eq!((exit.cause, exit.signal, exit.pid), (ExitCause::Crash, Some(9), 7));
    assert_eq!(keeper.wake_us(), Some(15 * SECOND));
    assert_eq!(on(&mut keeper, Event::Time, 14), []);
    assert_eq!(on(&mut keeper, Event::Time, 15), [Effect::Start]);
    assert_eq!(keeper.state().hold, None);
}

#[test]
fn a_promised_hold_does_not_lapse() {
    let mut keeper = running();
    on(&mut keeper, exited(None, Some(9)), 5);
    assert!(!keeper.state().is_held_down_for(Epoch(1)));
    assert_eq!(ask(&mut keeper, hold, 2, 6), []);
    assert!(keeper.state().is_held_down_for(Epoch(2)) && !keeper.state().is_held_down_for(Epoch(3)));
    assert_eq!(on(&mut keeper, Event::Time, 1000), []);
    assert_eq!(ask(&mut keeper, release, 2, 1001), [Effect::Start]);
}

#[test]
fn a_hold_on_a_running_server_takes_effect_when_it_ends() {
    let mut keeper = running();
    assert_eq!(ask(&mut keeper, hold, 2, 3), []);
    assert!(!keeper.state().is_held_down_for(Epoch(2)));
    assert_eq!(on(&mut keeper, exited(Some(16), None), 5), []);
    assert!(keeper.state().is_held_down_for(Epoch(2)));
}

#[test]
fn lower_epochs_are_refused_and_change_nothing() {
    let mut keeper = running();
    ask(&mut keeper, hold, 5, 1);
    let before = keeper.state().clone();
    for request in [start, stop, kill, hold, release] {
        let refused = keeper.ask(request(Epoch(4)), 2 * SECOND).unwrap_err();
        assert_eq!(refused, "epoch 4 is over, epoch 5 was promised here");
    }
    assert_eq!(keeper.state(), &before);
    assert_eq!(keeper.ask(Request::State, 0), Ok(vec![]));
}

#[test]
fn how_a_server_ended_is_told_apart() {
    let check = |flavour, code, signal, cause, effects: &[Effect]| {
        let mut keeper = Keeper::resume(State::default(), 1, false, flavour, Limits::default(), 0);
        ask(&mut keeper, start, 1, 0);
        on(&mut keeper, STARTED, 0);
        assert_eq!(on(&mut keeper, exited(code, signal), 5), effects);
        assert_eq!(keeper.state().last_exit.as_ref().unwrap().cause, cause);
    };
    check(Flavour::MySql, Some(0), None, ExitCause::Shutdown, &[]);
    check(Flavour::MySql, Some(16), None, ExitCause::Restart, &[Effect::Start]);
    check(Flavour::MariaDb, Some(16), None, ExitCause::Crash, &[]);
    check(Flavour::MySql, Some(1), None, ExitCause::Crash, &[]);
    check(Flavour::MySql, None, Some(6), ExitCause::Crash, &[]);
    check(Flavour::MySql, None, None, ExitCause::Unknown, &[]);
}

#[test]
fn a_shutdown_by_somebody_else_stays_down_until_a_start() {
    let mut keeper = running();
    on(&mut keeper, exited(Some(0), None), 5);
    assert_eq!(on(&mut keeper, Event::Time, 1000), []);
    assert_eq!(ask(&mut keeper, release, 1, 1000), []);
    assert_eq!(ask(&mut keeper, start, 1, 1000), [Effect::Start]);
}

#[test]
fn stopping_closes_first_and_ends_gently_only_when_that_is_confirmed() {
    let mut keeper = running();
    assert_eq!(ask(&mut keeper, stop, 2, 3), [Effect::Close]);
    assert_eq!(on(&mut keeper, Event::Closed { pid: 7, confirmed: true }, 3), [Effect::Terminate]);
    assert_eq!(on(&mut keeper, exited(Some(0), None), 5), []);
    assert_eq!(keeper.state().last_exit.as_ref().unwrap().cause, ExitCause::Asked);
    assert_eq!(on(&mut keeper, Event::Time, 1000), []);
}

#[test]
fn what_was_not_confirmed_closed_in_time_is_killed() {
    for event in [Event::Closed { pid: 7, confirmed: false }, Event::Time] {
        let mut keeper = running();
        ask(&mut keeper, stop, 2, 3);
        assert_eq!(keeper.wake_us(), Some(4 * SECOND));
        assert_eq!(on(&mut keeper, event, 4), [Effect::Kill]);
        assert_eq!(on(&mut keeper, Event::Closed { pid: 7, confirmed: true }, 5), [], "too late to be gentle");
    }
}

#[test]
fn a_late_answer_about_an_earlier_process_ends_nobody() {
    let mut keeper = running();
    ask(&mut keeper, stop, 2, 3);
    assert_eq!(on(&mut keeper, Event::Closed { pid: 6, confirmed: true }, 3), []);
}

#[test]
fn a_closed_server_that_does_not_stop_is_killed() {
    let mut keeper = running();
    ask(&mut keeper, stop, 2, 3);
    on(&mut keeper, Event::Closed { pid: 7, confirmed: true }, 3);
    assert_eq!(on(&mut keeper, Event::Time, 62), []);
    assert_eq!(on(&mut keeper, Event::Time, 63), [Effect::Kill]);
}

#[test]
fn a_start_that_comes_while_it_stops_starts_it_afterwards() {
    let mut keeper = running();
    ask(&mut keeper, stop, 2, 3);
    assert_eq!(ask(&mut keeper, start, 3, 3), []);
    assert_eq!(on(&mut keeper, exited(Some(0), None), 5), [Effect::Start]);
}

#[test]
fn a_kill_holds_it_down() {
    let mut keeper = running();
    assert_eq!(ask(&mut keeper, kill, 2, 3), [Effect::Kill]);
    assert_eq!(on(&mut keeper, exited(None, Some(9)), 3), []);
    assert_eq!(keeper.state().last_exit.as_ref().unwrap().cause, ExitCause::Asked);
    assert!(keeper.state().is_held_down_for(Epoch(2)));
    assert_eq!(on(&mut keeper, Event::Time, 1000), []);
}

#[test]
fn repeated_crashes_are_started_ever_later_but_always_again() {
    let mut keeper = running();
    let mut at = 1;
    let mut holds = Vec::new();
    for _ in 0..8 {
        on(&mut keeper, exited(Some(1), None), at);
        let wake = keeper.wake_us().unwrap() / SECOND;
        holds.push(wake - at);
        at = wake;
        assert_eq!(on(&mut keeper, Event::Time, at), [Effect::Start]);
        on(&mut keeper, STARTED, at);
        at += 1;
    }
    assert_eq!(holds, [10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(keeper.state().crashes, 8);
    // A minute of running ends the loop.
    on(&mut keeper, exited(None, Some(11)), at + 100);
    assert_eq!(keeper.state().crashes, 1);
    assert_eq!(keeper.wake_us(), Some((at + 110) * SECOND));
}

#[test]
fn a_start_that_fails_counts_as_a_crash_and_says_why() {
    let mut keeper = keeper();
    ask(&mut keeper, start, 1, 0);
    assert_eq!(on(&mut keeper, Event::StartFailed("no such file".into()), 0), []);
    let exit = keeper.state().last_exit.clone().unwrap();
    assert_eq!((exit.cause, exit.error.as_deref()), (ExitCause::Crash, Some("no such file")));
    assert_eq!(on(&mut keeper, Event::Time, 10), [Effect::Start]);
}

#[test]
fn sigterm_closes_stops_and_leaves_and_the_next_guard_starts_it_again() {
    let mut keeper = running();
    assert_eq!(on(&mut keeper, Event::Terminate, 3), [Effect::Close]);
    assert!(keeper.ask(start(Epoch(9)), 3 * SECOND).is_err());
    assert_eq!(on(&mut keeper, Event::Closed { pid: 7, confirmed: true }, 3), [Effect::Terminate]);
    assert_eq!(on(&mut keeper, exited(Some(0), None), 4), [Effect::Leave]);
    let mut next = Keeper::resume(keeper.state().clone(), 2, false, Flavour::MySql, Limits::default(), 0);
    assert_eq!(on(&mut next, Event::Time, 0), [Effect::Start]);
    let mut down = self::keeper();
    assert_eq!(on(&mut down, Event::Terminate, 3), [Effect::Leave]);
}

#[test]
fn a_guard_that_comes_back_goes_on_with_a_living_server_and_holds_after_a_dead_one() {
    let state = running().state().clone();
    let mut alive = Keeper::resume(state.clone(), 2, true, Flavour::MySql, Limits::default(), SECOND);
    assert_eq!(on(&mut alive, Event::Time, 1), []);
    assert_eq!(alive.state().server, state.server);
    let mut dead = Keeper::resume(state.clone(), 2, false, Flavour::MySql, Limits::default(), SECOND);
    assert_eq!(dead.state().last_exit.as_ref().unwrap().cause, ExitCause::Unknown);
    assert_eq!(on(&mut dead, Event::Time, 10), []);
    assert_eq!(on(&mut dead, Event::Time, 11), [Effect::Start]);
    let mut held = running();
    ask(&mut held, hold, 4, 1);
    let mut held = Keeper::resume(held.state().clone(), 2, false, Flavour::MySql, Limits::default(), SECOND);
    assert_eq!(on(&mut held, Event::Time, 1000), []);
    assert!(held.state().is_held_down_for(Epoch(4)));
}

fn any_input() -> impl Strategy<Value = (u8, u64, u64)> {
    (0_u8..12, 0_u64..5, 0_u64..20)
}

proptest! {
    /// Whatever happens in whatever order: a held server is not started, SIGTERM follows only a confirmed closing, epochs
    /// never go back, and a server that should run comes back by itself unless an epoch holds it.
    #[test]
    fn the_rules_hold_in_every_order(inputs in prop::collection::vec(any_input(), 0..60)) {
        let mut keeper = keeper();
        let mut now = 0;
        let mut pid = 0;
        for (what, epoch, pause) in inputs {
            now += pause * SECOND;
            let before = keeper.state().clone();
            let up = before.server.process();
            let closing = matches!(keeper.ending, Some(Ending::Closing(_)));
            let confirmed = Event::Closed { pid, confirmed: true };
            let gentle_is_right = what == 8 && closing && up.is_some_and(|process| process.pid == pid);
            let effects = match what {
                0..=4 => keeper.ask([start, stop, kill, hold, release][usize::from(what)](Epoch(epoch)), now)
                    .unwrap_or_default(),
                5 if up.is_some() => keeper.on(exited(Some(16), None), now, 0),
                6 if up.is_some() => keeper.on(exited(None, Some(9)), now, 0),
                7 if up.is_some() => keeper.on(exited(Some(0), None), now, 0),
                8 => keeper.on(confirmed, now, 0),
                9 => keeper.on(Event::Closed { pid, confirmed: false }, now, 0),
                10 => keeper.on(Event::Closed { pid: pid.wrapping_sub(1), confirmed: true }, now, 0),
                _ => keeper.on(Event::Time, now, 0),
            };
            prop_assert!(keeper.state().promised >= before.promised);
            prop_assert!(!effects.contains(&Effect::Terminate) || gentle_is_right);
            if effects.contains(&Effect::Start) {
                prop_assert!(keeper.state().hold.is_none() && keeper.state().server == Server::Down);
                pid += 1;
                let more = keeper.on(Event::Started { pid, start_ticks: 0 }, now, 0);
                prop_assert_eq!(more, vec![]);
            }
            let state = keeper.state();
            let down_for_now = state.keep_running && state.server == Server::Down;
            prop_assert!(!down_for_now || state.hold.is_some(), "{:?}", state);
            let by_itself = state.hold.is_some_and(|hold| hold.epoch.is_none());
            prop_assert!(!(down_for_now && by_itself) || keeper.wake_us().is_some());
        }
    }
}
