//! Anomalies: what is unusual, and whether that is worth a word. Three thin processors, since order holds within a topic only. The one
//! over `windows` (here) judges each digest and each instance by its own past, and says in the journal what is unusual. So does the one
//! over `samples` (`sampled.rs`) of what is no matter of statements. The one over `journal` (`gate.rs`) knows of restarts, changed roles and maintenance, compares replicas with each other, and says what is found.
//! In: closed 10-s windows, and the texts and tables of digests, which never change. Nothing here wakes anybody unless it is asked to.

mod daily;
mod digest;
mod gate;
mod groups;
mod hours;
mod instance;
mod news;
mod peers;
mod pending;
mod sampled;
mod series;
mod signals;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, DigestId, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{Finding, Severity, Unusual, fingerprint};
use millrace_schemas::topics::batch::Batch;
use millrace_schemas::topics::journal::Fact;
use millrace_schemas::topics::windows::{Window, decode, may_be_closed};
use serde::{Deserialize, Serialize};

pub use daily::{Daily, SUMMARY, TimeOfDay};
pub use digest::Sums;
pub use gate::Gate;
pub use groups::Word;
pub use instance::{Instance, Measured};
pub use sampled::{Sampled, SampledState};

use crate::anomaly::Sensitivity;
use crate::fold::{Fate, Folded, Saved};
use news::{News, Seen};
use pending::Pending;
use series::Bar;

/// The name; with [`VERSION`] it is the producer of what comes out.
pub const NAME: &str = "anomalies.windows";
/// Rises when the same input may give other output.
pub const VERSION: u32 = 1;
/// The rules of what is found: silences and channels name them. What is unusual of statements has a name of its own, and so has a
/// statement that is new and felt.
pub const ANOMALY: &str = "Anomaly";
/// Statements take longer, read more, fail more or come more often than they usually do.
pub const REGRESSED: &str = "StatementRegressed";
/// A statement that the cluster did not have before takes much.
pub const NEW: &str = "SlowStatementNew";
/// All of them, with how bad they are.
pub const FINDINGS: [(&str, Severity); 4] =
    [(ANOMALY, Severity::Info), (REGRESSED, Severity::Info), (NEW, Severity::Info), (SUMMARY, Severity::Info)];
/// What the snapshot of a cluster is stored under, before its name: no instance is called so.
const OF_CLUSTER: &str = "@";
/// 10,000 instances of a partition: as many as have windows.
const INSTANCES_MAX: usize = 10_000;
/// A week without a window: the instance is gone.
const FORGOTTEN: i64 = 7 * 86_400;
/// Ten usual deviations in three windows at the middle sensitivity, and one more or less for each step: of normal noise that is once
/// in 1e10 windows. The noise of servers is wider; the seeded weeks of `tests/` say what remains.
const EVIDENCE: f32 = 10.0;
/// A step of the sensitivity is 15 % of the logarithm of the least factor.
const EFFECT_STEP: f32 = 0.15;
/// The sensitivity in the middle.
const MIDDLE: f32 = 5.0;

/// How anomalies are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Nothing is judged.
    pub off: bool,
    /// How readily something is unusual.
    pub sensitivity: Sensitivity,
    /// For so long a series is learnt before anything is said of it.
    pub learns: Duration,
    /// For so long nothing is said of an instance that was started or has another role.
    pub quiet: Duration,
    /// An anomaly of an instance's errors is told to people.
    pub notify_errors: bool,
    /// So is one of statements that have this share of an instance's response time; none: never.
    pub notify_share: Option<f32>,
    /// When people are told what was found in a day; none: never.
    pub summary_at: Option<TimeOfDay>,
}

impl Default for Settings {
    /// Ten minutes are sixty windows, enough to know a level and its noise; a cold cache is warm within them. Nobody is notified
    /// of any one, and of all together once a day.
    fn default() -> Self {
        Self {
            off: false,
            sensitivity: Sensitivity::default(),
            learns: Duration::from_mins(10),
            quiet: Duration::from_mins(10),
            notify_errors: false,
            notify_share: None,
            summary_at: Some(TimeOfDay::MORNING),
        }
    }
}

impl Settings {
    /// From where on a series that is multiplied by `factor` is an event.
    fn bar(&self, factor: f32) -> Bar {
        let steps = MIDDLE - f32::from(self.sensitivity.level());
        let windows = self.learns.as_secs() / instance::WIDTH as u64;
        Bar {
            effect: factor.ln() * (1.0 + steps * EFFECT_STEP),
            evidence: EVIDENCE + steps,
            // Ten at least: of fewer nobody knows a noise.
            learns: u16::try_from(windows).unwrap_or(u16::MAX).max(10),
        }
    }
}

/// The texts and tables of digests.
pub trait Names {
    /// The tables that a digest names; none where it is not known.
    fn tables(&self, digest: DigestId) -> &[String];
    /// Its canonical text.
    fn text(&self, digest: DigestId) -> Option<&str>;
}

