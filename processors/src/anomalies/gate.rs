//! What is unusual becomes a finding where nothing explains it. The journal enters: what the processor over `windows` says, heartbeats,
//! processes, roles, the operators' silences, and the loads of replicas. Findings leave. A restart or another role explains what began
//! within ten minutes of it: of the role for good, since the series of the instance are those of another one; of the restart only
//! until then, for a server that stays slow is news. A maintenance window explains what began in it. It must never wake anybody
//! unless the settings want it.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::cluster::Process;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId, InstanceId, fleet};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{AlertState, Finding, Severity, Silence, UnusualDay, Word, fingerprint};
use millrace_schemas::topics::journal::{Fact, Heartbeat, Load};
use serde::{Deserialize, Serialize};

use super::daily::{LISTED, worst_first};
use super::peers::{Odd, Peers};
use super::{ANOMALY, Settings, seconds};
use crate::fold::{Out, Processor};
use crate::rules::rule::Unit;
use crate::rules::summary::{cut, number};

/// 64 members: clusters have three to twenty.
pub(super) const MEMBERS: usize = 64;
/// 500 anomalies of a cluster at once: more than anybody reads, and alerts show no more.
const HELD_MOST: usize = 500;
/// 1,000 silences, as many as alerts remember.
const SILENCES: usize = 1_000;
/// 40 min: what is unusual is usual after 30; who has not said that it is over by then, says nothing any more.
const UNHEARD: Duration = Duration::from_mins(40);

/// Judges the journal.
#[derive(Clone, Debug)]
pub struct Gate {
    /// How.
    pub settings: Settings,
}

/// What is known of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    members: BTreeMap<InstanceId, Member>,
    silences: BTreeMap<EventId, Silence>,
    /// What was said and is not over.
    said: BTreeMap<EventId, Said>,
    /// What something explains.
    held: BTreeMap<EventId, Held>,
    peers: Peers,
    cluster: Option<ClusterId>,
    day: Day,
    /// When something is due next, as far as was known at the last look: asked for with each record, and walked to once.
    next: Timestamp,
}

/// Nothing is due, whatever time it is.
const NEVER: Timestamp = Timestamp(i64::MAX);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Member {
    /// Open to clients, by its last heartbeat.
    open: Option<bool>,
    replica: bool,
    started: Timestamp,
    /// Its role changed.
    changed: Timestamp,
    /// Its process, as it was known last.
    pid: Option<u32>,
    /// It could not be asked in its last heartbeat.
    down: bool,
}

/// What was found since the last summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Day {
    /// When it ends; zero while nothing was found.
    ends: Timestamp,
    count: u64,
    /// The worst.
    findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Said {
    finding: Finding,
    heard: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Held {
    finding: Finding,
    cause: EventId,
    /// From then on nothing explains it; none: it is explained as long as it lasts.
    until: Option<Timestamp>,
    heard: Timestamp,
}

/// What explains something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Explained {
    No,
    Until(Timestamp),
    Whole,
}

impl State {
    /// The instances that it knows.
    pub fn instances(&self) -> impl Iterator<Item = &InstanceId> {
        self.members.keys()
    }

    /// What was said and is not over.
    pub fn firing(&self) -> impl Iterator<Item = &Finding> {
        self.said.values().map(|said| &said.finding)
    }
}

impl Processor for Gate {
    const NAME: &'static str = "anomalies.journal";
    const VERSION: u32 = 1;
    type In = Fact;
    type State = State;

    fn step(&self, state: &mut State, event: &Event<Fact>, out: &mut Out<'_>) {
        let instance = event.subject.instance.as_ref();
        state.cluster.get_or_insert_with(|| event.subject.cluster.clone());
        match (&event.payload, instance) {
            (Fact::Heartbeat(heartbeat), Some(instance)) => state.heartbeat(instance, heartbeat, event.appended),
            (Fact::ProcessChanged(change), Some(instance)) => {
                state.process(instance, &change.process, event.appended);
            }
            (Fact::Ended(_), _) => state.members.values_mut().for_each(|member| member.changed = event.appended),
            (Fact::AlertWord(Word::Silence(silence)), _) if state.silences.len() < SILENCES => {
                state.silences.insert(silence.id, silence.clone());
            }
            (Fact::AlertWord(Word::Unsilence { silence }), _) => drop(state.silences.remove(silence)),
            (Fact::Unusual(unusual), Some(instance)) => {
                self.unusual(state, instance, &unusual.finding, event.id, out);
            }
            (Fact::Load(load), Some(instance)) => self.load(state, instance, load, event.id, out),
            _ => {}
        }
    }

