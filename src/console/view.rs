//! Records of the topics enter, and what the pages and the terminal show is here to be read: a fold in memory, bounded, that
//! starts anew with the process. What it shows of clusters comes from the same fold that decides. It must never show old
//! news as new: everything has the append time that it is from.

mod load;
mod table;

use std::collections::{BTreeMap, VecDeque};

use millrace_processors::Folds;
use millrace_processors::failover::{Failover, State};
use millrace_schemas::event::{Event, Payload};
use millrace_schemas::ids::{ClusterId, DigestId, EventId, HostId, InstanceId};
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Action, Order, StepResult};
use millrace_schemas::topics::alerts::{Alert, AlertState, Notice, WATCHDOG};
use millrace_schemas::topics::digests::{DigestEntry, Entry};
use millrace_schemas::topics::inventory::{Instance, Item};
use millrace_schemas::topics::journal::{Fact, Heartbeat, Outcome};
use millrace_schemas::topics::routes::{Route, Routing};

use crate::journal::why::describe;
pub use load::{TopDigest, Trend};
pub use table::{AlertLine, ReplicaLine, urgency};

/// 200 actions: months of a healthy fleet, or a bad night.
const SWITCHES_MAX: usize = 200;
/// 1,000 alerts, firing or resolved; resolved ones go first.
const ALERTS_MAX: usize = 1_000;
/// 20,000 texts of at most 8 KiB, usually 200 bytes.
const DIGESTS_MAX: usize = 20_000;
/// 500 lines of events: more than a page shows after a filter.
const TAIL_MAX: usize = 500;
/// 10,000 instances and clusters: ten times a large fleet.
const ENTITIES_MAX: usize = 10_000;

/// A heartbeat and when it came.
#[derive(Clone, Debug)]
pub struct Beat {
    /// The cluster.
    pub cluster: ClusterId,
    /// Append time.
    pub at: Timestamp,
    /// What the agent said.
    pub heartbeat: Heartbeat,
}

/// An action and what became of it.
#[derive(Clone, Debug)]
pub struct Switch {
    /// The action.
    pub action: Action,
    /// When it was appended.
    pub decided: Timestamp,
    /// Results of its steps, with their append times; the first of each number.
    pub steps: Vec<(Timestamp, StepResult)>,
    /// How it ended.
    pub ended: Option<(Timestamp, Outcome)>,
}

/// An alert, where and when it was last said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The cluster.
    pub cluster: ClusterId,
    /// Append time.
    pub at: Timestamp,
    /// The alert.
    pub alert: Alert,
}

/// A record as the page of events lists it.
#[derive(Clone, Debug)]
pub struct Line {
    /// The topic.
    pub topic: Topic,
    /// `PARTITION-OFFSET`.
    pub place: String,
    /// Append time.
    pub at: Timestamp,
    /// The cluster, or cluster/instance.
    pub subject: String,
    /// Which kind of event.
    pub kind: &'static str,
    /// What it says.
    pub text: String,
    /// The event.
    pub id: Option<EventId>,
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub struct View {
    folds: Folds<Failover>,
    /// True when the states were gone on from, and the journal was not read from its start.
    goes_on: bool,
    /// Of this time is the oldest record of the journal that was read.
    oldest: Option<Timestamp>,
    beats: BTreeMap<InstanceId, Beat>,
    switches: VecDeque<Switch>,
    alerts: BTreeMap<EventId, Said>,
    routes: BTreeMap<ClusterId, (Timestamp, Route)>,
    instances: BTreeMap<InstanceId, Instance>,
    digests: BTreeMap<DigestId, DigestEntry>,
    loads: load::Loads,
    tail: VecDeque<Line>,
    now: Timestamp,
    generation: u64,
    away: Option<String>,
    dropped: u64,
}

impl View {
    /// Takes a record of any topic in.
    pub fn take(&mut self, record: &Record) {
        self.now = self.now.max(record.appended);
        self.generation += 1;
        self.away = None;
        match record.topic {
            Topic::Journal => {
                // What it would emit was emitted by the processor itself.
                self.folds.fold(record);
                self.oldest.get_or_insert(record.appended);
                self.with::<Fact>(record, Self::fact);
            }
            Topic::Actions => self.with::<Order>(record, Self::order),
            Topic::Alerts => self.with::<Notice>(record, Self::notice),
            Topic::Routes => self.with::<Routing>(record, Self::route),
            Topic::Digests => self.with::<Entry>(record, Self::entry),
            Topic::Inventory => self.with::<Item>(record, Self::item),
            Topic::Windows => match record.value.as_deref().map(millrace_schemas::topics::windows::decode) {
                Some(Ok(windows)) => self.dropped += self.loads.take(windows, record.appended),
                _ => self.dropped += 1,
            },
            Topic::Queries | Topic::SlowQueries | Topic::Samples | Topic::Dead => {}
        }
    }

