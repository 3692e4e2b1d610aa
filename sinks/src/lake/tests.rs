//! Rows of the lake by day and cluster, once each, in files that depend on them alone; and folders in which files appear whole.

use std::path::Path;

use arrow::array::{Array as _, Int64Array, StringArray};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, DigestId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::slow_queries::{Slow, SlowQuery};
use millrace_schemas::topics::windows::{TOTAL, Window};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::place::Location;
use super::*;

/// 2025-12-31, 23:59:50 UTC: the last window of its day.
const LAST: i64 = 1_767_225_590;

fn window(start: i64, digest: DigestId, revision: u32, count: u64) -> Window {
    let row = Row { second: start, digest, count, ..examples::rows().remove(0) };
    Window { width_seconds: 10, revision, closed: true, row }
}

fn record(offset: u64, windows: &[Window]) -> Record {
    examples::windowed("c1", offset, windows).stored(3, offset, Timestamp(0))
}

fn gathered(records: &[Record]) -> Gathered {
    let mut gathered = Gathered::new(records[0].topic, records[0].partition).expect("a topic of the lake");
    for record in records {
        gathered.take(record).expect("readable");
    }
    gathered
}

/// The column `queries` of a file, by digest.
fn queries(bytes: &[u8]) -> BTreeMap<String, i64> {
    let bytes = parquet::file::reader::ChunkReader::get_bytes(
        &millrace_schemas::record::Bytes::copy_from_slice(bytes),
        0,
        bytes.len(),
    );
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes.expect("all")).expect("Parquet").build().expect("a reader");
    let mut queries = BTreeMap::new();
    for batch in reader {
        let batch = batch.expect("readable");
        let digests = batch.column_by_name("digest").expect("a column").as_any().downcast_ref::<StringArray>();
        let counts = batch.column_by_name("queries").expect("a column").as_any().downcast_ref::<Int64Array>();
        let (digests, counts) = (digests.expect("text"), counts.expect("numbers"));
        for at in 0..batch.num_rows() {
            let before = queries.insert(digests.value(at).to_owned(), counts.value(at));
            assert_eq!(before, None, "a row is there twice");
        }
    }
    queries
}

#[test]
fn rows_are_in_the_file_of_their_day_with_their_highest_revision() {
    let one = DigestId([1; 16]);
    let open = Window { closed: false, ..window(LAST, one, 9, 99) };
    let records = [
        record(7, &[open, window(LAST, one, 2, 5), window(LAST, TOTAL, 2, 6)]),
        record(8, &[window(LAST + 10, one, 1, 7)]),
        record(9, &[window(LAST, one, 2, 5), window(LAST, TOTAL, 3, 8)]), // a processor that was killed says it again
    ];
    let gathered = gathered(&records);
    assert_eq!(gathered.rows(), 3);
    let files = gathered.files(7, 10).expect("files");
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let name =
        |day: &str| format!("windows/day={day}/cluster=c1/003-00000000000000000007-00000000000000000010.parquet");
    assert_eq!(names, [name("2025-12-31"), name("2026-01-01")]);
    let expected = BTreeMap::from([("total".to_owned(), 8), (one.to_string(), 5)]);
    assert_eq!(queries(&files[0].1), expected, "the higher revision, and nothing of what is open");
    assert_eq!(queries(&files[1].1), BTreeMap::from([(one.to_string(), 7)]));
}

#[test]
fn the_same_records_give_the_same_bytes_and_what_is_in_a_file_comes_into_no_other() {
    let digest = |at: u8| DigestId([at; 16]);
    let records: Vec<Record> = (0..5).map(|at| record(at, &[window(LAST, digest(at as u8), 1, at)])).collect();
    let (mut once, again) = (gathered(&records), gathered(&records));
    assert_eq!(once.files(0, 5).expect("files"), again.files(0, 5).expect("files"));
    once.clear();
    let counted = once.take(&record(5, &[window(LAST, digest(2), 1, 2), window(LAST, digest(9), 1, 9)]));
    assert_eq!(counted.expect("readable"), Counted { rows: 1, repeated: 1 }, "a late row comes, a repeat does not");
    // Who starts again reads a little of what is in files, to know it.
    let mut restarted = gathered(&records);
    restarted.clear();
    assert_eq!(restarted.take(&records[4]).expect("readable"), Counted { rows: 0, repeated: 1 });
    let later = once.take(&record(5 + LOOK_BACK, &[window(LAST, digest(9), 1, 9)])).expect("readable");
    assert_eq!(later, Counted { rows: 0, repeated: 1 }, "it came {LOOK_BACK} records ago");
    let later = once.take(&record(6 + 2 * LOOK_BACK, &[window(LAST, digest(9), 1, 9)])).expect("readable");
    assert_eq!(later, Counted { rows: 1, repeated: 0 }, "that is forgotten; the revision tells a reader");
}

