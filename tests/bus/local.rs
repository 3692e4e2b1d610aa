//! What only the local bus promises: what it acknowledged survives kill -9 anywhere, nothing half is there, one process at a
//! time, no file of a newer version, of another program or damaged is touched, and a full disk is an answer and no disaster.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace::bus::local::LocalBus;
use millrace::bus::{Assignment, Bus as _, Error, From, Polled, SharedBus, failpoint};
use millrace_schemas::metrics::{BUS_APPENDED, BUS_REFUSED, Registry};
use millrace_schemas::record::VALUE_BYTES_MAX;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;

use super::child::{self, BATCH, Task};
use super::{Lab as _, LocalLab, append, open, plain, poll_until, records, text};

fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bus.db");
    (folder, path)
}

fn ended(child: std::process::Child) -> std::process::Output {
    child.wait_with_output().expect("the child ends")
}

#[test]
fn a_child_killed_at_each_failpoint_loses_nothing_that_was_acknowledged() {
    for point in failpoint::ALL {
        let (_folder, path) = folder();
        let first = ended(child::start(&path, Task::Write, None, &[]));
        assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
        let killed = ended(child::start(&path, Task::Write, Some(point), &[]));
        assert_eq!(killed.status.signal(), Some(9), "{point}: {}", String::from_utf8_lossy(&killed.stdout));
        check_whole(&path, point);
        let third = ended(child::start(&path, Task::Write, None, &[]));
        assert!(third.status.success(), "{point}: {}", String::from_utf8_lossy(&third.stderr));
        check_whole(&path, point);
    }
    // Not through the test harness, which hides what a good test prints.
    let _ = writeln!(
        std::io::stderr(),
        "killed with -9 at {} failpoints: {}",
        failpoint::ALL.len(),
        failpoint::ALL.join(", ")
    );
}

/// Nothing half, and nothing missing of what the child noted.
fn check_whole(path: &Path, point: &str) {
    let bus: SharedBus = std::sync::Arc::new(open(path).unwrap_or_else(|error| panic!("{point}: {error}")));
    let noted = fs::read_to_string(child::notes(path)).expect("notes");
    let highest = |what: &str| {
        let numbers = noted.lines().filter_map(|line| line.strip_prefix(what)?.trim().parse::<u64>().ok());
        numbers.max().unwrap_or(0)
    };
    let end = bus.end(Topic::Journal, 0).expect("an end");
    let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Start)])).expect("a reader");
    let items = poll_until(reader.as_mut(), |items| records(items).len() as u64 == end);
    let mut rounds: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (at, record) in records(&items).iter().enumerate() {
        assert_eq!(record.offset, at as u64, "{point}: offsets without gaps");
        let text = text(record);
        let (round, part) = text.split_once(' ').expect("ROUND PART");
        rounds.entry(round.parse().expect("a number")).or_default().push(part.parse().expect("a number"));
    }
    let whole: Vec<u64> = (0..BATCH as u64).collect();
    assert!(rounds.values().all(|parts| *parts == whole), "{point}: a half batch in {rounds:?}");
    for line in noted.lines().filter_map(|line| line.strip_prefix("append ")) {
        let round = line.parse().expect("a number");
        assert!(rounds.contains_key(&round), "{point}: round {round} was acknowledged and is gone");
    }
    let snapshots = bus.load("p.v1").expect("loaded");
    assert_eq!(snapshots.len(), 2, "{point}");
    assert_eq!(snapshots[0].next, snapshots[1].next, "{point}: snapshots are stored all or none");
    assert!(snapshots[0].next >= highest("snapshot "), "{point}: a snapshot is older than was acknowledged");
    let group = Assignment::Group { group: "g".to_owned(), topics: vec![Topic::Journal] };
    let mut member = bus.reader(group).expect("a member");
    let items = poll_until(member.as_mut(), |items| !items.is_empty());
    let Polled::Gained { next, .. } = items[0] else { panic!("{point}: {items:?}") };
    assert!(next >= highest("offset "), "{point}: the group goes on at {next}");
}

#[test]
fn a_second_process_is_refused_and_told_who_has_it() {
    let (_folder, path) = folder();
    let mut holder = child::start(&path, Task::Hold, None, &[]);
    child::wait_for(&mut holder, "held\n");
    let refused = open(&path).map(drop);
    let by = format!(" (pid {})", holder.id());
    assert_eq!(refused, Err(Error::OpenElsewhere { path: path.display().to_string(), by }));
    holder.kill().expect("killed");
    holder.wait().expect("reaped");
    open(&path).expect("a lock does not outlive its process");
}

#[test]
fn one_process_opens_it_once() {
    let lab = LocalLab::new();
    assert!(matches!(open(&lab.path), Err(Error::OpenElsewhere { .. })));
    append(&lab.bus(), &[plain(Topic::Journal, "a", "still there")]);
}

/// Opens `path` and expects a refusal that changes no byte of the file.
fn refused(path: &Path) -> Error {
    let before = fs::read(path).expect("readable");
    let error = open(path).map(drop).expect_err("it must be refused");
    assert_eq!(fs::read(path).expect("readable"), before, "a file that is refused is left as it is");
    error
}

fn connect(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).expect("SQLite opens it")
}

