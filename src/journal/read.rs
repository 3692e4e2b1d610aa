//! The records of the journal, from the bus that has them now or from the archive that kept them, for those who ask why.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;
use millrace_sinks::archive::{is_archive, partitions, read};

use crate::bus::{Assignment, From, Polled, SharedBus};

/// 200 ms per poll: how late the end is noticed at most.
const POLL: Duration = Duration::from_millis(200);
/// 25 polls, 5 s, without a record: what is still missing was forgotten since the end was asked for.
const EMPTY_MAX: u32 = 25;

/// The journal of the bus up to its end as of now, in order within each partition. Blocks while it reads.
pub fn appended(bus: &SharedBus) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Record>> + use<>> {
    appended_to(bus, Topic::Journal)
}

/// The same of any topic.
pub fn appended_to(
    bus: &SharedBus,
    topic: Topic,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Record>> + use<>> {
    let mut ends: BTreeMap<u32, u64> = (0..).zip(bus.ends(topic)?).filter(|(_, end)| *end > 0).collect();
    let mut reader = bus.reader(Assignment::Manual(vec![(topic, From::Start)]))?;
    let mut ready = VecDeque::new();
    let mut empty = 0;
    Ok(std::iter::from_fn(move || {
        loop {
            if let Some(record) = ready.pop_front() {
                return Some(Ok(record));
            }
            if ends.is_empty() || empty > EMPTY_MAX {
                return None;
            }
            let polled = match reader.poll(POLL) {
                Ok(polled) => polled,
                Err(error) => {
                    ends.clear();
                    return Some(Err(error.into()));
                }
            };
            empty = if polled.is_empty() { empty + 1 } else { 0 };
            for item in polled {
                match item {
                    Polled::Gained { partition, next, .. } => ends.retain(|at, end| *at != partition || next < *end),
                    Polled::Record(record) => {
                        ends.retain(|at, end| *at != record.partition || record.offset + 1 < *end);
                        ready.push_back(record);
                    }
                    Polled::Refused { record, .. } => {
                        ends.retain(|at, end| *at != record.partition || record.offset + 1 < *end);
                    }
                    Polled::Lost { .. } => {}
                }
            }
        }
    }))
}

/// The journal of the archive in `dir`, partition after partition.
pub fn archived(dir: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Record>> + use<>> {
    if !is_archive(dir) {
        bail!("{} holds no archive: write one with `millrace journal export`", dir.display());
    }
    let mut files = Vec::new();
    for partition in partitions(dir, Topic::Journal)? {
        files.push(read(dir, Topic::Journal, partition)?);
    }
    Ok(files.into_iter().flatten().map(|record| record.map_err(Into::into)))
}
