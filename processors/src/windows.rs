//! Batches of `queries` in, windows of 10 s, 1 min and 1 h out, and one `Load` fact per instance and closed 10-s window.
//! Windows go by the second that a row was counted in; a window closes when a second behind its end has been told. When an instance
//! has been silent for 10 s its clock runs on with the append time; a gap in the partition itself, where the bus was away, is nobody's
//! silence. Repeats of a batch count once, late rows are counted and dropped; rows of slow logs are no counts. Of two copies of a
//! window the one with the higher revision counts.
//!
//! A record of `queries` whose headers do not say whose it is, who counted and as his which goes to `dead`.
//! It must never add two revisions of a window, and never grow without bound.

mod window;

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId, InstanceId};
use millrace_schemas::marks::{Marks, Sequence};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::batch::Batch;
use millrace_schemas::topics::journal::{Fact, Load};
use millrace_schemas::topics::queries::{self, Seen, Source};
use millrace_schemas::topics::windows::{FINAL, Revision, WIDTHS, encode_one};
use serde::{Deserialize, Serialize};

use crate::fold::{Fate, Folded};
use window::{Beside, Names, Open, Shown, Times};

/// The name; with [`VERSION`] it is the producer of what comes out.
pub const NAME: &str = "windows";
/// Rises when the same input may give other output.
pub const VERSION: u32 = 1;
/// 1 s: who counts an instance tells its seconds in their order, also through retries, so that what a second behind the end has been told
/// of is whole. Where two count in turn, the server's counters and packets, neither is a second ahead of the other.
const LATENESS: i64 = 1;
/// 10 s of silence before an instance's clock runs with the append time: an agent that lost its way to the bus is back within one
/// or two, and the rows that waited there would come too late for windows that were closed without them.
const SILENCE: i64 = 10;
/// 3 s without a record of any instance: the bus was away, for who is well sends one a second.
const AWAY: Duration = Duration::from_secs(3);
/// 1 h ahead of the append time: a row further in the future is a broken clock, and would close every window before it.
const AHEAD_MAX: i64 = 3_600;
/// 800 ms at least between revisions of an open window: agents tell each second, what a person can follow, and what comes a little
/// earlier than a second after the last is not to wait for the next.
const REVISE_EVERY: Duration = Duration::from_millis(800);
/// 200 rows of an open window are shown, those with the most response time, and the total: a page shows fewer. All rows come
/// when it closes.
const LIVE_ROWS_MAX: usize = 200;
/// 900 KiB of a record's 1 MiB: leaves room for headers.
const BATCH_BYTES_MAX: usize = 900 << 10;
/// Only these are revised while they are open: longer ones are for looking back.
const LIVE_WIDTH: u32 = WIDTHS[0];
/// 10,000 instances of one partition: ten times a large fleet's share; more can only be forged names.
const INSTANCES_MAX: usize = 10_000;

/// What was counted and not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Rows of windows that had closed.
    pub late: u64,
    /// Rows more than an hour ahead of the append time.
    pub ahead: u64,
    /// Rows of instances beyond the limit.
    pub beyond: u64,
}

/// The windows of all instances of one partition of `queries`.
#[derive(Clone, Debug)]
pub struct Windows {
    producer: String,
    sequence: Sequence,
    /// The next input offset.
    next: u64,
    /// Records before this offset were read before a restart: rows of closed windows in them are no news.
    known_to: u64,
    /// Where a restored state goes on, until it has read something: until then it knows of no open window.
    resumes_at: Option<u64>,
    marks: Marks,
    instances: BTreeMap<InstanceId, Instance>,
    /// Empty between two batches.
    times: Times,
    /// The newest append time.
    newest: Timestamp,
    dropped: Dropped,
}

#[derive(Clone, Debug)]
struct Instance {
    cluster: ClusterId,
    /// The end of the newest second that was counted.
    clock: i64,
    /// When that was appended.
    heard: Timestamp,
    open: BTreeMap<(u32, i64), Open>,
    names: Names,
    /// The clock when windows were last closed: what ended so long before it is closed.
    settled: i64,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    known_to: u64,
    settled: BTreeMap<InstanceId, (ClusterId, i64)>,
}