/// A bus file with records in it, closed.
fn filled(path: &Path) {
    let bus: SharedBus = std::sync::Arc::new(open(path).expect("a new bus opens"));
    for number in 0..200 {
        append(&bus, &[plain(Topic::Journal, "a", &format!("{number} {}", "x".repeat(500)))]);
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let (_folder, path) = folder();
    filled(&path);
    connect(&path).pragma_update(None, "user_version", 99).expect("set");
    assert_eq!(refused(&path), Error::Newer { path: path.display().to_string(), found: 99, known: 1 });
}

#[test]
fn a_damaged_file_is_refused() {
    let check = |what: &str, make: &dyn Fn(&Path)| {
        let (_folder, path) = folder();
        make(&path);
        let error = refused(&path);
        assert!(matches!(error, Error::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains("bus.db"), "{what}: the message names the file: {error}");
    };
    check("garbage", &|path| {
        fs::write(path, "this is no database, whatever its name says. ".repeat(200)).expect("written");
    });
    check("cut in the middle", &|path| {
        filled(path);
        let length = fs::metadata(path).expect("there").len();
        fs::OpenOptions::new().write(true).open(path).expect("open").set_len(length / 2 + 100).expect("cut");
    });
    check("a page overwritten", &|path| {
        filled(path);
        let mut bytes = fs::read(path).expect("readable");
        bytes[4_096..].chunks_mut(4_096).for_each(|page| page[..64].fill(0xff));
        fs::write(path, bytes).expect("written");
    });
    check("another program's", &|path| {
        connect(path).execute_batch("CREATE TABLE photos(name TEXT)").expect("made");
    });
}

#[test]
fn append_times_stand_still_until_the_clock_has_caught_up() {
    let mut lab = LocalLab::new();
    append(&lab.bus(), &[plain(Topic::Journal, "a", "0")]);
    let future = Timestamp(i64::MAX / 2);
    {
        // The clock was set back since this record was appended.
        let path = lab.path.clone();
        lab.restart();
        connect(&path).execute("UPDATE t_journal SET appended = ?1", [future.0]).expect("set");
    }
    lab.restart();
    append(&lab.bus(), &[plain(Topic::Alerts, "a", "1")]);
    let bus = lab.bus();
    let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Alerts, From::Start)])).expect("a reader");
    let items = poll_until(reader.as_mut(), |items| !records(items).is_empty());
    assert!(records(&items)[0].appended >= future);
}

#[test]
fn a_reader_far_behind_reads_from_the_file_and_catches_up() {
    let lab = LocalLab::new();
    let bus = lab.bus();
    let mut behind = bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Start)])).expect("a reader");
    for batch in 0..10 {
        let records: Vec<_> = (0..500).map(|at| plain(Topic::Journal, "a", &format!("{}", batch * 500 + at))).collect();
        append(&bus, &records);
    }
    let items = poll_until(behind.as_mut(), |items| records(items).len() == 5_000);
    let in_order = records(&items).iter().enumerate().all(|(at, record)| text(record) == at.to_string());
    assert!(in_order, "each record once and in order, from the file and from memory");
    append(&bus, &[plain(Topic::Journal, "a", "5000")]);
    let items = poll_until(behind.as_mut(), |items| !records(items).is_empty());
    assert_eq!(text(&records(&items)[0]), "5000");
}

#[test]
fn a_full_disk_is_an_answer_and_nothing_breaks() {
    let (_folder, path) = folder();
    // A soft limit on the size of a file, 1 MiB, with its signal ignored: writes fail as on a full disk, also without root.
    let wrap = ["sh", "-c", "trap '' XFSZ; ulimit -S -f 2048; exec \"$0\" \"$@\""];
    let child = ended(child::start(&path, Task::FillTheDisk, None, &wrap));
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success(), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
    let written = said.lines().find_map(|line| line.split_once("written ")?.1.trim().parse::<u64>().ok());
    let written = written.expect("it says how many");
    assert!(written > 10, "only {written} records fit");
    let bus = open(&path).expect("the file is whole");
    let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Start)])).expect("a reader");
    let items = poll_until(reader.as_mut(), |items| records(items).len() as u64 == written + 1);
    let all = records(&items);
    assert!(all[..written as usize].iter().all(|record| text(record).len() == 10_000));
    assert_eq!(text(&all[written as usize]), "after");
    assert!(reader.poll(Duration::ZERO).expect("there").is_empty());
}

#[test]
fn what_was_appended_and_what_was_not_is_counted() {
    let (_folder, path) = folder();
    let metrics = Arc::new(Registry::new());
    let bus = LocalBus::open(&path, Arc::clone(&metrics)).expect("a new bus opens");
    let one = |topic| plain(topic, "a", "x");
    bus.append(vec![one(Topic::Journal), one(Topic::Actions), one(Topic::Journal)]).wait().expect("appended");
    let large = plain(Topic::Journal, "a", &"x".repeat(VALUE_BYTES_MAX + 1));
    bus.append(vec![one(Topic::Digests), large]).wait().expect_err("too large");
    // Somebody breaks the file under it: the commit fails, and with it all that was to be in it.
    let other = rusqlite::Connection::open(&path).expect("it opens");
    other.execute_batch("ALTER TABLE t_alerts RENAME TO t_gone").expect("renamed");
    bus.append(vec![one(Topic::Actions), one(Topic::Alerts)]).wait().expect_err("there is no table for it");
    let check = |metric, topic: Topic, expected: u64| {
        assert_eq!(metrics.get(metric, &[topic.name()]) as u64, expected, "{} of {topic}", metric.name);
    };
    for (topic, appended, refused) in
        [(Topic::Journal, 2, 1), (Topic::Actions, 1, 1), (Topic::Digests, 0, 1), (Topic::Alerts, 0, 1)]
    {
        check(&BUS_APPENDED, topic, appended);
        check(&BUS_REFUSED, topic, refused);
    }
}
