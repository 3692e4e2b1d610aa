//! Runs the processors that read what agents count: windows over `queries`, and the parser over new digests. A thread each;
//! both belong to groups, so that several processes share the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_processors::digests::describe;
use millrace_processors::fold::Fate;
use millrace_processors::windows::{NAME, VERSION, Windows};
use millrace_schemas::event::Event;
use millrace_schemas::metrics::{FOLD_DEAD, FOLD_DUPLICATES, FOLD_RECORDS, Registry};
use millrace_schemas::record::NewRecord;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::digests::{DigestEntry, Entry};

use super::process::dead;
use super::speaker::{Speaker, now};
use crate::bus::{Assignment, From, Polled, SharedBus, Snapshot};

/// 500 ms: open windows are revised once a second.
const WAIT: Duration = Duration::from_millis(500);
/// 5 s between snapshots.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);
/// The group of the digest parser.
const DIGESTS: &str = "digests.1";

/// Runs the window processor until `stop`.
pub fn run(bus: &SharedBus, metrics: &Registry, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let stored_as = format!("{NAME}.v{VERSION}");
    let mut windows = Windows::new(0);
    let saved = bus.load(&stored_as).context("the snapshot of the windows cannot be loaded")?;
    let from = saved.first().map(|snapshot| snapshot.next);
    if let Some(snapshot) = saved.first() {
        windows.restore(&snapshot.value).map_err(anyhow::Error::msg)?;
    }
    let assignment = Assignment::Manual(vec![(Topic::Queries, from.map_or(From::Start, From::Offset))]);
    let mut reader = bus.reader(assignment).context("the windows cannot read queries")?;
    let mut stored = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(WAIT) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "queries cannot be read");
                std::thread::sleep(WAIT);
                continue;
            }
        };
        let mut out = if polled.is_empty() { windows.advance(now()) } else { Vec::new() };
        for item in polled {
            if let Polled::Record(record) = item {
                let folded = windows.fold(&record);
                metrics.add(&FOLD_RECORDS, &[NAME], 1);
                match folded.fate {
                    Fate::Repeated => metrics.add(&FOLD_DUPLICATES, &[NAME], 1),
                    Fate::Dead(reason) => {
                        metrics.add(&FOLD_DEAD, &[NAME], 1);
                        tracing::warn!(%reason, offset = record.offset, "a batch went to dead");
                        out.push(dead(&record, NAME, &reason));
                    }
                    Fate::Folded | Fate::Skipped(_) => {}
                }
                out.extend(folded.out);
            }
        }
        append(bus, &out, stop);
        if stored.elapsed() >= SNAPSHOT_EVERY {
            stored = Instant::now();
            let (next, value) = windows.save();
            let snapshot = Snapshot { processor: stored_as.clone(), entity: "0".to_owned(), next, value };
            if let Err(error) = bus.save(vec![snapshot]) {
                tracing::warn!(%error, "the windows' snapshot was not stored; a restart reads more");
            }
        }
    }
    Ok(())
}

/// Appends until it is done.
fn append(bus: &SharedBus, records: &[NewRecord], stop: &Arc<AtomicBool>) {
    while !records.is_empty() && !stop.load(Ordering::Relaxed) {
        match bus.append(records.to_vec()).wait() {
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%error, "windows could not be appended yet");
                std::thread::sleep(WAIT);
            }
        }
    }
}

/// Parses each new digest once and says which tables it names.
pub fn parse_digests(bus: &SharedBus, speaker: &Speaker, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let assignment = Assignment::Group { group: DIGESTS.to_owned(), topics: vec![Topic::Digests] };
    let mut reader = bus.reader(assignment).context("new digests cannot be read")?;
    while !stop.load(Ordering::Relaxed) {
        let Ok(polled) = reader.poll(WAIT) else {
            std::thread::sleep(WAIT);
            continue;
        };
        for item in polled {
            let Polled::Record(record) = item else { continue };
            if let Ok(Event { payload: Entry::Digest(entry), subject, id, .. }) = Event::<Entry>::from_record(&record)
                && !entry.parsed
                && let Some(described) = describe(&entry.text)
            {
                let kind = described.kind.map_or(entry.kind.clone(), |kind| kind.as_str().to_owned());
                let parsed = DigestEntry { tables: described.tables, kind, parsed: true, ..entry };
                speaker.say(subject, Some(id), Entry::Digest(parsed)).wait()?;
            }
            reader.commit(Topic::Digests, record.partition, record.offset + 1)?;
        }
    }
    Ok(())
}
