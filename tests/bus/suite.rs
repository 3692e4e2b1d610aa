//! What every bus must do. Each function is one promise of the `Bus` trait; it gets a lab and knows nothing else about the bus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace::bus::{Assignment, Error, From, Polled, Reader, SharedBus, Snapshot};
use millrace::roles::process::dead;
use millrace_processors::failover::Failover;
use millrace_processors::fold::{Fate, Fold};
use millrace_schemas::event::Event;
use millrace_schemas::marks::Marks;
use millrace_schemas::record::{Record, VALUE_BYTES_MAX};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;

use super::{Lab, append, fact, plain, poll_until, records, text};

const CLUSTERS: [&str; 4] = ["a", "b", "c", "d"];

fn manual(bus: &SharedBus, topic: Topic, from: From) -> Box<dyn Reader> {
    bus.reader(Assignment::Manual(vec![(topic, from)])).expect("a reader")
}

fn member(bus: &SharedBus, topic: Topic) -> Box<dyn Reader> {
    bus.reader(Assignment::Group { group: "g".to_owned(), topics: vec![topic] }).expect("a member")
}

/// What is fresh among `all`, as a reader that keeps marks sees it: (cluster, counter).
fn fresh(all: &[Record]) -> Vec<(String, u64)> {
    let mut marks: BTreeMap<String, Marks> = BTreeMap::new();
    let mut seen = Vec::new();
    for record in all {
        let event = Event::<Fact>::from_record(record).expect("a fact");
        let about = event.subject.cluster.to_string();
        if marks.entry(about.clone()).or_default().fresh(&event.source, event.sequence) {
            seen.push((about, event.sequence.counter));
        }
    }
    seen
}

pub(super) fn order_is_kept_per_key(lab: &mut impl Lab) {
    let bus = lab.bus();
    for counter in 0..50 {
        let batch: Vec<_> = CLUSTERS.iter().map(|about| fact("p", about, counter)).collect();
        append(&bus, &batch);
    }
    let mut reader = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(reader.as_mut(), |items| fresh(&records(items)).len() == 50 * CLUSTERS.len());
    let seen = fresh(&records(&items));
    for about in CLUSTERS {
        let counters: Vec<u64> = seen.iter().filter(|(other, _)| other == about).map(|(_, counter)| *counter).collect();
        assert_eq!(counters, (0..50).collect::<Vec<_>>(), "cluster {about}");
        let places: BTreeSet<u32> =
            records(&items).iter().filter(|record| record.key == about).map(|record| record.partition).collect();
        assert_eq!(places.len(), 1, "everything about {about} is in one partition");
    }
}

pub(super) fn append_times_never_go_back(lab: &mut impl Lab) {
    for counter in 0..20 {
        append(&lab.bus(), &[fact("p", "a", counter)]);
        if counter == 10 {
            lab.restart();
        }
    }
    let bus = lab.bus();
    let mut reader = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(reader.as_mut(), |items| fresh(&records(items)).len() == 20);
    let all = records(&items);
    assert!(all.iter().all(|record| record.appended.0 > 0), "stamped by the bus");
    assert!(all.windows(2).all(|pair| pair[0].appended <= pair[1].appended));
    assert!(all.windows(2).all(|pair| pair[0].offset + 1 == pair[1].offset), "offsets have no gaps");
}

pub(super) fn a_repeated_append_counts_once(lab: &mut impl Lab) {
    let bus = lab.bus();
    append(&bus, &[fact("p", "a", 0), fact("p", "a", 1)]);
    append(&bus, &[fact("p", "a", 0), fact("p", "a", 1)]); // a producer whose answer was lost
    append(&bus, &[fact("p", "a", 2)]);
    let mut reader = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(reader.as_mut(), |items| fresh(&records(items)).len() == 3);
    assert!(records(&items).len() >= 5, "the bus keeps what it was given");
    assert_eq!(fresh(&records(&items)).iter().map(|(_, counter)| *counter).collect::<Vec<_>>(), [0, 1, 2]);
}

