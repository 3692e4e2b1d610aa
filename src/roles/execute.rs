//! Runs an executor: folds `actions` and `journal` into the book of claims, and appends what the book says is next.
//! It changes no server; it may be killed anywhere, and any executor goes on from the records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_executors::claims::{Book, Do};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::ClusterId;
use millrace_schemas::marks::Marks;
use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Order;
use millrace_schemas::topics::journal::Fact;
use serde::{Deserialize, Serialize};

use super::lag::Lag;
use super::speaker::Speaker;
use crate::bus::{Assignment, From, Polled, Reader, SharedBus, Snapshot, failpoint};

/// 100 ms: renewals and time-outs need no finer clock; everything else wakes the reader.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// 1 s: what was appended is read back in milliseconds; what is not is appended again, and counts once.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// 2 s between snapshots of the book.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);
/// What the snapshot is stored under; the executor's name follows.
const STORED_AS: &str = "executor.v1";

/// The book of one partition: order and time hold within a partition only, and everything about a cluster is in one of each topic.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Shelf {
    book: Book,
    actions: u64,
    journal: u64,
    /// How far each executor's own words have been had, by cluster: the book itself does not know a copy.
    #[serde(default)]
    had: BTreeMap<ClusterId, Marks>,
}

/// The books of all partitions.
#[derive(Debug, Default)]
struct Shelves(BTreeMap<u32, Shelf>);

/// Runs an executor under the speaker's name until `stop`.
pub fn run(bus: &SharedBus, speaker: &Speaker, lag: &Lag, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut shelves = Shelves::load(bus, speaker)?;
    let assignment = Assignment::Manual(vec![
        (Topic::Actions, From::Offsets(shelves.positions(|shelf| shelf.actions))),
        (Topic::Journal, From::Offsets(shelves.positions(|shelf| shelf.journal))),
    ]);
    let mut reader = bus.reader(assignment).context("the executor cannot read actions and journal")?;
    let mut sent: HashMap<String, Instant> = HashMap::new();
    let mut saved = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(LOOK_EVERY) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "actions cannot be read");
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
        };
        for item in &polled {
            shelves.take(item);
            lag.note(item);
        }
        sent.retain(|_, at| at.elapsed() < AGAIN_AFTER);
        // Asked once a round, when something is to be done.
        let mut unread = None;
        for (partition, shelf) in &mut shelves.0 {
            let mut todo = shelf.book.next(speaker.source());
            // Looking at it again must not renew its time: what was lost on the way would never be said again.
            todo.retain(|one| !sent.contains_key(&one.name()));
            // Nothing is done before everything that is there was read: the book of a moment ago may have ended since.
            if todo.is_empty() {
                continue;
            }
            let unread = unread.get_or_insert_with(|| Unread::asked(reader.as_mut()));
            if unread.is_left(*partition) {
                continue;
            }
            for one in todo {
                if sent.insert(one.name(), Instant::now()).is_none() {
                    append(speaker, one);
                }
            }
        }
        if saved.elapsed() >= SNAPSHOT_EVERY {
            saved = Instant::now();
            shelves.store(bus, speaker);
        }
    }
    shelves.store(bus, speaker);
    Ok(())
}

/// Partitions that have more than was read; none when that cannot be asked.
struct Unread(Option<BTreeSet<u32>>);

impl Unread {
    fn asked(reader: &mut dyn Reader) -> Self {
        let answer = reader.unread();
        let answer = answer.inspect_err(|error| {
            tracing::warn!(%error, "nothing is begun: whether everything was read cannot be asked");
        });
        Self(answer.ok())
    }

    /// True where more may be there.
    fn is_left(&self, partition: u32) -> bool {
        self.0.as_ref().is_none_or(|unread| unread.contains(&partition))
    }
}

impl Shelves {
    fn positions(&self, of: impl Fn(&Shelf) -> u64) -> BTreeMap<u32, u64> {
        self.0.iter().map(|(partition, shelf)| (*partition, of(shelf))).collect()
    }

    fn take(&mut self, item: &Polled) {
        match item {
            Polled::Record(record) => self.0.entry(record.partition).or_default().fold(record),
            // What retention has taken is not waited for.
            Polled::Gained { topic, partition, next } => {
                let shelf = self.0.entry(*partition).or_default();
                match topic {
                    Topic::Actions => shelf.actions = shelf.actions.max(*next),
                    _ => shelf.journal = shelf.journal.max(*next),
                }
            }
            // Read, and nothing comes of it.
            Polled::Refused { record, .. } => {
                let shelf = self.0.entry(record.partition).or_default();
                match record.topic {
                    Topic::Actions => shelf.actions = record.offset + 1,
                    _ => shelf.journal = record.offset + 1,
                }
            }
            Polled::Lost { .. } => {}
        }
    }

