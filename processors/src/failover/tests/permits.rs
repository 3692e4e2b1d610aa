//! The fleet's permit, from the cluster's side: asked for once, waited for without a clock, used up by a change of primary and
//! by nothing else, and not needed where an operator approved.

use millrace_schemas::cluster::Mode;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, Epoch, EventId};
use millrace_schemas::record::NewRecord;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{Command, Fact, Outcome, PermitAnswered, PermitAsked, PermitReturned};

use super::super::explain::explain;
use super::stage::{KILLED, RUNS, Stage, actions, cluster, id, is_finding};

fn permit(number: u128) -> EventId {
    EventId(number)
}

fn asked(number: u128) -> Fact {
    let cluster = ClusterId::parse(format!("other{number}")).expect("a legal id");
    Fact::PermitAsked(PermitAsked { permit: permit(number), cluster, epoch: Epoch(1), reason: "gone".to_owned() })
}

fn returned(number: u128) -> Fact {
    let cluster = ClusterId::parse(format!("other{number}")).expect("a legal id");
    Fact::PermitReturned(PermitReturned { permit: permit(number), cluster, reason: "back".to_owned() })
}

/// Healthy, in a fleet where `count` others were permitted a failover just now.
fn beside(count: u128) -> Stage {
    let mut stage = Stage::healthy();
    for number in 0..count {
        stage.other(asked(number));
    }
    stage
}

/// What this cluster said to the fleet: `ask EPOCH` or `back`.
fn said(stage: &Stage) -> Vec<String> {
    stage
        .permits()
        .iter()
        .filter_map(|fact| match fact {
            Fact::PermitAsked(asked) => Some(format!("ask {}", asked.epoch)),
            Fact::PermitReturned(_) => Some("back".to_owned()),
            _ => None,
        })
        .collect()
}

fn refused(stage: &Stage) -> String {
    stage.finding("FailoverRefused").expect("raised").summary
}

fn therefore(stage: &Stage) -> String {
    explain(stage.state(), Timestamp(stage.now)).therefore
}

/// The primary is open again by itself.
fn recovers(stage: &mut Stage) {
    stage.process(0, RUNS);
    stage.tells[0].open = true;
    stage.seconds(2);
}

#[test]
fn it_is_asked_for_once_and_the_answer_makes_the_failover() {
    let mut stage = Stage::healthy();
    let out = stage.process(0, KILLED);
    let topics: Vec<Topic> = out.iter().filter(|one| !is_finding(one)).map(|one| one.topic).collect();
    assert_eq!(topics, [Topic::Journal, Topic::Journal, Topic::Actions], "a question, an answer, an action");
    let Fact::PermitAsked(asked) = stage.permits().remove(0) else { panic!("a question comes first") };
    assert_eq!((asked.cluster, asked.epoch), (cluster(), Epoch(1)));
    assert_eq!(asked.reason, "db1 exited on signal 9 and is held down by its guard");
    stage.promoted(1);
    stage.seconds(5);
    assert_eq!(said(&stage), ["ask 1"], "a change of primary is not given back");
}

#[test]
fn the_same_answer_twice_makes_one_failover() {
    let mut stage = Stage::healthy();
    let out = stage.process(0, KILLED);
    let answer = out.iter().rfind(|one| one.topic == Topic::Journal && !is_finding(one)).expect("an answer").clone();
    let before = stage.actions().len();
    stage.put(&answer);
    assert_eq!(stage.actions().len(), before);
}

#[test]
fn without_an_answer_it_asks_again_after_two_seconds_and_says_so() {
    let mut stage = Stage::healthy();
    stage.fleet = false;
    stage.process(0, KILLED);
    assert!(therefore(&stage).starts_with("a failover is due, and waits for the fleet's permit for epoch 1"));
    stage.seconds(1);
    assert_eq!(said(&stage), ["ask 1"]);
    assert_eq!(stage.finding("FailoverRefused"), None, "an answer may take a moment");
    stage.seconds(8);
    let asked = said(&stage).len();
    assert!((3..=5).contains(&asked), "each two seconds or a little later, not more: {asked}");
    assert!(stage.actions().is_empty());
    assert!(refused(&stage).contains("nobody answers"), "{}", refused(&stage));
    assert_eq!(stage.findings().iter().filter(|finding| finding.rule == "FailoverRefused").count(), 1, "once");
    stage.fleet = true;
    stage.seconds(4);
    assert_eq!(stage.actions().len(), 1, "it goes on when the fleet's decider is back");
}

