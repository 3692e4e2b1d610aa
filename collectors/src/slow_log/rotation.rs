//! Which file a place in a log is in. Rotation changes names, file systems use inodes again, and the first lines of all slow logs
//! are equal; the bytes right before a place are not.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// 256 bytes before a place tell it from others: they hold the time of an entry, to the microsecond, or its statement.
const BEFORE_BYTES: u64 = 256;
/// 4 KiB that are equal from the first byte on: one file is a copy of the other, since the first entries have times.
const START_BYTES: usize = 4 << 10;
/// Every entry has such a line, and every log begins with one of these.
const ENTRY: &[u8] = b"# Query_time: ";
const SERVER: &[u8] = b"started with:";

/// A place in a log, to go on from after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file's device.
    pub device: u64,
    /// The file's inode.
    pub inode: u64,
    /// The offset of the first entry that was not given out.
    pub offset: u64,
    /// XXH3 of the up to 256 bytes before it; absent in what an earlier version stored, which is believed by the inode.
    #[serde(default)]
    pub before: Option<u64>,
}

impl Position {
    /// The place at `offset` of `file`.
    pub(super) fn of(file: &File, offset: u64) -> io::Result<Self> {
        Self::behind(file, offset, &before(file, offset)?).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The place at `offset` of `file`, where `before` was read right before it; the file may have other bytes there by now.
    pub(super) fn behind(file: &File, offset: u64, before: &[u8]) -> Option<Self> {
        let (device, inode) = inode(file)?;
        Some(Self { device, inode, offset, before: Some(xxh3_64(before)) })
    }

    /// True when it is in `file`, whose name and inode may be others by now.
    fn has_its_bytes(&self, file: &File) -> bool {
        let same = |known| before(file, self.offset).is_ok_and(|bytes| xxh3_64(&bytes) == known);
        file.metadata().is_ok_and(|metadata| metadata.len() >= self.offset) && self.before.is_none_or(same)
    }

    /// What comes before the first entry of a log is equal in many.
    fn is_behind_an_entry(&self, file: &File) -> bool {
        let start = start(file).unwrap_or_default();
        self.offset > START_BYTES as u64 || has(&start[..start.len().min(self.offset as usize)], ENTRY)
    }

    fn is_inode_of(&self, metadata: &Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }

    /// The file that it is in: the log at `path`, one that was the log and was renamed, or a copy of what the log was before it
    /// was cut off.
    pub(super) fn find(&self, path: &Path) -> Option<File> {
        let is_it = |file: &File| file.metadata().is_ok_and(|metadata| self.is_inode_of(&metadata));
        if let Ok(file) = File::open(path)
            && is_it(&file)
            && self.has_its_bytes(&file)
        {
            return Some(file);
        }
        let others = || beside(path).filter_map(|other| File::open(other).ok());
        let renamed = others().find(|file| is_it(file) && self.has_its_bytes(file));
        let is_copy = |file: &File| self.before.is_some() && self.has_its_bytes(file) && self.is_behind_an_entry(file);
        renamed.or_else(|| others().find(is_copy))
    }
}

/// Takes `read` behind `end`, of which the last 256 bytes are kept.
pub(super) fn keep_end(end: &mut Vec<u8>, read: &[u8]) {
    end.extend_from_slice(&read[read.len().saturating_sub(BEFORE_BYTES as usize)..]);
    end.drain(..end.len().saturating_sub(BEFORE_BYTES as usize));
}

/// The up to 256 bytes before `offset`.
pub(super) fn before(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let bytes = offset.min(BEFORE_BYTES);
    let mut read = vec![0; bytes as usize];
    file.read_exact_at(&mut read, offset - bytes)?;
    Ok(read)
}

/// The log that followed `done` and was itself rotated away before anybody looked: made after it and before the one at `path`.
/// Not a copy that somebody made of either, nor one that was compressed.
pub(super) fn unseen(path: &Path, done: &File) -> Option<PathBuf> {
    let (done_at, now) = (created(done)?, File::open(path).ok()?);
    let until = created(&now)?;
    let (starts, inodes) = ([start(done), start(&now)], [inode(done), inode(&now)]);
    let mut between: Vec<(SystemTime, PathBuf)> = beside(path)
        .filter_map(|other| {
            let file = File::open(&other).ok()?;
            let at = created(&file)?;
            let is_between = done_at < at && at <= until && !inodes.contains(&inode(&file));
            let start = start(&file)?;
            let is_log = has(&start, ENTRY) || has(&start, SERVER);
            let is_copy = starts.iter().flatten().any(|known| known.starts_with(&start));
            (is_between && is_log && !is_copy).then_some((at, other))
        })
        .collect();
    between.sort();
    between.into_iter().next().map(|(_, path)| path)
}

/// Files in the folder of the log whose names begin as its own does, as rotation names them.
fn beside(path: &Path) -> impl Iterator<Item = PathBuf> {
    let (folder, name) = (path.parent().unwrap_or(Path::new(".")), path.file_name().unwrap_or_default().to_owned());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_like_it = move |other: &fs::DirEntry| {
        let bytes = other.file_name();
        bytes != name
            && bytes.as_encoded_bytes().starts_with(name.as_encoded_bytes())
            && other.file_type().is_ok_and(|kind| kind.is_file())
    };
    entries.filter(is_like_it).map(|other| other.path())
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn created(file: &File) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.created()).ok()
}

fn inode(file: &File) -> Option<(u64, u64)> {
    file.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn start(file: &File) -> Option<Vec<u8>> {
    let mut start = vec![0; START_BYTES];
    let read = file.read_at(&mut start, 0).ok()?;
    start.truncate(read);
    Some(start)
}
