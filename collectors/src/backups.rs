//! Finds backups on a host. In: a folder, or a folder and a pattern of names in it. Out: when the newest whole backup there was finished.
//! A backup is an entry of the folder, a file or a folder of its own; it was finished when something in it was written last. What is
//! empty, is still written to or says itself that it was cut short is none. Nothing is opened but what programs write to say that
//! they are done; nothing is changed.

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// 5 min without a byte: a program that copies a server writes all the time.
pub const RESTS: Duration = Duration::from_mins(5);
/// 10,000 entries: backups of every hour of a year.
const ENTRIES_MAX: usize = 10_000;
/// The 20 newest are looked into: of older ones none is the newest whole one, unless 20 in a row failed.
const LOOKED_INTO: usize = 20;
/// 200,000 files of a backup: a server with more tables has others that say when it was written.
const FILES_MAX: usize = 200_000;
/// 1 KiB at either end of a dump has the line that the program writes there.
const END_BYTES: u64 = 1 << 10;

/// The end of the newest whole backup at `find`, which is a folder, or a pattern of names in one: `/backups/*.sql.gz`.
pub fn newest(find: &Path, now: SystemTime) -> Option<SystemTime> {
    let (folder, pattern) = place(find);
    let entries = std::fs::read_dir(folder).ok()?.flatten().take(ENTRIES_MAX);
    let named = entries.filter(|entry| fits(&entry.file_name().to_string_lossy(), pattern.as_deref().unwrap_or("*")));
    let mut entries: Vec<(SystemTime, PathBuf)> = named
        .filter_map(|entry| Some((std::fs::metadata(entry.path()).ok()?.modified().ok()?, entry.path())))
        .collect();
    entries.sort_by(|one, other| other.cmp(one));
    entries.iter().take(LOOKED_INTO).filter_map(|(_, path)| finished(path, now)).max()
}

fn place(find: &Path) -> (&Path, Option<String>) {
    let name = find.file_name().map(|name| name.to_string_lossy().into_owned()).filter(|name| name.contains('*'));
    match (name, find.parent()) {
        (Some(name), Some(folder)) => (folder, Some(name)),
        _ => (find, None),
    }
}

/// Whether a name is as a pattern says, in which `*` stands for anything.
fn fits(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            let mut ends = (0..=rest.len()).filter(|at| rest.is_char_boundary(*at));
            ends.any(|at| fits(&rest[at..], after))
        }),
    }
}

/// When a backup was finished, if it was.
fn finished(path: &Path, now: SystemTime) -> Option<SystemTime> {
    let own = std::fs::metadata(path).ok()?;
    let (last, bytes) = if own.is_dir() { written(path)? } else { (own.modified().ok()?, own.len()) };
    let rests = now.duration_since(last).is_ok_and(|since| since >= RESTS);
    let whole = if own.is_dir() { is_whole_copy(path) } else { is_whole_dump(path, &own) };
    (bytes > 0 && rests && whole).then_some(last)
}

/// When something below a folder was written last, and how many bytes there are.
fn written(folder: &Path) -> Option<(SystemTime, u64)> {
    let (mut last, mut bytes, mut files) = (None, 0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            files += 1;
            if files > FILES_MAX {
                return last.map(|last| (last, bytes));
            }
            // Of the link, where it is one: it may lead anywhere.
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                folders.push(entry.path());
            } else {
                last = last.max(about.modified().ok());
                bytes += about.len();
            }
        }
    }
    last.map(|last| (last, bytes))
}

/// mariadb-backup and `XtraBackup` write `backup-my.cnf` early, and what the backup is at the very end; MySQL Enterprise Backup has that
/// in `meta`. Of other folders it is not known.
fn is_whole_copy(folder: &Path) -> bool {
    let ends = ["xtrabackup_info", "mariadb_backup_info", "meta/backup_variables.txt"];
    !folder.join("backup-my.cnf").exists() || ends.iter().any(|end| folder.join(end).exists())
}

/// A dump with the comment at its head has one at its end too. Of what is compressed, or has no comments, it is not known.
fn is_whole_dump(file: &Path, about: &Metadata) -> bool {
    let Ok(mut file) = File::open(file) else { return true };
    let mut part = |at: u64| {
        let mut bytes = Vec::new();
        let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.by_ref().take(END_BYTES).read_to_end(&mut bytes));
        read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
    };
    let head = part(0);
    let is_dump = head.contains("-- MySQL dump ") || head.contains("-- MariaDB dump ");
    !is_dump || part(about.len().saturating_sub(END_BYTES)).contains("-- Dump completed")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Writes a file so many minutes ago.
    fn put(path: &Path, text: &str, minutes_ago: u64, now: SystemTime) -> SystemTime {
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, text).expect("writable");
        let at = now - Duration::from_mins(minutes_ago);
        File::options().write(true).open(path).and_then(|file| file.set_modified(at)).expect("a time");
        at
    }

    #[test]
    fn a_name_fits_a_pattern_or_not() {
        let check =
            |name: &str, pattern: &str, expected: bool| assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
        check("shop.sql.gz", "*.sql.gz", true);
        check("shop.sql", "*.sql.gz", false);
        check("full-2026-12-01.tar", "full-*.tar", true);
        check("a-b-c", "*-*-c", true);
        check("a-c", "*-*-c", false);
        check("é", "*", true);
        check("", "*", true);
    }

    #[test]
    fn the_newest_whole_backup_counts_and_nothing_that_is_still_written_or_was_cut_short() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, now) = (folder.path(), SystemTime::now());
        let newest = |find: &str| newest(&root.join(find), now);
        assert_eq!(newest("none-such"), None);
        assert_eq!(newest(""), None, "an empty folder");
        put(&root.join("empty.sql.gz"), "", 60, now);
        assert_eq!(newest(""), None, "nothing is in it");
        let old = put(&root.join("old.sql.gz"), "x", 3_000, now);
        put(&root.join("written.sql.gz"), "x", 4, now);
        assert_eq!(newest(""), Some(old), "the other one is written to");
        put(&root.join("future.sql.gz"), "x", 0, now + Duration::from_hours(9));
        assert_eq!(newest("*.sql.gz"), Some(old), "a time that has not come is none");
        let head = "-- MariaDB dump 10.19  Distrib\n";
        put(&root.join("cut.sql"), &format!("{head}INSERT"), 20, now);
        assert_eq!(newest(""), Some(old), "the dump was cut short");
        let whole = put(&root.join("whole.sql"), &format!("{head}INSERT\n-- Dump completed on 2026-12-01\n"), 30, now);
        assert_eq!((newest(""), newest("*.gz"), newest("none-*")), (Some(whole), Some(old), None));
    }

    #[test]
    fn a_folder_is_a_backup_when_its_program_was_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, now) = (folder.path(), SystemTime::now());
        put(&root.join("full/backup-my.cnf"), "x", 40, now);
        let last = put(&root.join("full/shop/orders.ibd"), "x", 12, now);
        assert_eq!(newest(root, now), None, "it never came to its end");
        put(&root.join("full/xtrabackup_info"), "x", 13, now);
        assert_eq!(newest(root, now), Some(last), "when something was written last");
        put(&root.join("full/shop/orders.ibd"), "y", 2, now);
        assert_eq!(newest(root, now), None, "it is written to");
        let other = put(&root.join("dumper/metadata"), "x", 50, now);
        assert_eq!(newest(root, now), Some(other));
    }
}
