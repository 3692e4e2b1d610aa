//! Windows against brute force, and the cases that the design names: late, repeated, revised, silent, restarted.

use millrace_schemas::ids::DigestId;
use millrace_schemas::sketch::Sketch;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::queries::{Row, Source};
use millrace_schemas::topics::windows::{TOTAL, Window, decode};
use proptest::prelude::*;

use super::*;

const T0: i64 = 1_700_000_000;

fn row(second: i64, digest: u8, count: u64) -> Row {
    Row { errors: 1, rt_first: Sketch::new(), ..examples::row(second, DigestId([digest; 16]), count, 1_000) }
}

fn record(offset: u64, appended: i64, counter: u64, rows: &[Row]) -> Record {
    examples::counted("c1", "agent/h1", counter, rows).stored(0, offset, Timestamp(appended * 1_000_000))
}

fn windows(records: &[NewRecord]) -> Vec<Window> {
    let values = records.iter().filter(|record| record.topic == Topic::Windows);
    values.flat_map(|record| decode(record.value.as_deref().expect("a value")).expect("decodes")).collect()
}

fn loads(records: &[NewRecord]) -> Vec<Load> {
    let facts = records.iter().filter(|record| record.topic == Topic::Journal);
    facts
        .map(|record| {
            let event = Event::<Fact>::from_json(record.value.as_deref().expect("a value"), false).expect("an event");
            let Fact::Load(load) = event.payload else { panic!("{:?}", event.payload) };
            load
        })
        .collect()
}

/// Folds one batch per second and returns everything that came out.
fn fold_seconds(fold: &mut Windows, seconds: std::ops::Range<i64>) -> Vec<NewRecord> {
    let mut out = Vec::new();
    for at in seconds {
        let record = record(at as u64, T0 + at + 1, at as u64, &[row(T0 + at, 1, 5), row(T0 + at, 2, 3)]);
        let folded = fold.fold(&record);
        assert_eq!(folded.fate, Fate::Folded);
        out.extend(folded.out);
    }
    out
}

#[test]
fn what_was_slow_is_not_added_to_what_was_counted() {
    let mut fold = Windows::new(0);
    let slow = |row: Row| Row { source: Source::SlowLog, ..row };
    let rows = [row(T0, 1, 5), slow(row(T0, 1, 4)), slow(row(T0 + 1, 3, 9)), row(T0 + 20, 1, 1)];
    let folded = fold.fold(&record(0, T0 + 21, 0, &rows));
    let closed: Vec<Window> = windows(&folded.out).into_iter().filter(|w| w.closed).collect();
    let sums: Vec<(DigestId, u64)> = closed.iter().map(|w| (w.row.digest, w.row.count)).collect();
    assert_eq!(sums, [(TOTAL, 5), (DigestId([1; 16]), 5)]);
}

#[test]
fn a_window_closes_with_the_first_second_behind_its_end_and_has_exact_sums() {
    let mut fold = Windows::new(0);
    let before = fold_seconds(&mut fold, 0..10);
    assert!(windows(&before).iter().all(|window| !window.closed));
    let out = fold_seconds(&mut fold, 10..11);
    let closed: Vec<Window> = windows(&out).into_iter().filter(|w| w.closed && w.width_seconds == 10).collect();
    let sums: Vec<(DigestId, u64, u64)> = closed.iter().map(|w| (w.row.digest, w.row.count, w.row.errors)).collect();
    assert_eq!(sums, [(TOTAL, 80, 20), (DigestId([1; 16]), 50, 10), (DigestId([2; 16]), 30, 10)]);
    assert_eq!(closed[0].start(), T0);
    let loads = loads(&out);
    assert_eq!(loads.len(), 1);
    assert_eq!((loads[0].statements, loads[0].errors, loads[0].width_seconds), (80, 20, 10));
    assert!((990..=1_010).contains(&loads[0].p99_us), "{}", loads[0].p99_us);
}

