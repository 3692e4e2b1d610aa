//! Runs the processors that read the journal: folds each record, appends what comes out, stores snapshots with the offset
//! that they stand for, fills silences with ticks, and sends what cannot be read to `dead`. A thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_processors::alerts::{Alerts, Settings};
use millrace_processors::failover::Failover;
use millrace_processors::fold::{Fate, Fold, Folded, Processor, Saved};
use millrace_processors::folds::Folds;
use millrace_processors::permits::Permits;
use millrace_processors::routes::Routes;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::ClusterId;
use millrace_schemas::metrics::{
    ACTIONS, ALERTS_FIRING, EPOCH, FOLD_DEAD, FOLD_DUPLICATES, FOLD_RECORDS, FOLD_SKIPPED, Registry,
};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Order;
use millrace_schemas::topics::alerts::{Severity, WATCHDOG};
use millrace_schemas::topics::journal::Fact;

use super::deliver::{Outbox, Stopped};
use super::lag::Lag;
use super::speaker::Speaker;
use crate::bus::{Assignment, From, Polled, SharedBus, Snapshot};

/// 200 ms of silence: a fifth of the gap that would restart every timer.
const TICK_AFTER: Duration = Duration::from_millis(200);
/// 5 s between snapshots of a partition: what a restart has to read again is folded in milliseconds.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(5);
/// 1 s between looks at the clusters' epochs for the metrics: nobody scrapes more often.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// 100 ms between attempts to read while the bus is unavailable.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The processors of the journal, each over all its partitions.
struct Deciders {
    failover: Folds<Failover>,
    permits: Folds<Permits>,
    routes: Folds<Routes>,
    alerts: Folds<Alerts>,
    /// When each partition was last heard of.
    heard: BTreeMap<u32, Instant>,
}

/// Runs the deciders until `stop`; of alerts people are told as often as `told` says.
pub fn run(
    bus: &SharedBus,
    speaker: &Speaker,
    metrics: &Registry,
    lag: &Lag,
    told: &Settings,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let mut deciders = Deciders {
        failover: restored(bus, Failover)?,
        permits: restored(bus, Permits)?,
        routes: restored(bus, Routes)?,
        alerts: restored(bus, Alerts { settings: told.clone() })?,
        heard: BTreeMap::new(),
    };
    let assignment = Assignment::Manual(vec![(Topic::Journal, From::Offsets(deciders.next()))]);
    let mut reader = bus.reader(assignment).context("the deciders cannot read the journal")?;
    let mut outbox = Outbox::new(bus, "decisions", stop);
    let mut turn = Turn::among(bus.partitions(Topic::Journal)?);
    let mut measured: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(TICK_AFTER) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be read");
                std::thread::sleep(AGAIN_AFTER);
                continue;
            }
        };
        for item in &polled {
            if let Polled::Record(record) = item {
                deciders.heard.insert(record.partition, Instant::now());
                let decided = deciders.fold(record, metrics);
                count_actions(&decided, metrics);
                if let Err(Stopped) = outbox.put(decided) {
                    return Ok(()); // not stored: who takes them up decides again
                }
            }
        }
        if let Err(Stopped) = outbox.settle() {
            return Ok(());
        }
        lag.note_all(&polled);
        deciders.tick(speaker);
        if measured.is_none_or(|at| at.elapsed() >= MEASURE_EVERY) {
            measured = Some(Instant::now());
            deciders.measure(metrics);
        }
        if let Some(partition) = turn.next(|| deciders.next()) {
            deciders.store(bus, partition);
        }
    }
    deciders.next().into_keys().for_each(|partition| deciders.store(bus, partition));
    Ok(())
}

/// Whose snapshot comes next: one partition after the other, evenly spread. All at once would keep every decision waiting, for
/// some hundred milliseconds with a thousand clusters.
struct Turn {
    last: Option<u32>,
    at: Instant,
    apart: Duration,
}

impl Turn {
    fn among(partitions: u32) -> Self {
        Self { last: None, at: Instant::now(), apart: SNAPSHOT_EVERY / partitions.max(1) }
    }

    /// The one of `partitions` that is to be stored now, if it is time for one.
    fn next(&mut self, partitions: impl FnOnce() -> BTreeMap<u32, u64>) -> Option<u32> {
        if self.at.elapsed() < self.apart {
            return None;
        }
        let partitions = partitions();
        let first = *partitions.first_key_value()?.0;
        let after = self.last.and_then(|last| partitions.range(last + 1..).next());
        let next = after.map_or(first, |(partition, _)| *partition);
        (self.last, self.at) = (Some(next), Instant::now());
        Some(next)
    }
}

/// What `processor` stored, taken up.
pub fn restored<P: Processor + Clone>(bus: &SharedBus, processor: P) -> anyhow::Result<Folds<P>> {
    let snapshots = bus.load(&Fold::<P>::stored_as()).context("snapshots cannot be loaded")?;
    let saved = snapshots
        .into_iter()
        .map(|Snapshot { partition, entity, next, value, .. }| Saved { partition, entity, next, value })
        .collect();
    Folds::restored(processor, saved)
        .map_err(|error| anyhow::anyhow!("{error}; remove the snapshots to fold the journal from its start"))
}

/// What a processor saves of a partition, as the bus stores it.
pub(super) fn snapshots<P: Processor + Clone>(folds: &Folds<P>, partition: u32) -> impl Iterator<Item = Snapshot> {
    let processor = Fold::<P>::stored_as();
    folds.save(partition).into_iter().map(move |Saved { partition, entity, next, value }| Snapshot {
        processor: processor.clone(),
        partition,
        entity,
        next,
        value,
    })
}

