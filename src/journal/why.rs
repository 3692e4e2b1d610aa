//! Records of the journal in, an explanation out: the facts, the verdict, who could take over, the steps, or why nothing was
//! done. It folds with the processor that decided and asks it, so that the words are those of the decision, not of memory.

mod text;

use std::collections::{BTreeMap, VecDeque};

use anyhow::bail;
use millrace_processors::Fold;
use millrace_processors::failover::explain::{Explanation, explain};
use millrace_processors::failover::{Failover, State};
use millrace_schemas::event::Event;
use millrace_schemas::ids::{ClusterId, Epoch, EventId, InstanceId};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Action, Order};
use millrace_schemas::topics::journal::{Fact, Outcome};
use serde::Serialize;

use super::SCHEMA_VERSION;
pub use text::describe;

/// 20 facts besides the last heartbeat of each instance: what a person reads before looking for themselves.
const FACTS_MAX: usize = 20;

/// Why a cluster is as it is, or why an action was taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    /// Version of this JSON.
    pub schema_version: u32,
    /// The cluster.
    pub cluster: ClusterId,
    /// The moment that is explained: append time.
    pub at: Timestamp,
    /// The last facts before it, the newest last.
    pub facts: Vec<FactLine>,
    /// The verdict, the members, the candidates and what follows.
    pub explanation: Explanation,
    /// The action, when one was taken.
    pub action: Option<ActionLine>,
    /// Its steps so far, in order.
    pub steps: Vec<StepLine>,
}

/// A fact in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FactLine {
    /// Its id.
    pub id: EventId,
    /// When the bus had it.
    pub at: Timestamp,
    /// What it is about.
    pub instance: Option<InstanceId>,
    /// What it says.
    pub text: String,
}

/// An action in a few fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionLine {
    /// Its id.
    pub id: EventId,
    /// What.
    pub kind: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// In one sentence.
    pub reason: String,
    /// The facts that it rests on.
    pub evidence: Vec<EventId>,
    /// When it was decided: append time of the fact that did it.
    pub decided: Option<Timestamp>,
    /// How it ended; absent while it runs.
    pub outcome: Option<String>,
    /// From the decision to the end.
    pub took_us: Option<u64>,
}

/// A step in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepLine {
    /// When its result was appended.
    pub at: Timestamp,
    /// Its place in the action.
    pub number: u32,
    /// On which instance.
    pub instance: InstanceId,
    /// What.
    pub step: String,
    /// How it ended.
    pub outcome: String,
    /// How long the hands worked.
    pub took_us: u64,
}

/// What is asked about.
enum About {
    Cluster(ClusterId),
    Event(EventId),
}

/// Explains the cluster or event named `what`, as of `at` or the end. `records` are those of the journal, in order of their
/// offsets within each partition; others are passed over.
pub fn why(
    records: impl IntoIterator<Item = anyhow::Result<Record>>,
    what: &str,
    at: Option<Timestamp>,
) -> anyhow::Result<Why> {
    let about = match (what.parse::<EventId>(), ClusterId::parse(what)) {
        (Ok(id), _) => About::Event(id),
        (_, Ok(cluster)) => About::Cluster(cluster),
        (_, Err(error)) => bail!("{error}, and no event id of 32 hexadecimal digits either"),
    };
    let mut inquiry = Inquiry::new(about, at);
    for record in records {
        inquiry.take(&record?);
    }
    inquiry.answer(what)
}

/// Folds, remembers and stops at the moment that is asked about.
struct Inquiry {
    about: About,
    until: Option<Timestamp>,
    folds: BTreeMap<u32, Fold<Failover>>,
    facts: BTreeMap<ClusterId, Facts>,
    decided: BTreeMap<EventId, (Action, Timestamp)>,
    steps: BTreeMap<EventId, Vec<StepLine>>,
    ended: BTreeMap<EventId, (Outcome, Timestamp)>,
    /// The answer, taken when the event that was asked for came by.
    moment: Option<Moment>,
}

#[derive(Default)]
struct Facts {
    heartbeats: BTreeMap<InstanceId, FactLine>,
    others: VecDeque<FactLine>,
}

struct Moment {
    cluster: ClusterId,
    at: Timestamp,
    facts: Vec<FactLine>,
    explanation: Explanation,
    action: Option<EventId>,
}

impl Inquiry {
    fn new(about: About, until: Option<Timestamp>) -> Self {
        Self {
            about,
            until,
            folds: BTreeMap::new(),
            facts: BTreeMap::new(),
            decided: BTreeMap::new(),
            steps: BTreeMap::new(),
            ended: BTreeMap::new(),
            moment: None,
        }
    }

    fn take(&mut self, record: &Record) {
        if record.topic != Topic::Journal || self.until.is_some_and(|until| record.appended > until) {
            return;
        }
        let partition = record.partition;
        let fold = self.folds.entry(partition).or_insert_with(|| Fold::new(Failover, partition));
        let out = fold.fold(record).out;
        let decided = self.decisions(&out, record.appended);
        let Ok(event) = Event::<Fact>::from_record(record) else { return };
        self.remember(&event);
        let About::Event(asked) = self.about else { return };
        if self.moment.is_some() {
            return;
        }
        if event.id == asked {
            let action = match &event.payload {
                Fact::Claimed(claimed) => Some(claimed.action.id),
                Fact::StepDone(result) => Some(result.action),
                Fact::Ended(ended) => Some(ended.action),
                Fact::Renewed(renewed) => Some(renewed.action),
                _ => decided.last().copied(),
            };
            self.moment = self.moment_of(cluster_of(&event), event.appended, action);
        } else if let Some((action, at)) = self.decided.get(&asked).filter(|_| decided.contains(&asked)) {
            let (cluster, at) = (action.cluster.clone(), *at);
            self.moment = self.moment_of(&cluster, at, Some(asked));
        }
    }

