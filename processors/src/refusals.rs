//! Tells of records that nobody believes. In: the records of one partition of one topic, each with whether its readers believe
//! it. Out: an alert for the cluster when it begins, resolved when it has ended; and for each such record whether it is to go to
//! `dead`. Copies of what an agent, an executor or an operator said are found here too; their readers pass them over anyway.
//! Nothing else follows: no mode is changed, and no cluster is stopped, or whoever can write to the bus could stop it.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::event::{Event, Spoken, Subject};
use millrace_schemas::ids::{ClusterId, EventId, fleet};
use millrace_schemas::marks::{Marks, Sequence};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::signing::Refusal;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{AlertState, Finding, Severity, fingerprint};
use millrace_schemas::topics::journal::Fact;
use serde::{Deserialize, Serialize};

/// The name; snapshots and groups are under it.
pub const NAME: &str = "refusals";
/// Rises when the same input may give other output.
pub const VERSION: u32 = 2;

/// The rule.
pub const ALERT: &str = "RecordRefused";

/// 100 a second of each partition go to `dead`: plenty to see what they are. A flood must not fill another topic too; what is
/// left lies where it was until retention takes it.
const DEAD_PER_SECOND_MAX: u32 = 100;
/// 10 min without another one: whoever did it has stopped, or was stopped.
const QUIET: Duration = Duration::from_mins(10);
/// 1,000 clusters are told of by name in a partition; more are told of under the fleet.
const CLUSTERS_MAX: usize = 1_000;
/// Who numbers what they say themselves, so that the same number twice is a copy. Processors are not among them: hot copies of
/// one say the same things under one name.
const NUMBERED: [&str; 4] = ["agent/", "executor/", "operator/", "ticker/"];

/// Whether a refused record goes to `dead`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does.
    Dead,
    /// It is left where it lies: too many came in that second.
    Left,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Firing {
    cluster: ClusterId,
    finding: Finding,
    /// The last record of its kind.
    last: Timestamp,
    offset: u64,
}

/// What is known of one partition of one topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Refusals {
    /// The next offset: what is read again is passed over.
    pub next: u64,
    /// Clusters that somebody who is believed speaks about, and how far each speaker has come.
    clusters: BTreeMap<ClusterId, Marks>,
    firing: BTreeMap<EventId, Firing>,
    /// The second that is counted, and how many in it went to `dead`.
    second: Timestamp,
    buried: u32,
}

impl Refusals {
    /// A record that its readers believe. A copy of an earlier one is refused here.
    pub fn believed(&mut self, record: &Record) -> Option<Refusal> {
        if !self.is_new(record) {
            return None;
        }
        let value = record.value.as_deref()?;
        let Spoken { source, sequence, subject } = Spoken::read(value).ok()?;
        if !self.clusters.contains_key(&subject.cluster) && self.clusters.len() >= CLUSTERS_MAX {
            return None;
        }
        let marks = self.clusters.entry(subject.cluster).or_default();
        if !NUMBERED.iter().any(|prefix| source.starts_with(prefix)) {
            return None;
        }
        let fresh = marks.fresh(&source, sequence);
        (!fresh).then_some(Refusal::Replayed { source_name: source })
    }

    /// A record that its readers do not believe: what is to be appended, and whether it goes to `dead`. `None` when it was told
    /// of before.
    pub fn refused(&mut self, record: &Record, why: &Refusal) -> Option<(Vec<NewRecord>, Fate)> {
        self.is_new(record).then(|| self.tell(record, why))
    }

    /// The same of a copy, which was found by [`Self::believed`].
    pub fn tell(&mut self, record: &Record, why: &Refusal) -> (Vec<NewRecord>, Fate) {
        let fate = self.fate(record.appended);
        (self.raise(record, why).into_iter().collect(), fate)
    }