pub(super) fn manual_readers_read_the_same(lab: &mut impl Lab) {
    let bus = lab.bus();
    append(&bus, &CLUSTERS.map(|about| fact("p", about, 0)));
    let read = |reader: &mut dyn Reader| {
        let items = poll_until(reader, |items| fresh(&records(items)).len() == CLUSTERS.len());
        let mut all: Vec<_> =
            records(&items).iter().map(|record| (record.partition, record.offset, text(record))).collect();
        all.sort();
        all.dedup();
        all
    };
    let mut one = manual(&bus, Topic::Journal, From::Start);
    let mut two = manual(&bus, Topic::Journal, From::Start);
    let (first, second) = (read(one.as_mut()), read(two.as_mut()));
    let both = first.iter().filter(|one| second.contains(one)).count();
    assert!(both >= CLUSTERS.len(), "two readers saw {first:?} and {second:?}");
}

pub(super) fn a_reader_starts_where_it_was_told(lab: &mut impl Lab) {
    let bus = lab.bus();
    for counter in 0..10 {
        append(&bus, &[fact("p", "a", counter)]);
    }
    let mut all = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(all.as_mut(), |items| fresh(&records(items)).len() == 10);
    let place = records(&items)[0].partition;
    let end = bus.end(Topic::Journal, place).expect("an end");
    let mut later = manual(&bus, Topic::Journal, From::Offset(end - 1));
    let items = poll_until(later.as_mut(), |items| !records(items).is_empty());
    assert_eq!(records(&items)[0].offset, end - 1);

    let mut new = manual(&bus, Topic::Journal, From::End);
    let gained = poll_until(new.as_mut(), |items| !items.is_empty());
    assert!(gained.contains(&Polled::Gained { topic: Topic::Journal, partition: place, next: end }), "{gained:?}");
    append(&bus, &[fact("p", "a", 10)]);
    let items = poll_until(new.as_mut(), |items| !records(items).is_empty());
    assert_eq!(records(&items)[0].offset, end);
}

pub(super) fn each_partition_starts_where_it_was_told(lab: &mut impl Lab) {
    let bus = lab.bus();
    for counter in 0..5 {
        append(&bus, &CLUSTERS.map(|about| fact("p", about, counter)));
    }
    let mut all = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(all.as_mut(), |items| fresh(&records(items)).len() == 5 * CLUSTERS.len());
    let places: BTreeSet<u32> = records(&items).iter().map(|record| record.partition).collect();
    // Of one partition only the last record, of the others everything.
    let of = *places.first().expect("some");
    let end = bus.end(Topic::Journal, of).expect("an end");
    let mut reader = manual(&bus, Topic::Journal, From::Offsets(BTreeMap::from([(of, end - 1)])));
    let rest: u64 = places.iter().skip(1).map(|at| bus.end(Topic::Journal, *at).expect("an end")).sum();
    let items = poll_until(reader.as_mut(), |items| records(items).len() as u64 == rest + 1);
    let offsets: Vec<u64> =
        records(&items).iter().filter(|record| record.partition == of).map(|record| record.offset).collect();
    assert_eq!(offsets, [end - 1]);
}

fn owner(bus: &SharedBus) -> Box<dyn Reader> {
    bus.reader(Assignment::Own { name: "o".to_owned(), topics: vec![Topic::Actions] }).expect("a reader")
}

pub(super) fn an_owner_reads_everything_and_goes_on(lab: &mut impl Lab) {
    let bus = lab.bus();
    let about = |counter: usize| plain(Topic::Actions, CLUSTERS[counter % 4], &format!("{counter}"));
    append(&bus, &(0..8).map(about).collect::<Vec<_>>());
    let mut one = owner(&bus);
    let items = poll_until(one.as_mut(), |items| texts(items).len() == 8);
    let partitions: BTreeSet<u32> = (0..bus.partitions(Topic::Actions).expect("partitions")).collect();
    assert_eq!(held(&items), partitions, "all of them, at once");
    for partition in &partitions {
        let next = bus.end(Topic::Actions, *partition).expect("an end");
        one.commit(Topic::Actions, *partition, next).expect("committed");
    }
    append(&bus, &[about(8)]);
    // The one that comes next waits for nobody, though the one before was not closed.
    let mut two = owner(&bus);
    let items = poll_until(two.as_mut(), |items| !records(items).is_empty());
    assert_eq!(held(&items), partitions);
    assert_eq!(texts(&items), ["8".to_owned()].into(), "what was committed is not read again");
}

