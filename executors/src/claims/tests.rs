//! Who acts: the first claim holds, lapses and is taken over; a newer epoch cancels; steps that nobody answers time out; an
//! action past its deadline is given up; what has ended does not begin again, however late its copies come.

use millrace_schemas::ids::{HostId, InstanceId};
use millrace_schemas::topics::actions::{ActionKind, Rejoin, Step, StepResult};
use millrace_schemas::topics::examples;

use super::*;

const S: i64 = 1_000_000;

fn cluster() -> ClusterId {
    examples::action().cluster
}

fn action() -> Action {
    Action { deadline: at(60_000), ..examples::action() }
}

/// Milliseconds after the action was decided.
fn at(ms: i64) -> Timestamp {
    Timestamp(1_000 * S + ms * 1_000)
}

fn claimed(action: &Action, executor: &str) -> Fact {
    Fact::Claimed(Claimed { action: Box::new(action.clone()), executor: executor.to_owned() })
}

/// A book that has read the action, and the claim of `e1`.
fn held() -> Book {
    let mut book = Book::default();
    book.order(&Order::Action(Box::new(action())), at(0));
    book.fact(&cluster(), &claimed(&action(), "e1"), at(10));
    book
}

/// What an executor would do, in short.
fn todo(book: &Book, me: &str) -> Vec<String> {
    let name = |one: &Do| match one {
        Do::Ask(_, request) => format!("{} {} {}", request.step.name(), request.number, request.instance),
        Do::Say(_, Fact::Claimed(claimed)) => format!("claim by {}", claimed.executor),
        Do::Say(_, Fact::Renewed(_)) => "renew".to_owned(),
        Do::Say(_, Fact::StepDone(result)) => format!("{} {} {:?}", result.step, result.number, result.outcome),
        Do::Say(_, Fact::Ended(ended)) => format!("end {:?}", ended.outcome),
        Do::Say(_, other) => format!("{other:?}"),
    };
    book.next(me).iter().map(name).collect()
}

/// Appends everything that `me` would say or ask, at `when`.
fn proceed(book: &mut Book, me: &str, when: Timestamp) {
    for one in book.next(me) {
        match one {
            Do::Ask(_, request) => book.order(&Order::Step(Box::new(request)), when),
            Do::Say(cluster, fact) => book.fact(&cluster, &fact, when),
        }
    }
}

fn done(number: u32, instance: &str) -> Fact {
    Fact::StepDone(Box::new(StepResult {
        action: action().id,
        epoch: action().epoch,
        number,
        instance: InstanceId::parse(instance).expect("legal"),
        step: "fence".to_owned(),
        outcome: StepOutcome::Done(Box::default()),
        took_us: 1,
    }))
}

#[test]
fn the_first_claim_in_the_log_holds() {
    let mut book = Book::default();
    book.order(&Order::Action(Box::new(action())), at(0));
    assert_eq!(todo(&book, "e1"), ["claim by e1"]);
    assert_eq!(todo(&book, "e2"), ["claim by e2"], "both may try");
    book.fact(&cluster(), &claimed(&action(), "e2"), at(10));
    book.fact(&cluster(), &claimed(&action(), "e1"), at(11));
    assert_eq!(todo(&book, "e1"), Vec::<String>::new());
    assert_eq!(todo(&book, "e2"), ["fence 0 db1", "stop-receiver 1 db2"]);
}

#[test]
fn a_claim_carries_its_action_to_who_has_not_read_it() {
    let mut book = Book::default();
    book.fact(&cluster(), &claimed(&action(), "e1"), at(10));
    assert_eq!(todo(&book, "e1").len(), 2);
}

#[test]
fn a_claim_is_renewed_lapses_and_is_taken_over_where_it_stood() {
    let mut book = held();
    proceed(&mut book, "e1", at(20));
    assert_eq!(todo(&book, "e1"), Vec::<String>::new(), "asked for, and not due again");
    book.pass(at(1_020));
    assert_eq!(todo(&book, "e1"), ["renew"]);
    proceed(&mut book, "e1", at(1_020));
    book.fact(&cluster(), &done(0, "db1"), at(1_500));
    book.pass(at(4_020));
    assert_eq!(todo(&book, "e2"), Vec::<String>::new(), "three seconds are not over");
    book.pass(at(4_021));
    assert_eq!(todo(&book, "e2"), ["claim by e2"]);
    proceed(&mut book, "e2", at(4_030));
    assert_eq!(todo(&book, "e1"), Vec::<String>::new(), "who slept has lost it");
    assert_eq!(
        todo(&book, "e2"),
        ["stop-receiver 1 TimedOut"],
        "the other step is not asked for again: it was due by now"
    );
}

