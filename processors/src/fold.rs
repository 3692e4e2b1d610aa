//! How a processor runs: records of one partition in, records out. Time is the append time of the records; timers are part
//! of the fold: before a record is folded, every key that wanted to be woken by then is ticked, in (time, key) order.
//! Repeats are dropped by their sequence, gaps restart silence timers, what cannot be read is handed back, not ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_schemas::event::{Event, Payload, Subject, Unreadable};
use millrace_schemas::ids::{self, ClusterId, EventId, FLEET};
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
    /// Offset of the record that is being folded.
    offset: u64,
    /// The cluster whose state is at work.
    key: ClusterId,
    /// How many records each has produced so far. Not all together: a copy that restored one cluster at a later offset emits
    /// less, and the others' numbers must not move.
    counters: BTreeMap<ClusterId, u64>,
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
        let counter = self.counters.get(&self.key).copied().unwrap_or(0);
        let at = format!("{}-{counter}", self.offset);
        let cause = cause.map(|id| id.to_string()).unwrap_or_default();
        EventId::derive(&[self.producer, &at, &cause, kind, subject.cluster.as_str()])
    }

    /// Emits under an id that was minted before.
    pub fn emit_as<P: Payload>(&mut self, id: EventId, subject: Subject, cause: Option<EventId>, payload: P) {
        let counter = self.counters.entry(self.key.clone()).or_insert(0);
        let sequence = Sequence { incarnation: self.offset, counter: *counter };
        *counter += 1;
        // Marks are kept per cluster and source: about another cluster than its own, each speaks under its own name.
        let own = subject.cluster == self.key;
        let source = if own { self.producer.to_owned() } else { format!("{}/{}", self.producer, self.key) };
        let event = Event { id, source, sequence, at: self.now, appended: Timestamp::ZERO, subject, cause, payload };
        self.records.push(event.to_record());
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Keyed<S> {
    marks: Marks,
    state: S,
    /// The time of the partition when it was saved.
    #[serde(default)]
    now: Timestamp,
    /// Records before this offset are in the state already.
    #[serde(skip)]
    from: u64,
}

/// A [`Keyed`] as it is stored.
#[derive(Serialize)]
struct Stored<'a, S> {
    marks: &'a Marks,
    state: &'a S,
    now: Timestamp,
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
    partition: u32,
    producer: String,
    keys: BTreeMap<ClusterId, Keyed<P::State>>,
    wakes: BTreeSet<(Timestamp, ClusterId)>,
    /// States that are ahead of the fold, by the offset at which they join in.
    joining: BTreeSet<(u64, ClusterId)>,
    now: Timestamp,
    next: u64,
}

/// A state as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The partition of the input.
    pub partition: u32,
    /// The cluster, or `CLOCK`.
    pub entity: String,
    /// The next offset of the input.
    pub next: u64,
    /// JSON.
    pub value: Vec<u8>,
}

/// The partition's own position and time: saved after all clusters, so that who finds it finds them too. Not a legal cluster
/// id, so that it cannot meet one.
const CLOCK: &str = "@clock";

impl<P: Processor> Fold<P> {
    /// Nothing known yet. `partition` names the input, it is part of what comes out.
    pub fn new(processor: P, partition: u32) -> Self {
        let producer = format!("{}.{}/{}/{partition}", P::NAME, P::VERSION, P::In::TOPIC.name());
        let (keys, wakes, joining) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { processor, partition, producer, keys, wakes, joining, now: Timestamp::ZERO, next: 0 }
    }

    /// `NAME.VERSION`: what snapshots are stored under.
    pub fn stored_as() -> String {
        format!("{}.v{}", P::NAME, P::VERSION)
    }

