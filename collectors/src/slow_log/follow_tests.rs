//! Rotation in all its forms, on real files.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use super::super::Dialect;
use super::*;

fn entry(i: u32) -> String {
    format!(
        "# Time: 2026-11-21T09:01:47.011068Z\n# User@Host: a[a] @ h []  Id: 1\n\
         # Query_time: 1.0  Lock_time: 0 Rows_sent: 0  Rows_examined: 0\nSET timestamp=1;\nSELECT {i};\n"
    )
}

fn add(path: &Path, text: &str) {
    let mut file = File::options().create(true).append(true).open(path).expect("opens");
    file.write_all(text.as_bytes()).expect("writes");
}

/// Polls until nothing new comes.
fn drain(follower: &mut Follower) -> (Vec<String>, bool, bool) {
    let (mut sqls, mut rotated, mut truncated) = (Vec::new(), false, false);
    loop {
        let before = sqls.len();
        let polled = follower
            .poll(|found| match found {
                Found::Entry(entry) => sqls.push(String::from_utf8_lossy(&entry.sql).into_owned()),
                Found::Unreadable(part) => sqls.push(part.reason.to_owned()),
            })
            .expect("polls");
        rotated |= polled.rotated;
        truncated |= polled.truncated;
        if polled.bytes == 0 && !polled.rotated && sqls.len() == before {
            return (sqls, rotated, truncated);
        }
    }
}

#[test]
fn rotation_and_truncation_lose_and_repeat_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("slow.log");
    let mut follower = Follower::new(&path, Dialect::MySql, Start::End);
    assert_eq!(drain(&mut follower).0, Vec::<String>::new());
    add(&path, &entry(1));
    assert_eq!(drain(&mut follower).0, ["SELECT 1"]);
    // Half an entry is not given out.
    let second = entry(2);
    add(&path, &second[..50]);
    assert_eq!(drain(&mut follower).0, Vec::<String>::new());
    add(&path, &second[50..]);
    std::fs::rename(&path, folder.path().join("slow.log.1")).expect("renames");
    add(&folder.path().join("slow.log.1"), &entry(3));
    add(&path, &entry(4));
    assert_eq!(drain(&mut follower), (vec!["SELECT 2".into(), "SELECT 3".into(), "SELECT 4".into()], true, false));
    File::create(&path).expect("truncates");
    assert_eq!(drain(&mut follower), (vec![], false, true));
    add(&path, &entry(5));
    assert_eq!(drain(&mut follower).0, ["SELECT 5"]);
}

#[test]
fn a_restart_goes_on_at_the_entry_at_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("slow.log");
    let second = entry(2);
    add(&path, &format!("{}{}", entry(1), &second[..70]));
    let mut follower = Follower::new(&path, Dialect::MySql, Start::Beginning);
    assert_eq!(drain(&mut follower).0, ["SELECT 1"]);
    let position = follower.position().expect("a place");
    assert_eq!(position.offset, entry(1).len() as u64);
    add(&path, &second[70..]);
    let mut again = Follower::new(&path, Dialect::MySql, Start::At(position));
    assert_eq!(drain(&mut again).0, ["SELECT 2"]);
    let other = Position { inode: position.inode + 1, ..position };
    let mut anew = Follower::new(&path, Dialect::MySql, Start::At(other));
    assert_eq!(drain(&mut anew).0, ["SELECT 1", "SELECT 2"]);
}

#[test]
fn an_unreadable_log_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut follower = Follower::new(folder.path(), Dialect::MySql, Start::Beginning);
    let error = follower.poll(|_| {}).expect_err("a folder is no log");
    assert!(error.to_string().starts_with("cannot read slow log '/"), "{error}");
}

/// Long enough that files made before and after it have different birth times.
const A_TICK: std::time::Duration = std::time::Duration::from_millis(20);

/// A log at `slow.log` of a new folder, and where to go on in it.
fn read_and_stopped() -> (tempfile::TempDir, std::path::PathBuf, Position) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("slow.log");
    add(&path, &entry(1));
    let mut follower = Follower::new(&path, Dialect::MySql, Start::Beginning);
    assert_eq!(drain(&mut follower).0, ["SELECT 1"]);
    let position = follower.position().expect("a place");
    (folder, path, position)
}

/// Everything that comes after a restart, and whether it is told that something is missing.
fn after_restart(path: &Path, position: Position) -> (Vec<String>, bool) {
    let mut follower = Follower::new(path, Dialect::MySql, Start::At(position));
    let mut sqls = Vec::new();
    let first = follower.poll(|found| sqls.extend(sql(found))).expect("polls");
    sqls.extend(drain(&mut follower).0);
    (sqls, first.broken)
}

