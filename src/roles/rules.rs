//! Judges by rules: reads `samples` and `journal` by hand, folds each with a processor of its own, appends what is found, and stores
//! snapshots with the offsets that they stand for. A thread of its own: no decision waits for a judgement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_processors::Folds;
use millrace_processors::fold::Processor;
use millrace_processors::rules::{Journal, Rules, Sampled};
use millrace_schemas::metrics::{Metric, RULES_BEYOND, Registry};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::topics::Topic;

use super::deliver::{Outbox, Stopped};
use super::lag::Lag;
use super::process::{restored, snapshots, told};
use crate::bus::{Assignment, From, Polled, SharedBus};

/// 200 ms: a finding within a quarter of a second of what it is about.
const WAIT: Duration = Duration::from_millis(200);
/// 100 ms between attempts to read while the bus is unavailable.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// 30 s between snapshots: what is read again after a restart gives the same findings under the same ids, and the states of a
/// fleet are some megabytes.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(30);
/// 5 s between looks at what follows for the metrics: a third of the time between two scrapes.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Both processors.
struct Judges {
    samples: Folds<Sampled>,
    journal: Folds<Journal>,
    /// What the metrics showed last: what is not known any more is taken back.
    shown: BTreeMap<(&'static str, Vec<String>), &'static Metric>,
    beyond: u64,
}

/// Judges until `stop`.
pub fn run(
    bus: &SharedBus,
    rules: &Arc<Rules>,
    metrics: &Registry,
    lag: &Lag,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let mut judges = Judges {
        samples: restored(bus, Sampled::new(Arc::clone(rules)))?,
        journal: restored(bus, Journal::new(Arc::clone(rules)))?,
        shown: BTreeMap::new(),
        beyond: 0,
    };
    let from = vec![
        (Topic::Samples, From::Offsets(judges.samples.next())),
        (Topic::Journal, From::Offsets(judges.journal.next())),
    ];
    let mut reader = bus.reader(Assignment::Manual(from)).context("the rules cannot read samples and journal")?;
    let mut outbox = Outbox::new(bus, "findings", stop);
    let mut stored = Instant::now();
    let mut measured = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(WAIT) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "samples and journal cannot be read");
                std::thread::sleep(AGAIN_AFTER);
                continue;
            }
        };
        for item in &polled {
            if let Polled::Record(record) = item
                && let Err(Stopped) = outbox.put(judges.fold(record, metrics))
            {
                return Ok(()); // not stored: who takes them up finds it again
            }
        }
        if let Err(Stopped) = outbox.settle() {
            return Ok(());
        }
        lag.note_all(&polled);
        if measured.elapsed() >= MEASURE_EVERY {
            measured = Instant::now();
            judges.measure(metrics);
        }
        if stored.elapsed() >= SNAPSHOT_EVERY {
            stored = Instant::now();
            judges.store(bus);
        }
    }
    judges.store(bus);
    Ok(())
}

impl Judges {
    /// Folds a record; what comes out is to be appended. What cannot be read in the journal, who decides sends to `dead`.
    fn fold(&mut self, record: &Record, metrics: &Registry) -> Vec<NewRecord> {
        match record.topic {
            Topic::Samples => told(self.samples.fold(record), Sampled::NAME, record, metrics, true),
            Topic::Journal => told(self.journal.fold(record), Journal::NAME, record, metrics, false),
            _ => Vec::new(),
        }
    }

    /// What follows from the heartbeats of a cluster together.
    fn measure(&mut self, metrics: &Registry) {
        let now = self.journal.now();
        let mut shown = BTreeMap::new();
        for (cluster, state) in self.journal.clusters() {
            for (metric, instance, value) in state.derived(now) {
                let mut labels = vec![cluster.as_str().to_owned()];
                labels.extend(instance.map(|instance| instance.as_str().to_owned()));
                metrics.set(metric, &labels.iter().map(String::as_str).collect::<Vec<_>>(), value);
                shown.insert((metric.name, labels), metric);
            }
        }
        for ((name, labels), metric) in &self.shown {
            if !shown.contains_key(&(*name, labels.clone())) {
                metrics.forget(metric, &labels.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
        self.shown = shown;
        let samples: u64 = self.samples.clusters().map(|(_, state)| state.beyond()).sum();
        let journal: u64 = self.journal.clusters().map(|(_, state)| state.beyond()).sum();
        metrics.add(&RULES_BEYOND, &[], (samples + journal).saturating_sub(self.beyond));
        self.beyond = samples + journal;
    }

    fn store(&self, bus: &SharedBus) {
        let samples = self.samples.next().into_keys().flat_map(|partition| snapshots(&self.samples, partition));
        let journal = self.journal.next().into_keys().flat_map(|partition| snapshots(&self.journal, partition));
        if let Err(error) = bus.save(samples.chain(journal).collect()) {
            tracing::warn!(%error, "the snapshots of the rules were not stored; a restart reads more");
        }
    }
}
