//! A second process for the tests of the local bus: this test binary once more, told by its environment what to do. It writes,
//! and notes outside the bus what the bus has acknowledged, until it is killed.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace::bus::failpoint;
use millrace::bus::{Assignment, Bus as _, Error, Snapshot};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;

use super::{open, plain};

const FILE: &str = "MILLRACE_TEST_BUS";
const TASK: &str = "MILLRACE_TEST_BUS_TASK";

/// Records per append: a half one would show.
pub(super) const BATCH: usize = 3;

/// Rounds per child: enough that there is something to lose.
const ROUNDS: usize = 3;

/// What a child is told to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// Rounds of append, snapshot, commit, retention.
    Write,
    /// Open, say so, and wait to be killed.
    Hold,
    /// Write until the disk is full, then with room again, and see that nothing is broken.
    FillTheDisk,
}

/// Starts a child on the bus file; `wrap` may put a program before it.
pub(super) fn start(path: &Path, task: Task, die_at: Option<&str>, wrap: &[&str]) -> Child {
    let own = std::env::current_exe().expect("this test binary");
    let words: Vec<&std::ffi::OsStr> = wrap.iter().map(std::ffi::OsStr::new).chain([own.as_os_str()]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["bus::child::entry", "--exact", "--nocapture"]);
    command.env(FILE, path).env(TASK, format!("{task:?}")).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(point) = die_at {
        command.env(failpoint::VARIABLE, point);
    }
    command.spawn().expect("a child starts")
}

/// Where a child notes what was acknowledged.
pub(super) fn notes(path: &Path) -> PathBuf {
    path.with_extension("acknowledged")
}

/// Waits for a line of the child's output.
pub(super) fn wait_for(child: &mut Child, line: &str) {
    let mut output = child.stdout.take().expect("piped");
    let mut text = Vec::new();
    let mut byte = [0];
    while output.read(&mut byte).expect("readable") == 1 {
        text.push(byte[0]);
        if text.ends_with(line.as_bytes()) {
            child.stdout = Some(output);
            return;
        }
    }
    panic!("the child ended without saying {line}: {}", String::from_utf8_lossy(&text));
}

/// What a child runs. In the parent's own run there is nothing to do, and that is what it checks.
#[test]
fn entry() {
    let Ok(path) = std::env::var(FILE) else {
        assert!(std::env::var(TASK).is_err(), "a task without a file");
        return;
    };
    let path = Path::new(&path);
    let task = std::env::var(TASK).expect("a task");
    match task.as_str() {
        "Hold" => hold(path),
        "FillTheDisk" => fill_the_disk(path),
        "Write" => write_rounds(path),
        other => panic!("{other} is no task"),
    }
}

fn hold(path: &Path) {
    let _bus = open(path).expect("it opens");
    println!("held");
    std::thread::sleep(Duration::from_mins(10)); // it is killed long before
}

fn note(file: &mut File, what: &str, number: usize) {
    writeln!(file, "{what} {number}").expect("noted");
}

fn write_rounds(path: &Path) {
    let bus = open(path).expect("it opens");
    let mut notes = OpenOptions::new().create(true).append(true).open(notes(path)).expect("notes");
    let mut member =
        bus.reader(Assignment::Group { group: "g".to_owned(), topics: vec![Topic::Journal] }).expect("a member");
    let before = bus.end(Topic::Journal, 0).expect("an end") as usize / BATCH;
    for round in before..before + ROUNDS {
        let batch: Vec<_> = (0..BATCH).map(|part| plain(Topic::Journal, "a", &format!("{round} {part}"))).collect();
        bus.append(batch).wait().expect("appended");
        note(&mut notes, "append", round);
        bus.append(vec![plain(Topic::Queries, "a", &format!("{round}"))]).wait().expect("appended");
        let snapshot = |entity: &str| Snapshot {
            processor: "p.v1".to_owned(),
            partition: 0,
            entity: entity.to_owned(),
            next: round as u64,
            value: vec![],
        };
        bus.save(vec![snapshot("a"), snapshot("b")]).expect("saved");
        note(&mut notes, "snapshot", round);
        member.commit(Topic::Journal, 0, round as u64).expect("committed");
        note(&mut notes, "offset", round);
    }
    let days = Duration::from_hours(4 * 24); // queries go after three, the journal stays
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + days;
    bus.expire(Timestamp(i64::try_from(now.as_micros()).expect("a time"))).expect("retention runs");
}

/// The limit on the size of files, set by the parent's wrapper, is this child's full disk; it lifts it itself.
fn fill_the_disk(path: &Path) {
    let bus = open(path).expect("a new bus fits");
    let mut written = 0;
    let full = loop {
        match bus.append(vec![plain(Topic::Journal, "a", &"x".repeat(10_000))]).wait() {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000, "the disk never gets full");
    };
    assert!(matches!(full, Error::Unavailable(_)), "{full}");
    let again = bus.append(vec![plain(Topic::Journal, "a", &"x".repeat(10_000))]).wait();
    assert!(again.is_err(), "it stays so while the disk is full");
    assert_eq!(bus.end(Topic::Journal, 0), Ok(written), "nothing that was refused has an offset");

    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    let lifted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, lifted).expect("the soft limit may be lifted");
    bus.append(vec![plain(Topic::Journal, "a", "after")]).wait().expect("there is room again");
    assert_eq!(bus.end(Topic::Journal, 0), Ok(written + 1));
    println!("written {written}");
}
