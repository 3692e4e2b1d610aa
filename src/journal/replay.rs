//! An archive in, the decisions that the failover processor takes on it out, compared with those that it took when it ran:
//! equal hashes say that the decision was a function of the journal and nothing else. The fleet's permits, which those
//! decisions rest on, are given again too and compared one by one. No clock is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, bail};
use millrace_processors::failover::Failover;
use millrace_processors::permits::Permits;
use millrace_processors::{Fold, Processor as _};
use millrace_schemas::event::Event;
use millrace_schemas::ids::{ClusterId, Epoch, EventId};
use millrace_schemas::record::{Bytes, Record};
use millrace_schemas::signing::Roster;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{ActionKind, Order};
use millrace_schemas::topics::journal::{Fact, Outcome};
use millrace_sinks::archive::{is_archive, partitions, read};
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use super::SCHEMA_VERSION;

/// A decision of the replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The action.
    pub id: EventId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// What is to be done.
    pub kind: &'static str,
    /// The epoch it is done in.
    pub epoch: Epoch,
    /// In one sentence.
    pub reason: String,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Version of this JSON.
    pub schema_version: u32,
    /// Records of the journal that were folded.
    pub records: u64,
    /// Records that nobody believes, which were passed over.
    pub refused: u64,
    /// The decisions, in order.
    pub decisions: Vec<Decision>,
    /// Fail-overs among them that the journal says were done.
    pub promotions: usize,
    /// xxh3-128 over the ids and bytes of the decisions.
    pub hash: String,
    /// The same over what the processor decided when it ran.
    pub recorded_hash: String,
    /// How many decisions were recorded.
    pub recorded: usize,
    /// Answers of the fleet to those who asked for a permit that were recorded.
    pub permits: usize,
    /// The hashes are equal, and so is every answer of the fleet.
    pub equal: bool,
    /// The journal is there from its first record on. Without it the replay starts with less than the processor knew.
    pub from_the_start: bool,
}

/// The decisions of one side: each id once, in the order of the first time.
#[derive(Default)]
struct Decided {
    ids: BTreeSet<EventId>,
    hash: Xxh3,
}

impl Decided {
    fn take(&mut self, id: EventId, bytes: &[u8]) -> bool {
        let new = self.ids.insert(id);
        if new {
            self.hash.update(&id.0.to_be_bytes());
            self.hash.update(&(bytes.len() as u64).to_be_bytes());
            self.hash.update(bytes);
        }
        new
    }

    fn hex(&self) -> String {
        format!("{:032x}", self.hash.digest128())
    }
}

/// What the fleet answered: each id once, with its bytes.
#[derive(Default)]
struct Answers {
    replayed: BTreeMap<EventId, Bytes>,
    recorded: BTreeMap<EventId, (Origin, Bytes)>,
    /// The offset after the last record of each partition.
    ends: BTreeMap<u32, u64>,
}

/// The record that an answer was given to: partition and offset.
type Origin = (u32, u64);

impl Answers {
    /// Remembers an answer that stands in the journal: it names the record that it was given to.
    fn record(&mut self, event: &Event<Fact>, record: &Record) {
        let partition =
            event.source.strip_prefix(&format!("{}.", Permits::NAME)).and_then(|rest| rest.split('/').nth(2));
        let (Some(Ok(partition)), Some(value)) = (partition.map(str::parse), &record.value) else { return };
        self.recorded.entry(event.id).or_insert(((partition, event.sequence.incarnation), value.clone()));
    }

    /// How many were recorded whose question is in the archive, and whether each of them was given again.
    fn compared(&self) -> (usize, bool) {
        let known = |(partition, offset): &Origin| self.ends.get(partition).is_some_and(|end| offset < end);
        let recorded: Vec<_> = self.recorded.iter().filter(|(_, (origin, _))| known(origin)).collect();
        let same = recorded.iter().all(|(id, (_, bytes))| self.replayed.get(id) == Some(bytes));
        (recorded.len(), same)
    }
}

/// Replays the archive in `dir`. Whatever stands in it is believed.
pub fn replay(dir: &Path) -> anyhow::Result<Replayed> {
    replay_judged(dir, None)
}

