//! The rules that a runbook must hold whatever is answered: nothing is opened without fence and data, refusals name who would
//! unblock them, and the order in which results come changes nothing.

use millrace_schemas::flavour::Flavour;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::topics::actions::{
    Action, ActionKind, Excluded, ExtraTransaction, FailOver, Report, Step, StepOutcome,
};
use millrace_schemas::topics::journal::Outcome;
use proptest::prelude::*;

use super::script::{
    Played, action, closed, done, executed, fail_over, failed, held_down, id, play, received, rejoin, result, set, well,
};
use crate::runbooks::{Next, Planned, Results, next};

fn failing_over(change: impl FnOnce(&mut FailOver)) -> Action {
    let mut kind = fail_over();
    change(&mut kind);
    action(ActionKind::FailOver(Box::new(kind)))
}

fn refusal(played: &Played) -> (String, String) {
    assert!(played.on("promote").is_empty(), "nothing is opened:\n{}", played.transcript);
    match &played.outcome {
        Outcome::Refused { reason, unblock } => (reason.clone(), unblock.clone()),
        other => panic!("a refusal was expected: {other:?}\n{}", played.transcript),
    }
}

#[test]
fn the_most_advanced_is_opened_with_everything_that_anybody_has() {
    let played = play(&failing_over(|_| ()), |one| match &one.step {
        Step::StopReceiver {} if one.instance == id(3) => received("1-10"),
        Step::StopReceiver {} => received("1-9"),
        _ => well(one),
    });
    assert_eq!(played.outcome, Outcome::Done { primary: id(3) });
    let promote = played.steps.iter().find_map(|one| match &one.step {
        Step::Promote { apply, .. } => Some(apply.clone()),
        _ => None,
    });
    assert_eq!(promote, Some(set("1-10")));
    assert_eq!(played.on("follow"), [id(2)], "the other follows at the same time: without it nothing is acknowledged");
}

#[test]
fn sets_are_read_after_the_fence() {
    // A3: whatever heartbeats showed, only what was read after its receiver stopped is known of a member.
    let planned = match next(&failing_over(|_| ()), &Results::new()) {
        Next::Steps(planned) => planned,
        Next::End(outcome) => panic!("{outcome:?}"),
    };
    let names: Vec<&str> = planned.iter().map(|one| one.step.name()).collect();
    assert_eq!(names, ["fence", "stop-receiver", "stop-receiver"]);
}

#[test]
fn without_a_fence_nothing_is_opened() {
    let played = play(&failing_over(|_| ()), |one| match &one.step {
        Step::Fence {} => failed(),
        Step::StopReceiver {} if one.instance == id(3) => StepOutcome::TimedOut {},
        _ => well(one),
    });
    let (reason, unblock) = refusal(&played);
    assert!(reason.starts_with("db1 cannot be fenced") && reason.contains("it broke"), "{reason}");
    assert_eq!(unblock, "db3");
}

#[test]
fn all_acknowledgers_that_stopped_listening_are_a_fence() {
    let played = play(&failing_over(|kind| kind.silent = vec![id(1)]), well);
    assert_eq!(played.outcome, Outcome::Done { primary: id(2) });
    assert!(played.on("fence").is_empty(), "nothing is asked of a silent agent");
}

#[test]
fn without_the_data_of_a_quorum_nothing_is_opened_and_the_held_server_is_let_go() {
    let played = play(&failing_over(|_| ()), |one| match &one.step {
        Step::StopReceiver {} if one.instance == id(2) => failed(),
        _ => well(one),
    });
    let (reason, unblock) = refusal(&played);
    assert!(reason.starts_with("db1 may have acknowledged writes that nobody who answers holds"), "{reason}");
    assert_eq!(unblock, "db2");
    assert_eq!(played.on("start-closed"), [id(1)], "A11: nobody leaves a server down because a decision was refused");
}

