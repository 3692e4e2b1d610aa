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
use millrace_schemas::topics::alerts::{Alert, AlertState, Notice, Severity, Told};
use serde::{Deserialize, Serialize};

/// The name; snapshots and groups are under it.
pub const NAME: &str = "refusals";
/// Rises when the same input may give other output.
pub const VERSION: u32 = 1;

/// The name of the alert.
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
    alert: Alert,
    last: Timestamp,
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

    /// Time passes: what has been quiet for long is over.
    pub fn pass(&mut self, topic: Topic, partition: u32, now: Timestamp) -> Vec<NewRecord> {
        let over: Vec<EventId> = self
            .firing
            .iter()
            .filter(|(_, firing)| now.since(firing.last) >= QUIET)
            .map(|(fingerprint, _)| *fingerprint)
            .collect();
        let mut out = Vec::new();
        for fingerprint in over {
            let Some(mut firing) = self.firing.remove(&fingerprint) else { continue };
            firing.alert.state = AlertState::Resolved;
            let id = EventId::derive(&[NAME, "resolved", &fingerprint.to_string(), &firing.last.0.to_string()]);
            out.push(notice(id, topic, partition, self.next, firing.last + QUIET, firing.cluster, firing.alert));
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

    /// The alert, unless it fires already. Whose cluster it is, nobody who is believed has said: a name that is not known is
    /// told of under the fleet, so that a stranger cannot fill the alerts with clusters that are not there.
    fn raise(&mut self, record: &Record, why: &Refusal) -> Option<NewRecord> {
        let named = record.key.split('/').next().and_then(|name| ClusterId::parse(name).ok());
        let cluster = named.filter(|name| self.clusters.contains_key(name)).unwrap_or_else(fleet);
        let (topic, reason) = (record.topic, why.reason());
        let place = (record.partition, record.offset);
        let fingerprint = EventId::derive(&[ALERT, cluster.as_str(), topic.name(), &place.0.to_string(), reason]);
        if let Some(firing) = self.firing.get_mut(&fingerprint) {
            firing.last = record.appended;
            return None;
        }
        let alert = Alert {
            fingerprint,
            name: ALERT.to_owned(),
            instance: None,
            severity: severity(why),
            state: AlertState::Firing,
            starts_at: record.appended,
            summary: format!(
                "a record of {topic} (partition {}, offset {}) was refused, and nothing was done: {why}",
                place.0, place.1
            ),
            labels: BTreeMap::new(),
            ends_at: None,
            value: None,
            told: Some(Told::Began),
            quiet: None,
            hides: Vec::new(),
            acknowledged_by: None,
            runbook: format!("docs/alerts.md#{}", ALERT.to_lowercase()),
        };
        self.firing
            .insert(fingerprint, Firing { cluster: cluster.clone(), alert: alert.clone(), last: record.appended });
        let id = EventId::derive(&[NAME, "firing", &fingerprint.to_string(), &place.1.to_string()]);
        Some(notice(id, topic, place.0, place.1, record.appended, cluster, alert))
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

fn notice(
    id: EventId,
    topic: Topic,
    partition: u32,
    offset: u64,
    at: Timestamp,
    cluster: ClusterId,
    alert: Alert,
) -> NewRecord {
    Event {
        id,
        source: format!("{NAME}.{VERSION}/{topic}/{partition}"),
        sequence: Sequence { incarnation: offset, counter: 0 },
        at,
        appended: Timestamp::ZERO,
        subject: Subject::cluster(cluster),
        cause: None,
        payload: Notice::Alert(alert),
    }
    .to_record()
}

#[cfg(test)]
mod tests;
