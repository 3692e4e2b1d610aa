//! Judges by rules: reads `samples` and `journal`, each with a processor of its own, and appends what is found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use millrace_processors::Folds;
use millrace_processors::fold::Processor;
use millrace_processors::rules::{Journal, Rules, Sampled};
use millrace_schemas::metrics::{Metric, RULES_BEYOND, Registry};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::topics::Topic;

use super::judge::{Judges, judge};
use super::lag::Lag;
use super::process::{restored, snapshots, told};
use crate::bus::{From, SharedBus};

/// Both processors.
struct Both {
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
    let judges = Both {
        samples: restored(bus, Sampled::new(Arc::clone(rules)))?,
        journal: restored(bus, Journal::new(Arc::clone(rules)))?,
        shown: BTreeMap::new(),
        beyond: 0,
    };
    judge(judges, bus, metrics, lag, stop)
}

impl Judges for Both {
    const WHAT: &'static str = "rules";
    /// 30 s: what is read again after a restart gives the same findings under the same ids, and the states of a fleet are some
    /// megabytes.
    const STORE_EVERY: Duration = Duration::from_secs(30);

    fn begin(&self) -> Vec<(Topic, From)> {
        vec![(Topic::Samples, From::Offsets(self.samples.next())), (Topic::Journal, From::Offsets(self.journal.next()))]
    }

    /// What cannot be read in the journal, who decides sends to `dead`.
    fn fold(&mut self, record: &Record, metrics: &Registry) -> Vec<NewRecord> {
        match record.topic {
            Topic::Samples => told(self.samples.fold(record), Sampled::NAME, record, metrics, true),
            Topic::Journal => told(self.journal.fold(record), Journal::NAME, record, metrics, false),
            _ => Vec::new(),
        }
    }

    /// What follows from the heartbeats, and from the samples, of a cluster together.
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
        for (cluster, state) in self.samples.clusters() {
            if let Some((metric, value)) = state.derived(self.samples.now()) {
                metrics.set(metric, &[cluster.as_str()], value);
                shown.insert((metric.name, vec![cluster.as_str().to_owned()]), metric);
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

    fn store(&mut self, bus: &SharedBus, _: bool) {
        let samples = self.samples.next().into_keys().flat_map(|partition| snapshots(&self.samples, partition));
        let journal = self.journal.next().into_keys().flat_map(|partition| snapshots(&self.journal, partition));
        if let Err(error) = bus.save(samples.chain(journal).collect()) {
            tracing::warn!(%error, "the snapshots of the rules were not stored; a restart reads more");
        }
    }
}
