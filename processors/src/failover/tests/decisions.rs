//! What is decided: one promotion per epoch, who may be promoted, who would unblock a refusal, modes, limits, rejoins.

use millrace_schemas::cluster::Mode;
use millrace_schemas::ids::Epoch;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::actions::{ActionKind, StepOutcome, StepResult};
use millrace_schemas::topics::journal::{Command, Fact, Outcome, StoppedChannel};

use super::super::explain::explain;
use super::stage::{KILLED, RUNS, Stage, actions, fail_over, id, mysql};

#[test]
fn a_killed_primary_is_failed_over_at_once_and_once() {
    let mut stage = Stage::healthy();
    let out = stage.process(0, KILLED);
    let decided = actions(&out);
    assert_eq!(decided.len(), 1, "in the same breath as the exit");
    assert_eq!(decided[0].epoch, Epoch(1));
    assert_eq!(decided[0].reason, "db1 exited on signal 9 and is held down by its guard");
    let fail_over = fail_over(&decided[0]);
    assert_eq!(fail_over.old_primaries, [id(0)]);
    assert_eq!(fail_over.candidates, [id(1), id(2)]);
    assert!(fail_over.silent.is_empty());
    assert_eq!(decided[0].evidence.len(), 1, "it names the fact that it rests on");
    stage.seconds(20);
    assert_eq!(stage.actions().len(), 1, "one action per epoch, however long it takes");
    assert_eq!(
        stage.finding("PrimaryDown").expect("raised").summary,
        "db1 exited on signal 9 and is held down by its guard"
    );
}

#[test]
fn a_primary_that_is_well_is_not_shown_as_one_to_be_promoted() {
    let stage = Stage::healthy();
    let explained = explain(stage.state(), Timestamp(stage.now));
    assert_eq!(explained.candidates, ["db2: may be promoted", "db3: may be promoted"]);
}

#[test]
fn a_channel_from_elsewhere_that_stands_is_no_reason_to_act() {
    let mut stage = Stage::healthy();
    let (channel, source) = ("reports".to_owned(), "elsewhere:3306".to_owned());
    stage.tells[1].stopped_channel = Some(StoppedChannel { channel, source });
    stage.seconds(60);
    assert_eq!(stage.actions(), [], "it follows the primary as before");
    stage.process(0, KILLED);
    assert_eq!(fail_over(&stage.actions()[0]).candidates, [id(1), id(2)], "and may be promoted");
}

#[test]
fn the_next_epoch_is_minted_only_when_the_action_has_ended() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    let first = stage.actions()[0].clone();
    stage.claim(&first, "e1");
    stage.end(&first, Outcome::Refused { reason: "no".to_owned(), unblock: "db3".to_owned() });
    assert!(stage.finding("FailoverRefused").expect("raised").summary.contains("db3 would unblock it"));
    stage.seconds(4);
    assert_eq!(stage.actions().len(), 1, "not within five seconds");
    stage.seconds(3);
    assert_eq!(stage.actions().len(), 2);
    assert_eq!(stage.actions()[1].epoch, Epoch(2));
}

#[test]
fn what_an_unfinished_epoch_may_have_opened_is_fenced_by_the_next() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    let first = stage.actions()[0].clone();
    stage.claim(&first, "e1");
    stage.end(&first, Outcome::Abandoned { reason: "promote timed out".to_owned(), may_have_opened: true });
    stage.seconds(6);
    let second = stage.actions()[1].clone();
    assert_eq!(fail_over(&second).old_primaries, [id(0), id(1), id(2)], "A2");
}

#[test]
fn a_claimed_action_whose_deadline_passes_mints_the_next_epoch() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    let first = stage.actions()[0].clone();
    stage.claim(&first, "e1");
    stage.seconds(59);
    assert_eq!(stage.actions().len(), 1);
    stage.seconds(4);
    assert_eq!(stage.actions().len(), 2, "nobody leaves a server down because nobody came");
    assert_eq!(fail_over(&stage.actions()[1]).old_primaries.len(), 3, "who was asked to open may be open");
}