/// Nothing is known of any digest.
impl Names for () {
    fn tables(&self, _: DigestId) -> &[String] {
        &[]
    }

    fn text(&self, _: DigestId) -> Option<&str> {
        None
    }
}

/// What a judgement needs beside the numbers.
#[derive(Clone, Copy)]
pub struct Beside<'a> {
    /// The digests.
    pub names: &'a dyn Names,
    /// How it is judged.
    pub settings: &'a Settings,
    /// The name of the instance, for the sentence.
    pub instance: &'a str,
}

impl std::fmt::Debug for Beside<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "what is beside the numbers of {}", self.instance)
    }
}

impl Word {
    /// What is found of an instance, if nothing explains it.
    pub fn finding(self, cluster: &ClusterId, instance: &InstanceId) -> Finding {
        let (labels, rule) = (self.about.labels(), self.about.rule());
        Finding {
            fingerprint: fingerprint(cluster, rule, Some(instance), &labels),
            rule: rule.to_owned(),
            instance: Some(instance.clone()),
            labels,
            severity: self.severity,
            state: self.state,
            since: seconds(self.since),
            summary: self.summary,
            value: Some(f64::from(self.factor)).filter(|value| value.is_finite()),
            notifies: self.notifies,
        }
    }
}

fn seconds(second: i64) -> Timestamp {
    Timestamp(second.saturating_mul(1_000_000))
}

/// Judges one partition of `windows`.
#[derive(Clone, Debug)]
pub struct Anomalies {
    partition: u32,
    producer: String,
    settings: Settings,
    next: u64,
    instances: BTreeMap<InstanceId, Kept>,
    clusters: BTreeMap<ClusterId, Cluster>,
    /// Windows of instances beyond the limit.
    beyond: u64,
}

/// What is known of the digests of a cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Cluster {
    seen: Seen,
    /// Records before this offset are in it already.
    #[serde(skip)]
    from: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    cluster: ClusterId,
    judged: Instance,
    #[serde(default)]
    news: News,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<Pending>,
    /// Records before this offset are in it already.
    #[serde(skip)]
    from: u64,
}

impl Anomalies {
    /// Nothing is known yet.
    pub fn new(partition: u32, settings: Settings) -> Self {
        let producer = format!("{NAME}.{VERSION}/{}/{partition}", Topic::Windows);
        let (instances, clusters) = (BTreeMap::new(), BTreeMap::new());
        Self { partition, producer, settings, next: 0, instances, clusters, beyond: 0 }
    }

    /// What snapshots are stored under.
    pub fn stored_as() -> String {
        format!("{NAME}.v{VERSION}")
    }

    /// The offset after the last record that was folded.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many series there are, and how many rows were of none.
    pub fn counted(&self) -> (usize, u64) {
        let all = self.instances.values().map(|kept| kept.judged.counted());
        all.fold((0, self.beyond), |(series, beyond), (more, left)| (series + more, beyond + left))
    }

    /// What has a state to be stored: instances and clusters.
    pub fn entities(&self) -> impl Iterator<Item = String> {
        let instances = self.instances.keys().map(ToString::to_string);
        instances.chain(self.clusters.keys().map(|cluster| format!("{OF_CLUSTER}{cluster}")))
    }

    /// The state of one of them.
    pub fn save(&self, entity: &str) -> Option<Saved> {
        let json = |value: serde_json::Result<Vec<u8>>| value.expect("plain data with text keys");
        let (value, from) = if let Some(cluster) = entity.strip_prefix(OF_CLUSTER) {
            let cluster = self.clusters.get(&ClusterId::parse(cluster).ok()?)?;
            (json(serde_json::to_vec(cluster)), cluster.from)
        } else {
            let kept = self.instances.get(&InstanceId::parse(entity).ok()?)?;
            (json(serde_json::to_vec(kept)), kept.from)
        };
        Some(Saved { partition: self.partition, entity: entity.to_owned(), next: self.next.max(from), value })
    }

    /// Takes up what was saved. States need not stand for one offset: folding goes on at the lowest.
    pub fn restore(&mut self, saved: &[Saved]) -> Result<(), String> {
        self.next = saved.iter().map(|one| one.next).min().unwrap_or(self.next);
        for one in saved {
            let bad = |error: &dyn std::fmt::Display| format!("the snapshot of {} cannot be read: {error}", one.entity);
            if let Some(cluster) = one.entity.strip_prefix(OF_CLUSTER) {
                let cluster = ClusterId::parse(cluster).map_err(|error| bad(&error))?;
                let known: Cluster = serde_json::from_slice(&one.value).map_err(|error| bad(&error))?;
                self.clusters.insert(cluster, Cluster { from: one.next, ..known });
                continue;
            }
            let instance = InstanceId::parse(one.entity.clone()).map_err(|error| bad(&error))?;
            let kept: Kept = serde_json::from_slice(&one.value).map_err(|error| bad(&error))?;
            self.instances.insert(instance, Kept { from: one.next, ..kept });
        }
        Ok(())
    }

