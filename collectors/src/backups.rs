//! Finds backups on a host. In: places, each a folder, or a folder and a pattern of names in it. Out: when the newest whole backup there
//! was finished. A backup is an entry of the folder, a file or a folder of its own; it was finished when something in it was written last.
//! What is empty, is still written to or says itself that it was cut short is none. Nothing is opened but what programs write to say
//! that they are done; nothing is changed. Folders are walked again only when something may have changed in them.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// 5 min without a byte: a program that copies a server writes all the time.
pub const RESTS: Duration = Duration::from_mins(5);
/// 15 min before a folder that rested is walked again, though it looks the same: its own time does not tell of what is written further
/// down, as by who makes a backup over the one before. Policies are of an hour and more, so that is soon enough.
const AGAIN_AFTER: Duration = Duration::from_mins(15);
/// 10,000 entries: backups of every hour of a year.
const ENTRIES_MAX: usize = 10_000;
/// The 20 newest are looked into: of older ones none is the newest whole one, unless 20 in a row failed.
const LOOKED_INTO: usize = 20;
/// 200,000 files of a backup: a server with more tables has others that say when it was written.
const FILES_MAX: usize = 200_000;
/// 1 KiB at either end of a dump has the line that the program writes there.
const END_BYTES: u64 = 1 << 10;

/// Looks for backups, and knows what it walked through.
#[derive(Debug, Default)]
pub struct Finder {
    /// The folders that it looked into last, each as it was.
    walked: BTreeMap<PathBuf, Walked>,
}

/// What a walk through a folder found.
#[derive(Clone, Copy, Debug)]
struct Walked {
    /// When it was walked.
    at: SystemTime,
    /// The folder's own time then: it moves when an entry comes or goes.
    own: SystemTime,
    /// When something below was written last, and how many bytes there were; none: nothing is below.
    below: Option<(SystemTime, u64)>,
}

impl Walked {
    /// Whether what it found is still all that matters, where the folder's own time is `own`. What was written to at a time is no backup
    /// for [`RESTS`] after it, whatever is written meanwhile.
    fn holds(&self, own: SystemTime, now: SystemTime) -> bool {
        let past = |since: SystemTime| now.duration_since(since).ok();
        let Some(((last, _), walked)) = self.below.zip(past(self.at)) else { return false };
        let rested = self.at.duration_since(last).is_ok_and(|since| since >= RESTS);
        let due = if rested { walked >= AGAIN_AFTER } else { past(last).is_none_or(|since| since >= RESTS) };
        self.own == own && !due
    }
}

impl Finder {
    /// The end of the newest whole backup at these places, each of which is a folder, or a pattern of names in one: `/backups/*.sql.gz`.
    pub fn newest(&mut self, places: &[PathBuf], now: SystemTime) -> Option<SystemTime> {
        let before = std::mem::take(&mut self.walked);
        let entries = places.iter().flat_map(|place| newest_entries(place));
        entries.filter_map(|path| self.finished(&path, &before, now)).max()
    }

    /// When a backup was finished, if it was.
    fn finished(&mut self, path: &Path, before: &BTreeMap<PathBuf, Walked>, now: SystemTime) -> Option<SystemTime> {
        let about = std::fs::metadata(path).ok()?;
        let own = about.modified().ok()?;
        let (last, bytes) = if about.is_dir() {
            let known = before.get(path).filter(|walked| walked.holds(own, now)).copied();
            let walked = known.unwrap_or_else(|| Walked { at: now, own, below: written(path) });
            self.walked.insert(path.to_owned(), walked);
            walked.below?
        } else {
            (own, about.len())
        };
        let rests = now.duration_since(last).is_ok_and(|since| since >= RESTS);
        let whole = if about.is_dir() { is_whole_copy(path) } else { is_whole_dump(path, &about) };
        (bytes > 0 && rests && whole).then_some(last)
    }
}