    /// Takes up states that were saved. They need not stand for one offset: hot copies store over each other's. Folding goes on
    /// at the lowest, and each cluster joins in at its own.
    pub fn restore(&mut self, saved: &[Saved]) -> Result<(), String> {
        let Some(lowest) = saved.iter().map(|one| one.next).min() else { return Ok(()) };
        self.next = lowest;
        for one in saved {
            let bad = |error: serde_json::Error| format!("the snapshot of {} cannot be read: {error}", one.entity);
            if one.entity == CLOCK {
                let clock = serde_json::from_slice(&one.value).map_err(bad)?;
                if one.next == lowest {
                    self.now = clock;
                }
                continue;
            }
            let cluster = ClusterId::parse(one.entity.clone()).map_err(|error| error.to_string())?;
            let mut keyed: Keyed<P::State> = serde_json::from_slice(&one.value).map_err(bad)?;
            keyed.from = one.next;
            if one.next == lowest {
                self.now = self.now.max(keyed.now);
            }
            self.joining.insert((one.next, cluster.clone()));
            self.keys.insert(cluster, keyed);
        }
        Ok(())
    }

    /// All states with the next input offset, to be stored in this order.
    pub fn save(&self) -> Vec<Saved> {
        let saved =
            |entity: String, next: u64, value: Vec<u8>| Saved { partition: self.partition, entity, next, value };
        let keys = self.keys.iter().map(|(cluster, keyed)| {
            let now = self.now;
            let json = serde_json::to_vec(&Stored { marks: &keyed.marks, state: &keyed.state, now });
            saved(cluster.to_string(), self.next.max(keyed.from), json.expect("states are plain data"))
        });
        let clock = serde_json::to_vec(&self.now).expect("a number");
        keys.chain([saved(CLOCK.to_owned(), self.next, clock)]).collect()
    }

    /// The offset after the last record that was folded.
    pub fn next(&self) -> u64 {
        self.next
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
        if record.offset < self.next {
            return Folded { out: Vec::new(), fate: Fate::Repeated };
        }
        self.next = record.offset + 1;
        self.join(record.offset);
        let producer = self.producer.clone();
        let mut out = Out {
            producer: &producer,
            offset: record.offset,
            key: ids::fleet(),
            counters: BTreeMap::new(),
            now: record.appended,
            records: Vec::new(),
        };
        self.advance(record.appended, &mut out);
        let fate = match read {
            Ok(event) => self.step(record.offset, event, &mut out),
            Err(Unreadable::Malformed(reason)) => Fate::Dead(reason.clone()),
            Err(Unreadable::UnknownKind(kind)) => Fate::Skipped(kind.clone()),
            Err(Unreadable::UnknownEvidence(kind)) => self.unknown(record, kind, &mut out),
        };
        Folded { out: out.records, fate }
    }

    /// The states that stand for what lies before `offset` run with the others from here on.
    fn join(&mut self, offset: u64) {
        while self.joining.first().is_some_and(|(from, _)| *from <= offset) {
            let Some((_, cluster)) = self.joining.pop_first() else { return };
            let wake = self.keys.get(&cluster).and_then(|keyed| self.processor.wake(&keyed.state));
            self.wakes.extend(wake.map(|wake| (wake, cluster)));
        }
    }

    fn step(&mut self, offset: u64, event: &Event<P::In>, out: &mut Out<'_>) -> Fate {
        let cluster = &event.subject.cluster;
        if !P::keeps(cluster) {
            return Fate::Folded;
        }
        let keyed = self.keys.entry(cluster.clone()).or_default();
        if offset < keyed.from || !keyed.marks.fresh(&event.source, event.sequence) {
            return Fate::Repeated;
        }
        out.key = cluster.clone();
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
        let keyed = self.keys.entry(cluster.clone()).or_default();
        if record.offset < keyed.from {
            return Fate::Repeated;
        }
        out.key = cluster.clone();
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
            // A state that is ahead has been through this gap.
            let at = self.next;
            let through = self.keys.iter().filter(|(_, keyed)| keyed.from < at);
            let clusters: Vec<ClusterId> = through.map(|(cluster, _)| cluster.clone()).collect();
            for cluster in clusters {
                self.change(&cluster, |processor, state| processor.resume(state, to));
            }
        }
        self.now = self.now.max(to);
        while let Some((wake, cluster)) = self.wakes.first().cloned() {
            if wake > self.now {
                break;
            }
            out.key = cluster.clone();
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
