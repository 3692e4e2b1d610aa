//! What waits: order, rate and bundles, back-off, what a newer state makes needless, and positions.

use millrace_schemas::event::Subject;
use millrace_schemas::ids::ClusterId;
use millrace_schemas::marks::Sequence;
use millrace_schemas::topics::alerts::Alert;
use millrace_schemas::topics::examples;

use super::*;

/// One that waits: of an alert, appended at a second.
fn one(offset: u64, name: &str, state: AlertState, second: i64, now: Instant) -> Waiting {
    let appended = Timestamp(second * 1_000_000);
    let Notice::Alert(like) = examples::notices().remove(0);
    let alert = Alert { fingerprint: EventId::derive(&[name]), name: name.to_owned(), state, ..like };
    let event = Event {
        id: EventId(u128::from(offset)),
        source: "test".to_owned(),
        sequence: Sequence { incarnation: 1, counter: offset },
        at: appended,
        appended,
        subject: Subject::cluster(ClusterId::parse("c1").expect("legal")),
        cause: None,
        payload: Notice::Alert(alert),
    };
    let record = event.to_record().stored(0, offset, appended);
    Waiting::new(event, record, true, now)
}

/// So many alerts, each another, with the offsets from 0 on.
fn filled(rate: u32, count: u64, now: Instant) -> Queue {
    let mut queue = Queue::new(rate, now);
    queue.gained(0, 0, Timestamp::ZERO);
    for offset in 0..count {
        assert!(queue.push(one(offset, &format!("a{offset}"), AlertState::Firing, 0, now)).is_none());
    }
    queue
}

fn offsets(message: &[Waiting]) -> Vec<u64> {
    message.iter().map(|one| one.record.offset).collect()
}

fn next_offset(queue: &Queue) -> u64 {
    queue.reached().next().expect("one partition").1
}

#[test]
fn what_is_above_the_rate_is_told_in_one_message() {
    let now = Instant::now();
    let mut queue = filled(3, 10, now);
    for offset in 0..3 {
        let message = queue.next(now);
        assert_eq!(offsets(&message), [offset], "within the rate each goes alone");
        queue.done(&message);
    }
    assert!(queue.next(now).is_empty(), "three in a minute");
    assert!(queue.next(now + Duration::from_secs(19)).is_empty(), "one in 20 s");
    let later = now + Duration::from_secs(20);
    let message = queue.next(later);
    assert_eq!(offsets(&message), (3..10).collect::<Vec<_>>(), "the others together");
    queue.done(&message);
    assert_eq!(next_offset(&queue), 10);
    queue.push(one(10, "new", AlertState::Firing, 0, later));
    assert!(queue.next(later).is_empty(), "the rate is used up");
    assert_eq!(offsets(&queue.next(later + Duration::from_secs(20))), [10]);
}

#[test]
fn a_bundle_that_is_refused_is_tried_one_by_one() {
    let now = Instant::now();
    let mut queue = filled(1, 3, now);
    let first = queue.next(now);
    queue.done(&first);
    assert!(queue.next(now).is_empty());
    let later = now + Duration::from_mins(1);
    let bundle = queue.next(later);
    assert_eq!(offsets(&bundle), [1, 2]);
    queue.alone(&bundle);
    assert_eq!(offsets(&queue.next(later)), [1]);
}

#[test]
fn states_of_an_alert_go_one_after_the_other_and_others_pass_one_that_fails() {
    let now = Instant::now();
    let mut queue = filled(10, 0, now);
    queue.push(one(0, "a", AlertState::Firing, 0, now));
    queue.push(one(1, "a", AlertState::Resolved, 0, now));
    queue.push(one(2, "b", AlertState::Firing, 0, now));
    let failing = queue.next(now);
    assert_eq!(offsets(&failing), [0]);
    queue.later(&failing, Again::Seldom, now);
    let other = queue.next(now);
    assert_eq!(offsets(&other), [2], "the end of an alert waits for its beginning, another alert does not");
    queue.done(&other);
    assert!(queue.next(now).is_empty());
    assert_eq!(next_offset(&queue), 0, "the first is not dealt with");
    let message = queue.next(now + SELDOM);
    assert_eq!(offsets(&message), [0]);
    queue.done(&message);
    assert_eq!(next_offset(&queue), 1);
    assert_eq!(offsets(&queue.next(now + SELDOM)), [1]);
}