#[test]
fn a_fleet_that_does_not_answer_does_not_hold_an_operator_up() {
    let mut stage = Stage::healthy();
    stage.fleet = false;
    stage.process(0, KILLED);
    stage.seconds(4);
    stage.say(None, Fact::Command(Command::Approve { epoch: Epoch(1) }));
    assert_eq!(stage.actions().len(), 1);
    assert_eq!(said(&stage).last().map(String::as_str), Some("back"), "the question is withdrawn");
}

#[test]
fn a_refusal_is_told_and_asked_about_again_when_it_runs_out() {
    let mut stage = beside(3);
    stage.process(0, KILLED);
    assert!(stage.actions().is_empty(), "20, over the fleet");
    let summary = refused(&stage);
    assert!(summary.contains("3 automatic failovers in 10 minutes already, of other0, other1, other2"), "{summary}");
    assert!(summary.contains("waits for approval of epoch 1"), "{summary}");
    assert_eq!(stage.state().proposed, Some(Epoch(1)));
    assert_eq!(therefore(&stage), summary);
    stage.seconds(590);
    assert_eq!(said(&stage), ["ask 1"], "asking again could not help before");
    stage.seconds(12);
    assert_eq!((said(&stage).len(), stage.actions().len()), (2, 1), "then it does");
}

#[test]
fn an_operator_approves_what_the_fleet_refused_and_the_attempts_that_follow() {
    let mut stage = beside(3);
    stage.process(0, KILLED);
    stage.say(None, Fact::Command(Command::Approve { epoch: Epoch(1) }));
    let first = stage.actions().pop().expect("approved");
    assert_eq!(said(&stage), ["ask 1", "back"]);
    stage.claim(&first, "e1");
    stage.end(&first, Outcome::Abandoned { reason: "promote failed".to_owned(), may_have_opened: true });
    stage.seconds(7);
    let second = stage.actions().pop().expect("another attempt");
    assert_eq!(second.epoch, Epoch(2), "who said yes to the change said yes to the next attempt at it");
    stage.promoted(1);
    stage.tells[0].silent = true; // so that nobody brings it back meanwhile
    stage.seconds(2);
    stage.process(1, KILLED);
    assert_eq!(said(&stage), ["ask 1", "back"], "one replica of two is no quorum: nothing to ask for");
    stage.tells[0].silent = false;
    assert!(!stage.actions().iter().any(|one| one.epoch == Epoch(3)), "the next change is not approved");
}

#[test]
fn a_permit_that_comes_back_is_passed_on_and_used_at_once() {
    let mut stage = beside(3);
    stage.process(0, KILLED);
    assert!(stage.actions().is_empty());
    let out = stage.other(returned(1));
    assert_eq!(actions(&out).len(), 1, "in the same breath");
}

#[test]
fn the_next_attempt_at_the_same_change_is_never_refused() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    for number in 0..4 {
        stage.other(asked(number)); // two are permitted, two wait
    }
    for epoch in 1..5 {
        let action = stage.actions().pop().expect("an action");
        assert_eq!(action.epoch, Epoch(epoch));
        stage.claim(&action, "e1");
        stage.end(&action, Outcome::Refused { reason: "no quorum".to_owned(), unblock: "db3".to_owned() });
        stage.seconds(7);
    }
    let Some(Fact::PermitAnswered(answer)) =
        stage.permits().into_iter().rfind(|fact| matches!(fact, Fact::PermitAnswered(_)))
    else {
        panic!("an answer")
    };
    assert!(answer.reason.starts_with("3 of 3"), "it counts once: {}", answer.reason);
}

#[test]
fn who_kept_its_primary_gives_the_permit_back() {
    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    let action = stage.actions().pop().expect("an action");
    stage.claim(&action, "e1");
    stage.process(0, RUNS);
    stage.end(&action, Outcome::Done { primary: id(0) });
    assert_eq!(said(&stage), ["ask 1", "back"], "the same server was opened again");

    let mut stage = Stage::healthy();
    stage.process(0, KILLED);
    let action = stage.actions().pop().expect("an action");
    stage.claim(&action, "e1");
    stage.end(&action, Outcome::Refused { reason: "no quorum".to_owned(), unblock: "db3".to_owned() });
    recovers(&mut stage);
    assert_eq!(said(&stage), ["ask 1", "back"], "it is back without us");

    let mut stage = beside(3);
    stage.process(0, KILLED);
    recovers(&mut stage);
    assert_eq!(said(&stage), ["ask 1", "back"], "it does not wait any more");
    assert_eq!(stage.state().proposed, None, "and nothing is left to approve");
    let out = stage.other(returned(0));
    assert!(out.iter().all(|one| one.topic == Topic::Journal) && actions(&out).is_empty());
}

