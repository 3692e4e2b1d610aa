//! The archive: every record of `journal`, `actions` and `alerts` enters, Parquet files leave, so that any incident can be
//! replayed after the bus has forgotten it. Files cover fixed ranges of offsets, `DIR/TOPIC/PARTITION/FROM-TO.parquet` (TO is
//! not included), and are written aside, synced and renamed: writing twice gives the same bytes, and a reader never sees half
//! a file. It must never overwrite a whole range with less, nor leave out a record without saying so.

mod file;
mod read;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;

pub use file::Error;
use file::Span;
pub use read::{Records, partitions, read};

/// 10,000 records per file: about 10 MB of journal before compression, an hour of a cluster of three.
pub const ROLL: u64 = 10_000;

/// What is archived: everything that a decision rested on, what was decided, and what people were told.
pub const TOPICS: [Topic; 3] = [Topic::Journal, Topic::Actions, Topic::Alerts];

/// What became of the records so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Taken.
    pub taken: u64,
    /// Had been taken before: dropped.
    pub repeated: u64,
    /// Of a topic that is not archived: dropped.
    pub foreign: u64,
    /// Offsets that never came: the bus had forgotten them.
    pub missing: u64,
    /// Whole ranges written.
    pub files: u64,
}

/// Writes the archive below one directory. One process at a time does.
#[derive(Debug)]
pub struct Archive {
    dir: PathBuf,
    partitions: BTreeMap<(Topic, u32), Pending>,
    counted: Counted,
}

/// The range of one partition that is not whole yet.
#[derive(Debug, Default)]
struct Pending {
    /// The next offset to come.
    next: u64,
    records: Vec<Record>,
}

impl Archive {
    /// Opens or makes the archive in `dir`. What a killed writer left half done is removed.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        let mut partitions = BTreeMap::new();
        for topic in TOPICS {
            file::create_dir(&dir.join(topic.name()))?;
            for partition in read::partitions(&dir, topic)? {
                let folder = file::folder(&dir, topic, partition);
                file::remove_unfinished(&folder)?;
                let whole = file::spans(&folder)?.into_iter().filter(|(span, _)| !span.open).map(|(span, _)| span.to);
                let next = whole.max().unwrap_or(0);
                partitions.insert((topic, partition), Pending { next, records: Vec::new() });
            }
        }
        Ok(Self { dir, partitions, counted: Counted::default() })
    }

    /// The next offset to ask the bus for. After a restart that is the start of the range that was not whole: its records
    /// are taken again.
    pub fn position(&self, topic: Topic, partition: u32) -> u64 {
        self.partitions.get(&(topic, partition)).map_or(0, |pending| pending.next)
    }

    /// The next offsets of every partition that has any.
    pub fn positions(&self, topic: Topic) -> BTreeMap<u32, u64> {
        let of_topic = self.partitions.iter().filter(|((of, _), _)| *of == topic);
        of_topic.map(|((_, partition), pending)| (*partition, pending.next)).collect()
    }

    /// What became of the records so far.
    pub fn counted(&self) -> Counted {
        self.counted
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes a record; a range that it completes is on disk when this returns. After an error the same record may be
    /// offered again.
    pub fn take(&mut self, record: Record) -> Result<(), Error> {
        if !TOPICS.contains(&record.topic) {
            self.counted.foreign += 1;
            return Ok(());
        }
        let (topic, partition) = (record.topic, record.partition);
        let pending = self.partitions.entry((topic, partition)).or_default();
        if record.offset < pending.next {
            self.counted.repeated += 1;
            return Ok(());
        }
        let range = record.offset / ROLL;
        let before = pending.records.first().map(|first| first.offset / ROLL);
        if before.is_some_and(|before| before < range) {
            // The rest of the range before was forgotten by the bus, it will not come any more.
            self.write_whole(topic, partition)?;
        }
        let offset = record.offset;
        let pending = self.partitions.entry((topic, partition)).or_default();
        let missing = offset - pending.next;
        pending.records.push(record);
        if (offset + 1).is_multiple_of(ROLL)
            && let Err(error) = self.write_whole(topic, partition)
        {
            // Not taken: the caller offers it again.
            if let Some(pending) = self.partitions.get_mut(&(topic, partition)) {
                pending.records.pop();
            }
            return Err(error);
        }
        self.partitions.entry((topic, partition)).or_default().next = offset + 1;
        self.counted.missing += missing;
        self.counted.taken += 1;
        Ok(())
    }

    /// Writes the ranges that are not whole yet as `FROM-TO.open.parquet`, so that a reader sees every record taken.
    /// What is missing of them is still to be taken by the same or a later writer.
    pub fn write_open(&self) -> Result<Vec<PathBuf>, Error> {
        let mut written = Vec::new();
        for ((topic, partition), pending) in &self.partitions {
            let Some(first) = pending.records.first() else { continue };
            let from = first.offset / ROLL * ROLL;
            let span = Span { from, to: pending.next, open: true };
            let folder = file::folder(&self.dir, *topic, *partition);
            let path = file::write(&folder, span, &pending.records)?;
            file::remove_open(&folder, from, Some(&path))?;
            written.push(path);
        }
        Ok(written)
    }

    fn write_whole(&mut self, topic: Topic, partition: u32) -> Result<(), Error> {
        let Some(pending) = self.partitions.get_mut(&(topic, partition)) else { return Ok(()) };
        let Some(first) = pending.records.first() else { return Ok(()) };
        let from = first.offset / ROLL * ROLL;
        let folder = file::folder(&self.dir, topic, partition);
        file::write(&folder, Span { from, to: from + ROLL, open: false }, &pending.records)?;
        file::remove_open(&folder, from, None)?;
        pending.records.clear();
        self.counted.files += 1;
        Ok(())
    }
}

/// True when `path` holds an archive: a folder with at least one archived topic.
pub fn is_archive(path: &Path) -> bool {
    TOPICS.iter().any(|topic| fs::metadata(path.join(topic.name())).is_ok_and(|meta| meta.is_dir()))
}

#[cfg(test)]
mod tests;
