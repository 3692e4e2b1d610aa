//! Judges what is unusual: reads `windows`, `samples` and `journal`, and `digests`, whose texts and tables never change, from the start;
//! appends what is unusual and what is found. What it was told of digests is not stored: the topic is compacted, and read again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use millrace_processors::Folds;
use millrace_processors::anomalies::{Anomalies, Daily, Gate, NAME, Names, Sampled, Settings};
use millrace_processors::fold::{Processor, Saved};
use millrace_schemas::event::Event;
use millrace_schemas::ids::DigestId;
use millrace_schemas::metrics::{ANOMALIES_BEYOND, ANOMALIES_FIRING, ANOMALIES_SERIES, Registry};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::digests::Entry;

use super::judge::{AGAIN_AFTER, Judges, WAIT, judge};
use super::lag::Lag;
use super::process::{restored, snapshots, told};
use crate::bus::{Assignment, From, Polled, SharedBus, Snapshot};

/// 60 times five seconds: each instance is stored once in five minutes. A state has some hundred kilobytes, and what is read again
/// after a restart says the same under the same ids.
const TURNS: usize = 60;
/// 100,000 digests: two thousand of each of fifty instances; the sentence about one that is beyond names no table.
const DIGESTS_MAX: usize = 100_000;
/// 200 bytes of a text are shown, and a little more in case characters are long.
const TEXT_BYTES: usize = 256;

/// The texts and tables of digests.
#[derive(Debug, Default)]
pub(crate) struct Dictionary(BTreeMap<DigestId, (Box<str>, Vec<String>)>);

impl Dictionary {
    /// Takes a record of `digests` in; what cannot be read, who parses digests tells of.
    pub(crate) fn learn(&mut self, record: &Record) {
        let Ok(Event { payload: Entry::Digest(entry), .. }) = Event::<Entry>::from_record(record) else { return };
        if self.0.len() < DIGESTS_MAX || self.0.contains_key(&entry.digest) {
            let end = (0..=TEXT_BYTES.min(entry.text.len())).rev().find(|at| entry.text.is_char_boundary(*at));
            self.0.insert(entry.digest, (entry.text[..end.unwrap_or(0)].into(), entry.tables));
        }
    }
}

impl Dictionary {
    /// Reads what there is; where to read on.
    fn read(&mut self, bus: &SharedBus, stop: &AtomicBool) -> anyhow::Result<BTreeMap<u32, u64>> {
        let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Digests, From::Start)]))?;
        let mut next = BTreeMap::new();
        while !stop.load(Ordering::Relaxed) {
            let polled = match reader.poll(WAIT) {
                Ok(polled) => polled,
                Err(error) => {
                    tracing::warn!(%error, "digests cannot be read");
                    std::thread::sleep(AGAIN_AFTER);
                    continue;
                }
            };
            for item in &polled {
                if let Polled::Record(record) = item {
                    self.learn(record);
                    next.insert(record.partition, record.offset + 1);
                }
            }
            if polled.is_empty() && reader.unread().is_ok_and(|unread| unread.is_empty()) {
                break;
            }
        }
        Ok(next)
    }
}

impl Names for Dictionary {
    fn tables(&self, digest: DigestId) -> &[String] {
        self.0.get(&digest).map_or(&[], |(_, tables)| tables.as_slice())
    }

    fn text(&self, digest: DigestId) -> Option<&str> {
        self.0.get(&digest).map(|(text, _)| &**text)
    }
}

/// The processors, and what they must know of digests.
struct All {
    settings: Settings,
    windows: BTreeMap<u32, Anomalies>,
    samples: Folds<Sampled>,
    journal: Folds<Gate>,
    daily: Folds<Daily>,
    names: Dictionary,
    /// Up to where digests were read before.
    learnt: BTreeMap<u32, u64>,
    /// What was stored last.
    stored: Option<(u32, String)>,
    /// What the metrics showed last.
    shown: BTreeMap<(String, String), f64>,
    beyond: u64,
}

/// Judges until `stop`.
pub fn run(
    bus: &SharedBus,
    settings: &Settings,
    metrics: &Registry,
    lag: &Lag,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let mut judges = All {
        settings: settings.clone(),
        windows: windows_of(bus, settings)?,
        samples: restored(bus, Sampled { settings: settings.clone() })?,
        journal: restored(bus, Gate { settings: settings.clone() })?,
        daily: restored(bus, Daily)?,
        names: Dictionary::default(),
        learnt: BTreeMap::new(),
        stored: None,
        shown: BTreeMap::new(),
        beyond: 0,
    };
    // First of all: what is said of a digest names its tables, before and after a restart.
    judges.learnt = judges.names.read(bus, stop)?;
    judge(judges, bus, metrics, lag, stop)
}

/// What was stored of the windows, taken up.
fn windows_of(bus: &SharedBus, settings: &Settings) -> anyhow::Result<BTreeMap<u32, Anomalies>> {
    let mut by_partition: BTreeMap<u32, Vec<Saved>> = BTreeMap::new();
    for Snapshot { partition, entity, next, value, .. } in
        bus.load(&Anomalies::stored_as()).context("snapshots cannot be loaded")?
    {
        by_partition.entry(partition).or_default().push(Saved { partition, entity, next, value });
    }
    let mut windows = BTreeMap::new();
    for (partition, saved) in by_partition {
        let mut judge = Anomalies::new(partition, settings.clone());
        judge.restore(&saved).map_err(|error| anyhow::anyhow!("{error}; remove it to learn from the topic's start"))?;
        windows.insert(partition, judge);
    }
    Ok(windows)
}