#[test]
fn the_first_claim_of_an_epoch_is_adopted_whoever_emitted_it() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    let own = stage.actions()[0].clone();
    let mut other = own.clone();
    other.id.0 ^= 1;
    other.reason = "another version's words".to_owned();
    stage.claim(&other, "e1");
    stage.claim(&own, "e2");
    let current = stage.state().current.clone().expect("under way");
    assert_eq!((current.action.id, current.executor.as_deref()), (other.id, Some("e1")));
    stage.end(&own, Outcome::Done { primary: id(1) });
    assert_eq!(stage.state().primary, Some(id(0)), "the end of an action that lost the race means nothing");
    stage.end(&other, Outcome::Done { primary: id(2) });
    assert_eq!(stage.state().primary, Some(id(2)));
}

#[test]
fn a_quorum_that_cannot_be_had_is_refused_with_the_name_of_who_is_missing() {
    let mut stage = Stage::healthy();
    stage.tells[1].silent = true; // the only acknowledger of the last writes, perhaps
    stage.seconds(5);
    stage.process(0, KILLED);
    stage.seconds(2);
    assert!(stage.actions().is_empty(), "30: refuse");
    let refused = stage.finding("FailoverRefused").expect("raised").summary;
    assert!(refused.contains("db2 would unblock it"), "{refused}");
    stage.tells[1].silent = false;
    stage.seconds(2);
    assert_eq!(stage.actions().len(), 1, "30: it goes on when the acknowledger returns");
}

#[test]
fn a_member_that_is_down_or_mute_is_no_candidate() {
    let check = |change: &dyn Fn(&mut Stage), reason: &str| {
        let mut stage = Stage::with(|spec| {
            mysql(spec);
            spec.acknowledgements = 2;
        });
        change(&mut stage);
        stage.seconds(1);
        stage.process(0, KILLED);
        let action =
            stage.actions().into_iter().rfind(|one| matches!(one.kind, ActionKind::FailOver(_))).expect("decided");
        let excluded = &fail_over(&action).excluded;
        let found = excluded.iter().find(|one| one.instance == id(1)).expect("db2 is excluded");
        assert!(found.reason.contains(reason), "{}", found.reason);
        assert_eq!(fail_over(&action).candidates, [id(2)]);
    };
    check(&|stage| drop(stage.process(1, KILLED)), "its server is down");
    check(&|stage| stage.tells[1].server = false, "connection refused");
}

#[test]
fn a_replica_outside_the_acknowledgers_is_no_candidate() {
    let mut stage = Stage::with(|spec| {
        spec.acknowledgers.retain(|instance| *instance != id(2)); // A = db1, db2: n = 1, k = 1, Q = 1
    });
    stage.process(0, KILLED);
    let action = stage.actions().pop().expect("an action");
    assert_eq!(fail_over(&action).candidates, [id(1)], "A1");
    let excluded = &fail_over(&action).excluded;
    assert!(excluded.iter().any(|one| one.instance == id(2) && one.reason.contains("acknowledgers")), "{excluded:?}");
}

#[test]
fn observing_says_what_it_would_do_and_does_nothing() {
    let mut stage = Stage::with(|spec| spec.mode = Mode::Observe);
    stage.process(0, KILLED);
    stage.seconds(10);
    assert!(stage.actions().is_empty());
    let refused = stage.finding("FailoverRefused").expect("raised").summary;
    assert!(refused.contains("only observed; would promote one of: db2, db3"), "{refused}");
}

