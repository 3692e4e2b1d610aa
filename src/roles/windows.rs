//! Runs the processors that read what agents count: windows over `queries`, and the parser over new digests. A thread each;
//! both belong to groups, so that several processes share the work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_processors::digests::describe;
use millrace_processors::fold::Fate;
use millrace_processors::windows::{Dropped, NAME, VERSION, Windows};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::EventId;
use millrace_schemas::metrics::{
    FOLD_DEAD, FOLD_DUPLICATES, FOLD_RECORDS, LOADS_SKIPPED, Registry, WINDOW_ROWS_DROPPED,
};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::digests::{DigestEntry, Entry};
use millrace_schemas::topics::journal::Fact;

use super::deliver::{Outbox, Stopped};
use super::lag::Lag;
use super::process::dead;
use super::speaker::{Speaker, now};
use crate::bus::{Assignment, Error, Polled, Reader, SharedBus, Snapshot};

/// 500 ms: open windows are revised once a second.
const WAIT: Duration = Duration::from_millis(500);
/// 2 s between two looks: four times what a look takes in a silence.
const STOOD_STILL: Duration = Duration::from_secs(2);
/// 1 s between questions whether there is more to read where nothing comes: a broker that does not answer one is found out long
/// before any silence means something.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// 5 s between snapshots.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);
/// 1 min: six windows of an instance. Nine instances that are made up for at once then tell 54 loads, about what the journal of a
/// cluster may take in a second (50); in health a load is two to four seconds old.
const LOAD_AGE_MAX: Duration = Duration::from_mins(1);
/// The group of the digest parser.
const DIGESTS: &str = "digests.1";

/// The group of the window processors.
const GROUP: &str = "windows.1";

/// The windows of one partition.
struct Pane {
    windows: Windows,
    /// Records before this offset are in the snapshot that it began with.
    from: u64,
    counted: Dropped,
    /// When a record of it last came, or it was known that none could.
    heard: Instant,
}

/// Runs the window processor until `stop`: the partitions of `queries` that the group gives it.
pub fn run(bus: &SharedBus, name: &str, metrics: &Registry, lag: &Lag, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let assignment = Assignment::Group { group: GROUP.to_owned(), topics: vec![Topic::Queries] };
    let mut reader = bus.reader(assignment).context("the windows cannot read queries")?;
    let mut panes: BTreeMap<u32, Pane> = BTreeMap::new();
    let mut stored = Instant::now();
    let mut looked: Option<Instant> = None;
    let (mut advanced, mut asked) = (Instant::now(), Instant::now());
    let mut outbox = Outbox::new(bus, "windows", stop);
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(WAIT) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "queries cannot be read");
                std::thread::sleep(WAIT);
                looked = None;
                continue;
            }
        };
        // Time in which nothing could be read is nobody's silence: the bus was away, or this process stood still.
        if looked.replace(Instant::now()).is_none_or(|at| at.elapsed() > STOOD_STILL) {
            for pane in panes.values_mut() {
                pane.heard = Instant::now();
            }
        }
        let Some(saved) = saved_of_gained(bus, &polled, stop)? else { return Ok(()) };
        for item in &polled {
            match item {
                Polled::Gained { partition, .. } => {
                    panes.insert(*partition, Pane::restored(&saved, *partition)?);
                }
                Polled::Lost { partition, .. } => drop(panes.remove(partition)),
                Polled::Refused { .. } => {} // rows are not signed, so nobody refuses them
                Polled::Record(record) => {
                    // Passed over, it would be missing in its windows; read again after a restart, it is not.
                    let pane = panes.get_mut(&record.partition);
                    let pane = pane.with_context(|| format!("partition {} was not gained", record.partition))?;
                    let mut out = pane.take(record, metrics);
                    skip_old_loads(&mut out, now(), metrics);
                    if let Err(Stopped) = outbox.put(out) {
                        return Ok(()); // not stored: who takes them up closes them again
                    }
                }
            }
        }
        if is_due(&mut asked, ASK_EVERY) {
            doubt_silence(&mut panes, reader.as_mut());
        }
        let mut out = if is_due(&mut advanced, WAIT) { in_silence(&mut panes) } else { Vec::new() };
        for pane in panes.values_mut() {
            count_dropped(&mut pane.counted, pane.windows.dropped(), metrics);
        }
        skip_old_loads(&mut out, now(), metrics);
        // What finds another append on its way goes with the next poll, at the latest.
        if let Err(Stopped) = outbox.put(out) {
            return Ok(());
        }
        lag.note_all(&polled);
        if stored.elapsed() >= SNAPSHOT_EVERY {
            if let Err(Stopped) = outbox.settle() {
                return Ok(());
            }
            stored = Instant::now();
            store(bus, name, reader.as_mut(), &panes);
        }
    }
    if outbox.settle().is_ok() {
        store(bus, name, reader.as_mut(), &panes);
    }
    Ok(())
}