#[test]
fn the_closed_primary_itself_stands_in_for_the_quorum_when_it_runs() {
    for flavour in [Flavour::MySql, Flavour::MariaDb] {
        let action = failing_over(|kind| {
            kind.spec.flavour = flavour;
            kind.candidates = vec![id(1), id(3)];
            kind.silent = vec![id(2)];
        });
        let play_with = |runs: bool| {
            play(&action, |one| {
                let own = |text: &str| Some(GtidSet::parse(flavour, text).expect("a set"));
                let (more, less) = match flavour {
                    Flavour::MySql => (Some(set("1-10")), Some(set("1-8"))),
                    Flavour::MariaDb => (own("0-1-10"), own("0-1-8")),
                };
                match &one.step {
                    Step::Fence {} if !runs => held_down(),
                    Step::Fence {} => match closed("1-10") {
                        StepOutcome::Done(report) => done(Report { executed: more, ..*report }),
                        other => other,
                    },
                    Step::StopReceiver {} => done(Report { received: less, ..Report::default() }),
                    _ => done(Report::default()),
                }
            })
        };
        assert_eq!(play_with(true).outcome, Outcome::Done { primary: id(1) }, "{flavour}");
        let (_, unblock) = refusal(&play_with(false));
        assert_eq!(unblock, "db2", "{flavour}: a server that is down reports nothing");
    }
}

#[test]
fn nobody_is_opened_who_lacks_what_another_holds() {
    // db1 runs closed and holds more than anybody, but may not be opened.
    let action = failing_over(|kind| {
        kind.excluded = vec![Excluded { instance: id(1), reason: "it must not".to_owned() }];
    });
    let (reason, _) = refusal(&play(&action, |one| match &one.step {
        Step::Fence {} => closed("1-12"),
        _ => well(one),
    }));
    assert!(
        reason.contains("no candidate holds everything") && reason.contains("db1 may not: it must not"),
        "{reason}"
    );
}

#[test]
fn who_restarted_does_not_count_for_the_quorum_but_what_it_holds_does() {
    // A5: a member that restarted may have lost what it acknowledged.
    let action = failing_over(|kind| kind.restarted = vec![id(2)]);
    let (reason, _) = refusal(&play(&action, well));
    assert!(reason.contains("may have acknowledged writes"), "{reason}");
    // The old primary's own log is whole, and the member that restarted holds all of it.
    let played = play(&action, |one| match &one.step {
        Step::Fence {} => closed("1-10"),
        _ => well(one),
    });
    assert_eq!(played.outcome, Outcome::Done { primary: id(2) });
}

#[test]
fn what_a_superseded_member_holds_stands_in_nobodys_way() {
    // db3 was the primary of an earlier epoch and holds two writes that nobody acknowledged; k = 2, so Q is 1.
    let action = failing_over(|kind| {
        kind.candidates = vec![id(2)];
        kind.excluded = vec![Excluded { instance: id(3), reason: "it was the primary before epoch 1".to_owned() }];
        kind.spec.acknowledgements = 2;
    });
    let played = play(&action, |one| match &one.step {
        Step::StopReceiver {} if one.instance == id(3) => received("1-12"),
        _ => well(one),
    });
    assert_eq!(played.outcome, Outcome::Done { primary: id(2) });
    assert!(played.on("follow").is_empty(), "it is compared before it follows");
}

#[test]
fn every_server_that_may_be_open_is_fenced_and_stops_listening() {
    // A2: epoch 1 may have opened db2.
    let action = failing_over(|kind| {
        kind.old_primaries = vec![id(1), id(2)];
        kind.candidates = vec![id(1), id(2), id(3)];
    });
    let played = play(&action, |one| match &one.step {
        Step::Fence {} => closed("1-10"),
        Step::StopReceiver {} => received("1-10"),
        _ => well(one),
    });
    assert_eq!(played.on("fence"), [id(1), id(2)]);
    assert_eq!(played.on("stop-receiver"), [id(3), id(1), id(2)]);
    assert_eq!(played.on("promote"), [id(1)], "nothing is better than no change of roles");
    assert_eq!(played.on("follow"), [id(3)], "who may have been open is compared before it follows");
    let unfenced = play(&action, |one| match &one.step {
        Step::Fence {} if one.instance == id(2) => failed(),
        Step::Fence {} => closed("1-10"),
        Step::StopReceiver {} if one.instance == id(3) => failed(),
        Step::StopReceiver {} => received("1-10"),
        _ => well(one),
    });
    assert!(refusal(&unfenced).0.starts_with("db2 cannot be fenced"));
}

#[test]
fn an_opening_that_times_out_ends_its_epoch() {
    // A6: it may be done late, so the next epoch fences it.
    let played = play(&failing_over(|_| ()), |one| match &one.step {
        Step::Promote { .. } => StepOutcome::TimedOut {},
        _ => well(one),
    });
    assert!(matches!(played.outcome, Outcome::Abandoned { may_have_opened: true, .. }), "{:?}", played.outcome);
    assert_eq!(played.on("promote").len(), 1, "no other is tried in this epoch");
}

