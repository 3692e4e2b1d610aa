//! Writes windows and slow statements as files for other programs. In: records of both topics. Out: files below one place. Before files
//! are written it is saved which offsets they will be made of, and the position after they are there; who is killed in between makes
//! the same files again, or finds them there. So no row is lost and none is in two files, and no file is ever there in half. While
//! the place is away it waits for ever.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_schemas::event::Unreadable;
use millrace_schemas::metrics::{
    Registry, STORE_FAILED, STORE_FILES, STORE_LINES, STORE_MISSING, STORE_REPEATED, STORE_UNREADABLE,
};
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_sinks::lake::place::Failed;
use millrace_sinks::lake::{File, Gathered, LOOK_BACK, Place, TOPICS};

use super::deliver::{Stopped, loaded, pause};
use super::lag::Lag;
use super::process::dead;
use crate::bus::{Assignment, Error, From, Polled, SharedBus, Snapshot, failpoint};
use crate::config;

/// 500 ms: nobody waits for these files.
const WAIT: Duration = Duration::from_millis(500);
/// 1 s to 1 min between attempts while the place is away: files are written by the hour.
const RETRY_FROM: Duration = Duration::from_secs(1);
const RETRY_TO: Duration = Duration::from_mins(1);
/// 100,000 rows of all partitions together, at 1.1 KB each, as measured, some 110 MiB: then the partition that has most becomes files
/// before its time.
pub const ROWS_MAX: usize = 100_000;

/// What of one partition is not in files yet.
struct Part {
    gathered: Gathered,
    /// Everything before it is in files.
    from: u64,
    /// The next offset to come.
    next: u64,
    /// Files up to there were begun before a restart.
    planned: Option<u64>,
    /// When the first record came that is not in files.
    since: Option<Instant>,
    /// When the newest one was appended.
    at: Timestamp,
}

struct Lake<'a> {
    settings: &'a config::Lake,
    bus: &'a SharedBus,
    metrics: &'a Registry,
    lag: &'a Lag,
    stop: &'a AtomicBool,
    place: Place,
    /// Positions, and up to where files were begun.
    saved: BTreeMap<(Topic, u32), (u64, Option<u64>)>,
    parts: BTreeMap<(Topic, u32), Part>,
}