    fn wake(&self, state: &State) -> Option<Timestamp> {
        let waits = !state.held.is_empty() || !state.said.is_empty() || state.day.count > 0;
        (waits && state.next != NEVER).then_some(state.next)
    }

    fn tick(&self, state: &mut State, now: Timestamp, out: &mut Out<'_>) {
        state.silences.retain(|_, silence| silence.until > now);
        state.held.retain(|_, held| now.since(held.heard) < UNHEARD);
        let due: Vec<EventId> = state
            .held
            .iter()
            .filter(|(_, held)| held.until.is_some_and(|until| until <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if let Some(held) = state.held.remove(&id) {
                self.say(state, held.finding, Some(held.cause), out);
            }
        }
        let gone: Vec<Finding> = state
            .said
            .values()
            .filter(|said| now.since(said.heard) >= UNHEARD)
            .map(|said| Finding {
                state: AlertState::Resolved,
                summary: cut(&format!("nothing was heard of it for 40 min: {}", said.finding.summary)),
                ..said.finding.clone()
            })
            .collect();
        for finding in gone {
            self.say(state, finding, None, out);
        }
        if state.day.count > 0 && state.day.ends <= now {
            state.sum_up(out);
        }
        state.next = state.due();
    }

    fn resume(&self, _: &mut State, _: Timestamp) {}

    fn unknown_evidence(&self, _: &mut State, _: &ClusterId, _: &str, _: &mut Out<'_>) {}
}

impl Gate {
    fn unusual(&self, state: &mut State, instance: &InstanceId, found: &Finding, cause: EventId, out: &mut Out<'_>) {
        self.weigh(state, instance, found, cause, out);
        state.next = state.due();
    }

    fn weigh(&self, state: &mut State, instance: &InstanceId, found: &Finding, cause: EventId, out: &mut Out<'_>) {
        let id = found.fingerprint;
        if found.state == AlertState::Resolved {
            state.held.remove(&id);
            if state.said.contains_key(&id) {
                self.say(state, found.clone(), Some(cause), out);
            }
            return;
        }
        if let Some(held) = state.held.get_mut(&id) {
            (held.finding, held.heard) = (Finding { since: held.finding.since, ..found.clone() }, out.now);
            return;
        }
        let explained = if state.said.contains_key(&id) {
            Explained::No
        } else {
            state.explains(instance, found, out.now, self.settings.quiet)
        };
        let until = match explained {
            Explained::No => return self.say(state, found.clone(), Some(cause), out),
            Explained::Until(until) => Some(until),
            Explained::Whole => None,
        };
        if state.held.len() < HELD_MOST {
            state.held.insert(id, Held { finding: found.clone(), cause, until, heard: out.now });
        }
    }

    /// A replica has told of a window.
    fn load(&self, state: &mut State, instance: &InstanceId, load: &Load, cause: EventId, out: &mut Out<'_>) {
        if !state.members.get(instance).is_some_and(|member| member.replica) {
            return;
        }
        let Some(odd) = state.peers.load(instance, load, &self.settings) else { return };
        let Some(cluster) = state.cluster.clone() else { return };
        let labels: BTreeMap<String, String> = [("of".to_owned(), "peers".to_owned())].into();
        let id = fingerprint(&cluster, ANOMALY, Some(instance), &labels);
        let known = state.said.get(&id).map(|said| &said.finding);
        let known = known.or_else(|| state.held.get(&id).map(|held| &held.finding));
        if odd.holds && known.is_some() {
            return;
        }
        let since = known.map_or(odd.start - (odd.windows - 1) * super::instance::WIDTH, |known| {
            known.since.0.div_euclid(1_000_000)
        });
        let summary = match (known, odd.holds) {
            (Some(known), false) => cut(&format!("over: {}", known.summary)),
            _ => unlike(&odd),
        };
        let finding = Finding {
            fingerprint: id,
            rule: ANOMALY.to_owned(),
            instance: Some(odd.instance),
            labels,
            severity: Severity::Info,
            state: if odd.holds { AlertState::Firing } else { AlertState::Resolved },
            since: seconds(since),
            summary,
            value: Some(f64::from(odd.factor)).filter(|value| value.is_finite()),
            notifies: false,
        };
        self.unusual(state, instance, &finding, cause, out);
    }

    fn say(&self, state: &mut State, finding: Finding, cause: Option<EventId>, out: &mut Out<'_>) {
        let Some(cluster) = state.cluster.clone() else { return };
        if finding.state == AlertState::Resolved {
            state.said.remove(&finding.fingerprint);
        } else {
            let is_new = !state.said.contains_key(&finding.fingerprint);
            if is_new && state.said.len() >= HELD_MOST {
                return;
            }
            if let Some(at) = self.settings.summary_at.filter(|_| is_new) {
                state.day.add(&finding, at.after(out.now));
            }
            state.said.insert(finding.fingerprint, Said { finding: finding.clone(), heard: out.now });
        }
        let subject = Subject { cluster, instance: finding.instance.clone() };
        out.emit(subject, cause, Fact::Finding(Box::new(finding)));
    }
}

/// The sentence about a replica that is unlike the others.
fn unlike(odd: &Odd) -> String {
    let times = number(f64::from(odd.factor), Unit::Times);
    let (own, others) = (odd.own, odd.others);
    cut(&if odd.of_time {
        let ms = |us: u64| format!("{:.1} ms", us as f64 / 1e3);
        format!(
            "{} is unlike the other replicas: its slowest hundredth takes {} where the others take {}, {times} as far apart as usual",
            odd.instance,
            ms(own),
            ms(others)
        )
    } else {
        format!(
            "{} is unlike the other replicas: it answers {own} statements in 10 s where the others answer {others}, {times} as far \
             apart as usual",
            odd.instance
        )
    })
}

impl Day {
    fn add(&mut self, finding: &Finding, ends: Timestamp) {
        if self.count == 0 {
            self.ends = ends;
        }
        self.count += 1;
        self.findings.push(finding.clone());
        worst_first(&mut self.findings);
        self.findings.truncate(LISTED);
    }
}

impl State {
    fn member(&mut self, instance: &InstanceId) -> Option<&mut Member> {
        if self.members.len() >= MEMBERS && !self.members.contains_key(instance) {
            return None;
        }
        Some(self.members.entry(instance.clone()).or_default())
    }

    fn heartbeat(&mut self, instance: &InstanceId, heartbeat: &Heartbeat, now: Timestamp) {
        self.process(instance, &heartbeat.process, now);
        let Some(member) = self.member(instance) else { return };
        let Some(server) = &heartbeat.server else {
            member.down = true;
            return;
        };
        let (open, replica) = (server.open, server.receiver.is_some());
        let back = std::mem::take(&mut member.down);
        if back {
            member.started = now; // also where nobody knows of its process
        }
        let changed = member.open.is_some_and(|was| was != open || member.replica != replica);
        (member.open, member.replica) = (Some(open), replica);
        if changed {
            member.changed = now;
        }
        if back || changed {
            self.peers.forget(instance);
        }
    }

    fn process(&mut self, instance: &InstanceId, process: &Process, now: Timestamp) {
        let Some(member) = self.member(instance) else { return };
        if let Process::Running { pid } = process
            && member.pid.replace(*pid).is_some_and(|before| before != *pid)
        {
            member.started = now;
            self.peers.forget(instance);
        }
    }

    /// What explains what is found of an instance.
    fn explains(&self, instance: &InstanceId, found: &Finding, now: Timestamp, quiet: Duration) -> Explained {
        let since = found.since;
        let maintained = self.silences.values().any(|silence| {
            silence.from <= now
                && silence.until > since
                && silence.rule.as_ref().is_none_or(|rule| *rule == found.rule)
                && silence.instance.as_ref().is_none_or(|only| only == instance)
        });
        let Some(member) = self.members.get(instance) else {
            return if maintained { Explained::Whole } else { Explained::No };
        };
        // A window that shows it may have begun before the fact was known.
        let after = |at: Timestamp| at != Timestamp::ZERO && since < at + quiet && now + quiet > at;
        if maintained || after(member.changed) {
            Explained::Whole
        } else if after(member.started) {
            Explained::Until(member.started + quiet)
        } else {
            Explained::No
        }
    }

    /// When something is due next.
    fn due(&self) -> Timestamp {
        let explained = self.held.values().filter_map(|held| held.until);
        let heard = self.held.values().map(|held| held.heard).chain(self.said.values().map(|said| said.heard));
        let day = (self.day.count > 0).then_some(self.day.ends);
        explained.chain(heard.map(|heard| heard + UNHEARD)).chain(day).min().unwrap_or(NEVER)
    }

    /// The day is over: its worst are told to the fleet.
    fn sum_up(&mut self, out: &mut Out<'_>) {
        let Day { ends: until, count, findings } = std::mem::take(&mut self.day);
        let Some(cluster) = self.cluster.clone() else { return };
        let day = UnusualDay { cluster, until, count, findings };
        out.emit(Subject::cluster(fleet()), None, Fact::UnusualDay(Box::new(day)));
    }
}