    /// Takes over the states that deciders stored: what lies before their positions is in them.
    pub fn go_on_from(&mut self, folds: Folds<Failover>) {
        self.folds = folds;
        self.goes_on = true;
    }

    /// True when nothing is known of the end of an action because the journal was not read that far back.
    pub fn is_older(&self, switch: &Switch) -> bool {
        switch.ended.is_none() && self.goes_on && self.oldest.is_none_or(|oldest| switch.decided < oldest)
    }

    /// The bus did not answer; what is shown gets old.
    pub fn bus_away(&mut self, why: String) {
        self.generation += 1;
        self.away = Some(why);
    }

    /// Why the bus does not answer, while it does not.
    pub fn away(&self) -> Option<&str> {
        self.away.as_deref()
    }

    /// The newest append time seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Rises with every change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Records and rows that could not be read or were beyond a limit.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// All clusters that were declared.
    pub fn clusters(&self) -> impl Iterator<Item = (&ClusterId, &State)> {
        self.folds.clusters().filter(|(_, state)| state.spec.is_some())
    }

    /// One cluster.
    pub fn cluster(&self, id: &ClusterId) -> Option<&State> {
        self.folds.state(id)
    }

    /// The last heartbeat of an instance.
    pub fn beat(&self, instance: &InstanceId) -> Option<&Beat> {
        self.beats.get(instance)
    }

    /// The hosts that beats came from, with one of their instances.
    pub fn hosts(&self) -> BTreeMap<&HostId, &InstanceId> {
        self.beats.iter().map(|(instance, beat)| (&beat.heartbeat.host, instance)).collect()
    }

    /// The route of a cluster and since when.
    pub fn route_of(&self, cluster: &ClusterId) -> Option<&(Timestamp, Route)> {
        self.routes.get(cluster)
    }

    /// What the inventory says of an instance.
    pub fn instance(&self, instance: &InstanceId) -> Option<&Instance> {
        self.instances.get(instance)
    }

    /// Actions, the newest first.
    pub fn switches(&self) -> impl Iterator<Item = &Switch> {
        self.switches.iter().rev()
    }

    /// Alerts as they were said.
    pub fn said(&self) -> impl Iterator<Item = &Said> {
        self.alerts.values()
    }

    /// What is known of a digest.
    pub fn digest(&self, id: DigestId) -> Option<&DigestEntry> {
        self.digests.get(&id)
    }

    /// The last events, the newest first, without the words of the watchdog.
    pub fn tail(&self) -> impl Iterator<Item = &Line> {
        self.tail.iter().rev()
    }

    fn with<P: Payload>(&mut self, record: &Record, take: fn(&mut Self, &Event<P>, &Record)) {
        match Event::<P>::from_record(record) {
            Ok(event) => take(self, &event, record),
            Err(_) if record.value.is_none() => {} // a tombstone
            Err(_) => self.dropped += 1,
        }
    }

    fn fact(&mut self, event: &Event<Fact>, record: &Record) {
        // Heartbeats come every second and are shown elsewhere.
        // The watchdog speaks of each cluster each minute, and would leave no room for anything else.
        let is_frequent = match &event.payload {
            Fact::Heartbeat(_) => true,
            Fact::Finding(finding) => finding.rule == WATCHDOG,
            _ => false,
        };
        if !is_frequent && let Some(text) = describe(&event.payload) {
            self.note(record, event, kind_of(&event.payload), text);
        }
        match &event.payload {
            Fact::Heartbeat(heartbeat) => {
                let Some(instance) = event.subject.instance.clone() else { return };
                if !self.beats.contains_key(&instance) && self.beats.len() >= ENTITIES_MAX {
                    self.dropped += 1;
                    return;
                }
                let beat = Beat {
                    cluster: event.subject.cluster.clone(),
                    at: record.appended,
                    heartbeat: (**heartbeat).clone(),
                };
                self.beats.insert(instance, beat);
            }
            Fact::Claimed(claimed) => self.switch(&claimed.action, record.appended),
            Fact::StepDone(result) => {
                if let Some(switch) = self.switches.iter_mut().rev().find(|one| one.action.id == result.action)
                    && !switch.steps.iter().any(|(_, step)| step.number == result.number)
                {
                    switch.steps.push((record.appended, (**result).clone()));
                }
            }
            Fact::Ended(ended) => {
                if let Some(switch) = self.switches.iter_mut().rev().find(|one| one.action.id == ended.action) {
                    switch.ended.get_or_insert((record.appended, ended.outcome.clone()));
                }
            }
            _ => {}
        }
    }

