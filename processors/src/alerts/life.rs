//! One alert from its first finding to its last: what it says, whether it is quiet, and when people are told of it next.

use std::time::Duration;

use millrace_schemas::ids::InstanceId;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{Alert, AlertState, Finding, Hidden, Quiet, Severity, Silence, Told, WATCHDOG};
use serde::{Deserialize, Serialize};

use super::causes::can_follow;
use super::{Settings, repeats};

/// 3 s: what can follow from another alert waits for it so long. Deciders know of a dead primary within two heartbeats.
const CAUSE_WITHIN: Duration = Duration::from_secs(3);
/// 30 s: what was hidden gets so long to end after its cause did. Replicas follow a new primary within seconds.
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
/// 1 min between two words because an alert says something else: its page shows every one.
const CHANGED_EVERY: Duration = Duration::from_mins(1);

/// 3 min: rules speak of the watchdog once a minute, and are started again within two.
const WATCHDOG_WITHIN: Duration = Duration::from_mins(3);

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Life {
    finding: Finding,
    acknowledged_by: Option<String>,
    /// A test is over then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    test_until: Option<Timestamp>,
    /// As it was said last; `None` before the first time.
    said: Option<Alert>,
    /// As it is now.
    now: Alert,
    /// When its processor spoke of it last.
    #[serde(default)]
    heard: Timestamp,
    /// Nobody is told before: a cause may come, or what it followed from has just ended.
    waits_until: Timestamp,
    /// When people were first told, and last.
    first_told: Option<Timestamp>,
    last_told: Option<Timestamp>,
    /// What they were told, to see what has changed.
    told_summary: String,
    told_severity: Severity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_taken_by: Option<String>,
    escalated: bool,
}

impl Life {
    pub(super) fn of(finding: &Finding, now: Timestamp) -> Self {
        let waits = if can_follow(&finding.rule) { CAUSE_WITHIN } else { Duration::ZERO };
        Self {
            now: alert(finding, None),
            finding: finding.clone(),
            acknowledged_by: None,
            test_until: None,
            said: None,
            heard: now,
            waits_until: now + waits,
            first_told: None,
            last_told: None,
            told_summary: String::new(),
            told_severity: finding.severity,
            told_taken_by: None,
            escalated: false,
        }
    }

    /// A test: it follows from nothing, and ends by itself.
    pub(super) fn of_test(finding: &Finding, until: Timestamp, now: Timestamp) -> Self {
        Self { test_until: Some(until), waits_until: now, ..Self::of(finding, now) }
    }

    pub(super) fn is_test(&self) -> bool {
        self.test_until.is_some()
    }

    pub(super) fn test_until(&self) -> Option<Timestamp> {
        self.test_until
    }

    /// A test is over, in the words with which it began.
    pub(super) fn test_over(self, now: Timestamp) -> Alert {
        let finding = self.finding.clone();
        self.over(&finding, now)
    }

    pub(super) fn rule(&self) -> &str {
        &self.finding.rule
    }

    pub(super) fn instance(&self) -> Option<&InstanceId> {
        self.finding.instance.as_ref()
    }

    pub(super) fn notifies(&self) -> bool {
        self.finding.notifies
    }

    pub(super) fn shown(&self) -> &Alert {
        self.said.as_ref().unwrap_or(&self.now)
    }

    /// Its processor says it again, or in other words. When it began stays as it was said first.
    pub(super) fn says(&mut self, finding: &Finding, now: Timestamp) {
        self.heard = now;
        self.finding = Finding { since: self.finding.since, ..finding.clone() };
    }

    pub(super) fn taken_by(&mut self, by: &str) {
        self.acknowledged_by = Some(by.to_owned());
    }

    pub(super) fn is_silenced_by(&self, silence: &Silence, now: Timestamp) -> bool {
        silence.from <= now
            && silence.until > now
            && silence.rule.as_ref().is_none_or(|rule| *rule == self.finding.rule)
            && silence.instance.as_ref().is_none_or(|instance| Some(instance) == self.instance())
    }

