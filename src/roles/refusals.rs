//! Tells of records that nobody believes, once for the fleet: reads every signed topic as one of a group, appends refused records
//! to `dead` as they were, and alerts. A thread of its own, where the configuration has `[trust]`; deciders, executors and agents
//! refuse for themselves and wait for nobody here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_processors::refusals::{Fate, NAME, Refusals, VERSION};
use millrace_schemas::metrics::{REFUSALS_TOLD, REFUSED, Registry};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::signing::{Refusal, is_due};
use millrace_schemas::topics::Topic;

use super::deliver::{Outbox, Stopped};
use super::lag::Lag;
use super::process::dead;
use super::speaker::now;
use crate::bus::{Assignment, Polled, Reader, SharedBus, Snapshot};

/// 500 ms: an alert within a second of what it is about.
const WAIT: Duration = Duration::from_millis(500);
/// 30 s between snapshots: what is read again after a restart is told under the same ids, and the marks of a fleet's speakers are
/// some 100 KiB.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);

/// What is known of each partition of each topic that is held.
type Held = BTreeMap<(Topic, u32), Refusals>;

/// Tells until `stop`.
pub fn run(bus: &SharedBus, metrics: &Registry, lag: &Lag, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let topics: Vec<Topic> = Topic::ALL.into_iter().filter(|topic| is_due(*topic)).collect();
    let assignment = Assignment::Group { group: format!("{NAME}.{VERSION}"), topics };
    let mut reader = bus.reader(assignment).context("refused records cannot be read")?;
    let mut held = Held::new();
    let mut outbox = Outbox::new(bus, "refused records", stop);
    let mut stored = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(WAIT) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "refused records cannot be read");
                std::thread::sleep(WAIT);
                continue;
            }
        };
        let mut out = Vec::new();
        let gains = polled.iter().any(|item| matches!(item, Polled::Gained { .. }));
        // Once for all that were gained together: on Kafka it reads a topic.
        let saved = if gains {
            bus.load(&stored_as()).context("the snapshots of the refusals cannot be loaded")?
        } else {
            Vec::new()
        };
        for item in &polled {
            if let Polled::Record(record) | Polled::Refused { record, .. } = item
                && let Some(refusals) = held.get_mut(&(record.topic, record.partition))
            {
                out.extend(refusals.pass(record.topic, record.partition, record.appended));
            }
            match item {
                Polled::Gained { topic, partition, .. } => {
                    held.insert((*topic, *partition), restored(&saved, *topic, *partition));
                }
                Polled::Lost { topic, partition } => drop(held.remove(&(*topic, *partition))),
                Polled::Record(record) => out.extend(believed(&mut held, record, metrics)),
                Polled::Refused { record, why } => out.extend(refused(&mut held, record, why, metrics)),
            }
        }
        for ((topic, partition), refusals) in &mut held {
            out.extend(refusals.pass(*topic, *partition, now()));
        }
        if let Err(Stopped) = outbox.put(out).and_then(|()| outbox.settle()) {
            return Ok(()); // not stored: who takes them up tells of them
        }
        lag.note_all(&polled);
        if stored.elapsed() >= SNAPSHOT_EVERY {
            stored = Instant::now();
            store(bus, reader.as_mut(), &held);
        }
    }
    store(bus, reader.as_mut(), &held);
    Ok(())
}

/// A record that readers believe may still be a copy of one that they had.
fn believed(held: &mut Held, record: &Record, metrics: &Registry) -> Vec<NewRecord> {
    let Some(refusals) = held.get_mut(&(record.topic, record.partition)) else { return Vec::new() };
    let Some(why) = refusals.believed(record) else { return Vec::new() };
    metrics.add(&REFUSED, &[record.topic.name(), why.reason()], 1);
    let (out, fate) = refusals.tell(record, &why);
    told(record, &why, out, fate, metrics)
}

fn refused(held: &mut Held, record: &Record, why: &Refusal, metrics: &Registry) -> Vec<NewRecord> {
    let Some(refusals) = held.get_mut(&(record.topic, record.partition)) else { return Vec::new() };
    let Some((out, fate)) = refusals.refused(record, why) else { return Vec::new() };
    told(record, why, out, fate, metrics)
}

fn told(record: &Record, why: &Refusal, mut out: Vec<NewRecord>, fate: Fate, metrics: &Registry) -> Vec<NewRecord> {
    let (topic, reason) = (record.topic.name(), why.reason());
    match fate {
        Fate::Dead => {
            metrics.add(&REFUSALS_TOLD, &[topic, reason, "dead"], 1);
            tracing::warn!(topic, partition = record.partition, offset = record.offset, %why, "a record was refused");
            out.push(dead(record, NAME, &why.to_string()));
        }
        Fate::Left => metrics.add(&REFUSALS_TOLD, &[topic, reason, "left"], 1),
    }
    out
}

fn stored_as() -> String {
    format!("{NAME}.v{VERSION}")
}

/// What was saved of a partition, taken up. One that cannot be read is begun anew: an alert may be told twice.
fn restored(saved: &[Snapshot], topic: Topic, partition: u32) -> Refusals {
    let Some(own) = saved.iter().find(|one| one.partition == partition && one.entity == topic.name()) else {
        return Refusals::default();
    };
    serde_json::from_slice(&own.value).unwrap_or_else(|error| {
        tracing::warn!(%error, %topic, partition, "the snapshot of the refusals cannot be read; it is begun anew");
        Refusals::default()
    })
}

/// Stores what is known, and only then says how far it has come: who takes a partition over finds both, or the older both.
fn store(bus: &SharedBus, reader: &mut dyn Reader, held: &Held) {
    let snapshot = |((topic, partition), refusals): (&(Topic, u32), &Refusals)| Snapshot {
        processor: stored_as(),
        partition: *partition,
        entity: topic.name().to_owned(),
        next: refusals.next,
        value: serde_json::to_vec(refusals).expect("plain data"),
    };
    let done = bus.save(held.iter().map(snapshot).collect()).and_then(|()| {
        let read = held.iter().filter(|(_, refusals)| refusals.next > 0);
        let mut places = read.map(|((topic, partition), refusals)| (*topic, *partition, refusals.next));
        places.try_for_each(|(topic, partition, next)| reader.commit(topic, partition, next))
    });
    if let Err(error) = done {
        tracing::warn!(%error, "the snapshot of the refusals was not stored; a restart reads more");
    }
}