/// True once in `every`, by when it was last so.
fn is_due(last: &mut Instant, every: Duration) -> bool {
    let due = last.elapsed() >= every;
    if due {
        *last = Instant::now();
    }
    due
}

/// A broker that stands still looks like silence; one that says all the while that there is nothing more does not. Where it does
/// not say so now, silence begins anew.
fn doubt_silence(panes: &mut BTreeMap<u32, Pane>, reader: &mut dyn Reader) {
    let is_quiet = |pane: &Pane| pane.windows.is_open() && pane.heard.elapsed() >= ASK_EVERY;
    if !panes.values().any(is_quiet) {
        return;
    }
    let unread = reader.unread();
    for (partition, pane) in panes.iter_mut().filter(|(_, pane)| is_quiet(pane)) {
        if unread.as_ref().map_or(true, |unread| unread.contains(partition)) {
            pane.heard = Instant::now();
        }
    }
}

/// What closes and is revised because nothing comes any more.
fn in_silence(panes: &mut BTreeMap<u32, Pane>) -> Vec<NewRecord> {
    let quiet = panes.values_mut().filter(|pane| pane.windows.is_open() && pane.heard.elapsed() >= WAIT);
    quiet.flat_map(|pane| pane.windows.advance(pane.heard.elapsed())).collect()
}

/// Stores the windows under the own name, since one that stood still may store after its successor has; and only then says how
/// far they have come: who takes a partition over finds both, or the older both.
fn store(bus: &SharedBus, name: &str, reader: &mut dyn Reader, panes: &BTreeMap<u32, Pane>) {
    let snapshots: Vec<Snapshot> = panes
        .iter()
        .map(|(partition, pane)| {
            let (next, value) = pane.windows.save();
            Snapshot { processor: stored_as(), partition: *partition, entity: name.to_owned(), next, value }
        })
        .collect();
    let positions: Vec<(u32, u64)> = snapshots.iter().map(|snapshot| (snapshot.partition, snapshot.next)).collect();
    let done = bus.save(snapshots).and_then(|()| {
        positions.iter().try_for_each(|(partition, next)| reader.commit(Topic::Queries, *partition, *next))
    });
    if let Err(error) = done {
        tracing::warn!(%error, "the windows' snapshot was not stored; a restart reads more");
    }
}

/// What is saved, where partitions were gained: once for all that were gained together, since on Kafka it reads a topic. Waits while
/// the bus is away: who gave its partitions back for that would make everybody share them out anew, again and again. None: `stop` came.
fn saved_of_gained(bus: &SharedBus, polled: &[Polled], stop: &AtomicBool) -> anyhow::Result<Option<Vec<Snapshot>>> {
    if !polled.iter().any(|item| matches!(item, Polled::Gained { .. })) {
        return Ok(Some(Vec::new()));
    }
    loop {
        match bus.load(&stored_as()) {
            Ok(saved) => return Ok(Some(saved)),
            Err(error @ Error::Unavailable(_)) => {
                tracing::warn!(%error, "the snapshots of the windows cannot be loaded yet");
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                std::thread::sleep(WAIT);
            }
            Err(error) => return Err(error).context("the snapshots of the windows cannot be loaded"),
        }
    }
}

fn stored_as() -> String {
    format!("{NAME}.v{VERSION}")
}

impl Pane {
    /// What was stored of a partition, taken up.
    fn restored(saved: &[Snapshot], partition: u32) -> anyhow::Result<Self> {
        let mut windows = Windows::new(partition);
        let of_it = saved.iter().filter(|snapshot| snapshot.partition == partition);
        let saved = of_it.max_by_key(|snapshot| snapshot.next);
        if let Some(snapshot) = saved {
            windows.restore(snapshot.next, &snapshot.value).map_err(anyhow::Error::msg)?;
        }
        let from = saved.map_or(0, |snapshot| snapshot.next);
        Ok(Self { windows, from, counted: Dropped::default(), heard: Instant::now() })
    }