#[test]
fn rejoin_without_extra_transactions_names_nothing() {
    let played = play(&rejoin(), |one| match &one.step {
        Step::Quarantine {} => executed("1-9"),
        _ => well(one),
    });
    assert_eq!(played.outcome, Outcome::Done { primary: id(2) });
    assert!(played.on("name-extra").is_empty() && played.on("neutralise").is_empty());
}

#[test]
fn rejoin_neutralises_what_is_our_own_on_the_primary() {
    let played = play(&rejoin(), well);
    assert_eq!(played.outcome, Outcome::Done { primary: id(2) });
    assert_eq!(played.on("neutralise"), [id(2)]);
    let first: Vec<_> = played.steps.iter().take(3).map(|one| (one.number, one.step.name())).collect();
    let expected = [(1_000, "read-sets"), (1_001, "fence"), (1_002, "start-closed")];
    assert_eq!(first, expected, "a primary that was cut off may still be open");
}

#[test]
fn rejoin_refuses_rows_of_somebody_and_what_it_cannot_name() {
    let named = |transactions: Vec<ExtraTransaction>| {
        let played = play(&rejoin(), |one| match &one.step {
            Step::NameExtra { .. } => done(Report { transactions: transactions.clone(), ..Report::default() }),
            _ => well(one),
        });
        assert!(played.on("follow").is_empty() && played.on("neutralise").is_empty(), "{}", played.transcript);
        match played.outcome {
            Outcome::Refused { reason, unblock } => {
                assert_eq!(unblock, "an operator");
                reason
            }
            other => panic!("{other:?}"),
        }
    };
    let one = |tables: &[&str]| ExtraTransaction {
        gtid: "U:11".to_owned(),
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
    };
    assert!(named(vec![one(&["shop.orders"])]).contains("U:11 on shop.orders"));
    assert!(named(vec![one(&["millrace.heartbeat", "shop.orders"])]).contains("shop.orders"));
    assert!(named(vec![one(&["millrace_shop.orders"])]).contains("millrace_shop.orders"));
    assert!(named(vec![one(&[])]).contains("unknown tables"));
    assert!(named(vec![]).contains("could not be named"));
}

#[test]
fn a_dead_primary_that_is_held_down_needs_no_answer_from_anybody_else_than_its_quorum() {
    let played = play(&failing_over(|kind| kind.spec.acknowledgements = 2), |one| match &one.step {
        Step::Fence {} => held_down(),
        Step::StopReceiver {} if one.instance == id(3) => failed(),
        _ => well(one),
    });
    assert_eq!(played.outcome, Outcome::Done { primary: id(2) }, "k = 2, so Q = 1");
    assert!(played.on("follow").is_empty(), "who does not answer is turned later");
}

#[test]
fn rejoin_of_a_mariadb_member_with_rows_of_our_own_asks_for_a_rebuild() {
    let mut action = rejoin();
    if let ActionKind::Rejoin(kind) = &mut action.kind {
        kind.spec.flavour = Flavour::MariaDb;
    }
    let played = play(&action, well);
    let Outcome::Refused { reason, unblock } = &played.outcome else { panic!("{:?}", played.outcome) };
    assert!(reason.contains("all on Millrace's own schema"), "{reason}");
    assert_eq!(unblock, "a rebuild of the member");
    assert!(played.on("neutralise").is_empty(), "trying it every half minute would not help");
}

/// All steps of a play, in the order of a permutation.
fn planned_with(action: &Action, results: &Results) -> Vec<Planned> {
    match next(action, results) {
        Next::Steps(planned) => planned,
        Next::End(_) => Vec::new(),
    }
}

proptest! {
    #[test]
    fn the_order_of_results_changes_nothing(order in proptest::collection::vec(0_usize..1_000, 60), which in 0_usize..3) {
        let action = [super::script::create(), failing_over(|_| ()), rejoin()][which].clone();
        let straight = play(&action, well);
        let mut results = Results::new();
        let mut seen = std::collections::BTreeMap::new();
        for pick in order {
            let open: Vec<Planned> =
                planned_with(&action, &results).into_iter().filter(|one| !results.contains_key(&one.number)).collect();
            for one in &open {
                let before = seen.insert(one.number, one.clone());
                prop_assert!(before.is_none_or(|before| before == *one), "a number means one step");
            }
            let Some(one) = open.get(pick % open.len().max(1)) else { break };
            results.insert(one.number, result(&action, one, well(one)));
        }
        prop_assert_eq!(next(&action, &results), Next::End(straight.outcome));
        prop_assert_eq!(seen.into_values().collect::<Vec<_>>(), straight.steps);
    }
}
