//! How a processor runs: records of one partition in, records out. Time is the append time of the records; timers are part
//! of the fold: before a record is folded, every key that wanted to be woken by then is ticked, in (time, key) order.
//! Repeats are dropped by their sequence, gaps restart silence timers, what cannot be read is handed back, not ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_schemas::event::{Event, Payload, Subject, Unreadable};
use millrace_schemas::ids::FLEET;
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::marks::{Marks, Sequence};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A partition that says nothing for longer than this was away: ticks fill every healthy silence after 200 ms.
pub const GAP: Duration = Duration::from_secs(1);

/// A pure fold over the facts of one key, the cluster.
pub trait Processor {
    /// The name; with the version it is the producer of what comes out.
    const NAME: &'static str;
    /// Rises when the same input may give other output: hot copies of two versions are two producers.
    const VERSION: u32;
    /// What it reads.
    type In: Payload;
    /// What it knows about one cluster.
    type State: Default + Clone + Serialize + DeserializeOwned;

    /// False for clusters that it knows nothing about: their facts are passed over, and no state is kept for them.
    fn keeps(cluster: &ClusterId) -> bool {
        cluster.as_str() != FLEET
    }
    /// Folds one fact.
    fn step(&self, state: &mut Self::State, event: &Event<Self::In>, out: &mut Out<'_>);
    /// When this cluster next wants to be ticked.
    fn wake(&self, state: &Self::State) -> Option<Timestamp>;
    /// The time it asked for has come.
    fn tick(&self, state: &mut Self::State, now: Timestamp, out: &mut Out<'_>);
    /// Nothing was appended for longer than [`GAP`]: silence means nothing before `now`.
    fn resume(&self, state: &mut Self::State, now: Timestamp);
    /// Evidence of a kind that this version does not know.
    fn unknown_evidence(&self, state: &mut Self::State, cluster: &ClusterId, kind: &str, out: &mut Out<'_>);
}

/// Collects what a step or tick emits, with ids and sequence derived from the input.
#[derive(Debug)]
pub struct Out<'a> {
    producer: &'a str,
    /// Offset of the record that is being folded, and how many records it has produced so far.
    sequence: Sequence,
    /// The append time of that record: the time of what is emitted.
    pub now: Timestamp,
    records: Vec<NewRecord>,
}

impl Out<'_> {
    /// Emits `payload` about `subject`, because of `cause`. Its id is minted from these, so that a replay mints it again.
    pub fn emit<P: Payload>(&mut self, subject: Subject, cause: Option<EventId>, payload: P) -> EventId {
        let id = self.mint(&subject, cause, P::TOPIC.name());
        self.emit_as(id, subject, cause, payload);
        id
    }

    /// The id that the next emitted event of this topic would get: for payloads that carry their own id.
    pub fn mint(&self, subject: &Subject, cause: Option<EventId>, kind: &str) -> EventId {
        let at = format!("{}-{}", self.sequence.incarnation, self.sequence.counter);
        let cause = cause.map(|id| id.to_string()).unwrap_or_default();
        EventId::derive(&[self.producer, &at, &cause, kind, subject.cluster.as_str()])
    }

    /// Emits under an id that was minted before.
    pub fn emit_as<P: Payload>(&mut self, id: EventId, subject: Subject, cause: Option<EventId>, payload: P) {
        let event = Event {
            id,
            source: self.producer.to_owned(),
            sequence: self.sequence,
            at: self.now,
            appended: Timestamp::ZERO,
            subject,
            cause,
            payload,
        };
        self.sequence.counter += 1;
        self.records.push(event.to_record());
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Keyed<S> {
    marks: Marks,
    state: S,
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was folded, or is about a cluster that the processor keeps nothing of.
    Folded,
    /// It had been had before.
    Repeated,
    /// It is to go to `dead`, unchanged.
    Dead(String),
    /// A kind that this version does not know and may skip.
    Skipped(String),
}

/// What folding a record gave.
#[derive(Clone, Debug)]
pub struct Folded {
    /// To be appended, in this order.
    pub out: Vec<NewRecord>,
    /// What became of the record.
    pub fate: Fate,
}

/// A processor with the states of all clusters of one partition.
#[derive(Clone, Debug)]
pub struct Fold<P: Processor> {
    processor: P,
    producer: String,
    keys: BTreeMap<ClusterId, Keyed<P::State>>,
    wakes: BTreeSet<(Timestamp, ClusterId)>,
    now: Timestamp,
}

/// A state as it is stored: the cluster, or `CLOCK`, and JSON.
pub type Saved = (String, Vec<u8>);
/// Not a legal cluster id, so that it cannot meet one.
const CLOCK: &str = "@clock";

impl<P: Processor> Fold<P> {
    /// Nothing known yet. `partition` names the input, it is part of what comes out.
    pub fn new(processor: P, partition: u32) -> Self {
        let producer = format!("{}.{}/{}/{partition}", P::NAME, P::VERSION, P::In::TOPIC.name());
        Self { processor, producer, keys: BTreeMap::new(), wakes: BTreeSet::new(), now: Timestamp::ZERO }
    }

    /// `NAME.VERSION`: what snapshots are stored under.
    pub fn stored_as() -> String {
        format!("{}.v{}", P::NAME, P::VERSION)
    }

    /// Takes up states that were saved.
    pub fn restore(&mut self, saved: Vec<Saved>) -> Result<(), String> {
        for (entity, bytes) in saved {
            let bad = |error: serde_json::Error| format!("the snapshot of {entity} cannot be read: {error}");
            if entity == CLOCK {
                self.now = serde_json::from_slice(&bytes).map_err(bad)?;
                continue;
            }
            let cluster = ClusterId::parse(entity.clone()).map_err(|error| error.to_string())?;
            let keyed: Keyed<P::State> = serde_json::from_slice(&bytes).map_err(bad)?;
            if let Some(wake) = self.processor.wake(&keyed.state) {
                self.wakes.insert((wake, cluster.clone()));
            }
            self.keys.insert(cluster, keyed);
        }
        Ok(())
    }

    /// All states, to be stored together with the next input offset.
    pub fn save(&self) -> Vec<Saved> {
        let json = |value: &Keyed<P::State>| serde_json::to_vec(value).expect("states are plain data");
        let clock = serde_json::to_vec(&self.now).expect("a number");
        let keys = self.keys.iter().map(|(cluster, keyed)| (cluster.to_string(), json(keyed)));
        keys.chain([(CLOCK.to_owned(), clock)]).collect()
    }

    /// The newest append time seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The state of a cluster.
    pub fn state(&self, cluster: &ClusterId) -> Option<&P::State> {
        self.keys.get(cluster).map(|keyed| &keyed.state)
    }

    /// All clusters.
    pub fn clusters(&self) -> impl Iterator<Item = (&ClusterId, &P::State)> {
        self.keys.iter().map(|(cluster, keyed)| (cluster, &keyed.state))
    }

    /// Folds one record.
    pub fn fold(&mut self, record: &Record) -> Folded {
        self.fold_read(record, &Event::from_record(record))
    }

    /// Folds one record that was read already: several processors of one topic need not each read it.
    pub fn fold_read(&mut self, record: &Record, read: &Result<Event<P::In>, Unreadable>) -> Folded {
        let producer = self.producer.clone();
        let mut out = Out {
            producer: &producer,
            sequence: Sequence { incarnation: record.offset, counter: 0 },
            now: record.appended,
            records: Vec::new(),
        };
        self.advance(record.appended, &mut out);
        let fate = match read {
            Ok(event) => self.step(event, &mut out),
            Err(Unreadable::Malformed(reason)) => Fate::Dead(reason.clone()),
            Err(Unreadable::UnknownKind(kind)) => Fate::Skipped(kind.clone()),
            Err(Unreadable::UnknownEvidence(kind)) => self.unknown(record, kind, &mut out),
        };
        Folded { out: out.records, fate }
    }

    fn step(&mut self, event: &Event<P::In>, out: &mut Out<'_>) -> Fate {
        let cluster = &event.subject.cluster;
        if !P::keeps(cluster) {
            return Fate::Folded;
        }
        let keyed = self
            .keys
            .entry(cluster.clone())
            .or_insert_with(|| Keyed { marks: Marks::default(), state: P::State::default() });
        if !keyed.marks.fresh(&event.source, event.sequence) {
            return Fate::Repeated;
        }
        let before = self.processor.wake(&keyed.state);
        self.processor.step(&mut keyed.state, event, out);
        let after = self.processor.wake(&keyed.state);
        self.rewake(cluster, before, after);
        Fate::Folded
    }

    fn unknown(&mut self, record: &Record, kind: &str, out: &mut Out<'_>) -> Fate {
        // The key of a journal record is its cluster: it can be trusted even where the value is of a newer version.
        let Ok(cluster) = ClusterId::parse(record.key.clone()) else {
            return Fate::Dead(format!("evidence of unknown kind {kind} under the key '{}'", record.key));
        };
        if !P::keeps(&cluster) {
            return Fate::Folded;
        }
        let keyed = self
            .keys
            .entry(cluster.clone())
            .or_insert_with(|| Keyed { marks: Marks::default(), state: P::State::default() });
        let before = self.processor.wake(&keyed.state);
        self.processor.unknown_evidence(&mut keyed.state, &cluster, kind, out);
        let after = self.processor.wake(&keyed.state);
        self.rewake(&cluster, before, after);
        Fate::Folded
    }

    fn rewake(&mut self, cluster: &ClusterId, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before != after {
            if let Some(before) = before {
                self.wakes.remove(&(before, cluster.clone()));
            }
            if let Some(after) = after {
                self.wakes.insert((after, cluster.clone()));
            }
        }
    }

    /// Moves time to `to`: restarts the silence timers after a gap, then ticks what is due.
    fn advance(&mut self, to: Timestamp, out: &mut Out<'_>) {
        if self.now != Timestamp::ZERO && to.since(self.now) > GAP {
            let clusters: Vec<ClusterId> = self.keys.keys().cloned().collect();
            for cluster in clusters {
                self.change(&cluster, |processor, state| processor.resume(state, to));
            }
        }
        self.now = self.now.max(to);
        while let Some((wake, cluster)) = self.wakes.first().cloned() {
            if wake > self.now {
                break;
            }
            self.change(&cluster, |processor, state| processor.tick(state, wake, out));
            // A tick that asks for the same time again would never end: its next turn comes with the next record.
            if self.wakes.first() == Some(&(wake, cluster.clone())) {
                self.wakes.pop_first();
                self.wakes.insert((Timestamp(self.now.0 + 1), cluster));
            }
        }
    }

    fn change(&mut self, cluster: &ClusterId, change: impl FnOnce(&P, &mut P::State)) {
        let keyed = self.keys.get_mut(cluster).expect("a cluster with a timer has a state");
        self.wakes.retain(|(_, other)| other != cluster);
        change(&self.processor, &mut keyed.state);
        if let Some(wake) = self.processor.wake(&keyed.state) {
            self.wakes.insert((wake, cluster.clone()));
        }
    }
}
