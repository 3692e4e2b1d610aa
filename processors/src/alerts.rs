//! The life of an alert. In: findings of processors and words of operators, from the journal. Out: topic `alerts`, which viewers
//! show and channels deliver. An alert is told of once when it begins, when its words change, again while it holds, louder where
//! nobody takes it, and when it is over; what follows from another alert is hidden by it, and what an operator silenced is quiet.
//! Everything is decided by the journal alone, so a restart, a second copy and a replay say the same under the same ids.

mod causes;
mod life;

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{
    Alert, AlertState, Finding, Notice, Severity, Silence, WATCHDOG, Word, fingerprint, test_labels,
};
use millrace_schemas::topics::journal::{Fact, tick_cluster};
use serde::{Deserialize, Serialize};

use crate::fold::{Out, Processor};
use life::Life;

/// The alert that says that others were left out.
pub const LEFT_OUT: &str = "AlertsLeftOut";

/// 2,000 alerts of a cluster live at once: four for each of 500 instances. More tell nobody more, and a snapshot stays within
/// 2 MiB.
const LIVE_MAX: usize = 2_000;
/// 1,000 silences of a cluster, which stand or are to come.
const SILENCES_MAX: usize = 1_000;
/// 1 h: a test that lasts longer is forgotten, and the next real alert is taken for it.
pub const TEST_MAX: Duration = Duration::from_hours(1);

/// How often people are told of what still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two words about a critical alert that nobody took.
    pub repeat_critical: Duration,
    /// The same of a warning. What is only worth knowing is told once.
    pub repeat_warning: Duration,
    /// How long a critical alert waits for somebody to take it before it is told louder.
    pub escalate_after: Duration,
}

impl Default for Settings {
    /// An hour: whoever slept through the first word hears a second one in the same night. 12 h: a warning is for the next
    /// working day, and may not be forgotten over a second. 15 min: as long as it takes to get up and to log in.
    fn default() -> Self {
        Self {
            repeat_critical: Duration::from_hours(1),
            repeat_warning: Duration::from_hours(12),
            escalate_after: Duration::from_mins(15),
        }
    }
}

/// The processor.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    /// How often people are told.
    pub settings: Settings,
}

/// What is known of the alerts of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    cluster: Option<ClusterId>,
    alive: BTreeMap<EventId, Life>,
    silences: BTreeMap<EventId, Silence>,
    /// Findings that hold and found no place.
    left_out: BTreeMap<EventId, Timestamp>,
    /// When something is due next, as far as was known at the last look: asked for with each record, and walked to once.
    #[serde(default)]
    next: Timestamp,
}

/// Nothing is due, whatever time it is.
const NEVER: Timestamp = Timestamp(i64::MAX);

impl State {
    /// What fires, by its fingerprint.
    pub fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alive.values().map(Life::shown)
    }

    /// Silences that stand or are to come.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.values()
    }
}

impl Processor for Alerts {
    const NAME: &'static str = "alerts";
    const VERSION: u32 = 1;
    type In = Fact;
    type State = State;

    /// What concerns the fleet has alerts too.
    fn keeps(cluster: &ClusterId) -> bool {
        *cluster != tick_cluster()
    }

    fn step(&self, state: &mut State, event: &Event<Fact>, out: &mut Out<'_>) {
        match &event.payload {
            Fact::Finding(finding) => {
                state.cluster.get_or_insert_with(|| event.subject.cluster.clone());
                state.found(finding, out);
            }
            Fact::AlertWord(word) => {
                state.cluster.get_or_insert_with(|| event.subject.cluster.clone());
                state.heard(word, event.appended, out);
            }
            _ => return,
        }
        state.settle(&self.settings, out);
    }

    fn wake(&self, state: &State) -> Option<Timestamp> {
        (!state.alive.is_empty() && state.next != NEVER).then_some(state.next)
    }

    fn tick(&self, state: &mut State, now: Timestamp, out: &mut Out<'_>) {
        debug_assert!(now <= out.now, "a tick is not before its time");
        state.settle(&self.settings, out);
    }

    /// What held before a silence of the bus holds after it: nothing here is judged by silence.
    fn resume(&self, _: &mut State, _: Timestamp) {}

    /// Evidence is for deciders.
    fn unknown_evidence(&self, _: &mut State, _: &ClusterId, _: &str, _: &mut Out<'_>) {}
}

impl State {
    fn found(&mut self, finding: &Finding, out: &mut Out<'_>) {
        let fingerprint = finding.fingerprint;
        self.left_out.remove(&fingerprint);
        let is_full = self.alive.len() >= LIVE_MAX;
        match (finding.state, self.alive.get_mut(&fingerprint)) {
            (AlertState::Firing, Some(life)) => life.says(finding, out.now),
            (AlertState::Firing, None) if !is_full => {
                self.alive.insert(fingerprint, Life::of(finding, out.now));
            }
            (AlertState::Firing, None) => drop(self.left_out.insert(fingerprint, finding.since)),
            (AlertState::Resolved, Some(_)) => {
                let Some(life) = self.alive.remove(&fingerprint) else { return };
                self.say(life.over(finding, out.now), out);
            }
            // It was said to be over twice, or it found no place.
            (AlertState::Resolved, None) => {}
        }
        self.tell_what_is_left_out(out);
    }