pub(super) fn who_asks_learns_whether_everything_was_read(lab: &mut impl Lab) {
    let bus = lab.bus();
    append(&bus, &[fact("p", "a", 0)]);
    let mut reader = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(reader.as_mut(), |items| !records(items).is_empty());
    let place = records(&items)[0].partition;
    let read = |reader: &mut dyn Reader| {
        // What was repeated on its way is read too.
        for _ in 0..100 {
            reader.poll(Duration::from_millis(20)).expect("the bus is there");
            if reader.unread().expect("the bus is there").is_empty() {
                return true;
            }
        }
        false
    };
    assert!(read(reader.as_mut()));
    append(&bus, &[fact("p", "a", 1)]);
    assert_eq!(reader.unread(), Ok([place].into()), "nobody has read it yet, and the others have nothing more");
    assert!(read(reader.as_mut()));
}

/// The partitions that a member holds after `items`; of those it got records, and of no others.
fn held(items: &[Polled]) -> BTreeSet<u32> {
    let mut held = BTreeSet::new();
    for item in items {
        match item {
            Polled::Gained { partition, .. } => drop(held.insert(*partition)),
            Polled::Lost { partition, .. } => drop(held.remove(partition)),
            Polled::Record(record) => assert!(held.contains(&record.partition), "not gained: {record:?}"),
            Polled::Refused { .. } => {}
        }
    }
    held
}

pub(super) fn a_group_shares_and_hands_over(lab: &mut impl Lab) {
    let bus = lab.bus();
    let partitions: BTreeSet<u32> = (0..bus.partitions(Topic::Actions).expect("partitions")).collect();
    let about = |counter: usize| plain(Topic::Actions, CLUSTERS[counter % 4], &format!("{counter}"));
    append(&bus, &(0..8).map(about).collect::<Vec<_>>());

    let mut one = member(&bus, Topic::Actions);
    let mut of_one = poll_until(one.as_mut(), |items| held(items) == partitions && texts(items).len() == 8);
    // The first member dealt with everything it read, and says so, partition by partition.
    for partition in &partitions {
        let next = bus.end(Topic::Actions, *partition).expect("an end");
        one.commit(Topic::Actions, *partition, next).expect("committed");
    }
    let mut two = member(&bus, Topic::Actions);
    let mut of_two = Vec::new();
    // They may need a moment to agree; at no time is a partition held by both.
    for round in 0..2_000 {
        of_one.extend(one.poll(Duration::from_millis(5)).expect("there"));
        of_two.extend(two.poll(Duration::from_millis(5)).expect("there"));
        let (first, second) = (held(&of_one), held(&of_two));
        assert!(first.is_disjoint(&second), "{first:?} and {second:?}");
        if round >= 100 && &first | &second == partitions && (!second.is_empty() || partitions.len() == 1) {
            break;
        }
    }
    assert_eq!(&held(&of_one) | &held(&of_two), partitions, "every partition is held by one of them");

    append(&bus, &(8..16).map(about).collect::<Vec<_>>());
    drop(one);
    of_two.extend(poll_until(two.as_mut(), |items| {
        let mut all = of_two.clone();
        all.extend_from_slice(items);
        held(&all) == partitions && texts(&all).len() >= 8
    }));
    let seen = texts(&of_two);
    assert_eq!(seen, (8..16).map(|counter| counter.to_string()).collect(), "what was committed is not read again");
}

fn texts(items: &[Polled]) -> BTreeSet<String> {
    records(items).iter().map(text).collect()
}

pub(super) fn snapshots_keep_their_offsets(lab: &mut impl Lab) {
    let bus = lab.bus();
    let snapshot = |processor: &str, entity: &str, next| Snapshot {
        processor: processor.to_owned(),
        partition: 0,
        entity: entity.to_owned(),
        next,
        value: format!("{entity} at {next}").into_bytes(),
    };
    bus.save(vec![snapshot("p.v1", "a", 1), snapshot("p.v1", "b", 1), snapshot("p.v2", "a", 7)]).expect("saved");
    bus.save(vec![snapshot("p.v1", "a", 5)]).expect("saved");
    drop(bus);
    lab.restart();
    let bus = lab.bus();
    assert_eq!(bus.load("p.v1").expect("loaded"), [snapshot("p.v1", "a", 5), snapshot("p.v1", "b", 1)]);
    assert_eq!(bus.load("p.v2").expect("loaded"), [snapshot("p.v2", "a", 7)]);
    assert_eq!(bus.load("p.v3").expect("loaded"), []);
}