    fn take(&mut self, record: &Record, metrics: &Registry) -> Vec<NewRecord> {
        if record.offset < self.from {
            return Vec::new();
        }
        self.heard = Instant::now();
        let folded = self.windows.fold(record);
        let mut out = folded.out;
        metrics.add(&FOLD_RECORDS, &[NAME], 1);
        metrics.add(&FOLD_DEAD, &[NAME], 0); // a rate sees the first one only where there was a 0 before
        match folded.fate {
            Fate::Repeated => metrics.add(&FOLD_DUPLICATES, &[NAME], 1),
            Fate::Dead(reason) => {
                metrics.add(&FOLD_DEAD, &[NAME], 1);
                tracing::warn!(%reason, offset = record.offset, "a batch went to dead");
                out.insert(0, dead(record, NAME, &reason));
            }
            Fate::Folded | Fate::Skipped(_) => {}
        }
        out
    }
}

/// Counts what the windows dropped since the last time.
fn count_dropped(counted: &mut Dropped, dropped: Dropped, metrics: &Registry) {
    let reasons = [
        ("late", dropped.late - counted.late),
        ("ahead", dropped.ahead - counted.ahead),
        ("beyond", dropped.beyond - counted.beyond),
    ];
    for (reason, rows) in reasons.into_iter().filter(|(_, rows)| *rows > 0) {
        metrics.add(&WINDOW_ROWS_DROPPED, &[reason], rows);
    }
    *counted = dropped;
}

/// Takes out the loads of windows that ended long before `now`. A processor that comes back after hours makes up for a window
/// per instance and 10 s, all at once: deciders would wait for facts behind loads that nobody judges by any more.
fn skip_old_loads(out: &mut Vec<NewRecord>, now: Timestamp, metrics: &Registry) {
    out.retain(|record| {
        let event = (record.topic == Topic::Journal)
            .then_some(record.value.as_deref())
            .flatten()
            .and_then(|value| Event::<Fact>::from_json(value, false).ok());
        let Some(Event { payload: Fact::Load(load), subject, .. }) = event else { return true };
        let ended = load.start + Duration::from_secs(u64::from(load.width_seconds));
        let old = now.since(ended) > LOAD_AGE_MAX;
        if old {
            metrics.add(&LOADS_SKIPPED, &[subject.cluster.as_str()], 1);
        }
        !old
    });
}

/// Parses each new digest once and says which tables it names.
pub fn parse_digests(bus: &SharedBus, speaker: &Speaker, lag: &Lag, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let assignment = Assignment::Group { group: DIGESTS.to_owned(), topics: vec![Topic::Digests] };
    let mut reader = bus.reader(assignment).context("new digests cannot be read")?;
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(WAIT) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "new digests cannot be read");
                std::thread::sleep(WAIT);
                continue;
            }
        };
        let mut parsed = Vec::new();
        let mut read = BTreeMap::new();
        for item in &polled {
            if let Polled::Record(record) = item {
                parsed.extend(parsed_digest(record));
                read.insert(record.partition, record.offset + 1);
            }
        }
        speaker.say_all(parsed).wait().context("parsed digests cannot be told")?;
        for (partition, next) in read {
            reader.commit(Topic::Digests, partition, next)?;
        }
        lag.note_all(&polled);
    }
    Ok(())
}

/// What is to be said of a digest that nobody has parsed yet.
fn parsed_digest(record: &Record) -> Option<(Subject, Option<EventId>, Entry)> {
    let Event { payload: Entry::Digest(entry), subject, id, .. } = Event::<Entry>::from_record(record).ok()?;
    let described = (!entry.parsed).then(|| describe(&entry.text)).flatten()?;
    let kind = described.kind.map_or(entry.kind.clone(), |kind| kind.as_str().to_owned());
    let parsed = DigestEntry { tables: described.tables, kind, parsed: true, ..entry };
    Some((subject, Some(id), Entry::Digest(parsed)))
}

#[cfg(test)]
#[path = "windows_tests.rs"]
mod tests;
