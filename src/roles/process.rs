//! Runs the processors that read the journal: folds each record, appends what comes out, stores snapshots with the offset
//! that they stand for, fills silences with ticks, and sends what cannot be read to `dead`. A thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_processors::failover::Failover;
use millrace_processors::fold::{Fate, Fold, Processor, Saved};
use millrace_processors::permits::Permits;
use millrace_processors::routes::Routes;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::metrics::{ACTIONS, EPOCH, FOLD_DEAD, FOLD_DUPLICATES, FOLD_RECORDS, FOLD_SKIPPED, Registry};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Order;
use millrace_schemas::topics::journal::Fact;

use super::speaker::Speaker;
use crate::bus::{Assignment, Error, From, Polled, SharedBus, Snapshot};

/// 200 ms of silence: a fifth of the gap that would restart every timer.
const TICK_AFTER: Duration = Duration::from_millis(200);
/// 5 s between snapshots: what a restart has to read again is folded in milliseconds.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);
/// 1 s between looks at the clusters' epochs for the metrics: nobody scrapes more often.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// 100 ms to 2 s between attempts while the bus is unavailable.
const RETRY_FROM: Duration = Duration::from_millis(100);
const RETRY_TO: Duration = Duration::from_secs(2);

/// The processors of the journal.
struct Deciders {
    failover: Fold<Failover>,
    permits: Fold<Permits>,
    routes: Fold<Routes>,
}

/// Runs the deciders until `stop`.
pub fn run(bus: &SharedBus, speaker: &Speaker, metrics: &Registry, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut deciders =
        Deciders { failover: Fold::new(Failover, 0), permits: Fold::new(Permits, 0), routes: Fold::new(Routes, 0) };
    let at = [
        restore(bus, &mut deciders.failover)?,
        restore(bus, &mut deciders.permits)?,
        restore(bus, &mut deciders.routes)?,
    ];
    let from = if at.iter().all(Option::is_some) { at.into_iter().flatten().min() } else { None };
    let starts = at.map(|next| next.unwrap_or(0));
    let assignment = Assignment::Manual(vec![(Topic::Journal, from.map_or(From::Start, From::Offset))]);
    let mut reader = bus.reader(assignment).context("the deciders cannot read the journal")?;
    let mut next = from.unwrap_or(0);
    let mut saved = Instant::now();
    let mut measured: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(TICK_AFTER) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be read");
                std::thread::sleep(RETRY_FROM);
                continue;
            }
        };
        if polled.is_empty() {
            tick(speaker, &deciders);
        }
        for item in polled {
            if let Polled::Record(record) = item {
                next = record.offset + 1;
                let mut out = Vec::new();
                // Each goes on where its own snapshot stands.
                if record.offset >= starts[0] {
                    out.extend(fold(&mut deciders.failover, &record, metrics, true));
                }
                if record.offset >= starts[1] {
                    out.extend(fold(&mut deciders.permits, &record, metrics, false));
                }
                if record.offset >= starts[2] {
                    out.extend(fold(&mut deciders.routes, &record, metrics, false));
                }
                append(bus, &out, metrics, stop);
            }
        }
        if measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
            measured = Some(Instant::now());
            measure(&deciders, metrics);
        }
        if saved.elapsed() >= SNAPSHOT_EVERY {
            saved = Instant::now();
            store(bus, &deciders, next);
        }
    }
    store(bus, &deciders, next);
    Ok(())
}

/// Gives `fold` its newest snapshots; the offset that they stand for, when there are any.
pub fn restore<P: Processor>(bus: &SharedBus, fold: &mut Fold<P>) -> anyhow::Result<Option<u64>> {
    let snapshots = bus.load(&Fold::<P>::stored_as()).context("snapshots cannot be loaded")?;
    let next = snapshots.iter().map(|snapshot| snapshot.next).max();
    let saved: Vec<Saved> = snapshots.into_iter().map(|snapshot| (snapshot.entity, snapshot.value)).collect();
    fold.restore(saved)
        .map_err(|error| anyhow::anyhow!("{error}; remove the snapshots to fold the journal from its start"))?;
    Ok(next)
}

/// Folds a record; what it could not read goes to `dead`, told once (by the first processor).
fn fold<P: Processor>(fold: &mut Fold<P>, record: &Record, metrics: &Registry, tells: bool) -> Vec<NewRecord> {
    let folded = fold.fold(record);
    let mut out = folded.out;
    metrics.add(&FOLD_RECORDS, &[P::NAME], 1);
    match folded.fate {
        Fate::Folded => {}
        Fate::Repeated => metrics.add(&FOLD_DUPLICATES, &[P::NAME], 1),
        Fate::Skipped(kind) => {
            metrics.add(&FOLD_SKIPPED, &[P::NAME], 1);
            tracing::warn!(%kind, offset = record.offset, "a fact of an unknown kind was skipped");
        }
        Fate::Dead(reason) => {
            metrics.add(&FOLD_DEAD, &[P::NAME], 1);
            if tells {
                tracing::warn!(%reason, offset = record.offset, "a record went to dead");
                out.push(dead(record, P::NAME, &reason));
            }
        }
    }
    out
}

