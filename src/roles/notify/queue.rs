//! What waits to be told to a channel. In: alerts as they are read, and what became of each message. Out: the next message, alone or
//! bundled, and how far each partition has been dealt with. Pure: times are inputs.
//! The order of one alert's states is kept. Nothing leaves without a word: it is taken, superseded by a newer state, or given up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millrace_schemas::event::Event;
use millrace_schemas::ids::EventId;
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{AlertState, Notice};
use millrace_sinks::channels::Again;
use millrace_sinks::channels::style::alert;

/// 10,000 alerts wait at most: some 20 MB; the oldest are given up then.
const WAITING_MAX: usize = 10_000;
/// 200 alerts in one message: some 300 KB, less than services take.
const BUNDLE_MAX: usize = 200;
/// 1 hour: a state that waited for so long is not told where a newer one of the same alert waits too.
const STALE: Duration = Duration::from_hours(1);
/// A quarter of the time for which it has failed lies between two attempts: who was away waits at most a quarter longer.
const SHARE: u32 = 4;
/// 100 ms at least where nobody is there: 5 attempts in the first half of a second, 33 in four minutes.
const SOON: Duration = Duration::from_millis(100);
/// 1 s at least where somebody said no: 17 attempts in the first minute, where somebody may count.
const SELDOM: Duration = Duration::from_secs(1);
/// 1 minute at most: that is soon enough after four minutes and more, and nobody who is away for hours is stormed.
const RETRY_TO: Duration = Duration::from_mins(1);
/// Seconds of the minute that a rate is of.
const MINUTE: f64 = 60.0;

/// An alert that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) event: Event<Notice>,
    pub(super) record: Record,
    /// It may be in a message with others.
    pub(super) bundles: bool,
    /// It is kept elsewhere: its position moved before it came here.
    is_kept: bool,
    not_before: Instant,
    /// Since when it fails.
    failing: Option<Instant>,
}

impl Waiting {
    pub(super) fn new(event: Event<Notice>, record: Record, bundles: bool, now: Instant) -> Self {
        Self { event, record, bundles, is_kept: false, not_before: now, failing: None }
    }

    fn place(&self) -> (u32, u64) {
        (self.record.partition, self.record.offset)
    }

    fn fingerprint(&self) -> EventId {
        alert(&self.event).fingerprint
    }
}

/// All that wait, in the order in which they were read.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Vec<Waiting>,
    /// How far each partition was read, and the append time of what was read last.
    read: BTreeMap<u32, (u64, Timestamp)>,
    /// Messages that may go now; it fills up to the rate in a minute.
    tokens: f64,
    rate: f64,
    filled: Instant,
    /// Messages had to wait for the rate: what waits is told together.
    backlog: bool,
}