#[test]
fn revisions_of_an_open_window_rise_and_hold_everything_so_far() {
    let out = fold_seconds(&mut Windows::new(0), 0..9);
    let totals: Vec<(u32, u64)> =
        windows(&out).iter().filter(|w| w.row.digest == TOTAL).map(|w| (w.revision, w.row.count)).collect();
    assert_eq!(totals, (1..=9).map(|n| (n, u64::from(n) * 8)).collect::<Vec<_>>());
}

#[test]
fn a_repeat_counts_once_and_a_late_row_is_counted_apart() {
    let mut fold = Windows::new(0);
    fold_seconds(&mut fold, 0..13);
    let again = record(13, T0 + 14, 12, &[row(T0 + 12, 1, 5)]);
    assert_eq!(fold.fold(&again).fate, Fate::Repeated);
    let late = record(14, T0 + 14, 13, &[row(T0 + 3, 1, 5)]);
    assert_eq!(fold.fold(&late).fate, Fate::Folded);
    let ahead = record(15, T0 + 14, 14, &[row(T0 + 14 + AHEAD_MAX + 1, 1, 5)]);
    fold.fold(&ahead);
    assert_eq!(fold.dropped(), Dropped { late: 1, ahead: 1, beyond: 0 });
}

#[test]
fn of_two_who_count_in_turn_none_comes_late() {
    let mut fold = Windows::new(0);
    // Whose counters are read at the beginning of a second tells of the one before, ahead of the packets of that one.
    for at in 0..25 {
        let told = T0 + at + 1;
        let counters = Row { source: Source::PerformanceSchema, ..row(T0 + at, 9, 1) };
        let record = |offset, rows: &[Row]| record(offset, told, offset, rows);
        fold.fold(&record(2 * at as u64, &[counters]));
        fold.fold(&record(2 * at as u64 + 1, &[row(T0 + at, 1, 1)]));
    }
    assert_eq!(fold.dropped(), Dropped::default());
}

#[test]
fn a_silent_instance_closes_with_the_append_time() {
    let mut fold = Windows::new(0);
    // Its clock stands at T0 + 5; the window to T0 + 10 closes at T0 + 11, which is 6 s after 10 s of silence.
    fold_seconds(&mut fold, 0..5);
    assert!(loads(&fold.advance(Duration::from_secs(15))).is_empty());
    assert_eq!(loads(&fold.advance(Duration::from_secs(16))).len(), 1);
    assert!(loads(&fold.advance(Duration::from_mins(1))).is_empty());
}

#[test]
fn an_outage_of_the_bus_is_no_silence() {
    let mut fold = Windows::new(0);
    fold_seconds(&mut fold, 0..5);
    // A minute later everything that waited arrives, the rows of another instance first.
    let mut other = row(T0 + 5, 1, 5);
    other.instance = InstanceId::parse("db2").expect("an id");
    let mut out = fold.fold(&record(5, T0 + 65, 5, &[other])).out;
    for at in 5..13 {
        out.extend(fold.fold(&record(at as u64 + 1, T0 + 65, at as u64 + 1, &[row(T0 + at, 1, 5)])).out);
    }
    let total = windows(&out).into_iter().find(|w| w.closed && w.row.digest == TOTAL).expect("closed");
    assert_eq!((total.row.count, fold.dropped().late), (5 * 8 + 5 * 5, 0));
}

#[test]
fn a_record_without_its_headers_is_dead() {
    let check = |name: &str, value: Option<&str>, expected: &str| {
        let mut record = record(0, T0, 0, &[row(T0, 1, 1)]);
        record.headers.remove(name);
        record.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        assert_eq!(Windows::new(0).fold(&record).fate, Fate::Dead(expected.to_owned()));
    };
    check("cluster", None, "the header 'cluster' is missing");
    check("producer", None, "the header 'producer' is missing");
    check("sequence", Some("7"), "the header 'sequence': '7' is not INCARNATION-COUNTER, two hexadecimal numbers");
}

