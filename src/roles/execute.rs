//! Runs an executor: folds `actions` and `journal` into the book of claims, and appends what the book says is next.
//! It changes no server; it may be killed anywhere, and any executor goes on from the records.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use millrace_executors::claims::{Book, Do};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Order;
use millrace_schemas::topics::journal::Fact;
use serde::{Deserialize, Serialize};

use super::speaker::Speaker;
use crate::bus::{Assignment, From, Polled, SharedBus, Snapshot, failpoint};

/// 100 ms: renewals and time-outs need no finer clock; everything else wakes the reader.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// 1 s: what was appended is read back in milliseconds; what is not is appended again, and counts once.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// 2 s between snapshots of the book.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);
/// What the snapshot is stored under; the executor's name follows.
const STORED_AS: &str = "executor.v1";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved {
    book: Book,
    actions: u64,
    journal: u64,
}

/// Runs an executor under the speaker's name until `stop`.
pub fn run(bus: &SharedBus, speaker: &Speaker, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut state = load(bus, speaker)?;
    let assignment = Assignment::Manual(vec![
        (Topic::Actions, From::Offset(state.actions)),
        (Topic::Journal, From::Offset(state.journal)),
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
            match item {
                Polled::Record(record) => fold(&mut state, record),
                // What retention has taken is not waited for.
                Polled::Gained { topic: Topic::Actions, next, .. } => state.actions = state.actions.max(*next),
                Polled::Gained { topic: Topic::Journal, next, .. } => state.journal = state.journal.max(*next),
                Polled::Gained { .. } | Polled::Lost { .. } => {}
            }
        }
        // Nothing is done before everything that is there was read: the book of a moment ago may have ended since.
        if is_behind(bus, &state) {
            continue;
        }
        sent.retain(|_, at| at.elapsed() < AGAIN_AFTER);
        for todo in state.book.next(speaker.source()) {
            // Looking at it again must not renew its time: what was lost on the way would never be said again.
            if let Entry::Vacant(new) = sent.entry(todo.name()) {
                new.insert(Instant::now());
                append(speaker, todo);
            }
        }
        if saved.elapsed() >= SNAPSHOT_EVERY {
            saved = Instant::now();
            store(bus, speaker, &state);
        }
    }
    store(bus, speaker, &state);
    Ok(())
}

fn is_behind(bus: &SharedBus, state: &Saved) -> bool {
    let end = |topic| bus.end(topic, 0).unwrap_or(u64::MAX);
    state.actions < end(Topic::Actions) || state.journal < end(Topic::Journal)
}

fn fold(state: &mut Saved, record: &Record) {
    match record.topic {
        Topic::Actions => {
            state.actions = record.offset + 1;
            if let Ok(event) = Event::<Order>::from_record(record) {
                state.book.order(&event.payload, record.appended);
            }
        }
        Topic::Journal => {
            state.journal = record.offset + 1;
            if let Ok(event) = Event::<Fact>::from_record(record) {
                state.book.fact(&event.subject.cluster, &event.payload, record.appended);
            }
        }
        _ => {}
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

fn load(bus: &SharedBus, speaker: &Speaker) -> anyhow::Result<Saved> {
    let snapshots = bus.load(STORED_AS).context("the executor's snapshot cannot be loaded")?;
    let own = snapshots.into_iter().find(|snapshot| snapshot.entity == speaker.source());
    own.map_or_else(
        || Ok(Saved::default()),
        |snapshot| serde_json::from_slice(&snapshot.value).context("the executor's snapshot cannot be read"),
    )
}

fn store(bus: &SharedBus, speaker: &Speaker, state: &Saved) {
    let value = serde_json::to_vec(state).expect("the book is plain data");
    let snapshot =
        Snapshot { processor: STORED_AS.to_owned(), entity: speaker.source().to_owned(), next: state.journal, value };
    if let Err(error) = bus.save(vec![snapshot]) {
        tracing::warn!(%error, "the executor's snapshot was not stored; a restart reads more");
    }
}