impl Deciders {
    /// Where the journal is read on: what one of them has folded already, it passes over. A partition that one of them has
    /// nothing of is read from its start.
    fn next(&self) -> BTreeMap<u32, u64> {
        let mut lowest = self.failover.next();
        let others = [self.permits.next(), self.routes.next(), self.alerts.next()];
        lowest.retain(|partition, next| {
            let others: Option<Vec<u64>> = others.iter().map(|other| other.get(partition).copied()).collect();
            *next = others.iter().flatten().copied().fold(*next, u64::min);
            if others.is_none() {
                *next = 0;
            }
            others.is_some()
        });
        lowest
    }

    /// Folds a record; what comes out is to be appended.
    fn fold(&mut self, record: &Record, metrics: &Registry) -> Vec<NewRecord> {
        let read = Event::from_record(record);
        let mut out = told(self.failover.fold_read(record, &read), Failover::NAME, record, metrics, true);
        out.extend(told(self.permits.fold_read(record, &read), Permits::NAME, record, metrics, false));
        out.extend(told(self.routes.fold_read(record, &read), Routes::NAME, record, metrics, false));
        out.extend(told(self.alerts.fold_read(record, &read), Alerts::NAME, record, metrics, false));
        out
    }

    /// Nothing came in a partition for a while: time itself becomes a record. A partition without clusters has no timers to run.
    fn tick(&mut self, speaker: &Speaker) {
        let known = self.permits.one_of_each().chain(self.failover.one_of_each());
        let known: BTreeMap<u32, ClusterId> = known.map(|(at, cluster)| (at, cluster.clone())).collect();
        for (partition, cluster) in known {
            let heard = self.heard.entry(partition).or_insert_with(Instant::now);
            if heard.elapsed() >= TICK_AFTER {
                *heard = Instant::now();
                // Not waited for: the next poll brings it back, and if it does not, the next silence says it again.
                drop(speaker.say(Subject::cluster(cluster), None, Fact::Tick {}));
            }
        }
    }

    /// The epoch of every cluster, and how many of its alerts fire.
    fn measure(&self, metrics: &Registry) {
        for (cluster, state) in self.alerts.clusters() {
            for severity in [Severity::Info, Severity::Warning, Severity::Critical] {
                for quiet in [false, true] {
                    // The watchdog always fires, and is for channels alone.
                    let firing = state
                        .firing()
                        .filter(|one| one.severity == severity && one.quiet.is_some() == quiet && one.name != WATCHDOG);
                    let labels = [cluster.as_str(), severity.name(), if quiet { "true" } else { "false" }];
                    metrics.set(&ALERTS_FIRING, &labels, firing.count() as f64);
                }
            }
        }
        for (cluster, state) in self.failover.clusters() {
            metrics.set(&EPOCH, &[cluster.as_str()], state.epoch.0 as f64);
        }
    }

    fn store(&self, bus: &SharedBus, partition: u32) {
        let mut saved: Vec<Snapshot> = snapshots(&self.failover, partition).collect();
        saved.extend(snapshots(&self.permits, partition));
        saved.extend(snapshots(&self.routes, partition));
        saved.extend(snapshots(&self.alerts, partition));
        if let Err(error) = bus.save(saved) {
            tracing::warn!(%error, partition, "snapshots were not stored; a restart reads more of the journal");
        }
    }
}

/// What a fold gave, counted; what it could not read goes to `dead`, which one of the processors `tells`.
pub(super) fn told(
    folded: Folded,
    name: &'static str,
    record: &Record,
    metrics: &Registry,
    tells: bool,
) -> Vec<NewRecord> {
    let mut out = folded.out;
    metrics.add(&FOLD_RECORDS, &[name], 1);
    metrics.add(&FOLD_DEAD, &[name], 0); // a rate sees the first one only where there was a 0 before
    match folded.fate {
        Fate::Folded => {}
        Fate::Repeated => metrics.add(&FOLD_DUPLICATES, &[name], 1),
        Fate::Skipped(kind) => {
            metrics.add(&FOLD_SKIPPED, &[name], 1);
            tracing::warn!(%kind, offset = record.offset, "a fact of an unknown kind was skipped");
        }
        Fate::Dead(reason) => {
            metrics.add(&FOLD_DEAD, &[name], 1);
            if tells {
                tracing::warn!(%reason, offset = record.offset, "a record went to dead");
                out.push(dead(record, name, &reason));
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

/// Counts the actions among what was decided.
fn count_actions(records: &[NewRecord], metrics: &Registry) {
    for record in records.iter().filter(|record| record.topic == Topic::Actions) {
        let order = record.value.as_deref().and_then(|value| Event::<Order>::from_json(value, true).ok());
        if let Some(Event { payload: Order::Action(action), .. }) = order {
            metrics.add(&ACTIONS, &[action.kind.name()], 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::record::Bytes;

    use millrace_schemas::record::Headers;
    use millrace_schemas::time::Timestamp;

    use super::*;

    #[test]
    fn every_partition_has_its_turn_and_none_before_its_time() {
        let partitions = BTreeMap::from([(1, 9), (4, 9), (7, 9)]);
        let mut turn = Turn::among(3);
        assert_eq!(turn.next(|| unreachable!("it is not time")), None);
        let third = SNAPSHOT_EVERY / 3;
        let due = |turn: &mut Turn, partitions: &BTreeMap<u32, u64>| {
            turn.at = Instant::now().checked_sub(third).expect("the machine runs for longer");
            turn.next(|| partitions.clone())
        };
        assert_eq!([(); 4].map(|()| due(&mut turn, &partitions)), [Some(1), Some(4), Some(7), Some(1)]);
        assert_eq!(due(&mut turn, &BTreeMap::new()), None);
    }

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
            value: Some(Bytes::from(&b"{\"not\": \"an event\"}"[..])),
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