impl Windows {
    /// No windows yet. `partition` names the input, it is part of what comes out.
    pub fn new(partition: u32) -> Self {
        Self {
            producer: format!("{NAME}.{VERSION}/{}/{partition}", Topic::Queries),
            sequence: Sequence::default(),
            next: 0,
            known_to: 0,
            resumes_at: None,
            marks: Marks::default(),
            instances: BTreeMap::new(),
            times: Times::default(),
            newest: Timestamp::ZERO,
            dropped: Dropped::default(),
        }
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// A snapshot and the input offset that it stands for: whoever restores it reads on from there, and sees the rows of
    /// the windows that were open again. Ids and revisions come out the same.
    pub fn save(&self) -> (u64, Vec<u8>) {
        let known_to = self.known_to.max(self.next);
        let opened = self.instances.values().flat_map(|instance| instance.open.values()).map(|open| open.from).min();
        let settled = self
            .instances
            .iter()
            .map(|(id, instance)| (id.clone(), (instance.cluster.clone(), instance.settled)))
            .collect();
        let saved = serde_json::to_vec(&Saved { known_to, settled }).expect("plain data with text keys");
        (self.resumes_at.unwrap_or(opened.unwrap_or(known_to).min(known_to)), saved)
    }

    /// Takes up what [`Windows::save`] gave.
    pub fn restore(&mut self, next: u64, saved: &[u8]) -> Result<(), String> {
        let saved: Saved = serde_json::from_slice(saved)
            .map_err(|error| format!("the snapshot of {NAME}.v{VERSION} cannot be read: {error}"))?;
        self.known_to = saved.known_to;
        self.resumes_at = Some(next);
        for (id, (cluster, settled)) in saved.settled {
            let instance = Instance { settled, ..Instance::new(cluster) };
            self.instances.insert(id, instance);
        }
        Ok(())
    }

    /// Folds one record of `queries`.
    pub fn fold(&mut self, record: &Record) -> Folded {
        self.next = self.next.max(record.offset + 1);
        self.resumes_at = None;
        if record.offset > self.sequence.incarnation {
            self.sequence = Sequence { incarnation: record.offset, counter: 0 };
        }
        self.forgive(record.appended);
        let mut out = Vec::new();
        let fate = self.read(record).unwrap_or_else(Fate::Dead);
        self.emit(record.appended, &mut out);
        Folded { out, fate }
    }

    /// True while a window of any instance may still close.
    pub fn is_open(&self) -> bool {
        self.instances.values().any(|instance| !instance.open.is_empty())
    }

    /// So much time has passed since the last record: closes and revises what is due. Not for time in which the bus was away.
    pub fn advance(&mut self, silence: Duration) -> Vec<NewRecord> {
        let mut out = Vec::new();
        self.emit(self.newest + silence, &mut out);
        out
    }

    /// After a gap nobody has been silent.
    fn forgive(&mut self, appended: Timestamp) {
        if appended.since(self.newest) > AWAY {
            for instance in self.instances.values_mut() {
                instance.heard = instance.heard.max(appended);
            }
        }
        self.newest = self.newest.max(appended);
    }

    fn read(&mut self, record: &Record) -> Result<Fate, String> {
        let Batch { cluster, producer, sequence, value } = Batch::of(record)?;
        let read = queries::with_rows(&value, |rows| {
            if !self.marks.fresh(producer, sequence) {
                return Fate::Repeated;
            }
            // Rows of one instance and second lie together.
            let alike =
                |a: &Seen<'_>, b: &Seen<'_>| a.second == b.second && a.instance == b.instance && a.source == b.source;
            // What was slow is in the counts of another source already.
            for rows in rows.chunk_by(alike).filter(|rows| rows[0].source != Source::SlowLog) {
                self.take(&cluster, rows, record);
            }
            Fate::Folded
        });
        read.map_err(|error| error.to_string())
    }

    /// Counts rows of one instance and second.
    fn take(&mut self, cluster: &ClusterId, rows: &[Seen<'_>], record: &Record) {
        let Some(first) = rows.first() else { return };
        let count = rows.len() as u64;
        let limit = record.appended.0.div_euclid(1_000_000).saturating_add(AHEAD_MAX);
        if first.second > limit {
            self.dropped.ahead += count;
            return;
        }
        // It was parsed when the batch was read.
        let Ok(id) = InstanceId::parse(first.instance) else { return };
        if !self.instances.contains_key(&id) && self.instances.len() >= INSTANCES_MAX {
            self.dropped.beyond += count;
            return;
        }
        let instance = self.instances.entry(id.clone()).or_insert_with(|| Instance::new(cluster.clone()));
        instance.cluster.clone_from(cluster);
        let late = instance.count(rows, record.offset, &mut self.times);
        if late && record.offset >= self.known_to {
            self.dropped.late += count;
        }
        if first.second.saturating_add(1) > instance.clock {
            instance.clock = first.second.saturating_add(1);
            instance.heard = record.appended;
        }
    }

    fn emit(&mut self, now: Timestamp, out: &mut Vec<NewRecord>) {
        let Self { producer, sequence, instances, .. } = self;
        for (id, instance) in instances {
            let silent = i64::try_from(now.since(instance.heard).as_secs()).unwrap_or(i64::MAX);
            let clock = instance.clock.saturating_add((silent - SILENCE).max(0));
            let closed = instance.close(clock);
            let Instance { cluster, open, .. } = instance;
            let mut to = Outgoing { producer, sequence, cluster, instance: id, now, out };
            for ((width, start), mut open) in closed {
                to.windows(width, &mut open);
                if width == LIVE_WIDTH {
                    to.load(width, start, &open);
                }
            }
            for ((width, _), open) in open.range_mut((LIVE_WIDTH, i64::MIN)..=(LIVE_WIDTH, i64::MAX)) {
                if open.is_stale(now, REVISE_EVERY) {
                    open.shown(now);
                    to.windows(*width, open);
                }
            }
        }
    }
}

impl Instance {
    fn new(cluster: ClusterId) -> Self {
        Self {
            cluster,
            clock: i64::MIN / 2,
            heard: Timestamp(i64::MAX),
            open: BTreeMap::new(),
            names: Names::default(),
            settled: i64::MIN / 2,
        }
    }

    /// Counts rows of one second in its windows; true when one of them had closed.
    fn count(&mut self, rows: &[Seen<'_>], offset: u64, times: &mut Times) -> bool {
        let Some(first) = rows.first() else { return false };
        let mut late = false;
        // A window that has ended leaves the wider ones around it: they end later.
        let mut around: Vec<((u32, i64), Open)> = Vec::with_capacity(WIDTHS.len());
        for width in WIDTHS {
            let start = start_of(width, first.second);
            if ended(width, start, self.settled) {
                late = true;
                continue;
            }
            let key = (width, start);
            let mut open = self.open.remove(&key).unwrap_or_else(|| Open::new(first, start, offset, &mut self.names));
            // A batch is one revision, however many rows of the window it has.
            open.batch(offset);
            around.push((key, open));
        }
        if let [((width, start), shortest), wider @ ..] = around.as_mut_slice() {
            let mut wider: Vec<&mut Open> = wider.iter_mut().map(|(_, open)| open).collect();
            let before = self.open.get(&(*width, start.saturating_sub((*width).into())));
            shortest.count(rows, &mut wider, &mut Beside { names: &mut self.names, times, before });
        }
        self.open.extend(around);
        late
    }

    /// Takes out the windows that are closed at `clock`, the shortest first: the sums of each go to the one around it.
    fn close(&mut self, clock: i64) -> Vec<((u32, i64), Open)> {
        self.settled = self.settled.max(clock);
        let closing: Vec<(u32, i64)> =
            self.open.keys().copied().filter(|(width, start)| ended(*width, *start, self.settled)).collect();
        let mut closed = Vec::with_capacity(closing.len());
        for key in closing {
            let Some(mut open) = self.open.remove(&key) else { continue };
            let around = WIDTHS.into_iter().find(|width| *width > key.0).map(|width| (width, start_of(width, key.1)));
            if let Some(wide) = around.and_then(|key| self.open.get_mut(&key)) {
                wide.take_over(&open);
            }
            open.close();
            closed.push((key, open));
        }
        if !closed.is_empty() {
            self.names.tidy();
        }
        closed
    }
}

/// When the window that `second` lies in starts.
fn start_of(width: u32, second: i64) -> i64 {
    second - second.rem_euclid(i64::from(width))
}

/// True when a window is closed at `clock`.
fn ended(width: u32, start: i64, clock: i64) -> bool {
    start.saturating_add(i64::from(width)).saturating_add(LATENESS) <= clock
}

/// Where the records of one instance go.
struct Outgoing<'a> {
    producer: &'a str,
    sequence: &'a mut Sequence,
    cluster: &'a ClusterId,
    instance: &'a InstanceId,
    now: Timestamp,
    out: &'a mut Vec<NewRecord>,
}

impl Outgoing<'_> {
    /// Appends what a window holds.
    fn windows(&mut self, width_seconds: u32, open: &mut Open) {
        let of = Revision { width_seconds, revision: open.revision, closed: open.closed };
        self.rows(of, &open.rows(LIVE_ROWS_MAX));
    }

    /// Appends rows as one record, or as several where one would be too large.
    fn rows(&mut self, of: Revision, rows: &[Shown<'_>]) {
        let Ok(value) = encode_one(of, rows) else { return };
        if value.len() > BATCH_BYTES_MAX && rows.len() > 1 {
            let (first, rest) = rows.split_at(rows.len() / 2);
            self.rows(of, first);
            self.rows(of, rest);
            return;
        }
        let (cluster, producer, sequence) = (self.cluster.clone(), self.producer, *self.sequence);
        let batch = Batch { cluster, producer, sequence, value };
        self.sequence.counter += 1;
        let mut record = batch.into_record(Topic::Windows, self.instance);
        record.headers.insert(FINAL.to_owned(), of.closed.to_string());
        self.out.push(record);
    }

    /// What deciders and alerts may know of it.
    fn load(&mut self, width: u32, start: i64, open: &Open) {
        let total = open.total();
        let quantile = |q| total.rt_last.quantile(q).unwrap_or(0);
        let window = format!("{width}/{start}");
        let event = Event {
            id: EventId::derive(&[self.producer, &window, self.instance.as_str(), &open.revision.to_string()]),
            // Each instance counts for itself, by the windows and not by the input: whoever closes it first, it is told once.
            source: format!("{}/{}", self.producer, self.instance),
            sequence: Sequence { incarnation: u64::try_from(start).unwrap_or(0), counter: 0 },
            at: self.now,
            appended: Timestamp::ZERO,
            subject: Subject::instance(self.cluster.clone(), self.instance.clone()),
            cause: None,
            payload: Fact::Load(Load {
                start: Timestamp(start.saturating_mul(1_000_000)),
                width_seconds: width,
                statements: total.count,
                errors: total.errors,
                p50_us: quantile(0.5),
                p99_us: quantile(0.99),
            }),
        };
        self.out.push(event.to_record());
    }
}

#[cfg(test)]
mod tests;