#[test]
fn digests_beyond_the_limit_are_folded_exactly() {
    let mut fold = Windows::new(0);
    let mut rows: Vec<Row> = Vec::new();
    for number in 0..2_500_u32 {
        let mut one = row(T0, 0, 2);
        one.digest.0[..4].copy_from_slice(&(number + 100).to_be_bytes());
        rows.push(one);
    }
    fold.fold(&record(0, T0 + 1, 0, &rows));
    let out = fold.advance(Duration::from_secs(30));
    let closed: Vec<Window> = windows(&out).into_iter().filter(|w| w.closed && w.width_seconds == 10).collect();
    let other = closed.iter().find(|w| w.row.digest == DigestId::OTHER).expect("there is other");
    assert_eq!((other.row.count, other.row.folded), (1_000, 500));
    let all: u64 = closed.iter().filter(|w| w.row.digest != TOTAL).map(|w| w.row.count).sum();
    assert_eq!(all, 5_000);
    assert!(out.iter().all(|record| record.value.as_ref().is_some_and(|value| value.len() <= BATCH_BYTES_MAX)));
}

#[test]
fn sampled_rows_stand_for_what_was_left_out() {
    let mut fold = Windows::new(0);
    let sampled = Row { sample_factor: 4, ..row(T0, 1, 5) };
    fold.fold(&record(0, T0 + 1, 0, &[sampled, row(T0, 1, 5)]));
    let out = fold.advance(Duration::from_secs(30));
    let total = windows(&out).into_iter().find(|w| w.closed && w.row.digest == TOTAL).expect("closed");
    assert_eq!((total.row.count, total.row.sample_factor, total.row.rt_last.count()), (25, 4, 25));
}

#[test]
fn a_snapshot_before_the_first_record_leaves_none_out() {
    let mut fold = Windows::new(0);
    assert_eq!(fold.save().0, 0);
    fold_seconds(&mut fold, 0..1);
    assert_eq!(fold.save().0, 0, "its windows are open");
    fold.advance(Duration::from_secs(8_000));
    assert_eq!(fold.save().0, 1);
}

#[test]
fn a_restart_from_a_snapshot_gives_the_same_closed_windows() {
    let mut fold = Windows::new(0);
    let mut out = fold_seconds(&mut fold, 0..17);
    let (next, saved) = fold.save();
    out.extend(fold_seconds(&mut fold, 17..23));
    let mut again = Windows::new(0);
    again.restore(next, &saved).expect("restores");
    assert_eq!(again.save(), (next, saved), "who has read nothing yet has come no further");
    assert!(next <= 10, "the open window begins with offset 10, the hour with 0: {next}");
    let repeated = fold_seconds(&mut again, next as i64..23);
    let second = |records: &[NewRecord]| -> Vec<Window> {
        windows(records).into_iter().filter(|w| w.closed && w.width_seconds == 10 && w.start() == T0 + 10).collect()
    };
    assert_eq!(second(&repeated), second(&out));
    let first = windows(&repeated).into_iter().filter(|w| w.width_seconds == 10 && w.start() == T0).count();
    assert_eq!((first, again.dropped().late), (0, 0));
}

proptest! {
    #[test]
    fn every_row_is_in_a_closed_window_once_or_counted_as_late(
        seconds in prop::collection::vec((0_i64..60, 1_u64..9), 1..60)
    ) {
        let mut fold = Windows::new(0);
        let mut out = Vec::new();
        for (at, (second, count)) in seconds.iter().enumerate() {
            let record = record(at as u64, T0 + 60, at as u64, &[row(T0 + second, 1, *count)]);
            out.extend(fold.fold(&record).out);
        }
        out.extend(fold.advance(Duration::from_secs(8_000)));
        let rows = windows(&out).into_iter().filter(|w| w.closed && w.width_seconds == 10 && w.row.digest == TOTAL);
        let errors: u64 = rows.map(|w| w.row.errors).sum();
        prop_assert_eq!(errors + fold.dropped().late, seconds.len() as u64);
    }
}
