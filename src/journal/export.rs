//! A bus in, an archive out: `journal`, `actions` and `alerts` up to what is appended when the export begins, the open ranges
//! included. The archive may be there already: then only what it lacks is read. It changes nothing on the bus.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use millrace_schemas::topics::Topic;
use millrace_sinks::archive::{Archive, TOPICS};
use serde::Serialize;

use super::SCHEMA_VERSION;
use crate::bus::{Assignment, From, Polled, Reader, SharedBus};

/// 30 s without a record that must be there: the bus is away or has lost it.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// 200 ms per poll: how late the end is noticed at most.
const POLL: Duration = Duration::from_millis(200);

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Version of this JSON.
    pub schema_version: u32,
    /// The archive.
    pub dir: PathBuf,
    /// Records that this export added, by topic.
    pub records: BTreeMap<String, u64>,
    /// Whole ranges written.
    pub files: u64,
    /// Open ranges written.
    pub open_files: Vec<PathBuf>,
    /// Offsets that the bus had already forgotten.
    pub missing: u64,
}

/// Exports to the archive in `dir`. Blocks until everything is on disk.
pub fn export(bus: &SharedBus, dir: &Path) -> anyhow::Result<Exported> {
    let mut archive = Archive::open(dir).context("the archive cannot be opened")?;
    let mut records = BTreeMap::new();
    // The journal first: then each of its decisions that is archived has its causes in the archive too.
    for topic in TOPICS {
        let before = archive.counted().taken;
        copy(bus, topic, &mut archive).with_context(|| format!("topic {topic} cannot be exported"))?;
        records.insert(topic.name().to_owned(), archive.counted().taken - before);
    }
    let open_files = archive.write_open().context("the open ranges cannot be written")?;
    let counted = archive.counted();
    Ok(Exported {
        schema_version: SCHEMA_VERSION,
        dir: dir.to_owned(),
        records,
        files: counted.files,
        open_files,
        missing: counted.missing,
    })
}

fn copy(bus: &SharedBus, topic: Topic, archive: &mut Archive) -> anyhow::Result<()> {
    let mut ends: BTreeMap<u32, u64> = (0..).zip(bus.ends(topic)?).collect();
    ends.retain(|partition, end| archive.position(topic, *partition) < *end);
    if ends.is_empty() {
        return Ok(());
    }
    let mut reader = bus.reader(Assignment::Manual(vec![(topic, From::Offsets(archive.positions(topic)))]))?;
    let mut progress = Instant::now();
    while !ends.is_empty() {
        let polled = next(reader.as_mut())?;
        if !polled.is_empty() {
            progress = Instant::now();
        } else if progress.elapsed() > SILENCE_MAX {
            bail!("the bus gave no record for {} s before the end was reached", SILENCE_MAX.as_secs());
        }
        for item in polled {
            match item {
                // Everything below `next` has been forgotten.
                Polled::Gained { partition, next, .. } => ends.retain(|at, end| *at != partition || next < *end),
                // The archive keeps what was there, with its signature or without: whoever reads it judges again.
                Polled::Record(record) | Polled::Refused { record, .. }
                    if ends.get(&record.partition).is_some_and(|end| record.offset < *end) =>
                {
                    let (partition, offset) = (record.partition, record.offset);
                    archive.take(record)?;
                    ends.retain(|at, end| *at != partition || offset + 1 < *end);
                }
                Polled::Record(record) | Polled::Refused { record, .. } => {
                    ends.retain(|at, end| *at != record.partition || record.offset < *end);
                }
                Polled::Lost { .. } => {}
            }
        }
    }
    Ok(())
}

fn next(reader: &mut dyn Reader) -> anyhow::Result<Vec<Polled>> {
    Ok(reader.poll(POLL)?)
}
