//! Following: a path enters; what the server adds to the log leaves, entry by entry. A file is known by its device and inode, and
//! a place in it by its offset, so that rotation by renaming, truncation and a restart of the agent lose and repeat nothing:
//! the old file is read to its end before the new one is opened. It polls, because a log may lie on any file system. It must
//! never read more in one poll than its budget, so that other work goes on.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::entries::Entries;
use super::{Dialect, Found};

/// Bytes read in one poll. 8 MiB: four polls a second keep up with any server's log writer.
const POLL_BYTES_MAX: u64 = 8 << 20;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// A place in a log, to go on from after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file's device.
    pub device: u64,
    /// The file's inode.
    pub inode: u64,
    /// The offset of the first entry that was not given out.
    pub offset: u64,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first byte.
    Beginning,
    /// Behind what is there: only new entries.
    End,
    /// Where an earlier run stopped; at the beginning when the file is another by now.
    At(Position),
}

/// What a poll did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Polled {
    /// Bytes read.
    pub bytes: u64,
    /// The log was rotated: another file has its name.
    pub rotated: bool,
    /// The log became shorter and is read from its beginning.
    pub truncated: bool,
    /// The budget was used up; more can be read at once.
    pub more: bool,
}

/// A log that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read slow log '{path}': {error}")]
pub struct FollowError {
    /// The log.
    pub path: String,
    /// What the system says.
    pub error: std::io::Error,
}

/// Follows one log.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    dialect: Dialect,
    start: Start,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// Where the next byte is read.
    offset: u64,
    entries: Entries,
}

impl Follower {
    /// Follows the log at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>, dialect: Dialect, start: Start) -> Self {
        Follower { path: path.into(), dialect, start, open: None }
    }

    /// The log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where to go on after a restart; none before a file was opened.
    pub fn position(&self) -> Option<Position> {
        self.open.as_ref().map(|open| Position {
            device: open.device,
            inode: open.inode,
            offset: open.entries.resume_offset(),
        })
    }

    /// Reads what was added, up to a budget. A missing file is no error: a server may not have written yet, or is rotating.
    pub fn poll(&mut self, mut found: impl FnMut(Found)) -> Result<Polled, FollowError> {
        self.poll_io(&mut found).map_err(|error| FollowError { path: self.path.display().to_string(), error })
    }

    fn poll_io(&mut self, found: &mut impl FnMut(Found)) -> std::io::Result<Polled> {
        let mut polled = Polled::default();
        if self.open.is_none() && !self.open_file()? {
            return Ok(polled);
        }
        let Some(open) = &mut self.open else { return Ok(polled) };
        if open.file.metadata()?.len() < open.offset {
            polled.truncated = true;
            open.entries.end(found);
            open.entries = Entries::new(self.dialect, 0);
            open.offset = open.file.seek(SeekFrom::Start(0))?;
        }
        polled.bytes = open.read(found)?;
        polled.more = polled.bytes >= POLL_BYTES_MAX;
        if polled.bytes == 0 {
            open.entries.settle(found);
            if self.is_another_file()? {
                polled.rotated = true;
                self.finish(found);
                self.start = Start::Beginning;
                self.open_file()?;
            }
        }
        Ok(polled)
    }

    /// Ends the following: what is at hand is given out or counted.
    pub fn finish(&mut self, found: &mut impl FnMut(Found)) {
        if let Some(mut open) = self.open.take() {
            open.entries.end(found);
        }
    }

    /// Whether the path now names another file than the open one; a missing one is none.
    fn is_another_file(&self) -> std::io::Result<bool> {
        let Some(open) = &self.open else { return Ok(false) };
        match std::fs::metadata(&self.path) {
            Ok(now) => Ok((now.dev(), now.ino()) != (open.device, open.inode)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open_file(&mut self) -> std::io::Result<bool> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // What is created from now on is new, all of it.
                if self.start == Start::End {
                    self.start = Start::Beginning;
                }
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        let offset = match self.start {
            Start::End => metadata.len(),
            Start::At(position) if (position.device, position.inode) == (device, inode) => {
                if position.offset <= metadata.len() { position.offset } else { 0 }
            }
            Start::Beginning | Start::At(_) => 0,
        };
        file.seek(SeekFrom::Start(offset))?;
        let entries = Entries::new(self.dialect, offset);
        self.open = Some(Open { file, device, inode, offset, entries });
        Ok(true)
    }
}

impl Open {
    fn read(&mut self, found: &mut impl FnMut(Found)) -> std::io::Result<u64> {
        let mut buffer = vec![0; READ_BYTES];
        let mut bytes = 0;
        while bytes < POLL_BYTES_MAX {
            let read = match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.entries.take(&buffer[..read], found);
            self.offset += read as u64;
            bytes += read as u64;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
}
