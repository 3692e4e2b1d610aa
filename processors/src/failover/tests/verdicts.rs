//! The evidence table of the design, row by row.

use millrace_schemas::cluster::Process;
use millrace_schemas::topics::journal::{Canary, Fact, ProcessChanged, SemiSync};

use super::stage::{KILLED, RUNS, STOPPED, Stage, cluster, id};
use crate::failover::Verdict;

fn check(name: &str, change: impl FnOnce(&mut Stage), expected: &dyn Fn(&Verdict) -> bool, acts: bool) {
    let mut stage = Stage::healthy();
    change(&mut stage);
    let verdict = stage.verdict();
    assert!(expected(&verdict), "{name}: {verdict:?}");
    assert_eq!(!stage.actions().is_empty(), acts, "{name}: {verdict:?}");
}

#[test]
fn an_exit_that_nobody_asked_for_and_a_held_server_is_dead_now() {
    let dead = |verdict: &Verdict| matches!(verdict, Verdict::Dead { how } if how == "exited on signal 9");
    check("exit told at once (1)", |stage| drop(stage.process(0, KILLED)), &dead, true);
    let restated = |stage: &mut Stage| {
        stage.tells[0].process = KILLED;
        stage.beat(0);
    };
    check("restated by a heartbeat (A10)", restated, &dead, true);
}

#[test]
fn a_silent_agent_is_judged_by_what_its_replicas_hear() {
    let silent = |delays: [Option<u64>; 2], receiving: [bool; 2]| {
        move |stage: &mut Stage| {
            stage.tells[0].silent = true;
            for at in [0, 1] {
                stage.tells[at + 1].delay_us = delays[at];
                stage.tells[at + 1].receiving = receiving[at];
            }
            stage.seconds(5);
        }
    };
    let (old, new) = (Some(4_000_000), Some(1_000));
    let is_isolated = |verdict: &Verdict| matches!(verdict, Verdict::Isolated { witnesses } if witnesses.len() == 2);
    let agent = |verdict: &Verdict| *verdict == Verdict::AgentDead;
    check("nobody hears it", silent([old, old], [false; 2]), &is_isolated, true);
    check("replicas still stream (5)", silent([new, new], [true; 2]), &agent, false);
    check("the agent is dead, so nobody writes heartbeat rows (15)", silent([old, old], [true; 2]), &agent, false);
    check("one still streams", silent([old, old], [false, true]), &agent, false);
    let unknown = |verdict: &Verdict| matches!(verdict, Verdict::Unknown { .. });
    check("one cannot say: unsampled is unknown", silent([old, None], [false; 2]), &unknown, false);
    check("nobody can say", silent([None, None], [false; 2]), &unknown, false);
}

#[test]
fn who_follows_somebody_else_is_no_witness() {
    let change = |stage: &mut Stage| {
        stage.tells[0].silent = true;
        for at in [1, 2] {
            stage.tells[at].delay_us = Some(4_000_000);
            stage.tells[at].receiving = false;
        }
        stage.tells[2].source = Some(1);
        stage.seconds(4);
    };
    check("Q is 2, one hears another", change, &|verdict| matches!(verdict, Verdict::Unknown { .. }), false);
}

#[test]
fn silence_of_a_witness_is_no_evidence() {
    let change = |stage: &mut Stage| {
        stage.tells[0].silent = true;
        stage.tells[2].silent = true;
        stage.tells[1].delay_us = Some(4_000_000);
        stage.tells[1].receiving = false;
        stage.seconds(6);
    };
    check("Q is 2, one is left", change, &|verdict| matches!(verdict, Verdict::Unknown { .. }), false);
}

