//! Following: a path enters; what the server adds to the log leaves, entry by entry. Rotation by renaming or by copying and cutting
//! off, also several times while nobody looked, and a restart of the agent lose and repeat nothing: the old file is read to its end
//! before the new one is opened. Where the old one is gone, that is told. It polls, because a log may lie on any file system. It
//! must never read more in one poll than its budget, so that other work goes on.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use millrace_schemas::digest::Syntax;

use super::entries::Entries;
use super::rotation::{Position, before, keep_end, unseen};
use super::{Found, Style};

/// Bytes read in one poll. 8 MiB: four polls a second keep up with any server's log writer.
const POLL_BYTES_MAX: u64 = 8 << 20;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the first byte.
    Beginning,
    /// Behind what is there: only new entries.
    End,
    /// Where an earlier run stopped, in whichever file that is by now; at the beginning of the log when it is gone.
    At(Position),
}

/// What a poll did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Polled {
    /// Bytes read.
    pub bytes: u64,
    /// The log was rotated: another file has its name.
    pub rotated: bool,
    /// The log was cut off, and is read from its beginning once a copy of what it was is read to its end.
    pub truncated: bool,
    /// What came after the last place that was read is gone: the log was cut off or removed, and there is no copy.
    pub broken: bool,
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
    style: Style,
    start: Start,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Where the next byte is read.
    offset: u64,
    /// What was read right before it: a log that was cut off and has grown again has other bytes there.
    before: Vec<u8>,
    entries: Entries,
}

impl Follower {
    /// Follows the log at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>, style: impl Into<Style>, start: Start) -> Self {
        Follower { path: path.into(), style: style.into(), start, open: None }
    }

    /// The log.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The statements that come are to be read so.
    pub fn read_as(&mut self, syntax: Syntax) {
        self.style.syntax = syntax;
        if let Some(open) = &mut self.open {
            open.entries.read_as(syntax);
        }
    }

    /// Where to go on after a restart; none before a file was opened, or when it cannot be read.
    pub fn position(&self) -> Option<Position> {
        let open = self.open.as_ref()?;
        Position::of(&open.file, open.entries.resume_offset()).ok()
    }

    /// Reads what was added, up to a budget. A missing file is no error: a server may not have written yet, or is rotating.
    pub fn poll(&mut self, mut found: impl FnMut(Found<'_>)) -> Result<Polled, FollowError> {
        self.poll_io(&mut found).map_err(|error| FollowError { path: self.path.display().to_string(), error })
    }

    fn poll_io(&mut self, found: &mut impl FnMut(Found<'_>)) -> std::io::Result<Polled> {
        let mut polled = Polled::default();
        if self.open.is_none() && !self.open_file(&mut polled)? {
            return Ok(polled);
        }
        let Some(open) = &mut self.open else { return Ok(polled) };
        if open.was_cut_off() {
            polled.truncated = true;
            polled.broken = !open.turn_to_copy(&self.path);
            if polled.broken {
                open.entries.end(found);
                let file = File::open(&self.path)?;
                self.open = Some(Open::at(file, 0, self.style)?);
            }
        }
        let Some(open) = &mut self.open else { return Ok(polled) };
        polled.bytes = open.read(found)?;
        polled.more = polled.bytes >= POLL_BYTES_MAX;
        if polled.bytes == 0 {
            open.entries.settle(found);
            if open.is_another_than(&self.path)? {
                polled.rotated = true;
                open.entries.end(found);
                let next = unseen(&self.path, &open.file).unwrap_or_else(|| self.path.clone());
                self.open = None;
                self.start = Start::Beginning;
                // Gone again by now: the next poll looks for it.
                if let Ok(file) = File::open(next) {
                    self.open = Some(Open::at(file, 0, self.style)?);
                }
            }
        }
        Ok(polled)
    }

    /// Ends the following: what is at hand is given out or counted.
    pub fn finish(&mut self, found: &mut impl FnMut(Found<'_>)) {
        if let Some(mut open) = self.open.take() {
            open.entries.end(found);
        }
    }

    fn open_file(&mut self, polled: &mut Polled) -> std::io::Result<bool> {
        if let Start::At(position) = self.start {
            if let Some(file) = position.find(&self.path) {
                self.open = Some(Open::at(file, position.offset, self.style)?);
                return Ok(true);
            }
            polled.broken = true;
            self.start = Start::Beginning;
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // What is created from now on is new, all of it.
                self.start = Start::Beginning;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let offset = if self.start == Start::End { file.metadata()?.len() } else { 0 };
        self.open = Some(Open::at(file, offset, self.style)?);
        Ok(true)
    }
}

impl Open {
    fn at(mut file: File, offset: u64, style: Style) -> std::io::Result<Self> {
        file.seek(SeekFrom::Start(offset))?;
        let before = before(&file, offset)?;
        Ok(Self { file, offset, before, entries: Entries::new(style, offset) })
    }

    fn was_cut_off(&self) -> bool {
        before(&self.file, self.offset).is_ok_and(|bytes| bytes != self.before)
            || self.file.metadata().is_ok_and(|metadata| metadata.len() < self.offset)
    }

    /// Reads on in a copy of what the file was; false where there is none.
    fn turn_to_copy(&mut self, path: &Path) -> bool {
        let copy = Position::behind(&self.file, self.offset, &self.before).and_then(|at| at.find(path));
        let Some(mut copy) = copy else { return false };
        if copy.seek(SeekFrom::Start(self.offset)).is_err() {
            return false;
        }
        self.file = copy;
        true
    }

    /// Whether `path` now names another file than this; a missing one is none.
    fn is_another_than(&self, path: &Path) -> std::io::Result<bool> {
        let own = self.file.metadata()?;
        match std::fs::metadata(path) {
            Ok(now) => Ok((now.dev(), now.ino()) != (own.dev(), own.ino())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self, found: &mut impl FnMut(Found<'_>)) -> std::io::Result<u64> {
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
            keep_end(&mut self.before, &buffer[..read]);
            self.offset += read as u64;
            bytes += read as u64;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