#[test]
fn slow_statements_are_rows_once_each() {
    let Slow::Query(query) = examples::slow().remove(0);
    let event = |counter: u64, query_time_us| {
        let subject =
            Subject::instance(ClusterId::parse("c1").expect("legal"), InstanceId::parse("db1").expect("legal"));
        let id = millrace_schemas::ids::EventId::derive(&["test", &counter.to_string()]);
        let payload = Slow::Query(SlowQuery { query_time_us, ..query.clone() });
        let (at, sequence) = (Timestamp(1), Sequence { incarnation: 1, counter });
        let source = "agent/h1".to_owned();
        let new =
            Event { id, source, sequence, at, appended: Timestamp::ZERO, subject, cause: None, payload }.to_record();
        new.stored(0, counter, Timestamp(1))
    };
    let gathered = gathered(&[event(0, 5), event(1, 6), event(0, 5)]);
    assert_eq!(gathered.rows(), 2);
    let files = gathered.files(0, 3).expect("files");
    assert!(files[0].0.starts_with("slow-queries/day="), "{}", files[0].0);
}

fn place(folder: &Path) -> Place {
    Place::open(&Location::Folder(folder.to_owned())).expect("a place")
}

#[test]
fn a_file_appears_whole_and_is_written_over_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let lake = folder.path().join("not/there/yet");
    let mut place = place(&lake);
    place.ask().expect("nothing is asked of a folder");
    assert!(!lake.exists(), "nor made");
    let name = "windows/day=2026-01-01/cluster=a.b/000-1-2.parquet";
    assert!(!place.has(name).expect("it looks"));
    let (long, short) = (vec![b'x'; 8 << 20], vec![b'y'; 4 << 20]);
    place.put(name, long.clone()).expect("written");
    assert!(place.has(name).expect("it looks"));
    let file = lake.join(name);
    let (seen, stop) = (file.clone(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let stops = std::sync::Arc::clone(&stop);
    let reader = std::thread::spawn(move || {
        let mut looks = 0;
        while !stops.load(std::sync::atomic::Ordering::Relaxed) || looks == 0 {
            let bytes = std::fs::read(&seen).expect("it is always there");
            let whole = (bytes[0] == b'x' && bytes.len() == 8 << 20) || (bytes[0] == b'y' && bytes.len() == 4 << 20);
            assert!(whole && bytes.iter().all(|byte| *byte == bytes[0]), "half a file");
            looks += 1;
        }
        looks
    });
    for _ in 0..10 {
        place.put(name, short.clone()).expect("written over");
        place.put(name, long.clone()).expect("written over");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(reader.join().expect("it saw whole files alone") > 0);
    let left: Vec<_> = std::fs::read_dir(file.parent().expect("a folder")).expect("readable").flatten().collect();
    assert_eq!(left.len(), 1, "nothing is left of what was written aside: {left:?}");
}

#[test]
fn a_place_that_takes_nothing_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("writable");
    let failed = place(&file.join("lake")).put("a/b", Vec::new()).expect_err("a file is no folder");
    assert!(matches!(&failed, place::Failed::Away(why) if why.contains("directory")), "{failed}");
    let bucket = place::Bucket {
        name: "b".to_owned(),
        prefix: String::new(),
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        region: Some("r".to_owned()),
        credentials_file: Some(file.clone()),
        ca_file: None,
    };
    let failed = Place::open(&Location::S3(bucket)).expect_err("the file has none");
    assert!(failed.to_string().contains("no line \"aws_access_key_id = ...\""), "{failed}");
}