#[test]
fn what_waited_for_an_hour_is_not_told_where_a_newer_state_is_there() {
    let now = Instant::now();
    let mut queue = filled(10, 0, now);
    queue.push(one(0, "a", AlertState::Firing, 0, now));
    queue.push(one(1, "b", AlertState::Firing, 0, now));
    queue.push(one(2, "a", AlertState::Resolved, 3_500, now));
    let at = |second: i64| Timestamp(second * 1_000_000);
    assert!(queue.superseded(at(3_599)).is_empty(), "it is told as it was");
    assert_eq!(offsets(&queue.superseded(at(3_600))), [0]);
    assert_eq!(offsets(&queue.next(now)), [1], "nothing newer is known of the other");
    assert_eq!(queue.oldest(), Some(at(0)));
}

#[test]
fn a_full_queue_gives_up_the_oldest() {
    let now = Instant::now();
    let mut queue = filled(1, WAITING_MAX as u64, now);
    let given_up = queue.push(one(WAITING_MAX as u64, "last", AlertState::Firing, 0, now));
    assert_eq!(given_up.map(|one| one.record.offset), Some(0));
    assert_eq!(next_offset(&queue), 1);
}

#[test]
fn what_others_read_now_is_forgotten() {
    let now = Instant::now();
    let mut queue = filled(1, 2, now);
    assert!(queue.fires(EventId::derive(&["a1"])));
    queue.lost(0);
    assert!(!queue.fires(EventId::derive(&["a1"])));
    assert!(queue.next(now).is_empty());
    assert_eq!(queue.reached().count(), 0);
}

#[test]
fn attempts_become_rarer_and_never_stop() {
    let since = Instant::now();
    let check = |failing_ms: u64, again: Again, expected_ms: u64| {
        let wait = retry_after(since, again, since + Duration::from_millis(failing_ms));
        assert_eq!(wait, Duration::from_millis(expected_ms), "{again:?} after {failing_ms} ms");
    };
    for (failing, soon, seldom) in [
        (0, 100, 1_000),
        (400, 100, 1_000),
        (2_000, 500, 1_000),
        (60_000, 15_000, 15_000),
        (86_400_000, 60_000, 60_000),
    ] {
        check(failing, Again::Soon, soon);
        check(failing, Again::Seldom, seldom);
        check(failing, Again::After(Duration::from_secs(7)), 7_000);
    }
}

/// How many attempts there are in a time, if each fails at once.
fn attempts(within: Duration, again: Again) -> usize {
    let since = Instant::now();
    let next = |at: &Instant| Some(*at + retry_after(since, again, *at));
    std::iter::successors(Some(since), next).take_while(|at| *at < since + within).count()
}

#[test]
fn nobody_is_stormed() {
    assert_eq!(attempts(Duration::from_millis(500), Again::Soon), 5);
    assert_eq!(attempts(Duration::from_mins(4), Again::Soon), 33);
    assert_eq!(attempts(Duration::from_mins(1), Again::Seldom), 17);
    assert_eq!(attempts(Duration::from_hours(1), Again::Soon) - attempts(Duration::from_mins(4), Again::Soon), 56);
}

#[test]
fn who_was_away_waits_a_quarter_longer_at_most() {
    let since = Instant::now();
    for away in [50, 300, 1_000, 1_500, 10_000, 200_000].map(Duration::from_millis) {
        let mut at = since;
        while at < since + away {
            at += retry_after(since, Again::Soon, at);
        }
        let waited = at - (since + away);
        assert!(waited <= (away / SHARE).max(SOON), "away for {away:?}, it waits {waited:?} more");
    }
}
