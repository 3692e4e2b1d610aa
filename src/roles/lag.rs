//! How far each stage of this process is behind what the bus has. In: what every stage dealt with, and the ends of the partitions
//! that it holds. Out: `millrace_stage_lag_records` and `millrace_stage_lag_seconds`.
//! It asks on a thread of its own: a stage that hangs is seen to fall behind, and no stage waits for the answers. What cannot be
//! asked has no value at all; it must never look like zero.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use millrace_schemas::metrics::{Registry, STAGE_LAG_RECORDS, STAGE_LAG_SECONDS};
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;

use super::speaker::now;
use crate::bus::{Bus, Polled, SharedBus};

/// 5 s between looks, a third of the time between two scrapes: each is a question to every broker and topic.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// 100 ms: how long the thread sleeps at most before it sees that it is to stop.
const STOP_WITHIN: Duration = Duration::from_millis(100);

/// The partitions of a stage.
type Held = BTreeMap<(Topic, u32), Place>;

/// How far a partition was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    next: u64,
    /// What is left now was appended after this: the append time of the last record dealt with, or later, when nothing was left.
    since: Timestamp,
}

/// All stages of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Lags(Arc<Mutex<BTreeMap<String, Weak<Mutex<Held>>>>>);

/// What one stage says of itself; when it is dropped, nothing is known of the stage any more.
#[derive(Debug)]
pub struct Lag(Arc<Mutex<Held>>);

/// What the metrics showed last: what is not known any more is taken back.
type Shown = BTreeSet<(String, Topic)>;

impl Lags {
    /// A stage, which holds nothing yet. One of its name from before is forgotten: it has ended.
    pub fn stage(&self, name: impl Into<String>) -> Lag {
        let held = Arc::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), Arc::downgrade(&held));
        Lag(held)
    }

    /// Measures until `stop`.
    pub fn run(&self, bus: &SharedBus, metrics: &Registry, stop: &AtomicBool) {
        let mut shown = Shown::new();
        let mut measured: Option<Instant> = None;
        while !stop.load(Ordering::Relaxed) {
            if measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
                measured = Some(Instant::now());
                self.measure(bus.as_ref(), metrics, now(), &mut shown);
            }
            std::thread::sleep(STOP_WITHIN);
        }
    }

    fn measure(&self, bus: &dyn Bus, metrics: &Registry, now: Timestamp, shown: &mut Shown) {
        let stages = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ends = Ends { bus, known: BTreeMap::new(), away: false };
        let mut measured = Shown::new();
        for (stage, lag) in stages {
            let Some(lag) = lag.upgrade().map(Lag) else { continue };
            let held = lag.held().clone();
            let topics: BTreeSet<Topic> = held.keys().map(|(topic, _)| *topic).collect();
            for topic in topics {
                let of_it = held.iter().filter(|((of, _), _)| *of == topic);
                let Some((records, seconds)) = lag.behind(of_it, &mut ends, now) else { continue };
                metrics.set(&STAGE_LAG_RECORDS, &[&stage, topic.name()], records as f64);
                metrics.set(&STAGE_LAG_SECONDS, &[&stage, topic.name()], seconds);
                measured.insert((stage.clone(), topic));
            }
        }
        for (stage, topic) in shown.difference(&measured) {
            metrics.forget(&STAGE_LAG_RECORDS, &[stage, topic.name()]);
            metrics.forget(&STAGE_LAG_SECONDS, &[stage, topic.name()]);
        }
        *shown = measured;
    }
}

impl Lag {
    /// What a poll told was dealt with: a record, or that a partition came or went.
    pub fn note(&self, item: &Polled) {
        match item {
            Polled::Gained { topic, partition, next } => self.reached(*topic, *partition, *next, now()),
            Polled::Lost { topic, partition } => {
                self.held().remove(&(*topic, *partition));
            }
            Polled::Record(record) | Polled::Refused { record, .. } => self.dealt(record),
        }
    }

    /// All of these, in order.
    pub fn note_all(&self, items: &[Polled]) {
        for item in items {
            self.note(item);
        }
    }

    /// A record was dealt with.
    pub fn dealt(&self, record: &Record) {
        self.reached(record.topic, record.partition, record.offset + 1, record.appended);
    }

    /// Everything before `next` was dealt with, and what is left was appended at `since` or later.
    pub fn reached(&self, topic: Topic, partition: u32, next: u64, since: Timestamp) {
        self.held().insert((topic, partition), Place { next, since });
    }

    /// Records that are left in all of these partitions, and how far the one that is furthest behind is, in seconds; nothing when
    /// the end of one is not known.
    fn behind<'a>(
        &self,
        held: impl Iterator<Item = (&'a (Topic, u32), &'a Place)>,
        ends: &mut Ends<'_>,
        now: Timestamp,
    ) -> Option<(u64, f64)> {
        let (mut records, mut seconds) = (0, 0.0_f64);
        for (at, place) in held {
            let left = ends.of(*at)?.saturating_sub(place.next);
            records += left;
            if left == 0 {
                self.nothing_left(*at, place.next, now);
            } else {
                seconds = seconds.max(now.since(place.since).as_secs_f64());
            }
        }
        Some((records, seconds))
    }

    /// What comes next to this partition is appended after `now`; unless the stage has gone on meanwhile and knows better.
    fn nothing_left(&self, at: (Topic, u32), next: u64, now: Timestamp) {
        if let Some(place) = self.held().get_mut(&at)
            && place.next == next
        {
            place.since = place.since.max(now);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ends of each topic's partitions, asked for once a look, and none any more after one topic's could not be told: a broker
/// that is away takes its time to say so.
struct Ends<'a> {
    bus: &'a dyn Bus,
    known: BTreeMap<Topic, Vec<u64>>,
    away: bool,
}

impl Ends<'_> {
    fn of(&mut self, (topic, partition): (Topic, u32)) -> Option<u64> {
        if !self.away && !self.known.contains_key(&topic) {
            match self.bus.ends(topic) {
                Ok(ends) => drop(self.known.insert(topic, ends)),
                Err(error) => {
                    self.away = true;
                    tracing::warn!(%error, %topic, "how far behind the stages are is not known now");
                }
            }
        }
        self.known.get(&topic)?.get(partition as usize).copied()
    }
}

#[cfg(test)]
#[path = "lag_tests.rs"]
mod tests;