impl Queue {
    /// Nothing waits; `rate` messages in a minute may go.
    pub(super) fn new(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate);
        Self { waiting: Vec::new(), read: BTreeMap::new(), tokens: rate, rate, filled: now, backlog: false }
    }

    /// A partition is read from `next` on.
    pub(super) fn gained(&mut self, partition: u32, next: u64, now: Timestamp) {
        self.lost(partition);
        self.read.insert(partition, (next, now));
    }

    /// Somebody else reads it now, from where it was committed.
    pub(super) fn lost(&mut self, partition: u32) {
        self.read.remove(&partition);
        self.waiting.retain(|one| one.record.partition != partition);
    }

    /// A record was read that nobody is told of.
    pub(super) fn pass(&mut self, record: &Record) {
        self.read.insert(record.partition, (record.offset + 1, record.appended));
    }

    /// A record was read that is to be told. Leaves what is given up for it.
    pub(super) fn push(&mut self, one: Waiting) -> Option<Waiting> {
        self.pass(&one.record);
        self.waiting.push(one);
        (self.waiting.len() > WAITING_MAX).then(|| self.waiting.remove(0))
    }

    /// Something is to be told whose position moved long ago, and that is kept elsewhere until it is. Leaves what is given up for it.
    pub(super) fn push_kept(&mut self, one: Waiting) -> Option<Waiting> {
        self.waiting.push(Waiting { is_kept: true, ..one });
        (self.waiting.len() > WAITING_MAX).then(|| self.waiting.remove(0))
    }

    /// The alert fires, by what waits.
    pub(super) fn fires(&self, fingerprint: EventId) -> bool {
        let mut its = self.waiting.iter().filter(|one| one.fingerprint() == fingerprint);
        its.any(|one| alert(&one.event).state == AlertState::Firing)
    }

    /// The event waits already.
    pub(super) fn has(&self, event: EventId) -> bool {
        self.waiting.iter().any(|one| one.event.id == event)
    }

    /// Takes out what waited too long and has a newer state of its alert behind it.
    pub(super) fn superseded(&mut self, now: Timestamp) -> Vec<Waiting> {
        let newest: BTreeMap<EventId, (u32, u64)> =
            self.waiting.iter().map(|one| (one.fingerprint(), one.place())).collect();
        let old = |one: &mut Waiting| {
            now.since(one.record.appended) >= STALE && newest.get(&one.fingerprint()) != Some(&one.place())
        };
        self.waiting.extract_if(.., old).collect()
    }

    /// The next message, and when to ask again where there is none: at once is never the answer while something waits.
    pub(super) fn next(&mut self, now: Instant) -> Vec<Waiting> {
        self.tokens = self.rate.min(self.tokens + now.duration_since(self.filled).as_secs_f64() * self.rate / MINUTE);
        self.filled = now;
        self.backlog &= !self.waiting.is_empty();
        let mut seen = BTreeSet::new();
        let due = self.waiting.iter().filter(|one| seen.insert(one.fingerprint()) && one.not_before <= now);
        let mut due = due.peekable();
        let Some(first) = due.peek() else { return Vec::new() };
        if self.tokens < 1.0 {
            self.backlog = true;
            return Vec::new();
        }
        if !(self.backlog && first.bundles) {
            return vec![(*first).clone()];
        }
        due.filter(|one| one.bundles).take(BUNDLE_MAX).cloned().collect()
    }

    /// A message was answered for good: its alerts are dealt with.
    pub(super) fn done(&mut self, message: &[Waiting]) {
        self.tokens -= 1.0;
        self.drop_all(message);
        self.backlog &= !self.waiting.is_empty();
    }

    /// Its alerts are given up, and cost nothing of the rate.
    pub(super) fn drop_all(&mut self, message: &[Waiting]) {
        let places: BTreeSet<(u32, u64)> = message.iter().map(Waiting::place).collect();
        self.waiting.retain(|one| !places.contains(&one.place()));
    }

    /// Each of a message's alerts is tried by itself: one of them may be what is not liked.
    pub(super) fn alone(&mut self, message: &[Waiting]) {
        self.each(message, |one| one.bundles = false);
    }

    /// A message failed: its alerts are tried again later.
    pub(super) fn later(&mut self, message: &[Waiting], again: Again, now: Instant) {
        self.each(message, |one| one.not_before = now + retry_after(*one.failing.get_or_insert(now), again, now));
    }

    fn each(&mut self, message: &[Waiting], change: impl Fn(&mut Waiting)) {
        let places: BTreeSet<(u32, u64)> = message.iter().map(Waiting::place).collect();
        self.waiting.iter_mut().filter(|one| places.contains(&one.place())).for_each(change);
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the oldest of what waits was appended.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.waiting.iter().map(|one| one.record.appended).min()
    }

    /// How far each partition has been dealt with, and the append time of what was dealt with last.
    pub(super) fn reached(&self) -> impl Iterator<Item = (u32, u64, Timestamp)> {
        self.read.iter().map(|(partition, (next, at))| {
            let mut its = self.waiting.iter().filter(|one| one.record.partition == *partition && !one.is_kept);
            let first = its.next().map(|one| (one.record.offset, one.record.appended));
            let (next, at) = first.unwrap_or((*next, *at));
            (*partition, next, at)
        })
    }
}

/// How long to wait with the next attempt at what fails `since` a time.
pub(super) fn retry_after(since: Instant, again: Again, now: Instant) -> Duration {
    let least = match again {
        Again::After(wait) => return wait,
        Again::Soon => SOON,
        Again::Seldom => SELDOM,
    };
    (now.saturating_duration_since(since) / SHARE).clamp(least, RETRY_TO)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