#[test]
fn an_answer_to_a_question_that_was_withdrawn_permits_nothing() {
    let mut stage = Stage::healthy();
    stage.fleet = false;
    stage.process(0, KILLED);
    let Fact::PermitAsked(old) = stage.permits().remove(0) else { panic!("a question") };
    recovers(&mut stage);
    stage.process(0, KILLED);
    assert_eq!(said(&stage), ["ask 1", "back", "ask 1"]);
    let until = Timestamp(stage.now + 60_000_000);
    let answer = |permit| PermitAnswered { permit, epoch: Epoch(1), granted: true, reason: "late".to_owned(), until };
    stage.say(None, Fact::PermitAnswered(answer(old.permit)));
    assert!(stage.actions().is_empty(), "its place was given back");
    let Some(Fact::PermitAsked(new)) = stage.permits().pop() else { panic!("a question") };
    assert_ne!(new.permit, old.permit);
    stage.say(None, Fact::PermitAnswered(answer(new.permit)));
    assert_eq!(stage.actions().len(), 1);
}

#[test]
fn a_cluster_that_leaves_mode_auto_gives_the_permit_back() {
    let mut stage = beside(3);
    stage.process(0, KILLED);
    stage.say(None, Fact::Command(Command::SetMode { mode: Mode::Approve }));
    assert_eq!(said(&stage), ["ask 1", "back"]);
    stage.say(None, Fact::Command(Command::Approve { epoch: Epoch(1) }));
    assert_eq!(stage.actions().len(), 1);
    assert_eq!(said(&stage).len(), 2, "an approval needs no permit");
}

#[test]
fn nothing_is_asked_while_the_failover_could_not_be_made() {
    let mut stage = Stage::healthy();
    stage.tells[1].silent = true;
    stage.seconds(5);
    stage.process(0, KILLED);
    stage.seconds(3);
    assert!(said(&stage).is_empty(), "a quorum is missing: {}", refused(&stage));
    stage.tells[1].silent = false;
    stage.seconds(2);
    assert_eq!((said(&stage).len(), stage.actions().len()), (1, 1));
}

#[test]
fn a_grant_that_was_not_used_in_time_is_asked_for_again() {
    let mut stage = Stage::healthy();
    stage.fleet = false;
    stage.process(0, KILLED);
    let Fact::PermitAsked(asked) = stage.permits().remove(0) else { panic!("a question") };
    let answer = |until| PermitAnswered {
        permit: asked.permit,
        epoch: Epoch(1),
        granted: true,
        reason: "1 of 3".to_owned(),
        until: Timestamp(until),
    };
    stage.say(None, Fact::PermitAnswered(answer(stage.now - 1)));
    assert!(stage.actions().is_empty(), "it may not count any more");
    assert_eq!(said(&stage), ["ask 1", "ask 1"]);
    stage.say(None, Fact::PermitAnswered(answer(stage.now + 1_000_000)));
    assert_eq!(stage.actions().len(), 1);
}

#[test]
fn nobody_creates_or_enrols_a_cluster_under_the_name_of_the_fleet() {
    let mut stage = Stage::healthy();
    for command in [Command::CreateCluster(Box::new(examples::spec())), Command::Enrol(Box::new(examples::spec()))] {
        let out = stage.other(Fact::Command(command));
        assert_eq!(out, [] as [NewRecord; 0]);
    }
    assert_eq!(stage.fold.clusters().count(), 1);
}

#[test]
fn questions_go_to_the_fleet_and_answers_to_who_asked() {
    let mut stage = Stage::healthy();
    let out = stage.process(0, KILLED);
    let subjects: Vec<(String, Subject)> = out
        .iter()
        .filter(|one| one.topic == Topic::Journal && !is_finding(one))
        .map(|one| {
            let event = Event::<Fact>::from_json(one.value.as_deref().unwrap_or_default(), true).expect("a fact");
            assert!(one.headers.contains_key(millrace_schemas::record::EVIDENCE), "both are evidence");
            (one.partition_key.clone(), event.subject)
        })
        .collect();
    assert_eq!(subjects[0].0, "fleet");
    assert_eq!(subjects[1], ("c1".to_owned(), Subject::cluster(cluster())));
}
