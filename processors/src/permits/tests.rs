//! Who is permitted what, when it stops to count, who waits and who is next.

use millrace_schemas::cluster::Mode;
use millrace_schemas::ids::fleet as fleet_cluster;
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{EVIDENCE, NewRecord, Record};
use millrace_schemas::topics::journal::PermitReturned;
use proptest::prelude::*;

use super::*;
use crate::fold::{Fate, Fold};

const S: i64 = 1_000_000;
const MINUTE: i64 = 60 * S;

/// The fleet's decider and its journal.
struct Fleet {
    fold: Fold<Permits>,
    offset: u64,
}

fn cluster(number: u64) -> ClusterId {
    ClusterId::parse(format!("c{number}")).expect("a legal id")
}

fn permit(number: u64) -> EventId {
    EventId(u128::from(number))
}

/// An answer as `c1 yes` or `c1 no`.
fn short(out: &[NewRecord]) -> Vec<String> {
    let word = |answer: &PermitAnswered| if answer.granted { "yes" } else { "no" };
    answers(out).iter().map(|(cluster, answer)| format!("{cluster} {}", word(answer))).collect()
}

fn answers(out: &[NewRecord]) -> Vec<(ClusterId, PermitAnswered)> {
    let read = |record: &NewRecord| Event::<Fact>::from_json(record.value.as_deref().unwrap_or_default(), true);
    out.iter()
        .map(|record| read(record).expect("what was emitted is read"))
        .map(|event| match event.payload {
            Fact::PermitAnswered(answer) => (event.subject.cluster, answer),
            other => panic!("an answer was expected, not {other:?}"),
        })
        .collect()
}

impl Fleet {
    fn new() -> Self {
        Self { fold: Fold::new(Permits, 0), offset: 0 }
    }

    fn record(&mut self, about: ClusterId, at: i64, payload: Fact) -> Record {
        self.offset += 1;
        let event = Event {
            id: EventId::derive(&["fleet", &self.offset.to_string()]),
            source: "failover.2/journal/0".to_owned(),
            sequence: Sequence { incarnation: self.offset, counter: 0 },
            at: Timestamp(1),
            appended: Timestamp::ZERO,
            subject: Subject::cluster(about),
            cause: None,
            payload,
        };
        event.to_record().stored(0, self.offset, Timestamp(at))
    }

    fn say(&mut self, at: i64, payload: Fact) -> Vec<NewRecord> {
        let record = self.record(fleet_cluster(), at, payload);
        self.fold.fold(&record).out
    }

    /// `cN` asks for its permit N.
    fn ask(&mut self, at: i64, number: u64) -> Vec<NewRecord> {
        let (permit, cluster, reason) = (permit(number), cluster(number), "its primary is gone".to_owned());
        self.say(at, Fact::PermitAsked(PermitAsked { permit, cluster, epoch: Epoch(1), reason }))
    }

    fn give_back(&mut self, at: i64, number: u64) -> Vec<NewRecord> {
        let (permit, cluster, reason) = (permit(number), cluster(number), "its primary is back".to_owned());
        self.say(at, Fact::PermitReturned(PermitReturned { permit, cluster, reason }))
    }

    /// Three are permitted, at 0, 1 and 2 minutes.
    fn full() -> Self {
        let mut fleet = Self::new();
        for number in 1..=3 {
            let at = (number as i64 - 1) * MINUTE;
            assert_eq!(short(&fleet.ask(at, number)), [format!("c{number} yes")]);
        }
        fleet
    }
}

#[test]
fn three_are_permitted_and_the_fourth_is_told_who_they_are_and_when_to_ask_again() {
    let mut fleet = Fleet::full();
    let (whom, answer) = answers(&fleet.ask(3 * MINUTE, 4)).remove(0);
    assert_eq!((whom, answer.granted, answer.epoch), (cluster(4), false, Epoch(1)));
    assert_eq!(answer.reason, "3 automatic failovers in 10 minutes already, of c1, c2, c3");
    assert_eq!(answer.until, Timestamp(10 * MINUTE), "then the first of them counts no more");
    assert_eq!(short(&fleet.ask(10 * MINUTE - 1, 4)), ["c4 no"]);
    assert_eq!(short(&fleet.ask(10 * MINUTE, 4)), ["c4 yes"]);
}