/// The entries of a place that are looked into.
fn newest_entries(find: &Path) -> Vec<PathBuf> {
    let (folder, pattern) = place(find);
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.flatten().take(ENTRIES_MAX);
    let named = entries.filter(|entry| fits(&entry.file_name().to_string_lossy(), pattern.as_deref().unwrap_or("*")));
    let mut entries: Vec<(SystemTime, PathBuf)> = named
        .filter_map(|entry| Some((std::fs::metadata(entry.path()).ok()?.modified().ok()?, entry.path())))
        .collect();
    entries.sort_by(|one, other| other.cmp(one));
    entries.into_iter().take(LOOKED_INTO).map(|(_, path)| path).collect()
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

    /// What somebody finds who looks for the first time.
    fn newest(find: &Path, now: SystemTime) -> Option<SystemTime> {
        Finder::default().newest(&[find.to_owned()], now)
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

    /// Sets a folder's own time so many minutes ago, as if nothing had come into it since.
    fn touch(folder: &Path, minutes_ago: u64, now: SystemTime) {
        let at = now - Duration::from_mins(minutes_ago);
        File::open(folder).and_then(|file| file.set_modified(at)).expect("a time");
    }

    /// Each look of one finder, so many minutes from now: what it says.
    struct Looks<'a>(Finder, &'a Path, SystemTime);

    impl Looks<'_> {
        fn at(&mut self, minutes: u64) -> Option<SystemTime> {
            self.0.newest(&[self.1.to_owned()], self.2 + Duration::from_mins(minutes))
        }
    }

    #[test]
    fn what_rested_is_walked_again_when_its_own_time_changed_or_a_quarter_of_an_hour_later() {
        let (folder, now) = (tempfile::tempdir().expect("a folder"), SystemTime::now());
        let (full, deep) = (folder.path().join("full"), folder.path().join("full/shop/orders.ibd"));
        let first = put(&deep, "x", 60, now);
        touch(&full, 60, now);
        let mut looks = Looks(Finder::default(), folder.path(), now);
        assert_eq!(looks.at(0), Some(first));
        // Somebody writes over it, far below: the folder's own time is the same.
        let second = put(&deep, "y", 10, now);
        touch(&full, 60, now);
        assert_eq!([1, 14].map(|minutes| looks.at(minutes)), [Some(first); 2], "it was not walked");
        assert_eq!(looks.at(15), Some(second));
        // An entry comes in: that is seen at once.
        let third = put(&full.join("last.ibd"), "z", 5, now);
        touch(&full, 5, now);
        assert_eq!(looks.at(16), Some(third));
        // It goes away, and with it what was known of it.
        fs::remove_dir_all(&full).expect("it is there");
        assert_eq!((looks.at(17), looks.0.walked.len()), (None, 0));
    }

    #[test]
    fn what_is_written_to_is_walked_again_when_it_could_have_rested() {
        let (folder, now) = (tempfile::tempdir().expect("a folder"), SystemTime::now());
        let (full, deep) = (folder.path().join("full"), folder.path().join("full/shop/orders.ibd"));
        put(&deep, "x", 2, now);
        touch(&full, 2, now);
        let mut looks = Looks(Finder::default(), folder.path(), now);
        assert_eq!(looks.at(0), None);
        // It is written on, a minute later; at its end it must rest like any other.
        let last = put(&deep, "xy", 0, now + Duration::from_mins(1));
        touch(&full, 2, now);
        assert_eq!([2, 3, 5].map(|minutes| looks.at(minutes)), [None; 3]);
        assert_eq!(looks.at(6), Some(last), "as soon as by a finder that walks each time");
    }

    #[test]
    fn a_clock_that_was_put_back_makes_it_look_again() {
        let (folder, now) = (tempfile::tempdir().expect("a folder"), SystemTime::now());
        let deep = folder.path().join("full/shop/orders.ibd");
        put(&deep, "x", 60, now);
        let mut looks = Looks(Finder::default(), folder.path(), now);
        assert!(looks.at(600).is_some());
        let second = put(&deep, "y", 30, now);
        assert_eq!(looks.at(0), Some(second));
    }
}