    /// Folds a record of `windows`.
    pub fn fold(&mut self, record: &Record, names: &dyn Names) -> Folded {
        if record.offset < self.next {
            return Folded { out: Vec::new(), fate: Fate::Repeated };
        }
        self.next = record.offset + 1;
        if self.settings.off || !may_be_closed(&record.headers) {
            return Folded { out: Vec::new(), fate: Fate::Folded };
        }
        let mut out = Vec::new();
        let fate = self.read(record, names, &mut out).err().map_or(Fate::Folded, Fate::Dead);
        Folded { out, fate }
    }

    fn read(&mut self, record: &Record, names: &dyn Names, out: &mut Vec<NewRecord>) -> Result<(), String> {
        let Batch { cluster, value, .. } = Batch::of(record)?;
        let instance = InstanceId::parse(record.key.as_str()).map_err(|error| error.to_string())?;
        let windows = decode(&value).map_err(|error| error.to_string())?;
        let judged = |window: &&Window| window.closed && i64::from(window.width_seconds) == instance::WIDTH;
        let windows: Vec<&Window> = windows.iter().filter(judged).collect();
        let Some(start) = windows.first().map(|window| window.start()) else { return Ok(()) };
        if !self.instances.contains_key(&instance) && self.instances.len() >= INSTANCES_MAX {
            self.instances.retain(|_, kept| start - kept.judged.start() < FORGOTTEN);
            self.clusters.retain(|cluster, _| self.instances.values().any(|kept| kept.cluster == *cluster));
            if self.instances.len() >= INSTANCES_MAX {
                self.beyond += windows.len() as u64;
                return Ok(());
            }
        }
        let known = self.clusters.entry(cluster.clone()).or_default();
        if record.offset >= known.from {
            known.seen.window(start, windows.iter().map(|window| window.row.digest));
        }
        let kept = self.instances.entry(instance.clone()).or_insert_with(|| Kept {
            cluster: cluster.clone(),
            judged: Instance::default(),
            news: News::default(),
            pending: None,
            from: 0,
        });
        if record.offset < kept.from || start <= kept.judged.start() {
            return Ok(());
        }
        kept.cluster = cluster;
        let ready = kept.take(start, &windows);
        let beside = Beside { names, settings: &self.settings, instance: instance.as_str() };
        for window in ready {
            let (total, rows) = window.sums();
            let mut words = kept.judged.window(window.start, &total, &rows, &beside);
            let judged = &kept.judged;
            words.extend(kept.news.window(window.start, &total, &rows, (&known.seen, || judged.gone(&rows)), &beside));
            let subject = Subject::instance(kept.cluster.clone(), instance.clone());
            out.extend(said(&self.producer, &subject, &instance, window.start, words, record.appended));
        }
        Ok(())
    }
}

impl Kept {
    /// Takes rows of a window in; out come the windows that are whole now. One that lacks a part is judged as it is when the next
    /// one begins.
    fn take(&mut self, start: i64, windows: &[&Window]) -> Vec<Pending> {
        let mut ready = Vec::new();
        if self.pending.as_ref().is_some_and(|pending| pending.start < start) {
            ready.extend(self.pending.take());
        }
        let pending = self.pending.get_or_insert_with(|| Pending::new(start));
        if pending.start == start {
            for window in windows {
                pending.add(&window.row);
            }
        }
        if pending.is_whole() {
            ready.extend(self.pending.take());
        }
        ready
    }
}

/// The words about a window, as facts of the journal. Each instance counts for itself, by its windows and not by the input: whoever
/// judges it first, it is told once.
fn said(
    producer: &str,
    subject: &Subject,
    instance: &InstanceId,
    start: i64,
    words: Vec<Word>,
    at: Timestamp,
) -> Vec<NewRecord> {
    let incarnation = u64::try_from(start).unwrap_or(0);
    let events = (0..).zip(words).map(|(counter, word)| {
        let windows = word.windows.iter().copied().map(seconds).collect();
        let finding = word.finding(&subject.cluster, instance);
        let (window, name) = (format!("{start}/{counter}"), finding.fingerprint.to_string());
        let event = Event {
            id: EventId::derive(&[producer, &window, instance.as_str(), &name]),
            source: format!("{producer}/{instance}"),
            sequence: Sequence { incarnation, counter },
            at,
            appended: Timestamp::ZERO,
            subject: subject.clone(),
            cause: None,
            payload: Fact::Unusual(Box::new(Unusual { finding, windows })),
        };
        event.to_record()
    });
    events.collect()
}