    /// It is over. Whoever was told that it began is told that it ended, whatever is quiet by now: pages would stay open.
    pub(super) fn over(self, finding: &Finding, now: Timestamp) -> Alert {
        let told = self.first_told.map(|_| Told::Resolved);
        Alert {
            state: AlertState::Resolved,
            ends_at: Some(now),
            summary: finding.summary.clone(),
            value: finding.value,
            told,
            ..alert(&self.finding, self.acknowledged_by)
        }
    }

    /// What is to be said of it now, if anything: it changed, or people are to be told.
    pub(super) fn look(
        &mut self,
        (hidden_by, hides): (Option<&Quiet>, &[Hidden]),
        silence: Option<&Silence>,
        settings: &Settings,
        now: Timestamp,
    ) -> Option<Alert> {
        let was_hidden = matches!(self.now.quiet, Some(Quiet::HiddenBy { .. }));
        let quiet = if self.finding.notifies {
            hidden_by.cloned().or_else(|| silence.map(silenced))
        } else {
            Some(Quiet::Shown)
        };
        if was_hidden && hidden_by.is_none() {
            self.waits_until = self.waits_until.max(now + RECOVERS_WITHIN);
        }
        self.now = Alert { quiet, hides: hides.to_vec(), ..alert(&self.finding, self.acknowledged_by.clone()) };
        let told = self.due(settings).and_then(|(at, told)| (at <= now).then_some(told));
        if let Some(told) = told {
            self.first_told.get_or_insert(now);
            self.last_told = Some(now);
            self.told_summary.clone_from(&self.finding.summary);
            self.told_severity = self.finding.severity;
            self.told_taken_by.clone_from(&self.acknowledged_by);
            self.escalated |= told == Told::Escalated;
        } else if self.said.as_ref() == Some(&self.now) {
            return None;
        }
        let before = self.said.replace(self.now.clone()).map(|said| said.severity);
        let severity_before = before.filter(|before| *before != self.now.severity);
        Some(Alert { told, severity_before, ..self.now.clone() })
    }

    /// When people are told of it next, as far as is known now, and why.
    pub(super) fn due(&self, settings: &Settings) -> Option<(Timestamp, Told)> {
        if self.now.quiet.is_some() {
            return None;
        }
        let (Some(first), Some(last)) = (self.first_told, self.last_told) else {
            return Some((self.waits_until, Told::Began));
        };
        let worse = self.finding.severity > self.told_severity;
        let changed = (worse || self.finding.summary != self.told_summary)
            .then(|| (if worse { last } else { last + CHANGED_EVERY }, Told::Changed));
        let unheard = self.acknowledged_by.is_none();
        let taken = (!unheard && self.acknowledged_by != self.told_taken_by).then_some((last, Told::Acknowledged));
        let critical = self.finding.severity == Severity::Critical;
        let escalated =
            (unheard && critical && !self.escalated).then(|| (first + settings.escalate_after, Told::Escalated));
        let every = repeats(&self.finding.rule, self.finding.severity, settings);
        // The watchdog is told of by who tells alerts only while who judges them speaks of it too.
        let lives = |at: &Timestamp| self.rule() != WATCHDOG || at.since(self.heard) < WATCHDOG_WITHIN;
        let repeated = every.filter(|_| unheard).map(|every| last + every).filter(lives);
        let repeated = repeated.map(|at| (at, Told::Repeated));
        // Of what is due at once, the loudest.
        [escalated, changed, taken, repeated].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

fn silenced(silence: &Silence) -> Quiet {
    Quiet::Silenced { silence: silence.id, by: silence.by.clone(), until: silence.until }
}

/// What a finding is to people, as long as nothing else is known.
fn alert(finding: &Finding, acknowledged_by: Option<String>) -> Alert {
    Alert {
        fingerprint: finding.fingerprint,
        name: finding.rule.clone(),
        instance: finding.instance.clone(),
        labels: finding.labels.clone(),
        severity: finding.severity,
        severity_before: None,
        state: AlertState::Firing,
        starts_at: finding.since,
        ends_at: None,
        summary: finding.summary.clone(),
        runbook: format!("docs/alerts.md#{}", finding.rule.to_lowercase()),
        value: finding.value,
        told: None,
        quiet: None,
        hides: Vec::new(),
        acknowledged_by,
    }
}