#[test]
fn what_counts_is_granted_again_and_counts_from_then() {
    let mut fleet = Fleet::full();
    assert_eq!(short(&fleet.ask(9 * MINUTE, 1)), ["c1 yes"], "the next attempt is no second failover");
    let answer = answers(&fleet.ask(9 * MINUTE, 4)).remove(0).1;
    assert_eq!(answer.reason, "3 automatic failovers in 10 minutes already, of c2, c3, c1");
    assert_eq!(answer.until, Timestamp(11 * MINUTE), "c2 is the oldest now");
    let answer = answers(&fleet.ask(21 * MINUTE, 1)).remove(0).1;
    assert!(answer.granted && answer.reason.starts_with("1 of 3"), "all had lapsed: {}", answer.reason);
    assert_eq!(answer.until, Timestamp(22 * MINUTE), "it is to be used within a minute");
}

#[test]
fn what_is_given_back_goes_to_who_waits_longest() {
    let mut fleet = Fleet::full();
    assert_eq!(short(&fleet.ask(3 * MINUTE, 4)), ["c4 no"]);
    assert_eq!(short(&fleet.ask(3 * MINUTE, 5)), ["c5 no"]);
    assert_eq!(short(&fleet.ask(3 * MINUTE + 1, 4)), ["c4 no"], "who asks again keeps its place");
    assert!(fleet.give_back(3 * MINUTE + 2, 9).is_empty(), "a permit that nobody has frees nothing");
    assert_eq!(short(&fleet.give_back(4 * MINUTE, 2)), ["c4 yes"]);
    assert!(fleet.give_back(4 * MINUTE, 5).is_empty(), "c5 does not wait any more");
    assert!(fleet.give_back(4 * MINUTE, 4).is_empty(), "so nobody is next");
    assert_eq!(short(&fleet.ask(4 * MINUTE, 6)), ["c6 yes"]);
}

#[test]
fn who_waits_comes_before_who_asks_now_and_is_forgotten_when_it_is_not_heard_again() {
    let mut fleet = Fleet::full();
    assert_eq!(short(&fleet.ask(9 * MINUTE, 4)), ["c4 no"]);
    assert_eq!(short(&fleet.ask(10 * MINUTE, 5)), ["c4 yes", "c5 no"]);
    let mut fleet = Fleet::full();
    assert_eq!(short(&fleet.ask(9 * MINUTE, 4)), ["c4 no"]);
    assert_eq!(short(&fleet.ask(11 * MINUTE, 5)), ["c5 yes"], "c4 should have asked a minute ago");
}

#[test]
fn nothing_is_granted_beside_evidence_of_an_unknown_kind_until_an_operator_speaks() {
    let mut fleet = Fleet::new();
    let mut record = fleet.record(fleet_cluster(), 0, Fact::Tick {});
    let newer = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).replace("tick.v1", "treaty.v9");
    record.value = Some(newer.into_bytes().into());
    record.headers.insert(EVIDENCE.to_owned(), "true".to_owned());
    assert_eq!(fleet.fold.fold(&record).fate, Fate::Folded);
    let answer = answers(&fleet.ask(MINUTE, 1)).remove(0).1;
    assert!(!answer.granted && answer.reason.contains("unknown kind millrace.treaty.v9"), "{}", answer.reason);
    assert!(fleet.say(MINUTE, Fact::Command(Command::SetMode { mode: Mode::Auto })).is_empty());
    assert_eq!(short(&fleet.ask(2 * MINUTE, 2)), ["c1 yes", "c2 yes"]);
}

#[test]
fn facts_of_clusters_are_passed_over() {
    let mut fleet = Fleet::new();
    let asked = PermitAsked { permit: permit(1), cluster: cluster(1), epoch: Epoch(1), reason: String::new() };
    let record = fleet.record(cluster(1), 0, Fact::PermitAsked(asked));
    assert!(fleet.fold.fold(&record).out.is_empty(), "the fleet is asked under its own key");
    assert_eq!(fleet.fold.clusters().count(), 0);
}

proptest! {
    /// Whatever is asked and given back: at no time more than three permits count that were not given back.
    #[test]
    fn never_more_than_three_count(words in proptest::collection::vec((0_u64..8, any::<bool>(), 0_i64..300), 1..200)) {
        let mut fleet = Fleet::new();
        let mut live = std::collections::BTreeMap::new();
        let mut now = 0;
        for (number, ask, seconds) in words {
            now += seconds * S;
            let out = if ask {
                fleet.ask(now, number)
            } else {
                live.remove(&permit(number));
                fleet.give_back(now, number)
            };
            for (_, answer) in answers(&out) {
                prop_assert!(answer.granted || answer.until > Timestamp(now), "asking again at once cannot help");
                if answer.granted {
                    live.insert(answer.permit, now);
                }
            }
            let counts = live.values().filter(|at| now - **at < 10 * MINUTE).count();
            prop_assert!(counts <= FAILOVERS_MAX, "{counts} count");
        }
    }
}
