//! Lateness, gaps, duplicates, silence, clocks: what must not change a decision.

use millrace_schemas::topics::actions::ActionKind;
use millrace_schemas::topics::journal::{Fact, Gap, Outcome};

use super::stage::{KILLED, RUNS, Stage, actions, values};
use crate::failover::Verdict;
use crate::fold::Fold;

const S: i64 = 1_000_000;

#[test]
fn timers_run_without_tick_records() {
    let mut stage = Stage::healthy();
    stage.tells[0].silent = true;
    for at in [1, 2] {
        stage.tells[at].delay_us = Some(4_000_000);
        stage.tells[at].receiving = false;
    }
    // A busy partition: 125 records a second, no tick record ever (A8).
    for _ in 0..625 {
        stage.now += S / 125;
        if stage.now % S < S / 125 {
            stage.beat(1);
            stage.beat(2);
        }
        stage.say(
            Some(1),
            Fact::Renewed(millrace_schemas::topics::journal::Renewed {
                action: millrace_schemas::ids::EventId(1),
                executor: "somebody".to_owned(),
            }),
        );
    }
    assert_eq!(stage.actions().len(), 1, "the dead host is noticed: {:?}", stage.verdict());
}

#[test]
fn an_outage_of_the_bus_makes_nobody_dead() {
    let mut stage = Stage::healthy();
    stage.now += 600 * S; // nothing was appended for ten minutes (59)
    stage.say(None, Fact::Tick {});
    assert!(stage.actions().is_empty(), "{:?}", stage.verdict());
    stage.seconds(2);
    assert_eq!(stage.verdict(), Verdict::Fine);
    assert!(stage.actions().is_empty());
    stage.process(0, KILLED);
    assert_eq!(stage.actions().len(), 1, "and then it works as before");
}

#[test]
fn an_exit_during_an_outage_is_restated() {
    let mut stage = Stage::healthy();
    stage.tells[0].process = KILLED;
    stage.now += 30 * S;
    let (host, from_boot_us) = (stage.spec.members[0].host.clone(), 60_000_000);
    stage.say(Some(0), Fact::Gap(Gap { host, from_boot_us, to_boot_us: from_boot_us + 30_000_000 }));
    assert!(stage.actions().is_empty(), "a gap says nothing about the server");
    stage.seconds(1);
    assert_eq!(stage.actions().len(), 1, "A10");
}

#[test]
fn late_facts_say_nothing_about_now() {
    let mut stage = Stage::healthy();
    stage.tells[0].late_us = 300 * S; // five minutes on its way (60)
    stage.process(0, KILLED);
    assert!(stage.actions().is_empty(), "{:?}", stage.verdict());
    stage.tells[0].process = RUNS;
    stage.tells[0].open = true;
    stage.tells[0].late_us = 0;
    stage.seconds(3);
    assert_eq!(stage.verdict(), Verdict::Fine);
}

#[test]
fn late_facts_restart_the_silence_of_their_own_sender_only() {
    let mut stage = Stage::healthy();
    stage.tells[0].silent = true;
    stage.tells[1].late_us = 10 * S;
    stage.tells[2].delay_us = Some(9_000_000);
    stage.seconds(6);
    let now = millrace_schemas::time::Timestamp(stage.now);
    let silent = |at: usize| stage.state().members[&super::stage::id(at)].is_silent(now);
    assert!(silent(0));
    assert!(!silent(1));
}

#[test]
fn a_clock_that_steps_is_forgiven() {
    // The broker's clock steps back 2.5 s and forth again (A9): facts look late for a minute, then not for ever.
    let mut stage = Stage::healthy();
    for tells in &mut stage.tells {
        tells.late_us = -5 * S / 2;
    }
    stage.seconds(1);
    for tells in &mut stage.tells {
        tells.late_us = 0;
    }
    stage.seconds(10);
    stage.process(0, KILLED);
    assert!(stage.actions().is_empty(), "for now it looks late");
    stage.seconds(55);
    assert_eq!(stage.actions().len(), 1, "a minute later it does not");
}

#[test]
fn flapping_of_a_primary_gives_one_failover() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    for _ in 0..5 {
        stage.process(0, RUNS);
        stage.now += S / 2;
        stage.process(0, KILLED);
        stage.now += S / 2;
    }
    let failovers = stage.actions().iter().filter(|one| matches!(one.kind, ActionKind::FailOver(_))).count();
    assert_eq!(failovers, 1, "2, 20: either it stays or it fails over, never both");
}

#[test]
fn a_decider_that_was_killed_at_the_instant_of_the_fault_decides_the_same() {
    let mut stage = Stage::healthy();
    let saved = stage.fold.save();
    let mut other = Stage::healthy();
    other.fold = Fold::new(crate::failover::Failover, 0);
    other.fold.restore(&saved).expect("it reads what it wrote");
    let (one, two) = (stage.process(0, KILLED), other.process(0, KILLED));
    assert_eq!(values(&one), values(&two), "61: the same bytes, with the same ids");
    assert_eq!(actions(&one).len(), 1);
}

#[test]
fn every_record_twice_decides_once() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    let action = stage.actions()[0].clone();
    for _ in 0..3 {
        stage.claim(&action, "e1");
    }
    for _ in 0..3 {
        stage.end(&action, Outcome::Done { primary: super::stage::id(1) });
    }
    let done = stage.findings().iter().filter(|finding| finding.rule == "FailoverDone").count();
    assert_eq!(done, 1, "60");
    stage.claim(&action, "late");
    assert!(
        stage.state().current.as_ref().is_none_or(|current| current.action.id != action.id),
        "47: a stale claim is ignored"
    );
}

#[test]
fn decisions_of_two_clusters_do_not_touch() {
    // 41, with one: the other cluster's trouble is not ours.
    let mut stage = Stage::healthy();
    let before = stage.state().clone();
    let event = millrace_schemas::event::Event {
        id: millrace_schemas::ids::EventId(9),
        source: "other".to_owned(),
        sequence: millrace_schemas::marks::Sequence { incarnation: 1, counter: 1 },
        at: millrace_schemas::time::Timestamp(1),
        appended: millrace_schemas::time::Timestamp::ZERO,
        subject: millrace_schemas::event::Subject::cluster(
            millrace_schemas::ids::ClusterId::parse("c2").expect("legal"),
        ),
        cause: None,
        payload: Fact::Tick {},
    };
    stage.put(&event.to_record());
    assert_eq!(*stage.state(), before);
}