#[test]
fn a_late_renewal_of_a_lost_claim_means_nothing() {
    let mut book = held();
    book.fact(&cluster(), &claimed(&action(), "e2"), at(3_100));
    book.fact(&cluster(), &Fact::Renewed(Renewed { action: action().id, executor: "e1".to_owned() }), at(3_200));
    assert!(todo(&book, "e1").is_empty());
    assert!(!todo(&book, "e2").is_empty());
}

#[test]
fn a_step_that_nobody_answers_is_called_timed_out_and_the_first_result_counts() {
    let mut book = held();
    proceed(&mut book, "e1", at(20));
    book.fact(&cluster(), &done(0, "db1"), at(100));
    book.pass(at(4_005));
    assert!(!todo(&book, "e1").iter().any(|one| one.contains("TimedOut")), "the deadline has not passed");
    book.pass(at(4_030));
    assert!(todo(&book, "e1").contains(&"stop-receiver 1 TimedOut".to_owned()));
    proceed(&mut book, "e1", at(4_040));
    let before = book.clone();
    book.fact(&cluster(), &done(1, "db2"), at(4_050));
    assert_eq!(todo(&book, "e1"), todo(&before, "e1"), "the agent's word came too late");
}

#[test]
fn a_newer_epoch_cancels() {
    let mut newer = action();
    newer.epoch = newer.epoch.next();
    newer.id.0 ^= 1;
    let mut book = held();
    book.fact(&cluster(), &claimed(&newer, "e2"), at(100));
    assert!(todo(&book, "e1").is_empty(), "the older one is over");
    assert!(!todo(&book, "e2").is_empty());
    book.order(&Order::Action(Box::new(action())), at(200));
    book.fact(&cluster(), &claimed(&action(), "e1"), at(210));
    assert!(todo(&book, "e1").is_empty(), "and stays over");
}

#[test]
fn one_action_per_epoch_the_one_claimed_first() {
    let mut other = action();
    other.id.0 ^= 1;
    let mut book = held();
    book.fact(&cluster(), &claimed(&other, "e2"), at(100));
    assert!(todo(&book, "e2").is_empty());
}

#[test]
fn another_cluster_is_left_alone() {
    let mut newer = action();
    newer.cluster = ClusterId::parse("c2").expect("legal");
    newer.epoch = newer.epoch.next();
    newer.id.0 ^= 1;
    let mut book = held();
    book.fact(&newer.cluster.clone(), &claimed(&newer, "e2"), at(100));
    assert!(!todo(&book, "e1").is_empty());
}

#[test]
fn a_rejoin_does_not_cancel_what_shares_its_epoch_and_is_cancelled_by_the_next() {
    let kind = ActionKind::Rejoin(Box::new(Rejoin {
        spec: examples::spec(),
        instance: examples::spec().members[0].instance.clone(),
        primary: examples::spec().members[1].instance.clone(),
    }));
    let mut rejoin = Action { kind, first_step: 1_000, ..action() };
    rejoin.id.0 ^= 1;
    let mut book = held();
    book.fact(&cluster(), &claimed(&rejoin, "e2"), at(100));
    assert!(!todo(&book, "e1").is_empty());
    assert_eq!(todo(&book, "e2"), ["read-sets 1000 db2"]);
    let mut newer = action();
    newer.epoch = newer.epoch.next();
    newer.id.0 ^= 2;
    book.fact(&cluster(), &claimed(&newer, "e3"), at(200));
    assert!(todo(&book, "e1").is_empty() && todo(&book, "e2").is_empty());
}

#[test]
fn past_its_deadline_an_action_is_not_started_and_one_under_way_is_given_up() {
    let mut book = Book::default();
    book.order(&Order::Action(Box::new(action())), at(0));
    book.pass(at(60_001));
    assert!(todo(&book, "e1").is_empty(), "nobody starts it");
    let mut book = held();
    proceed(&mut book, "e1", at(20));
    book.pass(at(60_001));
    assert_eq!(todo(&book, "e2"), ["claim by e2"], "what was started is taken over, so that it ends");
    let ends = |book: &Book, me: &str| todo(book, me).iter().any(|one| one.starts_with("end Abandoned"));
    proceed(&mut book, "e2", at(60_010));
    assert!(ends(&book, "e2"));
    let Some(Do::Say(_, Fact::Ended(ended))) = book.next("e2").into_iter().next() else { panic!("an end") };
    assert!(matches!(ended.outcome, Outcome::Abandoned { may_have_opened: false, .. }), "no opening was asked for");
}