    /// Time passes: what has been quiet for long is over. Asked before each record with its append time, so that what is said
    /// is said in the order of time, and now and then where none comes.
    pub fn pass(&mut self, topic: Topic, partition: u32, now: Timestamp) -> Vec<NewRecord> {
        let quiet = self.firing.iter().filter(|(_, firing)| now.since(firing.last) >= QUIET);
        let mut over: Vec<_> = quiet.map(|(fingerprint, firing)| (firing.last, firing.offset, *fingerprint)).collect();
        over.sort_unstable();
        let mut out = Vec::new();
        for (last, offset, fingerprint) in over {
            let Some(mut firing) = self.firing.remove(&fingerprint) else { continue };
            firing.finding.state = AlertState::Resolved;
            let id = EventId::derive(&[NAME, "resolved", &fingerprint.to_string(), &last.0.to_string()]);
            let said = Said { at: last + QUIET, offset, topic, partition };
            out.push(said.record(id, firing.cluster, firing.finding));
        }
        out
    }

    fn is_new(&mut self, record: &Record) -> bool {
        let new = record.offset >= self.next;
        self.next = self.next.max(record.offset + 1);
        new
    }

    fn fate(&mut self, appended: Timestamp) -> Fate {
        let second = appended.floor(Duration::from_secs(1));
        if second != self.second {
            (self.second, self.buried) = (second, 0);
        }
        self.buried = self.buried.saturating_add(1);
        if self.buried <= DEAD_PER_SECOND_MAX { Fate::Dead } else { Fate::Left }
    }

    /// The finding, unless it was said already. Whose cluster it is, nobody who is believed has said: a name that is not known is
    /// told of under the fleet, so that a stranger cannot fill the alerts with clusters that are not there.
    fn raise(&mut self, record: &Record, why: &Refusal) -> Option<NewRecord> {
        let named = record.key.split('/').next().and_then(|name| ClusterId::parse(name).ok());
        let cluster = named.filter(|name| self.clusters.contains_key(name)).unwrap_or_else(fleet);
        let (topic, reason) = (record.topic, why.reason());
        let place = (record.partition, record.offset);
        let labels: BTreeMap<String, String> = [
            ("topic".to_owned(), topic.name().to_owned()),
            ("partition".to_owned(), place.0.to_string()),
            ("reason".to_owned(), reason.to_owned()),
        ]
        .into();
        let fingerprint = fingerprint(&cluster, ALERT, None, &labels);
        if let Some(firing) = self.firing.get_mut(&fingerprint) {
            (firing.last, firing.offset) = (record.appended, record.offset);
            return None;
        }
        let finding = Finding {
            fingerprint,
            rule: ALERT.to_owned(),
            instance: None,
            labels,
            severity: severity(why),
            state: AlertState::Firing,
            since: record.appended,
            summary: format!(
                "a record of {topic} (partition {}, offset {}) was refused, and nothing was done: {why}",
                place.0, place.1
            ),
            value: None,
            notifies: true,
        };
        let firing =
            Firing { cluster: cluster.clone(), finding: finding.clone(), last: record.appended, offset: record.offset };
        self.firing.insert(fingerprint, firing);
        let id = EventId::derive(&[NAME, "firing", &fingerprint.to_string(), &place.1.to_string()]);
        let said = Said { at: record.appended, offset: place.1, topic, partition: place.0 };
        Some(said.record(id, cluster, finding))
    }
}

/// Somebody writes who should not, or was late.
fn severity(why: &Refusal) -> Severity {
    match why {
        Refusal::Unsigned
        | Refusal::UnknownKey(_)
        | Refusal::Forged(_)
        | Refusal::Revoked { .. }
        | Refusal::NotAllowed { .. }
        | Refusal::Misplaced { .. } => Severity::Critical,
        Refusal::Expired { .. } | Refusal::Ahead { .. } | Refusal::Replayed { .. } => Severity::Warning,
    }
}

/// When and why something is said.
struct Said {
    at: Timestamp,
    offset: u64,
    topic: Topic,
    partition: u32,
}

impl Said {
    /// Numbered by the time that it is about: whoever reads again from an older snapshot says the same under the same number,
    /// whenever it comes to it.
    fn record(self, id: EventId, cluster: ClusterId, finding: Finding) -> NewRecord {
        let incarnation = u64::try_from(self.at.0).unwrap_or_default();
        Event {
            id,
            source: format!("{NAME}.{VERSION}/{}/{}", self.topic, self.partition),
            sequence: Sequence { incarnation, counter: self.offset },
            at: self.at,
            appended: Timestamp::ZERO,
            subject: Subject::cluster(cluster),
            cause: None,
            payload: Fact::Finding(Box::new(finding)),
        }
        .to_record()
    }
}

#[cfg(test)]
mod tests;