    /// One alert says that there are more than anybody can read.
    fn tell_what_is_left_out(&mut self, out: &mut Out<'_>) {
        let Some(cluster) = self.cluster.clone() else { return };
        let fingerprint = fingerprint(&cluster, LEFT_OUT, None, &BTreeMap::new());
        let since = self.left_out.values().min().copied();
        let finding = |since, state| Finding {
            fingerprint,
            rule: LEFT_OUT.to_owned(),
            instance: None,
            labels: BTreeMap::new(),
            severity: Severity::Critical,
            state,
            since,
            summary: format!(
                "{LIVE_MAX} alerts of {cluster} fire already; further ones are not shown until some are over"
            ),
            value: None,
            notifies: true,
        };
        match (since, self.alive.contains_key(&fingerprint)) {
            (Some(since), false) => {
                self.alive.insert(fingerprint, Life::of(&finding(since, AlertState::Firing), out.now));
            }
            (None, true) => {
                let Some(life) = self.alive.remove(&fingerprint) else { return };
                self.say(life.over(&finding(out.now, AlertState::Resolved), out.now), out);
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    fn heard(&mut self, word: &Word, now: Timestamp, out: &mut Out<'_>) {
        match word {
            Word::Silence(silence) if silence.until > now && self.silences.len() < SILENCES_MAX => {
                self.silences.insert(silence.id, silence.clone());
            }
            Word::Silence(_) => {}
            Word::Unsilence { silence } => drop(self.silences.remove(silence)),
            Word::Acknowledge { fingerprint, by } => {
                if let Some(life) = self.alive.get_mut(fingerprint) {
                    life.taken_by(by);
                }
            }
            Word::Test { rule, instance, severity, until, by } => {
                let Some(cluster) = self.cluster.clone() else { return };
                let labels = test_labels();
                let finding = Finding {
                    fingerprint: fingerprint(&cluster, rule, instance.as_ref(), &labels),
                    rule: rule.clone(),
                    instance: instance.clone(),
                    labels,
                    severity: *severity,
                    state: AlertState::Firing,
                    since: now,
                    summary: format!("a test of {rule} by {by}: nothing is wrong"),
                    value: None,
                    notifies: true,
                };
                self.test(&finding, (*until).min(now + TEST_MAX), out);
            }
        }
    }

    /// A test begins; one of the same that still fires is over first.
    fn test(&mut self, finding: &Finding, until: Timestamp, out: &mut Out<'_>) {
        if let Some(before) = self.alive.remove(&finding.fingerprint) {
            self.say(before.test_over(out.now), out);
        }
        if self.alive.len() < LIVE_MAX && until > out.now {
            self.alive.insert(finding.fingerprint, Life::of_test(finding, until, out.now));
        }
    }

    /// Looks at everything that lives, and says what has changed or is due.
    fn settle(&mut self, settings: &Settings, out: &mut Out<'_>) {
        let (now, mut said) = (out.now, Vec::new());
        self.silences.retain(|_, silence| silence.until > now);
        for (_, test) in self.alive.extract_if(.., |_, life| life.test_until().is_some_and(|until| until <= now)) {
            said.push(test.test_over(now));
        }
        let relations = causes::relations(&self.alive);
        for (fingerprint, life) in &mut self.alive {
            let silence = self.silences.values().find(|silence| life.is_silenced_by(silence, now));
            said.extend(life.look(relations.of(fingerprint), silence, settings, now));
        }
        for alert in said {
            self.say(alert, out);
        }
        self.next = self.due(settings, now);
    }

    /// When something is due next. A silence that has not begun changes something when it begins, any other when it ends.
    fn due(&self, settings: &Settings, now: Timestamp) -> Timestamp {
        let lives = self.alive.values().filter_map(|life| life.due(settings).map(|(at, _)| at));
        let tests = self.alive.values().filter_map(Life::test_until);
        let silences = self.silences.values().flat_map(|silence| [silence.from, silence.until]);
        lives.chain(tests).chain(silences.filter(|at| *at > now)).min().unwrap_or(NEVER)
    }

    fn say(&self, alert: Alert, out: &mut Out<'_>) {
        let Some(cluster) = self.cluster.clone() else { return };
        out.emit(Subject { cluster, instance: alert.instance.clone() }, None, Notice::Alert(alert));
    }
}

/// How long a word about an alert waits for the next.
fn repeats(rule: &str, severity: Severity, settings: &Settings) -> Option<Duration> {
    /// A minute: as often as the checks of a dead man's switch usually are.
    const WATCHDOG_EVERY: Duration = Duration::from_mins(1);
    match severity {
        _ if rule == WATCHDOG => Some(WATCHDOG_EVERY),
        Severity::Critical => Some(settings.repeat_critical),
        Severity::Warning => Some(settings.repeat_warning),
        Severity::Info => None,
    }
}

#[cfg(test)]
mod tests;