    fn decisions(&mut self, out: &[NewRecord], at: Timestamp) -> Vec<EventId> {
        let mut ids = Vec::new();
        for record in out.iter().filter(|record| record.topic == Topic::Actions) {
            let order = record.value.as_deref().map(|value| Event::<Order>::from_json(value, true));
            if let Some(Ok(Event { payload: Order::Action(action), .. })) = order {
                ids.push(action.id);
                self.decided.insert(action.id, (*action, at));
            }
        }
        ids
    }

    fn remember(&mut self, event: &Event<Fact>) {
        match &event.payload {
            Fact::StepDone(result) => self.steps.entry(result.action).or_default().push(StepLine {
                at: event.appended,
                number: result.number,
                instance: result.instance.clone(),
                step: result.step.clone(),
                outcome: text::outcome_of(&result.outcome),
                took_us: result.took_us,
            }),
            Fact::Ended(ended) => {
                self.ended.entry(ended.action).or_insert((ended.outcome.clone(), event.appended));
            }
            // A claim repeats its action, also when another version decided it.
            Fact::Claimed(claimed) => {
                let action = (*claimed.action).clone();
                self.decided.entry(action.id).or_insert((action, event.appended));
            }
            _ => {}
        }
        // What follows from facts, and what was said of that, is no reason of a decision.
        if matches!(event.payload, Fact::Finding(_) | Fact::AlertWord(_)) {
            return;
        }
        let Some(said) = describe(&event.payload) else { return };
        let instance = event.subject.instance.clone();
        let line = FactLine { id: event.id, at: event.appended, instance: instance.clone(), text: said };
        let facts = self.facts.entry(cluster_of(event).clone()).or_default();
        if let (Fact::Heartbeat(_), Some(instance)) = (&event.payload, instance) {
            facts.heartbeats.insert(instance, line);
            return;
        }
        facts.others.push_back(line);
        if facts.others.len() > FACTS_MAX {
            facts.others.pop_front();
        }
    }

    fn moment_of(&self, cluster: &ClusterId, at: Timestamp, action: Option<EventId>) -> Option<Moment> {
        let explanation = explain(self.state(cluster)?, at);
        let mut facts: Vec<FactLine> = self
            .facts
            .get(cluster)
            .map_or_else(Vec::new, |facts| facts.heartbeats.values().chain(&facts.others).cloned().collect());
        facts.sort_by_key(|fact| fact.at);
        Some(Moment { cluster: cluster.clone(), at, facts, explanation, action })
    }

    fn state(&self, cluster: &ClusterId) -> Option<&State> {
        self.folds.values().find_map(|fold| fold.state(cluster))
    }

    fn answer(mut self, what: &str) -> anyhow::Result<Why> {
        if let About::Cluster(cluster) = &self.about {
            let now = self.folds.values().map(Fold::now).max().unwrap_or_default();
            let at = self.until.unwrap_or(now).min(now);
            let action = self.state(cluster).and_then(|state| {
                let current = state.current.as_ref().map(|current| current.action.id);
                current.or_else(|| state.last.as_ref().map(|past| past.action.id))
            });
            self.moment = self.moment_of(&cluster.clone(), at, action);
        }
        let Some(moment) = self.moment.take() else {
            let known: Vec<&str> = self.facts.keys().map(ClusterId::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            bail!("nothing in the journal is about '{what}'; it speaks of the clusters: {known}");
        };
        let line = moment.action.and_then(|id| self.action_line(id));
        let mut steps = moment.action.and_then(|id| self.steps.remove(&id)).unwrap_or_default();
        steps.sort_by_key(|step| (step.number, step.at));
        // The first result in the log counts.
        steps.dedup_by_key(|step| step.number);
        Ok(Why {
            schema_version: SCHEMA_VERSION,
            cluster: moment.cluster,
            at: moment.at,
            facts: moment.facts,
            explanation: moment.explanation,
            action: line,
            steps,
        })
    }

    fn action_line(&self, id: EventId) -> Option<ActionLine> {
        let (action, decided) = self.decided.get(&id)?;
        let ended = self.ended.get(&id);
        Some(ActionLine {
            id,
            kind: action.kind.name().to_owned(),
            epoch: action.epoch,
            reason: action.reason.clone(),
            evidence: action.evidence.clone(),
            decided: Some(*decided),
            outcome: ended.map(|(outcome, _)| text::ending_of(outcome)),
            took_us: ended.and_then(|(_, at)| u64::try_from(at.since(*decided).as_micros()).ok()),
        })
    }
}

/// Whom a fact is about: what a cluster says to the fleet is about the cluster.
fn cluster_of(event: &Event<Fact>) -> &ClusterId {
    match &event.payload {
        Fact::PermitAsked(asked) => &asked.cluster,
        Fact::PermitReturned(returned) => &returned.cluster,
        _ => &event.subject.cluster,
    }
}

#[cfg(test)]
mod tests;