pub(super) fn a_restart_forgets_nothing(lab: &mut impl Lab) {
    let bus = lab.bus();
    append(&bus, &[plain(Topic::Journal, "a", "0"), plain(Topic::Journal, "a", "1")]);
    let mut group = member(&bus, Topic::Journal);
    let items = poll_until(group.as_mut(), |items| texts(items).len() == 2);
    let place = records(&items)[0].partition;
    let end = bus.end(Topic::Journal, place).expect("an end");
    group.commit(Topic::Journal, place, end).expect("committed");
    drop(bus);
    lab.restart();

    let gone = (0..100).find_map(|_| group.poll(Duration::from_millis(10)).err());
    assert!(matches!(gone, Some(Error::Unavailable(_))), "a reader of before says so: {gone:?}");
    drop(group);
    let bus = lab.bus();
    assert_eq!(bus.end(Topic::Journal, place), Ok(end));
    let mut all = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(all.as_mut(), |items| texts(items).len() == 2);
    assert_eq!(records(&items)[0].offset, 0);
    let mut group = member(&bus, Topic::Journal);
    let items = poll_until(group.as_mut(), |items| held(items).contains(&place));
    assert!(items.contains(&Polled::Gained { topic: Topic::Journal, partition: place, next: end }), "{items:?}");
    append(&bus, &[plain(Topic::Journal, "a", "2")]);
    let items = poll_until(group.as_mut(), |items| !records(items).is_empty());
    assert_eq!((records(&items)[0].offset, text(&records(&items)[0])), (end, "2".to_owned()));
}

pub(super) fn poison_goes_to_dead_unchanged(lab: &mut impl Lab) {
    let bus = lab.bus();
    append(&bus, &[plain(Topic::Journal, "a", "{ this is no fact"), fact("p", "a", 0)]);
    let mut reader = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(reader.as_mut(), |items| records(items).iter().any(|record| text(record).contains("tick")));
    let mut fold = Fold::new(Failover, 0);
    for record in records(&items) {
        match fold.fold(&record).fate {
            Fate::Dead(reason) => append(&bus, &[dead(&record, "failover", &reason)]),
            Fate::Folded | Fate::Repeated => assert!(text(&record).contains("tick"), "the partition moves on"),
            Fate::Skipped(kind) => panic!("{kind} was skipped"),
        }
    }
    let mut reader = manual(&bus, Topic::Dead, From::Start);
    let items = poll_until(reader.as_mut(), |items| !records(items).is_empty());
    let grave = &records(&items)[0];
    assert_eq!(text(grave), "{ this is no fact");
    assert_eq!(grave.key, "a");
    assert_eq!(grave.headers["millrace.errors.topic"], "journal");
    assert_eq!(grave.headers["millrace.errors.offset"], "0");
    assert!(!grave.headers["millrace.errors.message"].is_empty());
}

const DAY: Duration = Duration::from_hours(24);

pub(super) fn retention_removes_records_and_keeps_offsets(lab: &mut impl Lab) {
    let bus = lab.bus();
    append(&bus, &[plain(Topic::Journal, "a", "old"), plain(Topic::Actions, "a", "kept")]);
    let mut reader = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(reader.as_mut(), |items| !records(items).is_empty());
    let place = records(&items)[0].partition;
    let end = bus.end(Topic::Journal, place).expect("an end");
    assert_eq!(lab.expire(DAY * 6), 0, "the journal is kept seven days");
    assert!(lab.expire(DAY * 8) >= 1);
    assert_eq!(bus.end(Topic::Journal, place), Ok(end), "the end outlives its records");
    drop((reader, bus));
    lab.restart();
    let bus = lab.bus();
    assert_eq!(bus.end(Topic::Journal, place), Ok(end), "also over a restart");
    append(&bus, &[plain(Topic::Journal, "a", "new")]);
    let mut reader = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(reader.as_mut(), |items| !records(items).is_empty());
    assert_eq!((records(&items)[0].offset, text(&records(&items)[0])), (end, "new".to_owned()));
    let mut reader = manual(&bus, Topic::Actions, From::Start);
    let items = poll_until(reader.as_mut(), |items| !records(items).is_empty());
    assert_eq!(text(&records(&items)[0]), "kept");
}