#[test]
fn approval_lets_one_epoch_through() {
    let mut stage = Stage::with(|spec| spec.mode = Mode::Approve);
    stage.process(0, KILLED);
    assert!(stage.actions().is_empty());
    assert_eq!(stage.state().proposed, Some(Epoch(1)));
    stage.say(None, Fact::Command(Command::Approve { epoch: Epoch(2) }));
    assert!(stage.actions().is_empty(), "another epoch's approval approves nothing");
    stage.say(None, Fact::Command(Command::Approve { epoch: Epoch(1) }));
    assert_eq!(stage.actions().len(), 1);
    stage.promoted(1);
    stage.seconds(2);
    stage.process(1, KILLED);
    assert_eq!(stage.actions().iter().filter(|one| one.epoch == Epoch(2)).count(), 0, "the next waits again");
}

#[test]
fn more_than_three_automatic_failovers_in_ten_minutes_wait_for_a_person() {
    let mut stage = Stage::healthy();
    let mut primary = 0;
    for round in 0..3 {
        stage.process(primary, KILLED);
        let action = stage.actions().pop().expect("an action");
        assert_eq!(action.epoch, Epoch(round + 1), "flapping (20)");
        let next = (primary + 1) % 3;
        stage.promoted(next);
        // The old primary is brought back.
        stage.process(primary, RUNS);
        stage.tells[primary].source = Some(next);
        stage.tells[primary].receiving = true;
        stage.tells[primary].delay_us = Some(1_000);
        stage.seconds(1);
        let rejoin = stage.actions().pop().expect("the old primary is brought back");
        stage.claim(&rejoin, "e1");
        stage.followed(primary);
        stage.end(&rejoin, Outcome::Done { primary: id(next) });
        stage.seconds(2);
        primary = next;
    }
    stage.process(primary, KILLED);
    assert_eq!(stage.state().epoch, Epoch(3));
    let refused = stage.finding("FailoverRefused").expect("raised").summary;
    assert!(refused.contains("waits for approval of epoch 4"), "{refused}");
    stage.say(None, Fact::Command(Command::Approve { epoch: Epoch(4) }));
    assert_eq!(stage.state().epoch, Epoch(4));
}

#[test]
fn attempts_that_were_refused_are_no_flapping() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    for epoch in 1..=8 {
        let action = stage.actions().pop().expect("an action");
        assert_eq!(action.epoch, Epoch(epoch), "30: it goes on when the acknowledger returns, however long that takes");
        stage.claim(&action, "e1");
        stage.end(&action, Outcome::Refused { reason: "no quorum".to_owned(), unblock: "db3".to_owned() });
        stage.seconds(7);
    }
}

#[test]
fn a_server_that_our_own_attempt_left_down_is_not_left_down() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    let first = stage.actions()[0].clone();
    stage.claim(&first, "e1");
    stage.process(1, KILLED); // the candidate dies in the middle of its promotion
    stage.end(&first, Outcome::Abandoned { reason: "promote failed".to_owned(), may_have_opened: true });
    stage.seconds(6);
    let second = stage.actions().pop().expect("an action");
    assert_eq!(second.epoch, Epoch(2), "it cannot have its quorum, but its runbook lets go what the first one holds");
    assert_eq!(fail_over(&second).old_primaries.len(), 3);
}

#[test]
fn a_receiver_that_we_stopped_is_started_again_and_one_that_somebody_stopped_is_not() {
    let stop = |stage: &mut Stage| {
        let action = millrace_schemas::ids::EventId(1);
        let result = StepResult {
            action,
            epoch: Epoch(1),
            number: 1,
            instance: id(1),
            step: "stop-receiver".to_owned(),
            outcome: StepOutcome::Done(Box::default()),
            took_us: 1,
        };
        stage.say(Some(1), Fact::StepDone(Box::new(result)));
    };
    for ours in [true, false] {
        let mut stage = Stage::healthy();
        if ours {
            stop(&mut stage); // late: the role change that wanted it went another way
        }
        stage.tells[1].receiving = false;
        stage.seconds(10);
        let rejoins = stage.actions().iter().filter(|one| matches!(one.kind, ActionKind::Rejoin(_))).count();
        assert_eq!(rejoins, usize::from(ours), "16");
    }
}

