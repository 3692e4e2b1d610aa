//! What each role may say: the one list. In: an entry of the roster and a record whose signature is its key's. Out: yes, or why
//! not. The record is read exactly as its readers read it, so that nothing can mean one thing here and another there.
//! A kind that this version does not know may be said by who may speak about that cluster in that topic at all: its readers
//! skip it, or stop trusting their view of that cluster.

use std::time::Duration;

use super::{Entry, KeyId, Refusal, Role};
use crate::event::{Event, Payload, Spoken, Subject, Unreadable};
use crate::ids::{HostId, InstanceId};
use crate::record::Record;
use crate::topics::Topic;
use crate::topics::actions::{Order, StepOutcome, StepResult};
use crate::topics::alerts::Notice;
use crate::topics::journal::{Command, Fact};
use crate::topics::routes::Routing;

/// 5 min: a command is at the bus within seconds of being said. Clocks that differ by more are wrong and are told so, and a
/// command that is copied later does nothing, also where no reader remembers the first.
const COMMAND_LIVES: Duration = Duration::from_mins(5);

/// Whose clusters the configuration of processors names.
const CONFIGURED: &str = "operator/config";

/// Every processor that says something in a signed topic.
const PROCESSORS: [&str; 8] =
    ["failover.", "permits.", "routes.", "windows.", "refusals.", "rules.", "anomalies.", "alerts."];

/// Why not.
enum No {
    /// The key may not, in words.
    May(String),
    /// It may, at another time.
    Time(Refusal),
}

impl From<String> for No {
    fn from(why: String) -> Self {
        Self::May(why)
    }
}

/// Who speaks, with which key.
struct Speaking<'a> {
    entry: &'a Entry,
    source: &'a str,
    subject: &'a Subject,
}

/// Whether `entry` may say what `record` says.
pub(super) fn say(id: &KeyId, entry: &Entry, record: &Record) -> Result<(), Refusal> {
    let judged = match record.topic {
        Topic::Journal => read::<Fact>(entry, record, fact),
        Topic::Actions => read::<Order>(entry, record, order),
        Topic::Alerts => read::<Notice>(entry, record, |speaking, _| {
            Ok(speaking.processor(&["alerts.", "failover.", "refusals."])?)
        }),
        Topic::Routes => read::<Routing>(entry, record, |speaking, _| Ok(speaking.processor(&["routes."])?)),
        _ => Ok(()),
    };
    judged.map_err(|no| match no {
        No::May(why) => Refusal::NotAllowed { key: id.to_string(), why },
        No::Time(refusal) => refusal,
    })
}