/// The record as it is, with headers that say where it was and what was wrong.
pub fn dead(record: &Record, stage: &str, reason: &str) -> NewRecord {
    let mut headers = record.headers.clone();
    let told = [
        ("millrace.errors.topic", record.topic.name().to_owned()),
        ("millrace.errors.partition", record.partition.to_string()),
        ("millrace.errors.offset", record.offset.to_string()),
        ("millrace.errors.stage", stage.to_owned()),
        ("millrace.errors.message", reason.to_owned()),
    ];
    headers.extend(told.map(|(name, value)| (name.to_owned(), value)));
    NewRecord {
        topic: Topic::Dead,
        partition_key: record.key.clone(),
        key: record.key.clone(),
        headers,
        value: record.value.clone(),
    }
}

/// Appends until it is done: what was decided is not forgotten because the bus was away for a moment.
fn append(bus: &SharedBus, records: &[NewRecord], metrics: &Registry, stop: &Arc<AtomicBool>) {
    if records.is_empty() {
        return;
    }
    let mut wait = RETRY_FROM;
    while let Err(error) = bus.append(records.to_vec()).wait() {
        tracing::warn!(%error, "a decision could not be appended yet");
        if stop.load(Ordering::Relaxed) || matches!(error, Error::TooLarge { .. }) {
            return;
        }
        std::thread::sleep(wait);
        wait = (wait * 2).min(RETRY_TO);
    }
    for record in records.iter().filter(|record| record.topic == Topic::Actions) {
        let order = record.value.as_deref().and_then(|value| Event::<Order>::from_json(value, true).ok());
        if let Some(Event { payload: Order::Action(action), .. }) = order {
            metrics.add(&ACTIONS, &[action.kind.name()], 1);
        }
    }
}

/// The epoch of every cluster.
fn measure(deciders: &Deciders, metrics: &Registry) {
    for (cluster, state) in deciders.failover.clusters() {
        metrics.set(&EPOCH, &[cluster.as_str()], state.epoch.0 as f64);
    }
}

/// Nothing came for a while: time itself becomes a record. A partition without clusters has no timers to run.
fn tick(speaker: &Speaker, deciders: &Deciders) {
    let Some(cluster) = deciders.failover.clusters().map(|(cluster, _)| cluster.clone()).next() else { return };
    // Not waited for: the next poll brings it back, and if it does not, the next silence says it again.
    drop(speaker.say(Subject::cluster(cluster), None, Fact::Tick {}));
}

fn store(bus: &SharedBus, deciders: &Deciders, next: u64) {
    let snapshot = |processor: String, saved: Vec<Saved>| {
        saved.into_iter().map(move |(entity, value)| Snapshot { processor: processor.clone(), entity, next, value })
    };
    let mut snapshots: Vec<Snapshot> = snapshot(Fold::<Failover>::stored_as(), deciders.failover.save()).collect();
    snapshots.extend(snapshot(Fold::<Permits>::stored_as(), deciders.permits.save()));
    snapshots.extend(snapshot(Fold::<Routes>::stored_as(), deciders.routes.save()));
    if let Err(error) = bus.save(snapshots) {
        tracing::warn!(%error, "snapshots were not stored; a restart reads more of the journal");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millrace_schemas::record::Headers;
    use millrace_schemas::time::Timestamp;

    use super::*;

    /// Who reads `dead` finds the record as it was, and what the headers say.
    #[test]
    fn a_record_of_dead_is_as_its_golden_sample() {
        let headers = Headers::from([("ce_type".to_owned(), "millrace.heartbeat.v9".to_owned())]);
        let record = Record {
            topic: Topic::Journal,
            partition: 3,
            offset: 17,
            appended: Timestamp(1_700_000_000_000_000),
            key: "c1".to_owned(),
            headers,
            value: Some(Arc::from(&b"{\"not\": \"an event\"}"[..])),
        };
        let dead = dead(&record, "failover", "the kind millrace.heartbeat.v9 is not known");
        let value = String::from_utf8(dead.value.expect("as it was").to_vec()).expect("text");
        let told = serde_json::json!({
            "topic": dead.topic.name(), "key": dead.key, "headers": dead.headers, "value": value,
        });
        let golden = include_str!("../../schemas/src/golden/dead.json");
        let golden: serde_json::Value = serde_json::from_str(golden).expect("JSON");
        assert_eq!(told, golden, "readers of dead rely on these headers: note the change in CHANGELOG.md");
    }
}