    fn load(bus: &SharedBus, speaker: &Speaker) -> anyhow::Result<Self> {
        let snapshots = bus.load(STORED_AS).context("the executor's snapshot cannot be loaded")?;
        let own = snapshots.into_iter().filter(|snapshot| snapshot.entity == speaker.source());
        let read = |snapshot: Snapshot| {
            let shelf = serde_json::from_slice(&snapshot.value).context("the executor's snapshot cannot be read")?;
            Ok((snapshot.partition, shelf))
        };
        Ok(Self(own.map(read).collect::<anyhow::Result<_>>()?))
    }

    fn store(&self, bus: &SharedBus, speaker: &Speaker) {
        let snapshot = |(partition, shelf): (&u32, &Shelf)| Snapshot {
            processor: STORED_AS.to_owned(),
            partition: *partition,
            entity: speaker.source().to_owned(),
            next: shelf.journal,
            value: serde_json::to_vec(shelf).expect("the book is plain data"),
        };
        if let Err(error) = bus.save(self.0.iter().map(snapshot).collect()) {
            tracing::warn!(%error, "the executor's snapshot was not stored; a restart reads more");
        }
    }
}

impl Shelf {
    /// False for a copy of what an executor said. What agents say of steps counts once by its number, and heartbeats are not
    /// in the book.
    fn is_new(&mut self, event: &Event<Fact>) -> bool {
        if !event.source.starts_with("executor/") {
            return true;
        }
        let marks = self.had.entry(event.subject.cluster.clone()).or_default();
        marks.fresh(&event.source, event.sequence)
    }

    fn fold(&mut self, record: &Record) {
        match record.topic {
            Topic::Actions => {
                self.actions = record.offset + 1;
                if let Ok(event) = Event::<Order>::from_record(record) {
                    self.book.order(&event.payload, record.appended);
                }
            }
            Topic::Journal => {
                self.journal = record.offset + 1;
                if let Ok(event) = Event::<Fact>::from_record(record)
                    && self.is_new(&event)
                {
                    self.book.fact(&event.subject.cluster, &event.payload, record.appended);
                }
            }
            _ => {}
        }
    }
}

fn append(speaker: &Speaker, todo: Do) {
    // Not waited for: reading it back is the proof, and what does not come back is said again.
    match todo {
        Do::Say(cluster, fact) => drop(speaker.say(Subject::cluster(cluster), None, fact)),
        Do::Ask(cluster, request) => {
            let subject = Subject::instance(cluster, request.instance.clone());
            let step = request.step.name();
            let receipt = speaker.say(subject, Some(request.action), Order::Step(Box::new(request)));
            failpoint::at_step("step.asked", step, || drop(receipt.wait()));
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::event::Payload;
    use millrace_schemas::ids::EventId;
    use millrace_schemas::marks::Sequence;
    use millrace_schemas::time::Timestamp;
    use millrace_schemas::topics::actions::Action;
    use millrace_schemas::topics::examples;
    use millrace_schemas::topics::journal::{Claimed, Renewed};

    use super::*;

    const MS: i64 = 1_000;

    fn record<P: Payload>(source: &str, counter: u64, payload: P, appended_ms: i64) -> Record {
        let event = Event {
            id: EventId::derive(&["execute", &counter.to_string()]),
            source: source.to_owned(),
            sequence: Sequence { incarnation: 1, counter },
            at: Timestamp(1),
            appended: Timestamp::ZERO,
            subject: Subject::cluster(examples::action().cluster),
            cause: None,
            payload,
        };
        event.to_record().stored(0, 0, Timestamp(appended_ms * MS))
    }

    /// An executor dies, and somebody appends copies of its last words: its claim lapses all the same, and is taken over.
    #[test]
    fn copies_of_what_a_dead_executor_said_do_not_keep_its_claim() {
        let action = Box::new(Action { deadline: Timestamp(60_000 * MS), ..examples::action() });
        let one = "executor/e1";
        let renewed = |ms| record(one, 1, Fact::Renewed(Renewed { action: action.id, executor: one.to_owned() }), ms);
        let taken_over = |copies: bool| {
            let mut shelf = Shelf::default();
            shelf.fold(&record("failover.2/journal/0", 0, Order::Action(action.clone()), 10));
            let claimed = Claimed { action: action.clone(), executor: one.to_owned() };
            shelf.fold(&record(one, 0, Fact::Claimed(claimed), 20));
            shelf.fold(&renewed(1_000));
            for second in 2..6 {
                if copies {
                    shelf.fold(&renewed(second * 1_000));
                }
                shelf.fold(&record("ticker/p1", second as u64, Fact::Tick {}, second * 1_000));
            }
            shelf.book.next("executor/e2").iter().any(|todo| matches!(todo, Do::Say(_, Fact::Claimed(_))))
        };
        assert!(taken_over(false), "four seconds without a renewal");
        assert!(taken_over(true));
    }
}