    fn order(&mut self, event: &Event<Order>, record: &Record) {
        match &event.payload {
            Order::Action(action) => {
                let text = format!("{} in epoch {}: {}", action.kind.name(), action.epoch, action.reason);
                self.note(record, event, "action", text);
                self.switch(action, record.appended);
            }
            Order::Step(step) => {
                let text = format!("step {} {} on {}", step.number, step.step.name(), step.instance);
                self.note(record, event, "step", text);
            }
        }
    }

    /// The action is known from its own record or its claim, whichever is read first.
    fn switch(&mut self, action: &Action, at: Timestamp) {
        if let Some(known) = self.switches.iter_mut().rev().find(|one| one.action.id == action.id) {
            known.decided = known.decided.min(at);
            return;
        }
        if self.switches.len() >= SWITCHES_MAX {
            self.switches.pop_front();
        }
        self.switches.push_back(Switch { action: action.clone(), decided: at, steps: Vec::new(), ended: None });
    }

    fn notice(&mut self, event: &Event<Notice>, record: &Record) {
        let Notice::Alert(alert) = &event.payload;
        let kind = if alert.state == AlertState::Firing { "firing" } else { "resolved" };
        if alert.name != WATCHDOG {
            self.note(record, event, kind, format!("{}: {}", alert.name, alert.summary));
        }
        if self.alerts.len() >= ALERTS_MAX && !self.alerts.contains_key(&alert.fingerprint) {
            let oldest = self.alerts.iter().min_by_key(|(_, said)| (said.alert.state == AlertState::Firing, said.at));
            if let Some(fingerprint) = oldest.map(|(fingerprint, _)| *fingerprint) {
                self.alerts.remove(&fingerprint);
            }
        }
        let said = Said { cluster: event.subject.cluster.clone(), at: record.appended, alert: alert.clone() };
        self.alerts.insert(alert.fingerprint, said);
    }

    fn route(&mut self, event: &Event<Routing>, record: &Record) {
        let Routing::Route(route) = &event.payload;
        let known = self.routes.get(&event.subject.cluster);
        if known.is_some_and(|(_, known)| known.epoch > route.epoch)
            || (known.is_none() && self.routes.len() >= ENTITIES_MAX)
        {
            self.dropped += 1;
            return;
        }
        self.routes.insert(event.subject.cluster.clone(), (record.appended, route.clone()));
    }

    fn entry(&mut self, event: &Event<Entry>, _: &Record) {
        let Entry::Digest(entry) = &event.payload;
        if self.digests.len() >= DIGESTS_MAX && !self.digests.contains_key(&entry.digest) {
            self.dropped += 1;
            return;
        }
        self.digests.insert(entry.digest, entry.clone());
    }

    fn item(&mut self, event: &Event<Item>, _: &Record) {
        if let Item::Instance(instance) = &event.payload
            && self.instances.len() < ENTITIES_MAX
        {
            self.instances.insert(instance.instance.clone(), instance.clone());
        }
    }

    fn note<P>(&mut self, record: &Record, event: &Event<P>, kind: &'static str, text: String) {
        let subject = match &event.subject.instance {
            Some(instance) => format!("{}/{instance}", event.subject.cluster),
            None => event.subject.cluster.to_string(),
        };
        let place = format!("{}-{}", record.partition, record.offset);
        let line = Line { topic: record.topic, place, at: record.appended, subject, kind, text, id: Some(event.id) };
        // Topics are read side by side: their order among each other is that of the append times.
        let at = self.tail.partition_point(|other| other.at <= line.at);
        self.tail.insert(at, line);
        if self.tail.len() > TAIL_MAX {
            self.tail.pop_front();
        }
    }
}

fn kind_of(fact: &Fact) -> &'static str {
    match fact {
        Fact::Heartbeat(_) => "heartbeat",
        Fact::ProcessChanged(_) => "process",
        Fact::Gap(_) => "gap",
        Fact::Command(_) => "command",
        Fact::Claimed(_) => "claimed",
        Fact::Renewed(_) => "renewed",
        Fact::StepDone(_) => "step done",
        Fact::Ended(_) => "ended",
        Fact::PermitAsked(_) => "permit asked",
        Fact::PermitAnswered(_) => "permit answered",
        Fact::PermitReturned(_) => "permit returned",
        Fact::Load(_) => "load",
        Fact::Finding(_) => "finding",
        Fact::Unusual(_) => "unusual",
        Fact::UnusualDay(_) => "unusual day",
        Fact::AlertWord(_) => "alert word",
        Fact::Tick {} => "tick",
    }
}