#[test]
fn writes_that_hang_are_named_and_lead_to_no_failover() {
    let hangs = |acknowledgers: u32| {
        move |stage: &mut Stage| {
            stage.tells[0].canary = Canary::Waiting { since_us: 1_600_000 };
            stage.tells[0].semi_sync = SemiSync { source_active: true, acknowledgers, ..SemiSync::default() };
            stage.seconds(4);
        }
    };
    check("no acknowledger", hangs(0), &|verdict| *verdict == Verdict::WritesBlocked, false);
    check("with acknowledgers", hangs(2), &|verdict| matches!(verdict, Verdict::Stalled { .. }), false);
    let fails = |stage: &mut Stage| {
        stage.tells[0].canary = Canary::Failed { error: "too many connections".to_owned() };
        stage.seconds(4);
    };
    check(
        "writes fail",
        fails,
        &|verdict| matches!(verdict, Verdict::Stalled { what } if what.contains("too many")),
        false,
    );
    let slow = |stage: &mut Stage| {
        stage.tells[0].canary = Canary::Waiting { since_us: 900_000 };
        stage.seconds(4);
    };
    check("slow, but below the window", slow, &|verdict| *verdict == Verdict::Fine, false);
}

#[test]
fn a_requested_stop_has_a_grace_time() {
    let stopped = |seconds: u32| {
        move |stage: &mut Stage| {
            stage.process(0, STOPPED);
            stage.seconds(seconds);
        }
    };
    let on_purpose = |overdue: bool| move |verdict: &Verdict| *verdict == Verdict::StoppedOnPurpose { overdue };
    check("within the grace", stopped(30), &on_purpose(false), false);
    check("after it", stopped(61), &on_purpose(true), true);
    let again = |stage: &mut Stage| {
        stage.process(0, STOPPED);
        stage.seconds(20);
        stage.process(0, RUNS);
        stage.tells[0].open = true;
        stage.seconds(2);
    };
    check("started again in time", again, &|verdict| *verdict == Verdict::Fine, false);
}

#[test]
fn a_server_that_its_guard_starts_again_is_unknown_until_it_speaks() {
    let released = Process::Exited { code: None, signal: Some(9), requested: false, held: false };
    let change = |stage: &mut Stage| drop(stage.process(0, released));
    check("not held (2)", change, &|verdict| matches!(verdict, Verdict::Unknown { .. }), false);
}

#[test]
fn a_primary_that_runs_closed_is_closed_after_three_seconds() {
    let closed = |seconds: u32| {
        move |stage: &mut Stage| {
            stage.tells[0].open = false;
            stage.seconds(seconds);
        }
    };
    check("just closed", closed(2), &|verdict| matches!(verdict, Verdict::Unknown { .. }), false);
    check("closed (A11)", closed(5), &|verdict| *verdict == Verdict::Closed, true);
}

#[test]
fn replicas_that_stop_or_an_idle_night_are_no_failure_of_the_primary() {
    let stopped = |stage: &mut Stage| {
        for at in [1, 2] {
            stage.tells[at].receiving = false;
            stage.tells[at].delay_us = Some(60_000_000);
        }
        stage.seconds(8);
    };
    check("replicas stopped on purpose (16)", stopped, &|verdict| *verdict == Verdict::Fine, false);
    check("idle (18)", |stage| stage.seconds(600), &|verdict| *verdict == Verdict::Fine, false);
}

#[test]
fn nothing_is_known_before_anything_was_heard() {
    let stage = Stage::with(|_| ());
    let mut fresh = crate::failover::State::default();
    assert_eq!(crate::failover::verdict::of(&fresh, stage.state().members[&id(0)].heard), Verdict::NoPrimaryYet);
    fresh.primary = Some(id(0));
    assert!(matches!(
        crate::failover::verdict::of(&fresh, stage.state().members[&id(0)].heard),
        Verdict::Unknown { .. }
    ));
}

/// An agent may be let speak about every instance; it has still seen only those of its host.
#[test]
fn what_another_hosts_agent_says_of_a_member_is_no_evidence() {
    let mut stage = Stage::healthy();
    let fact = |host: &str, stage: &Stage| {
        Fact::ProcessChanged(ProcessChanged {
            host: host.parse().expect("legal"),
            boot_us: u64::try_from(stage.now).expect("positive"),
            process: KILLED,
            exited_boot_us: None,
        })
    };
    let own = stage.spec.members[0].host.to_string();
    let strange = fact("elsewhere", &stage);
    assert!(stage.say(Some(0), strange).is_empty());
    assert_eq!(stage.fold.state(&cluster()).expect("known").members[&id(0)].process, RUNS);
    let true_word = fact(&own, &stage);
    stage.say(Some(0), true_word);
    assert_eq!(stage.fold.state(&cluster()).expect("known").members[&id(0)].process, KILLED);
}