/// The same, of what `roster` believes: the archive keeps every record as it was, and the deciders judged it when it ran.
pub fn replay_judged(dir: &Path, roster: Option<&Roster>) -> anyhow::Result<Replayed> {
    if !is_archive(dir) {
        bail!("{} holds no archive: write one with `millrace journal export`", dir.display());
    }
    let (mut replayed, mut recorded) = (Decided::default(), Decided::default());
    let mut found = Replayed {
        schema_version: SCHEMA_VERSION,
        records: 0,
        refused: 0,
        decisions: Vec::new(),
        promotions: 0,
        hash: String::new(),
        recorded_hash: String::new(),
        recorded: 0,
        permits: 0,
        equal: false,
        from_the_start: true,
    };
    let all: BTreeSet<u32> = [Topic::Journal, Topic::Actions]
        .into_iter()
        .map(|topic| partitions(dir, topic))
        .collect::<Result<Vec<_>, _>>()?
        .concat()
        .into_iter()
        .collect();
    let mut answers = Answers::default();
    for partition in all {
        let end = fold((dir, partition), roster, &mut found, &mut replayed, &mut answers)?;
        answers.ends.insert(partition, end);
        record((dir, partition), roster, end, &mut recorded)?;
    }
    found.hash = replayed.hex();
    found.recorded_hash = recorded.hex();
    found.recorded = recorded.ids.len();
    let (permits, same) = answers.compared();
    found.permits = permits;
    found.equal = found.hash == found.recorded_hash && same;
    Ok(found)
}

/// Folds a partition of the journal; returns the offset after its last record.
fn fold(
    (dir, partition): (&Path, u32),
    roster: Option<&Roster>,
    found: &mut Replayed,
    decided: &mut Decided,
    answers: &mut Answers,
) -> anyhow::Result<u64> {
    let mut fold = Fold::new(Failover, partition);
    let mut permits = Fold::new(Permits, partition);
    let mut fail_overs = BTreeSet::new();
    let mut next = 0;
    for record in read(dir, Topic::Journal, partition)? {
        let record = record.context("the journal cannot be replayed")?;
        found.from_the_start &= record.offset == next;
        next = record.offset + 1;
        if is_refused(roster, &record) {
            found.refused += 1;
            continue;
        }
        found.records += 1;
        let read = Event::<Fact>::from_record(&record);
        match &read {
            Ok(Event { payload: Fact::Ended(ended), .. })
                if matches!(ended.outcome, Outcome::Done { .. }) && fail_overs.remove(&ended.action) =>
            {
                found.promotions += 1;
            }
            Ok(event @ Event { payload: Fact::PermitAnswered(_), .. }) => answers.record(event, &record),
            _ => {}
        }
        for out in permits.fold_read(&record, &read).out {
            let bytes = out.value.context("an answer without bytes")?;
            answers.replayed.insert(Event::<Fact>::from_json(&bytes, true)?.id, bytes);
        }
        for out in fold.fold_read(&record, &read).out.into_iter().filter(|out| out.topic == Topic::Actions) {
            let bytes: Bytes = out.value.context("an action without bytes")?;
            let event = Event::<Order>::from_json(&bytes, true)?;
            let Order::Action(action) = event.payload else { continue };
            if !decided.take(event.id, &bytes) {
                continue;
            }
            if matches!(action.kind, ActionKind::FailOver(_)) {
                fail_overs.insert(action.id);
            }
            found.decisions.push(Decision {
                id: action.id,
                cluster: action.cluster,
                kind: action.kind.name(),
                epoch: action.epoch,
                reason: action.reason,
            });
        }
    }
    Ok(next)
}

fn is_refused(roster: Option<&Roster>, record: &Record) -> bool {
    roster.is_some_and(|roster| roster.judge(record).is_err())
}

/// Takes the archived decisions of the failover processor whose cause is in the archived journal.
fn record(
    (dir, partition): (&Path, u32),
    roster: Option<&Roster>,
    end: u64,
    decided: &mut Decided,
) -> anyhow::Result<()> {
    let producer = format!("{}.", Failover::NAME);
    for record in read(dir, Topic::Actions, partition)? {
        let record = record.context("the recorded actions cannot be read")?;
        if is_refused(roster, &record) {
            continue;
        }
        let event = Event::<Order>::from_record(&record)
            .with_context(|| format!("actions, partition {partition}, offset {}", record.offset))?;
        let mine = event.source.starts_with(&producer) && matches!(event.payload, Order::Action(_));
        if mine && event.sequence.incarnation < end {
            decided.take(event.id, record.value.as_deref().unwrap_or_default());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