/// Runs the sink until `stop`.
pub fn run(
    bus: &SharedBus,
    settings: &config::Lake,
    metrics: &Registry,
    lag: &Lag,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let place = Place::open(&settings.location).with_context(|| format!("the store {}", settings.name))?;
    let Some(saved) = loaded(bus, &processor(&settings.name), stop)? else { return Ok(()) };
    let saved = restored(saved);
    let mut lake = Lake { settings, bus, metrics, lag, stop, place, saved, parts: BTreeMap::new() };
    let from = TOPICS.map(|topic| (topic, lake.begin(topic)));
    let mut reader = bus.reader(Assignment::Manual(from.to_vec())).context("the lake's sink cannot read")?;
    while !lake.is_stopping() {
        match reader.poll(WAIT) {
            Ok(polled) => {
                for item in polled {
                    if let Err(Stopped) = lake.take(item)? {
                        return Ok(());
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, store = settings.name, "what becomes files cannot be read");
                std::thread::sleep(WAIT);
            }
        }
        if let Err(Stopped) = lake.roll()? {
            return Ok(());
        }
    }
    Ok(())
}

/// The name under which positions are kept.
pub fn processor(name: &str) -> String {
    format!("lake.{name}.v1")
}

type Saved = BTreeMap<(Topic, u32), (u64, Option<u64>)>;

/// Positions by what was saved.
fn restored(saved: Vec<Snapshot>) -> Saved {
    let read = |one: Snapshot| {
        let planned = std::str::from_utf8(&one.value).ok().and_then(|text| text.parse().ok());
        Some(((one.entity.parse().ok()?, one.partition), (one.next, planned)))
    };
    saved.into_iter().filter_map(read).collect()
}

/// Done, or it was to stop before.
type Done = anyhow::Result<Result<(), Stopped>>;

impl Lake<'_> {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Where to read from: a little before what is in files, to know what comes twice.
    fn begin(&self, topic: Topic) -> From {
        let own = self.saved.iter().filter(|((one, _), _)| *one == topic);
        From::Offsets(own.map(|((_, partition), (next, _))| (*partition, next.saturating_sub(LOOK_BACK))).collect())
    }

    fn take(&mut self, item: Polled) -> Done {
        let (record, is_believed) = match item {
            Polled::Record(record) => (record, true),
            Polled::Refused { record, .. } => (record, false),
            Polled::Gained { .. } | Polled::Lost { .. } => {
                self.lag.note(&item);
                return Ok(Ok(()));
            }
        };
        let key = (record.topic, record.partition);
        if !self.parts.contains_key(&key) {
            let Some(gathered) = Gathered::new(record.topic, record.partition) else { return Ok(Ok(())) };
            let (from, planned) = self.saved.get(&key).copied().unwrap_or((record.offset, None));
            let at = record.appended;
            self.parts.insert(key, Part { gathered, from, next: from, planned, since: None, at });
        }
        let is_past_plan = |part: &Part| part.planned.is_some_and(|to| record.offset >= to);
        if self.parts.get(&key).is_some_and(is_past_plan)
            && let Err(stopped) = self.write(key)?
        {
            return Ok(Err(stopped));
        }
        let Some(part) = self.parts.get_mut(&key) else { return Ok(Ok(())) };
        let taken =
            if is_believed { part.gathered.take(&record) } else { Ok(millrace_sinks::lake::Counted::default()) };
        if record.offset < part.from {
            part.gathered.clear(); // it is in a file; it was read to know it again
            return Ok(Ok(()));
        }
        let missing = record.offset.saturating_sub(part.next);
        part.next = record.offset + 1;
        part.at = record.appended;
        part.since.get_or_insert_with(Instant::now);
        if missing > 0 {
            tracing::warn!(store = self.name(), topic = %key.0, missing, "the bus has forgotten records before they were in files");
            self.metrics.add(&STORE_MISSING, &[self.name()], missing);
        }
        match taken {
            Ok(counted) if counted.repeated > 0 => {
                self.metrics.add(&STORE_REPEATED, &[self.name()], counted.repeated);
            }
            Ok(_) => {}
            Err(error) => self.unreadable(&record, &error),
        }
        Ok(Ok(()))
    }

    /// A newer kind is skipped, and what is no record of its topic goes to `dead`.
    fn unreadable(&self, record: &Record, error: &Unreadable) {
        if matches!(error, Unreadable::Malformed(_)) {
            self.metrics.add(&STORE_UNREADABLE, &[self.name()], 1);
            let letter = dead(record, &processor(self.name()), &error.to_string());
            drop(self.bus.append(vec![letter])); // what is refused the bus counts
        }
    }

    /// Writes what is due.
    fn roll(&mut self) -> Done {
        let is_due = |part: &Part| {
            let is_old = part.since.is_some_and(|since| since.elapsed() >= self.settings.roll_after);
            part.planned.map_or(is_old, |to| part.next >= to)
        };
        let due: Vec<_> = self.parts.iter().filter(|(_, part)| is_due(part)).map(|(key, _)| *key).collect();
        for key in due {
            if let Err(stopped) = self.write(key)? {
                return Ok(Err(stopped));
            }
        }
        let rows: Vec<_> = self.parts.iter().map(|(key, part)| (part.gathered.rows(), *key)).collect();
        let most = rows.iter().max().filter(|_| rows.iter().map(|(rows, _)| rows).sum::<usize>() >= ROWS_MAX);
        let Some((_, key)) = most else { return Ok(Ok(())) };
        self.write(*key)
    }

    /// Makes files of what a partition has, and moves its position behind them.
    fn write(&mut self, key: (Topic, u32)) -> Done {
        let Some(part) = self.parts.get(&key) else { return Ok(Ok(())) };
        let (from, rows, again) = (part.from, part.gathered.rows() as u64, part.planned.is_some());
        let to = part.planned.unwrap_or(part.next);
        let files = part.gathered.files(from, to).map_err(|why| anyhow::anyhow!("no file can be made: {why}"))?;
        if !files.is_empty() && !again && self.save(key, from, Some(to))?.is_err() {
            return Ok(Err(Stopped));
        }
        failpoint::at_step("lake.planned", self.name(), || {});
        for file in files {
            if self.put(file, again)?.is_err() {
                return Ok(Err(Stopped));
            }
        }
        failpoint::at_step("lake.written", self.name(), || {});
        if self.save(key, to, None)?.is_err() {
            return Ok(Err(Stopped));
        }
        self.metrics.add(&STORE_LINES, &[self.name()], rows);
        if let Some(part) = self.parts.get_mut(&key) {
            part.gathered.clear();
            (part.from, part.next, part.planned, part.since) = (to, part.next.max(to), None, None);
            self.lag.reached(key.0, key.1, to, part.at);
        }
        Ok(Ok(()))
    }

    /// Writes a file until it is there. What was begun before a restart may be there already, and is right then: it is never
    /// written over by less, where the bus has forgotten some of it meanwhile.
    fn put(&mut self, (name, bytes): File, again: bool) -> Done {
        let (mut wait, mut warned) = (RETRY_FROM, false);
        loop {
            let is_there = if again { self.place.has(&name) } else { Ok(false) };
            let put = match is_there {
                Ok(false) => self.place.put(&name, bytes.clone()),
                other => other.map(drop),
            };
            match put {
                Ok(()) => {
                    self.metrics.add(&STORE_FILES, &[self.name()], 1);
                    return Ok(Ok(()));
                }
                Err(error @ Failed::Unusable(_)) => return Err(error.into()),
                Err(Failed::Away(why)) => {
                    self.metrics.add(&STORE_FAILED, &[self.name()], 1);
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(store = self.name(), file = name, "a file is not there yet: {why}");
                    }
                }
            }
            pause(self.stop, wait);
            wait = (wait * 2).min(RETRY_TO);
            if self.is_stopping() {
                return Ok(Err(Stopped));
            }
        }
    }

    fn save(&self, (topic, partition): (Topic, u32), next: u64, planned: Option<u64>) -> Done {
        let value = planned.map_or_else(Vec::new, |to| to.to_string().into_bytes());
        let (processor, entity) = (processor(self.name()), topic.name().to_owned());
        loop {
            let (processor, entity, value) = (processor.clone(), entity.clone(), value.clone());
            match self.bus.save(vec![Snapshot { processor, partition, entity, next, value }]) {
                Ok(()) => return Ok(Ok(())),
                Err(_) if self.is_stopping() => return Ok(Err(Stopped)),
                Err(error @ Error::Unavailable(_)) => {
                    tracing::warn!(%error, store = self.name(), "a position is not saved yet");
                    pause(self.stop, RETRY_FROM);
                }
                Err(error) => return Err(error).context("a position of the lake cannot be saved"),
            }
        }
    }
}