fn read<P: Payload>(
    entry: &Entry,
    record: &Record,
    may: impl Fn(&Speaking<'_>, &Event<P>) -> Result<(), No>,
) -> Result<(), No> {
    let Some(value) = record.value.as_deref() else {
        return Err(No::May("nobody may take back what was said".to_owned()));
    };
    match Event::<P>::from_record(record) {
        Ok(event) => {
            let speaking = Speaking { entry, source: &event.source, subject: &event.subject };
            speaking.about(record, &event.payload.key(&event.subject))?;
            may(&speaking, &event)
        }
        Err(Unreadable::UnknownKind(_) | Unreadable::UnknownEvidence(_)) => {
            let Spoken { source, subject, .. } = Spoken::read(value).map_err(|error| error.to_string())?;
            let speaking = Speaking { entry, source: &source, subject: &subject };
            // What an unknown kind is kept by is not known: the cluster that readers take from the key must be its own.
            let expected = if matches!(P::TOPIC, Topic::Journal | Topic::Actions) {
                subject.cluster.as_str()
            } else {
                &record.key
            };
            speaking.about(record, expected)?;
            Ok(speaking.anyone(P::TOPIC)?)
        }
        // Nothing can follow from it: who reads it sends it to `dead`, with the name of the key that signed it.
        Err(Unreadable::Malformed(_)) => Ok(()),
    }
}

fn fact(speaking: &Speaking<'_>, event: &Event<Fact>) -> Result<(), No> {
    let fact = &event.payload;
    who(speaking, fact)?;
    if matches!(fact, Fact::Command(_) | Fact::AlertWord(_)) { in_time(event) } else { Ok(()) }
}

fn who(speaking: &Speaking<'_>, fact: &Fact) -> Result<(), String> {
    match fact {
        Fact::Heartbeat(heartbeat) => speaking.agent(Some(&heartbeat.host), None),
        Fact::ProcessChanged(change) => speaking.agent(Some(&change.host), None),
        Fact::Gap(gap) => speaking.agent(Some(&gap.host), None),
        Fact::StepDone(result) => step_done(speaking, result),
        Fact::Claimed(claimed) if claimed.action.cluster != speaking.subject.cluster => {
            Err(format!("it claims an action of {} under {}", claimed.action.cluster, speaking.subject.cluster))
        }
        Fact::Claimed(claimed) => speaking.executor(Some(&claimed.executor)),
        Fact::Renewed(renewed) => speaking.executor(Some(&renewed.executor)),
        Fact::Ended(_) => speaking.executor(None),
        Fact::Command(Command::Enrol(_)) if speaking.source == CONFIGURED => speaking.role(Role::Process),
        Fact::Command(_) | Fact::AlertWord(_) => speaking.named(Role::Operator, "operator/"),
        Fact::PermitAsked(_) | Fact::PermitReturned(_) => speaking.processor(&["failover."]),
        Fact::PermitAnswered(_) => speaking.processor(&["permits."]),
        Fact::Load(_) => speaking.processor(&["windows."]),
        Fact::Finding(_) => speaking.processor(&["failover.", "refusals.", "rules.", "anomalies."]),
        Fact::Unusual(_) | Fact::UnusualDay(_) => speaking.processor(&["anomalies."]),
        Fact::Tick {} => speaking.named(Role::Process, "ticker/"),
    }
}

/// The host's agent says how a step ended; who waited for it in vain can only say that.
fn step_done(speaking: &Speaking<'_>, result: &StepResult) -> Result<(), String> {
    if speaking.source.starts_with("executor/") {
        return match result.outcome {
            StepOutcome::TimedOut {} => speaking.executor(None),
            _ => Err("an executor can say of a step only that it timed out".to_owned()),
        };
    }
    speaking.agent(None, Some(&result.instance))
}

fn order(speaking: &Speaking<'_>, event: &Event<Order>) -> Result<(), No> {
    match &event.payload {
        Order::Action(action) if action.cluster != speaking.subject.cluster => {
            Err(No::May(format!("it is an action of {} under {}", action.cluster, speaking.subject.cluster)))
        }
        // Late ones are not refused here: a decider that goes on from a snapshot decides again what it decided before, and
        // executors start nothing after its deadline.
        Order::Action(_) => Ok(speaking.processor(&["failover."])?),
        Order::Step(request) if speaking.subject.instance.as_ref() != Some(&request.instance) => {
            Err(No::May(format!("it asks for a step of {}, and is about another", request.instance)))
        }
        Order::Step(request) => {
            speaking.executor(None)?;
            let (appended, until) = (event.appended, request.deadline);
            if appended > until { Err(No::Time(Refusal::Expired { appended, until })) } else { Ok(()) }
        }
    }
}

impl Speaking<'_> {
    fn about(&self, record: &Record, expected: &str) -> Result<(), String> {
        if record.key != expected {
            return Err(format!("it lies under another key than its own, {expected}"));
        }
        if self.entry.covers(self.subject) {
            return Ok(());
        }
        let subject = self.subject;
        let instance = subject.instance.as_ref().map_or_else(String::new, |instance| format!("/{instance}"));
        Err(format!("it may not speak about {}{instance}", subject.cluster))
    }

    fn role(&self, role: Role) -> Result<(), String> {
        if self.entry.roles.contains(&role) { Ok(()) } else { Err(format!("it is no key of the role {role}")) }
    }

    /// `PREFIX` and one of the key's own names.
    fn named(&self, role: Role, prefix: &str) -> Result<(), String> {
        self.role(role)?;
        let own = self.source.strip_prefix(prefix).is_some_and(|name| self.entry.names.contains(name));
        if own { Ok(()) } else { Err(format!("it may not speak as {} in the role {role}", shown(self.source))) }
    }

    fn executor(&self, named: Option<&String>) -> Result<(), String> {
        self.named(Role::Execute, "executor/")?;
        if named.is_some_and(|named| named != self.source) {
            return Err(format!("{} may not claim for another", shown(self.source)));
        }
        Ok(())
    }

    /// Hot copies of a processor say the same under one name, so that is no process's own.
    fn processor(&self, names: &[&str]) -> Result<(), String> {
        self.role(Role::Process)?;
        let known = names.iter().any(|name| self.source.starts_with(name));
        if known { Ok(()) } else { Err(format!("{} does not say this", shown(self.source))) }
    }

    /// An agent of one of the key's hosts, about one instance: the host and the instance that the payload names, if it does.
    fn agent(&self, host: Option<&HostId>, instance: Option<&InstanceId>) -> Result<(), String> {
        self.role(Role::Agent)?;
        let speaks_for = self.source.strip_prefix("agent/").unwrap_or_default();
        if !self.entry.hosts.iter().any(|own| own.as_str() == speaks_for) {
            return Err(format!("it may not speak as {} in the role agent", shown(self.source)));
        }
        if host.is_some_and(|host| host.as_str() != speaks_for) {
            return Err("it names another host than its own".to_owned());
        }
        let Some(about) = &self.subject.instance else { return Err("it is about no instance".to_owned()) };
        if instance.is_some_and(|instance| instance != about) {
            return Err(format!("it names another instance than {about}, which it is about"));
        }
        Ok(())
    }

    /// Somebody who may say anything at all in the topic.
    fn anyone(&self, topic: Topic) -> Result<(), String> {
        let processor = || self.role(Role::Process).and_then(|()| self.processor(&PROCESSORS));
        let either = match topic {
            Topic::Journal => {
                [self.agent(None, None), self.named(Role::Operator, "operator/"), self.named(Role::Process, "ticker/")]
                    .into_iter()
                    .find(Result::is_ok)
                    .unwrap_or_else(|| self.executor(None).or_else(|_| processor()))
            }
            Topic::Actions => self.executor(None).or_else(|_| processor()),
            _ => processor(),
        };
        either.map_err(|_| format!("it may not speak as {}", shown(self.source)))
    }
}

/// 64 characters of a name are enough to know it by.
fn shown(source: &str) -> String {
    source.chars().take(64).collect()
}

/// A command is good for a time only.
fn in_time(event: &Event<Fact>) -> Result<(), No> {
    let (said, appended) = (event.at, event.appended);
    let until = said + COMMAND_LIVES;
    if appended > until {
        return Err(No::Time(Refusal::Expired { appended, until }));
    }
    if said > appended + COMMAND_LIVES {
        return Err(No::Time(Refusal::Ahead { appended, said }));
    }
    Ok(())
}
