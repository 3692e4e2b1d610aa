//! What the demo reads from the bus, as any subscriber could: routes, the journal, actions, and the rows of `queries`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millrace_schemas::cluster::Process;
use millrace_schemas::event::Event;
use millrace_schemas::ids::DigestId;
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Order, StepOutcome, StepResult};
use millrace_schemas::topics::digests::Entry;
use millrace_schemas::topics::journal::{Fact, Outcome, ProcessChanged};
use millrace_schemas::topics::queries::{self, Row, Source};
use millrace_schemas::topics::routes::{Route, Routing};
use tokio::sync::watch;

use crate::bus::{Assignment, Error, From, Polled, SharedBus, follow};

/// What has been read so far.
#[derive(Default)]
struct Read {
    /// What happened, in words, with its append time.
    timeline: Vec<(Timestamp, String)>,
    /// Ended actions: kind, whether done, words.
    ended: Vec<(String, bool, String)>,
    kinds: BTreeMap<String, String>,
    rejoin: Vec<String>,
    rows: Vec<Row>,
    texts: BTreeMap<DigestId, String>,
}

/// The demo's book.
pub(super) struct Book {
    read: Arc<Mutex<Read>>,
    routes: watch::Receiver<Option<Route>>,
}

impl Book {
    pub(super) fn open(bus: &SharedBus) -> Result<Self, Error> {
        let topics = [
            Topic::Journal,
            Topic::Actions,
            Topic::Alerts,
            Topic::Routes,
            Topic::Queries,
            Topic::Digests,
            Topic::Windows,
            Topic::Inventory,
        ];
        let mut polled = follow(bus, Assignment::Manual(topics.map(|topic| (topic, From::Start)).to_vec()))?;
        let read: Arc<Mutex<Read>> = Arc::default();
        let (publish, routes) = watch::channel(None);
        let shared = Arc::clone(&read);
        tokio::spawn(async move {
            while let Some(item) = polled.recv().await {
                if let Ok(Polled::Record(record)) = item
                    && let Some(route) = take(&shared, &record)
                {
                    publish.send_replace(Some(route));
                }
            }
        });
        Ok(Self { read, routes })
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn routes(&self) -> watch::Receiver<Option<Route>> {
        self.routes.clone()
    }

    /// How many rows of `queries` there are.
    pub(super) fn queries_so_far(&self) -> usize {
        self.read().rows.len()
    }

    /// The rows since `from`.
    pub(super) fn rows_since(&self, from: usize) -> Vec<Row> {
        self.read().rows[from..].to_vec()
    }

    pub(super) fn text(&self, digest: &DigestId) -> Option<String> {
        self.read().texts.get(digest).cloned()
    }

    /// Waits until an action of this kind ended; true when it was done.
    pub(super) async fn ended(&self, kind: &str, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            // A refusal is not the end of the story: the decider tries again.
            let done = self.read().ended.iter().any(|(ended, done, _)| ended == kind && *done);
            if done || Instant::now() > until {
                return done;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What happened since `from`, with milliseconds after it.
    pub(super) fn timeline(&self, from: Option<Timestamp>) -> String {
        let mut text = String::new();
        let zero = from.unwrap_or(Timestamp::ZERO);
        for (at, what) in self.read().timeline.iter().filter(|(at, _)| *at >= zero) {
            match from {
                Some(from) => drop(writeln!(text, "  {:>6} ms  {what}", at.since(from).as_millis())),
                None => drop(writeln!(text, "  {at}  {what}")),
            }
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// What the rejoin found, in words.
    pub(super) fn rejoin_story(&self) -> String {
        let read = self.read();
        if read.rejoin.is_empty() {
            "  it had no transactions that the new primary did not have".to_owned()
        } else {
            read.rejoin.join("\n")
        }
    }
}

fn take(shared: &Mutex<Read>, record: &Record) -> Option<Route> {
    let mut read = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let at = record.appended;
    match record.topic {
        Topic::Routes => {
            let Routing::Route(route) = Event::<Routing>::from_record(record).ok()?.payload;
            let what = route.primary.as_ref().map_or("nobody".to_owned(), |primary| primary.instance.to_string());
            read.timeline.push((at, format!("route: write to {what} (epoch {})", route.epoch)));
            return Some(route);
        }
        Topic::Actions => {
            if let Ok(Event { payload: Order::Action(action), .. }) = Event::<Order>::from_record(record) {
                read.kinds.insert(action.id.to_string(), action.kind.name().to_owned());
                read.timeline.push((
                    at,
                    format!("decision: {} in epoch {}, {}", action.kind.name(), action.epoch, action.reason),
                ));
            }
        }
        Topic::Journal => {
            if let Ok(event) = Event::<Fact>::from_record(record) {
                fact(&mut read, &event, at);
            }
        }
        Topic::Queries => {
            if let Some(rows) = record.value.as_deref().and_then(|value| queries::decode(value).ok()) {
                // What was slow is in the counts of another source already.
                read.rows.extend(rows.into_iter().filter(|row| row.source != Source::SlowLog));
            }
        }
        Topic::Digests => {
            if let Ok(Event { payload: Entry::Digest(entry), .. }) = Event::<Entry>::from_record(record) {
                read.texts.insert(entry.digest, entry.text);
            }
        }
        _ => {}
    }
    None
}

fn fact(read: &mut Read, event: &Event<Fact>, at: Timestamp) {
    let instance = event.subject.instance.as_ref().map_or("", |instance| instance.as_str());
    let line = match &event.payload {
        Fact::ProcessChanged(change) => match &change.process {
            Process::Exited { signal: Some(signal), held, .. } => {
                let held = if *held { ", held down by its guard" } else { "" };
                format!("evidence: {instance} exited on signal {signal}{held}{}", told_after(event, change))
            }
            Process::Exited { code, .. } => {
                format!("evidence: {instance} exited, code {code:?}{}", told_after(event, change))
            }
            Process::Running { pid } => format!("{instance} runs as pid {pid}"),
            Process::Unknown => return,
        },
        Fact::Claimed(claimed) => format!("{} claimed by {}", claimed.action.kind.name(), claimed.executor),
        Fact::StepDone(result) => {
            rejoin_words(read, result);
            step_words(result)
        }
        Fact::Ended(ended) => {
            let kind = read.kinds.get(&ended.action.to_string()).cloned().unwrap_or_default();
            let (done, words) = match &ended.outcome {
                Outcome::Done { primary } => (true, format!("done, the primary is {primary}")),
                Outcome::Refused { reason, unblock } => {
                    (false, format!("refused: {reason}; {unblock} would unblock it"))
                }
                Outcome::Abandoned { reason, .. } => (false, format!("abandoned: {reason}")),
            };
            read.ended.push((kind.clone(), done, words.clone()));
            format!("{kind}: {words}")
        }
        _ => return,
    };
    read.timeline.push((at, line));
}

/// How long after the exit it was a fact on the bus, where the exit was seen: the agent's part by the clock of its host, the
/// rest by the wall clock that agent and bus of the demo share.
fn told_after(event: &Event<Fact>, change: &ProcessChanged) -> String {
    change.exited_boot_us.map_or_else(String::new, |exited| {
        let agent = change.boot_us.saturating_sub(exited);
        let bus = u64::try_from(event.appended.0 - event.at.0).unwrap_or(0);
        format!(", told {:.1} ms after the exit", (agent + bus) as f64 / 1e3)
    })
}

fn step_words(result: &StepResult) -> String {
    let how = match &result.outcome {
        StepOutcome::Done(report) => report.note.clone().map_or("done".to_owned(), |note| format!("done, {note}")),
        StepOutcome::Refused { reason } => format!("refused: {reason}"),
        StepOutcome::Failed { error } => format!("failed: {error}"),
        StepOutcome::TimedOut {} => "timed out".to_owned(),
    };
    format!("step {}: {} on {} ({} ms): {how}", result.number, result.step, result.instance, result.took_us / 1_000)
}

fn rejoin_words(read: &mut Read, result: &StepResult) {
    let StepOutcome::Done(report) = &result.outcome else { return };
    for transaction in &report.transactions {
        let fate = match result.step.as_str() {
            "start-closed" => "nobody acknowledged it; saved and cut off",
            _ if transaction.is_own() => "Millrace's own, neutralised",
            _ => "quarantined",
        };
        read.rejoin.push(format!(
            "  extra transaction {} on {}: {fate}",
            transaction.gtid,
            transaction.tables.join(", ")
        ));
    }
    if let (true, Some(note)) = (result.step == "start-closed", &report.note) {
        read.rejoin.push(format!("  {note}"));
    }
}