#[allow(clippy::needless_pass_by_value)] // it is given as it is found
fn sql(found: Found<'_>) -> Option<String> {
    if let Found::Entry(entry) = found { Some(String::from_utf8_lossy(&entry.sql).into_owned()) } else { None }
}

#[test]
fn what_was_renamed_while_nobody_looked_is_read_on() {
    let (folder, path, position) = read_and_stopped();
    add(&path, &entry(2));
    std::fs::rename(&path, folder.path().join("slow.log.1")).expect("renames");
    add(&path, &entry(3));
    assert_eq!(after_restart(&path, position), (vec!["SELECT 2".into(), "SELECT 3".into()], false));
}

#[test]
fn rotated_twice_while_nobody_looked_the_one_between_is_read_too() {
    let (folder, path, position) = read_and_stopped();
    let (first, second) = (folder.path().join("slow.log.1"), folder.path().join("slow.log.2"));
    add(&path, &entry(2));
    // Somebody's copy, and a compressed one of long ago, are no logs of their own.
    std::thread::sleep(A_TICK);
    std::fs::copy(&path, folder.path().join("slow.log.copy")).expect("copies");
    std::fs::write(folder.path().join("slow.log.9.gz"), [0x1f, 0x8b, 8, 0]).expect("writes");
    std::fs::rename(&path, &first).expect("renames");
    std::thread::sleep(A_TICK);
    add(&path, &entry(3));
    std::fs::rename(&first, &second).expect("renames");
    std::fs::rename(&path, &first).expect("renames");
    std::thread::sleep(A_TICK);
    add(&path, &entry(4));
    let all = ["SELECT 2", "SELECT 3", "SELECT 4"].map(String::from).to_vec();
    assert_eq!(after_restart(&path, position), (all, false));
}

#[test]
fn a_copy_of_what_was_cut_off_is_read_to_its_end() {
    let cut_off = |path: &Path, folder: &Path| {
        add(path, &entry(2));
        std::fs::copy(path, folder.join("slow.log.1")).expect("copies");
        File::create(path).expect("cuts off");
        // It has grown beyond the place by the time somebody looks.
        (3..6).for_each(|n| add(path, &entry(n)));
    };
    let all = ["SELECT 2", "SELECT 3", "SELECT 4", "SELECT 5"].map(String::from).to_vec();
    let (folder, path, position) = read_and_stopped();
    cut_off(&path, folder.path());
    assert_eq!(after_restart(&path, position), (all.clone(), false));

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("slow.log");
    add(&path, &entry(1));
    let mut follower = Follower::new(&path, Dialect::MySql, Start::Beginning);
    assert_eq!(drain(&mut follower).0, ["SELECT 1"]);
    cut_off(&path, folder.path());
    assert_eq!(drain(&mut follower), (all, true, true));
}

#[test]
fn what_is_gone_is_told() {
    let (_folder, path, position) = read_and_stopped();
    std::fs::remove_file(&path).expect("removes");
    // The file system may well give the new file the inode of the old one.
    (2..5).for_each(|n| add(&path, &entry(n)));
    let all = ["SELECT 2", "SELECT 3", "SELECT 4"].map(String::from).to_vec();
    assert_eq!(after_restart(&path, position), (all.clone(), true));
    let reused = Position { inode: std::fs::metadata(&path).expect("there").ino(), ..position };
    assert_eq!(after_restart(&path, reused), (all, true));
}

#[test]
fn before_the_first_entry_no_other_log_is_taken_for_this_one() {
    const HEAD: &str = "/usr/sbin/mysqld, Version: 9.7.0 (MySQL). started with:\nTime Id Command Argument\n";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("slow.log");
    add(&folder.path().join("slow.log.7"), &format!("{HEAD}{}", entry(7)));
    add(&path, HEAD);
    let mut follower = Follower::new(&path, Dialect::MySql, Start::Beginning);
    assert_eq!(drain(&mut follower).0, Vec::<String>::new());
    let position = follower.position().expect("a place");
    std::fs::remove_file(&path).expect("removes");
    add(&path, &format!("{HEAD}{}", entry(8)));
    // Whether it is the same file cannot be told, and nothing is lost either way.
    assert_eq!(after_restart(&path, position).0, ["SELECT 8"]);
}
