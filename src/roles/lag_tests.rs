//! How lag is counted, on a bus in memory whose clock the test sets.

use std::time::Duration;

use millrace_schemas::record::{Headers, NewRecord};

use super::*;
use crate::bus::memory::{Faults, MemoryBus};
use crate::bus::{Assignment, Error, From, Reader, Receipt, Snapshot};

const SECOND: i64 = 1_000_000;

/// A stage named `reader` that reads `journal` on two partitions.
struct Read {
    bus: MemoryBus,
    reader: Box<dyn Reader>,
    lags: Lags,
    lag: Lag,
    metrics: Registry,
    shown: Shown,
}

impl Read {
    fn new(assignment: Assignment) -> Self {
        let bus = MemoryBus::new(7, 2, Faults::default());
        let reader = bus.reader(assignment).expect("a reader");
        let lags = Lags::default();
        let lag = lags.stage("reader");
        Self { bus, reader, lags, lag, metrics: Registry::new(), shown: Shown::new() }
    }

    fn append(&self, second: i64, key: &str, records: usize) {
        self.bus.set_now(Timestamp(second * SECOND));
        let record = NewRecord {
            topic: Topic::Journal,
            partition_key: key.to_owned(),
            key: key.to_owned(),
            headers: Headers::new(),
            value: None,
        };
        self.bus.append(vec![record; records]).wait().expect("it is there");
    }

    /// What a poll tells now.
    fn polled(&mut self) -> Vec<Polled> {
        self.reader.poll(Duration::ZERO).expect("the bus answers")
    }

    fn deal(&mut self) {
        let polled = self.polled();
        self.lag.note_all(&polled);
    }

    /// The records and whole seconds that are shown at this second; nothing when they are not known.
    fn check(&mut self, second: i64, expected: Option<(u64, u64)>) {
        let bus = self.bus.clone();
        self.check_on(&bus, second, expected);
    }

    fn check_on(&mut self, bus: &dyn Bus, second: i64, expected: Option<(u64, u64)>) {
        self.lags.measure(bus, &self.metrics, Timestamp(second * SECOND), &mut self.shown);
        let text = self.metrics.render();
        let value = |name: &str| {
            let line = format!("{name}{{stage=\"reader\",topic=\"journal\"}} ");
            text.lines()
                .find_map(|one| one.strip_prefix(&line))
                .map(|value| value.parse::<f64>().expect("a number") as u64)
        };
        let found = value("millrace_stage_lag_records").zip(value("millrace_stage_lag_seconds"));
        assert_eq!(found, expected, "at {second} s\n{text}");
    }
}

fn journal() -> Assignment {
    Assignment::Manual(vec![(Topic::Journal, From::Start)])
}

/// Two keys that lie in different partitions of two.
const HERE: &str = "c1";
const THERE: &str = "c2";

#[test]
fn what_is_left_is_counted_and_aged_from_the_last_record_dealt_with() {
    let mut read = Read::new(journal());
    read.check(10, None);
    read.append(10, HERE, 3);
    read.deal();
    read.check(12, Some((0, 0)));
    read.append(20, HERE, 4);
    // Nothing was left at 12 s: what is left now is not older, although the last one dealt with was appended at 10 s.
    read.check(25, Some((4, 13)));
    let polled = read.polled();
    read.lag.note(&polled[0]);
    read.check(26, Some((3, 6)));
    read.lag.note_all(&polled[1..]);
    read.check(27, Some((0, 0)));
}

#[test]
fn records_are_added_up_and_the_partition_that_is_furthest_behind_gives_the_seconds() {
    let mut read = Read::new(journal());
    read.append(10, HERE, 1);
    read.append(11, THERE, 1);
    let ends = [0, 1].map(|at| read.bus.end(Topic::Journal, at).expect("an end"));
    assert_eq!(ends, [1, 1], "the keys lie apart");
    read.deal();
    read.append(14, HERE, 2);
    read.append(15, THERE, 5);
    read.check(20, Some((7, 10)));
}

#[test]
fn what_is_refused_is_dealt_with_and_what_is_lost_is_nobodys_lag() {
    let mut read = Read::new(journal());
    read.append(10, HERE, 2);
    for item in read.polled() {
        let item = match item {
            Polled::Record(record) => Polled::Refused { record, why: millrace_schemas::signing::Refusal::Unsigned },
            other => other,
        };
        read.lag.note(&item);
    }
    read.check(11, Some((0, 0)));
    read.append(12, HERE, 1);
    read.check(13, Some((1, 2)));
    for partition in 0..2 {
        read.lag.note(&Polled::Lost { topic: Topic::Journal, partition });
    }
    read.check(14, None);
}

#[test]
fn a_group_goes_on_from_what_it_committed() {
    let mut read = Read::new(Assignment::Group { group: "g".to_owned(), topics: vec![Topic::Journal] });
    read.append(10, HERE, 5);
    for item in read.polled() {
        if let Polled::Gained { .. } = item {
            read.lag.note(&item);
        }
    }
    // Gained just now, by the clock of this host: of its age nothing is known yet.
    read.check(20, Some((5, 0)));
}

#[test]
fn a_stage_that_ended_and_a_bus_that_is_away_have_no_value() {
    let mut read = Read::new(journal());
    read.append(10, HERE, 2);
    read.deal();
    read.append(11, HERE, 2);
    read.check(15, Some((2, 5)));
    read.check_on(&Away, 16, None);
    read.check(17, Some((2, 7)));
    read.lag = read.lags.stage("reader");
    read.check(18, None);
}

/// A bus that does not answer.
struct Away;

fn away() -> Error {
    Error::Unavailable("the broker is away".to_owned())
}

impl Bus for Away {
    fn append(&self, _: Vec<NewRecord>) -> Receipt {
        Receipt::pending().1
    }

    fn reader(&self, _: Assignment) -> Result<Box<dyn Reader>, Error> {
        Err(away())
    }

    fn partitions(&self, _: Topic) -> Result<u32, Error> {
        Err(away())
    }

    fn ends(&self, _: Topic) -> Result<Vec<u64>, Error> {
        Err(away())
    }

    fn save(&self, _: Vec<Snapshot>) -> Result<(), Error> {
        Err(away())
    }

    fn load(&self, _: &str) -> Result<Vec<Snapshot>, Error> {
        Err(away())
    }
}