#[test]
fn an_old_primary_is_brought_back_and_one_with_rows_of_its_own_waits_for_a_person() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    stage.promoted(1);
    stage.seconds(1);
    let rejoin = stage.actions().pop().expect("an action");
    assert!(
        matches!(&rejoin.kind, ActionKind::Rejoin(one) if one.instance == id(0) && one.primary == id(1)),
        "{rejoin:?}"
    );
    assert_eq!(
        (rejoin.epoch, rejoin.first_step),
        (Epoch(1), 1_000),
        "no role changes, so no new epoch, and steps of its own"
    );
    stage.claim(&rejoin, "e1");
    stage.end(&rejoin, Outcome::Refused { reason: "it has shop.orders".to_owned(), unblock: "an operator".to_owned() });
    assert!(stage.finding("ErrantTransactions").expect("raised").summary.contains("shop.orders"));
    stage.seconds(120);
    assert_eq!(stage.actions().len(), 2, "nobody tries again on his own");
}

#[test]
fn an_attempt_to_bring_a_member_back_that_was_given_up_is_made_again_later() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    stage.promoted(1);
    stage.seconds(1);
    let rejoin = stage.actions().pop().expect("an action");
    stage.claim(&rejoin, "e1");
    stage.end(&rejoin, Outcome::Abandoned { reason: "start-closed timed out".to_owned(), may_have_opened: false });
    stage.seconds(20);
    assert_eq!(stage.actions().len(), 2);
    stage.seconds(15);
    assert_eq!(stage.actions().len(), 3);
    assert_eq!(stage.actions()[2].first_step, 2_000);
}

#[test]
fn a_replica_that_crashed_is_brought_back_and_does_not_count_until_then() {
    let mut stage = Stage::healthy();
    stage.process(1, KILLED);
    stage.seconds(1);
    let rejoin = stage.actions().pop().expect("an action");
    assert!(
        matches!(&rejoin.kind, ActionKind::Rejoin(one) if one.instance == id(1) && one.primary == id(0)),
        "{rejoin:?}"
    );
    // It runs again, but what it had received may be gone (A5): the primary dies before it has caught up.
    stage.process(1, millrace_schemas::cluster::Process::Running { pid: 8 });
    stage.claim(&rejoin, "e1");
    stage.end(&rejoin, Outcome::Abandoned { reason: "follow timed out".to_owned(), may_have_opened: false });
    stage.process(0, KILLED);
    stage.seconds(1);
    assert_eq!(stage.actions().len(), 1, "no failover");
    let refused = stage.finding("FailoverRefused").expect("raised").summary;
    assert!(refused.contains("db2 would unblock it"), "{refused}");
}

#[test]
fn a_member_that_ends_again_before_its_rejoin_is_said_to_be_done_stays_out() {
    for again in [false, true] {
        let mut stage = Stage::healthy();
        stage.process(0, KILLED);
        stage.promoted(1);
        stage.seconds(1);
        let rejoin = stage.actions().pop().expect("an action");
        stage.claim(&rejoin, "e1");
        stage.process(0, RUNS);
        stage.followed(0);
        if again {
            stage.process(0, KILLED);
        }
        stage.end(&rejoin, Outcome::Done { primary: id(1) });
        assert_eq!(stage.state().quarantined.contains_key(&id(0)), again);
    }
}

#[test]
fn a_member_that_follows_somebody_else_is_turned() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    stage.promoted(1);
    stage.tells[2].source = Some(0); // it missed the turn
    stage.tells[2].receiving = false;
    let rejoin = |stage: &Stage, at: usize| {
        stage.actions().into_iter().rfind(|one| matches!(&one.kind, ActionKind::Rejoin(one) if one.instance == id(at)))
    };
    stage.seconds(1);
    let first = rejoin(&stage, 0).expect("the old primary is brought back first");
    stage.claim(&first, "e1");
    stage.followed(0);
    stage.end(&first, Outcome::Done { primary: id(1) });
    stage.seconds(8);
    assert!(rejoin(&stage, 2).is_some(), "nobody leaves a member behind");
}
