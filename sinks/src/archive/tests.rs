//! Writing twice, being killed in the middle, overlapping exports, damage.

use millrace_schemas::record::{Bytes, Headers};
use millrace_schemas::time::Timestamp;

use super::*;

fn record(topic: Topic, offset: u64) -> Record {
    Record {
        topic,
        partition: 0,
        offset,
        appended: Timestamp(1_000_000 + offset as i64),
        key: format!("c{}", offset % 3),
        headers: Headers::from([("evidence".to_owned(), "true".to_owned())]),
        value: (!offset.is_multiple_of(7)).then(|| Bytes::from(format!("{{\"n\":{offset}}}").into_bytes())),
    }
}

fn fill(dir: &Path, offsets: std::ops::Range<u64>) -> Archive {
    let mut archive = Archive::open(dir).unwrap();
    for offset in offsets {
        archive.take(record(Topic::Journal, offset)).unwrap();
    }
    archive
}

fn offsets(dir: &Path) -> Vec<u64> {
    read(dir, Topic::Journal, 0).unwrap().map(|record| record.unwrap().offset).collect()
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let folder = dir.join("journal/0");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> =
        entries.map(|e| (e.file_name().to_string_lossy().into_owned(), fs::read(e.path()).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn records_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let archive = fill(dir.path(), 0..ROLL + 5);
    assert_eq!(archive.counted(), Counted { taken: ROLL + 5, files: 1, ..Counted::default() });
    archive.write_open().unwrap();
    let back: Vec<Record> = read(dir.path(), Topic::Journal, 0).unwrap().map(Result::unwrap).collect();
    assert_eq!(back, (0..ROLL + 5).map(|offset| record(Topic::Journal, offset)).collect::<Vec<_>>());
    assert!(is_archive(dir.path()));
    assert_eq!(partitions(dir.path(), Topic::Journal).unwrap(), [0]);
    assert_eq!(read(dir.path(), Topic::Actions, 3).unwrap().count(), 0);
}

#[test]
fn writing_twice_gives_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(one.path(), 0..ROLL + 5).write_open().unwrap();
    drop(fill(two.path(), 0..ROLL - 1)); // killed before the range was whole: taken again from its start
    fill(two.path(), 0..ROLL + 5).write_open().unwrap();
    assert_eq!(files(one.path()), files(two.path()));
}

#[test]
fn a_restart_goes_on_at_the_start_of_the_open_range_and_drops_repeats() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 0..ROLL + 5).write_open().unwrap();
    let mut archive = Archive::open(dir.path()).unwrap();
    assert_eq!(archive.position(Topic::Journal, 0), ROLL);
    assert_eq!(archive.position(Topic::Alerts, 4), 0);
    archive.take(record(Topic::Journal, 3)).unwrap();
    archive.take(record(Topic::Queries, 0)).unwrap();
    assert_eq!(archive.counted(), Counted { repeated: 1, foreign: 1, ..Counted::default() });
}

#[test]
fn what_a_killed_writer_left_is_ignored_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 0..5).write_open().unwrap();
    let left = dir.path().join("journal/0/00000000000000000000-00000000000000010000.parquet.unfinished");
    fs::write(&left, b"half a file").unwrap();
    assert_eq!(offsets(dir.path()), [0, 1, 2, 3, 4]);
    Archive::open(dir.path()).unwrap();
    assert!(!left.exists());
}

#[test]
fn of_overlapping_files_each_record_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 0..5).write_open().unwrap();
    let short = files(dir.path());
    fill(dir.path(), 0..9).write_open().unwrap();
    assert_eq!(files(dir.path()).len(), 1, "the longer export replaces the shorter one");
    fs::write(dir.path().join("journal/0").join(&short[0].0), &short[0].1).unwrap();
    assert_eq!(offsets(dir.path()), (0..9).collect::<Vec<_>>());
    fill(dir.path(), 0..ROLL);
    assert_eq!(files(dir.path()).len(), 1, "a whole range replaces its exports");
    assert_eq!(offsets(dir.path()).len() as u64, ROLL);
}

#[test]
fn offsets_that_the_bus_forgot_are_counted_and_close_their_range() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = fill(dir.path(), 2..5);
    archive.take(record(Topic::Journal, ROLL + 1)).unwrap();
    assert_eq!(archive.counted().missing, 2 + ROLL + 1 - 5);
    assert_eq!(offsets(dir.path()), [2, 3, 4]);
    assert_eq!(archive.position(Topic::Journal, 0), ROLL + 2);
}

#[test]
fn damage_is_named_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 0..5).write_open().unwrap();
    let (name, bytes) = files(dir.path()).remove(0);
    let path = dir.path().join("journal/0").join(&name);
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let mut records = read(dir.path(), Topic::Journal, 0).unwrap();
    let error = records.next().unwrap().unwrap_err().to_string();
    assert!(error.contains(&name), "{error}");
    assert!(records.next().is_none());
}