impl All {
    /// Where the journal is read on: what one of the two has folded already, it passes over.
    fn journal_from(&self) -> BTreeMap<u32, u64> {
        let (mut next, daily) = (self.journal.next(), self.daily.next());
        next.retain(|partition, _| daily.contains_key(partition));
        for (partition, next) in &mut next {
            *next = (*next).min(daily[partition]);
        }
        next
    }
}

impl Judges for All {
    const WHAT: &'static str = "anomalies";
    /// 5 s: each time some instances.
    const STORE_EVERY: Duration = Duration::from_secs(5);

    fn begin(&self) -> Vec<(Topic, From)> {
        let next = self.windows.iter().map(|(partition, windows)| (*partition, windows.next())).collect();
        vec![
            (Topic::Digests, From::Offsets(self.learnt.clone())),
            (Topic::Windows, From::Offsets(next)),
            (Topic::Samples, From::Offsets(self.samples.next())),
            (Topic::Journal, From::Offsets(self.journal_from())),
        ]
    }

    fn fold(&mut self, record: &Record, metrics: &Registry) -> Vec<NewRecord> {
        match record.topic {
            Topic::Digests => {
                self.names.learn(record);
                Vec::new()
            }
            Topic::Windows => {
                let new = || Anomalies::new(record.partition, self.settings.clone());
                let judge = self.windows.entry(record.partition).or_insert_with(new);
                // Nobody else sends windows that cannot be read to `dead`: they are for people, and few read them.
                told(judge.fold(record, &self.names), NAME, record, metrics, true)
            }
            // What of samples cannot be read, who judges them by rules sends to `dead`.
            Topic::Samples => told(self.samples.fold(record), Sampled::NAME, record, metrics, false),
            Topic::Journal => {
                let read = Event::from_record(record);
                let mut out = told(self.journal.fold_read(record, &read), Gate::NAME, record, metrics, false);
                out.extend(told(self.daily.fold_read(record, &read), Daily::NAME, record, metrics, false));
                out
            }
            _ => Vec::new(),
        }
    }

    fn measure(&mut self, metrics: &Registry) {
        let mut shown: BTreeMap<(String, String), f64> = BTreeMap::new();
        for (cluster, state) in self.journal.clusters() {
            for instance in state.instances() {
                shown.entry((cluster.to_string(), instance.to_string())).or_insert(0.0);
            }
            for finding in state.firing() {
                let instance = finding.instance.as_ref().map(ToString::to_string).unwrap_or_default();
                *shown.entry((cluster.to_string(), instance)).or_insert(0.0) += 1.0;
            }
        }
        for ((cluster, instance), count) in &shown {
            metrics.set(&ANOMALIES_FIRING, &[cluster, instance], *count);
        }
        for (cluster, instance) in self.shown.keys().filter(|key| !shown.contains_key(*key)) {
            metrics.forget(&ANOMALIES_FIRING, &[cluster, instance]);
        }
        self.shown = shown;
        let counted = self.windows.values().map(Anomalies::counted);
        let (series, beyond) = counted.fold((0, 0), |(all, left), (series, beyond)| (all + series, left + beyond));
        let sampled: usize = self.samples.clusters().map(|(_, state)| state.series()).sum();
        metrics.set(&ANOMALIES_SERIES, &[], (series + sampled) as f64);
        metrics.add(&ANOMALIES_BEYOND, &[], beyond.saturating_sub(self.beyond));
        self.beyond = self.beyond.max(beyond);
    }

    /// Stores the states of journal and samples, and of windows those whose turn it is.
    fn store(&mut self, bus: &SharedBus, last: bool) {
        let turns = if last { 1 } else { TURNS };
        let of = |(partition, judge): (&u32, &Anomalies)| {
            let partition = *partition;
            judge.entities().map(|entity| (partition, entity)).collect::<Vec<_>>()
        };
        let all: Vec<(u32, String)> = self.windows.iter().flat_map(of).collect();
        let first = all.iter().position(|one| Some(one) > self.stored.as_ref()).unwrap_or(0);
        let due: Vec<&(u32, String)> = all.iter().cycle().skip(first).take(all.len().div_ceil(turns)).collect();
        let windows = due.iter().filter_map(|(partition, entity)| {
            let Saved { partition, entity, next, value } = self.windows.get(partition)?.save(entity)?;
            Some(Snapshot { processor: Anomalies::stored_as(), partition, entity, next, value })
        });
        let journal = self.journal.next().into_keys().flat_map(|partition| snapshots(&self.journal, partition));
        let daily = self.daily.next().into_keys().flat_map(|partition| snapshots(&self.daily, partition));
        let samples = self.samples.next().into_keys().flat_map(|partition| snapshots(&self.samples, partition));
        match bus.save(windows.chain(samples).chain(journal).chain(daily).collect()) {
            Ok(()) => self.stored = due.last().map(|one| (*one).clone()),
            Err(error) => tracing::warn!(%error, "the snapshots of anomalies were not stored; a restart reads more"),
        }
    }
}
