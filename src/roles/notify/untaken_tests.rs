//! Words about alerts, second by second: what nobody took in time leaves, once it is due, also after a restart.

use millrace_schemas::event::Subject;
use millrace_schemas::ids::ClusterId;
use millrace_schemas::marks::Sequence;
use millrace_schemas::topics::alerts::Quiet;
use millrace_schemas::topics::examples;

use super::*;

const WITHIN: Duration = Duration::from_mins(1);

fn at(second: i64) -> Timestamp {
    Timestamp(second * 1_000_000)
}

/// Reads a word that was appended at a second, and has that as its offset too.
fn read(untaken: &mut Untaken, second: i64, name: &str, change: impl Fn(&mut Alert)) {
    let Notice::Alert(like) = examples::notices().remove(0);
    let mut alert = Alert { fingerprint: EventId::derive(&[name]), name: name.to_owned(), ..like };
    change(&mut alert);
    let waits = waits_for_somebody(&alert);
    let event = Event {
        id: EventId(second.unsigned_abs().into()),
        source: "test".to_owned(),
        sequence: Sequence { incarnation: 1, counter: second.unsigned_abs() },
        at: at(second),
        appended: at(second),
        subject: Subject::cluster(ClusterId::parse("c1").expect("legal")),
        cause: None,
        payload: Notice::Alert(alert),
    };
    let record = event.to_record().stored(3, second.unsigned_abs(), at(second));
    untaken.heard(&event, &record, waits);
}

/// The names of what is due at a second, oldest first.
fn due(untaken: &Untaken, second: i64) -> Vec<String> {
    let due = untaken.due((WITHIN, 3), true, at(second));
    assert!(due.iter().all(|(event, record)| alert(event).told == Some(Why::Escalated) && record.partition == 3));
    due.iter().map(|(event, _)| alert(event).name.clone()).collect()
}

#[test]
fn what_somebody_took_or_what_is_over_or_quiet_is_not_told() {
    let mut untaken = Untaken::default();
    for (second, name) in [(1, "Left"), (2, "Taken"), (3, "Over"), (4, "Silenced"), (5, "Watchdog"), (6, "Young")] {
        read(&mut untaken, second, name, |_| ());
    }
    read(&mut untaken, 10, "Taken", |alert| alert.acknowledged_by = Some("ada".to_owned()));
    read(&mut untaken, 11, "Over", |alert| alert.state = AlertState::Resolved);
    read(&mut untaken, 12, "Silenced", |alert| alert.quiet = Some(Quiet::Shown));
    read(&mut untaken, 13, "Left", |alert| alert.told = Some(Why::Repeated));
    assert_eq!(due(&untaken, 60), [] as [&str; 0]);
    assert_eq!(due(&untaken, 61), ["Left"], "since the first word, not the last");
    assert_eq!(due(&untaken, 66), ["Left", "Young"]);
    untaken.done(EventId::derive(&["Left"]));
    assert_eq!(due(&untaken, 100), ["Young"]);
    read(&mut untaken, 110, "Silenced", |_| ());
    assert_eq!(due(&untaken, 169), ["Young"]);
    assert_eq!(due(&untaken, 170), ["Young", "Silenced"], "its time begins when it is loud again");
}

#[test]
fn a_restart_neither_forgets_nor_begins_anew_and_the_id_stays() {
    let mut untaken = Untaken::default();
    read(&mut untaken, 1, "Left", |_| ());
    read(&mut untaken, 2, "Taken", |_| ());
    read(&mut untaken, 3, "Taken", |alert| alert.acknowledged_by = Some("ada".to_owned()));
    let id = |untaken: &Untaken| untaken.due((WITHIN, 3), true, at(100))[0].0.id;
    let before = id(&untaken);
    let saved = serde_json::to_string(&untaken).expect("plain data");
    let mut again: Untaken = serde_json::from_str(&saved).expect("as it was saved");
    // The position had not moved: the same is read again, and one word more.
    read(&mut again, 2, "Taken", |_| ());
    assert_eq!(due(&again, 62), ["Left"], "somebody took the other one");
    read(&mut again, 50, "Left", |alert| alert.told = Some(Why::Changed));
    assert_eq!(id(&again), before);
}

#[test]
fn nothing_is_told_by_a_clock_that_is_ahead_of_what_was_read() {
    let mut untaken = Untaken::default();
    read(&mut untaken, 1, "Left", |_| ());
    assert_eq!(untaken.due((WITHIN, 3), false, at(1_000)).len(), 0, "the next record may say that it is taken");
    read(&mut untaken, 61, "Other", |_| ());
    assert_eq!(untaken.due((WITHIN, 3), false, at(1_000)).len(), 1);
}

#[test]
fn of_too_many_the_oldest_are_told_at_once() {
    let mut untaken = Untaken::default();
    for second in 1..=402 {
        read(&mut untaken, second, &format!("A{second}"), |_| ());
    }
    let told: Vec<String> = untaken
        .due((Duration::from_hours(1), 3), true, at(403))
        .iter()
        .map(|(event, _)| alert(event).name.clone())
        .collect();
    assert_eq!(told, ["A1", "A2"]);
}