pub(super) fn compaction_keeps_the_newest_of_a_key(lab: &mut impl Lab) {
    let bus = lab.bus();
    for round in 0..3 {
        append(&bus, &CLUSTERS.map(|about| plain(Topic::Routes, about, &format!("{about}{round}"))));
    }
    assert!(lab.expire(DAY * 400) >= 8);
    let mut reader = manual(&bus, Topic::Routes, From::Start);
    let items = poll_until(reader.as_mut(), |items| texts(items).len() == CLUSTERS.len());
    assert_eq!(
        texts(&items),
        CLUSTERS.map(|about| format!("{about}2")).into(),
        "the newest of each key, whatever its age"
    );
}

pub(super) fn too_large_is_refused_whole(lab: &mut impl Lab) {
    let bus = lab.bus();
    let large = plain(Topic::Journal, "a", &"x".repeat(VALUE_BYTES_MAX + 1));
    let refused = bus.append(vec![plain(Topic::Journal, "a", "small"), large]).wait();
    let expected = Error::TooLarge { topic: Topic::Journal, bytes: VALUE_BYTES_MAX + 1, limit: VALUE_BYTES_MAX };
    assert_eq!(refused, Err(expected));
    append(&bus, &[plain(Topic::Journal, "a", &"x".repeat(VALUE_BYTES_MAX))]);
    let mut reader = manual(&bus, Topic::Journal, From::Start);
    let items = poll_until(reader.as_mut(), |items| !records(items).is_empty());
    assert_eq!(text(&records(&items)[0]).len(), VALUE_BYTES_MAX, "nothing of the refused batch is there");
}

pub(super) fn headers_and_tombstones_come_back(lab: &mut impl Lab) {
    let bus = lab.bus();
    let mut record = plain(Topic::Inventory, "host/h1", "x");
    record.headers.insert("evidence".to_owned(), "true \u{1f40e}".to_owned());
    let mut tombstone = plain(Topic::Inventory, "host/h1", "");
    tombstone.value = None;
    let landed = bus.append(vec![record.clone()]).wait();
    append(&bus, &[tombstone]);
    let mut reader = manual(&bus, Topic::Inventory, From::Start);
    let items = poll_until(reader.as_mut(), |items| records(items).iter().any(|record| record.value.is_none()));
    let first = &records(&items)[0];
    assert_eq!((&first.headers, &first.key, &first.value), (&record.headers, &record.key, &record.value));
    if lab.is_exact() {
        let landed = landed.expect("appended")[0];
        assert_eq!((landed.partition, landed.offset, landed.appended), (first.partition, first.offset, first.appended));
    }
}

pub(super) fn while_it_is_away_it_says_so_and_does_nothing(lab: &mut impl Lab) {
    let bus = lab.bus();
    append(&bus, &[fact("p", "a", 0)]);
    let mut reader = manual(&bus, Topic::Journal, From::Start);
    let mut seen = poll_until(reader.as_mut(), |items| !records(items).is_empty());
    if !lab.away(true) {
        return; // what cannot be away has nothing to say about it
    }
    let snapshot =
        Snapshot { processor: "p.1".to_owned(), partition: 0, entity: "a".to_owned(), next: 1, value: vec![1] };
    assert!(matches!(bus.append(vec![fact("p", "a", 1)]).wait(), Err(Error::Unavailable(_))));
    assert!(matches!(bus.save(vec![snapshot.clone()]), Err(Error::Unavailable(_))));
    assert!(matches!(reader.poll(Duration::ZERO), Err(Error::Unavailable(_))));
    assert!(lab.away(false), "it comes back");
    assert_eq!(bus.load("p.1"), Ok(Vec::new()), "nothing of it was half done");
    append(&bus, &[fact("p", "a", 2)]);
    for _ in 0..2_000 {
        // A reader may need a moment to find its way back; it goes on where it stood.
        seen.extend(reader.poll(Duration::from_millis(20)).unwrap_or_default());
        if fresh(&records(&seen)).len() == 2 {
            break;
        }
    }
    assert_eq!(fresh(&records(&seen)), [("a".to_owned(), 0), ("a".to_owned(), 2)]);
}