#[test]
fn an_opening_that_was_asked_for_may_have_happened() {
    let mut book = held();
    let request = StepRequest {
        action: action().id,
        epoch: action().epoch,
        number: 7,
        host: HostId::parse("h2").expect("legal"),
        instance: InstanceId::parse("db2").expect("legal"),
        deadline: at(1_000),
        until: Step::Open { acknowledgements: 1 }.until(),
        step: Step::Open { acknowledgements: 1 },
    };
    book.order(&Order::Step(Box::new(request)), at(30));
    book.fact(&cluster(), &claimed(&action(), "e1"), at(60_001));
    let Some(Do::Say(_, Fact::Ended(ended))) = book.next("e1").into_iter().next() else { panic!("an end") };
    assert!(matches!(ended.outcome, Outcome::Abandoned { may_have_opened: true, .. }));
}

#[test]
fn what_has_ended_does_not_begin_again() {
    let ended = Fact::Ended(Ended {
        action: action().id,
        epoch: action().epoch,
        outcome: Outcome::Done { primary: examples::spec().primary },
    });
    let mut book = held();
    book.fact(&cluster(), &ended, at(500));
    assert!(todo(&book, "e1").is_empty());
    // The second decider was slow, or an executor claims from a stale book.
    book.order(&Order::Action(Box::new(action())), at(600));
    assert!(todo(&book, "e1").is_empty() && todo(&book, "e2").is_empty());
    book.fact(&cluster(), &claimed(&action(), "e2"), at(610));
    assert!(todo(&book, "e2").is_empty());
    // Also when the end is read first: the two topics have no common order.
    let mut book = Book::default();
    book.fact(&cluster(), &ended, at(500));
    book.order(&Order::Action(Box::new(action())), at(501));
    assert!(todo(&book, "e1").is_empty());
}

#[test]
fn what_is_asked_for_again_has_the_same_name_and_nothing_else_has() {
    let names = |book: &Book, me: &str| book.next(me).iter().map(Do::name).collect::<Vec<_>>();
    let mut book = held();
    let first = names(&book, "e1");
    assert!(!first.is_empty());
    book.pass(at(20));
    assert_eq!(names(&book, "e1"), first, "nothing of it was appended");
    proceed(&mut book, "e1", at(30));
    book.pass(at(1_500));
    let later = names(&book, "e1");
    assert_eq!(later, [format!("renew {}", action().id)]);
    assert!(!first.contains(&later[0]));
}

#[test]
fn a_book_that_was_stored_goes_on() {
    let mut book = held();
    proceed(&mut book, "e1", at(20));
    let text = serde_json::to_string(&book).expect("plain data");
    let again: Book = serde_json::from_str(&text).expect("it reads what it wrote");
    assert_eq!(again, book);
}

#[test]
fn a_result_counts_for_the_instance_that_the_step_was_asked_of() {
    let mut book = held();
    proceed(&mut book, "e1", at(20));
    book.fact(&cluster(), &done(0, "db2"), at(30)); // db1's fence, said by the agent of another
    book.fact(&cluster(), &done(7, "db1"), at(30)); // a step that nobody has asked for
    book.fact(&cluster(), &done(1, "db2"), at(40));
    assert_eq!(todo(&book, "e1"), Vec::<String>::new(), "the fence is still waited for");
    book.fact(&cluster(), &done(0, "db1"), at(50));
    assert!(!todo(&book, "e1").is_empty(), "the next stage");
}

#[test]
fn a_copy_of_a_claim_begins_nothing_that_is_over() {
    let check = |mut book: Book, what: &str| {
        let late = at(60_001);
        book.fact(&cluster(), &claimed(&action(), "gone"), late);
        book.pass(late + LAPSE + Duration::from_secs(1));
        assert_eq!(todo(&book, "e2"), Vec::<String>::new(), "{what}");
    };
    check(Book::default(), "its action is not remembered any more");
    let mut ended = held();
    let outcome = Outcome::Abandoned { reason: "enough".to_owned(), may_have_opened: false };
    let action = action();
    ended.fact(&cluster(), &Fact::Ended(Ended { action: action.id, epoch: action.epoch, outcome }), at(100));
    check(ended, "its action has ended");
    let mut book = held();
    book.fact(&cluster(), &claimed(&action, "e1"), at(60_001));
    assert!(!todo(&book, "e1").is_empty(), "what is open is taken over, so that it ends");
}
