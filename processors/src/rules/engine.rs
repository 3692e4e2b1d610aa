//! Judges numbers by rules. In: numbers of one moment, what is known of their series, and the time. Out: findings, when something
//! begins, when what it says changes in a way that matters, and when it is over. It depends on its input only. A number that is
//! missing neither begins nor ends anything, and a hole restarts what has not begun yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::event::Subject;
use millrace_schemas::ids::{ClusterId, EventId, InstanceId};
use millrace_schemas::metrics::series;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{AlertState, Finding, Severity, fingerprint};
use millrace_schemas::topics::journal::Fact;
use serde::{Deserialize, Serialize};

use super::facts::{Numbers, field_of};
use super::measure;
use super::memory::{Exact, Memory};
use super::rule::{Input, Judge, Limit, Rule, Unit};
use super::set::Rules;
use super::summary::{cut, duration, number};
use crate::fold::Out;

/// 1,000 series of a rule in a cluster: 64 members with the labels that people look at are fewer; what is beyond is counted.
pub(super) const SERIES: usize = 1_000;
/// A day without a number: an instance that was removed must not be told of for ever.
const FORGOTTEN: Duration = Duration::from_hours(24);
/// 1 h between looks for what is forgotten.
const SWEEP_EVERY: Duration = Duration::from_hours(1);
/// Twice as much, or half: what moved by less says nothing new.
const MOVED: f64 = 2.0;
/// 1 min at least between two words about the same: a value that jumps to and fro is one story.
const RESTATE_AFTER: Duration = Duration::from_mins(1);

/// 1 min between two words of what always holds: as often as a dead man's switch is told, which hears nothing once they end.
const STILL_EVERY: Duration = Duration::from_mins(1);

/// What is known of the series of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Judged {
    /// The rules under which it was judged last.
    set: u64,
    swept: Timestamp,
    /// By rule, and by what it is about.
    pub(super) rules: BTreeMap<String, BTreeMap<String, Series>>,
    /// Numbers that were not judged, because a rule had too many series.
    pub(super) beyond: u64,
}

/// One series under one rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Series {
    about: About,
    /// When it was heard of last, whether it could be judged or not.
    seen: Timestamp,
    /// When it was judged last.
    pub(super) last: Timestamp,
    /// Beyond the limit since then, not for long enough yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) firing: Option<Firing>,
    pub(super) memory: Memory,
}

impl Series {
    /// The instance that it is of.
    pub(super) fn instance(&self) -> Option<&InstanceId> {
        self.about.instance.as_ref()
    }
}

/// What a series is of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<InstanceId>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    /// For the sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// What the field of its metric stands for, for the sentence too.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<String>,
}

/// A finding that holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Firing {
    since: Timestamp,
    severity: Severity,
    notifies: bool,
    summary: String,
    value: Exact,
    told: Timestamp,
}

/// Of which cluster, when, and because of what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment<'a> {
    pub(super) cluster: &'a ClusterId,
    pub(super) now: Timestamp,
    pub(super) cause: Option<EventId>,
}

/// The rules of one input.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) rules: Arc<Rules>,
    pub(super) input: Input,
}

impl Engine {
    pub(super) fn own(&self) -> impl Iterator<Item = &Rule> {
        self.rules.all.iter().filter(|rule| rule.input == self.input)
    }

    /// Judges what is known at a moment. `over` names metrics that are known not to apply any more.
    pub(super) fn take(
        &self,
        judged: &mut Judged,
        numbers: &Numbers,
        over: &[&str],
        at: Moment<'_>,
        out: &mut Out<'_>,
    ) {
        self.sweep(judged, at, out);
        for rule in self.own().filter(|rule| !matches!(rule.judge, Judge::Absence | Judge::Always)) {
            let Some(metric) = rule.metric else { continue };
            let applies = rule.role.is_none() || numbers.role.is_none() || rule.role == numbers.role;
            if numbers.instance.is_some() && rule.about() == "instance" && (!applies || over.contains(&metric.name)) {
                let why = if applies { "it does not apply any more" } else { "its role changed" };
                judged.finish(rule, numbers.instance.as_ref(), why, at, out);
                continue;
            }
            if rule.role.is_some() && numbers.role != rule.role {
                continue; // not known what it is
            }
            for found in measure::found(rule, numbers) {
                Self::one(judged, rule, numbers, &found, at, out);
            }
        }
    }

    fn one(
        judged: &mut Judged,
        rule: &Rule,
        numbers: &Numbers,
        found: &measure::Found,
        at: Moment<'_>,
        out: &mut Out<'_>,
    ) {
        let Some((one, key)) = judged.series(rule, numbers, &found.labels, at) else {
            let instance = numbers.instance.as_ref().filter(|_| rule.about() == "instance");
            if rule.limit_for(at.cluster, instance).is_none() {
                judged.finish(rule, instance, "the rule is off here", at, out);
            }
            return;
        };
        let Some(value) = measure::measured(rule, &mut one.memory, found, at.now) else { return };
        let value = match rule.judge {
            Judge::Peers => measure::against_peers(rule, &judged.rules[&rule.name], &key, value, at.now),
            _ => Some(value),
        };
        let one = judged.rules.get_mut(&rule.name).and_then(|series| series.get_mut(&key));
        if let (Some(value), Some(one)) = (value, one)
            && let Some(limit) = rule.limit_for(at.cluster, one.instance())
        {
            judge(rule, &limit, one, value, at, out);
        }
    }

    /// Something that is no number of a series begins, or goes on.
    pub(super) fn holds(
        &self,
        judged: &mut Judged,
        rule: &Rule,
        (numbers, since, value): (&Numbers, Timestamp, f64),
        at: Moment<'_>,
        out: &mut Out<'_>,
    ) {
        self.sweep(judged, at, out);
        let Some((one, _)) = judged.series(rule, numbers, &BTreeMap::new(), at) else { return };
        let Some(limit) = rule.limit_for(at.cluster, one.instance()) else { return };
        one.last = at.now;
        match &mut one.firing {
            None => begin(rule, &limit, one, (since, value), at, out),
            // Who hears that nothing is wrong must know that somebody still judges.
            Some(firing) if rule.judge == Judge::Always && at.now.since(firing.told) >= STILL_EVERY => {
                firing.told = at.now;
                say(&rule.name, &one.about, firing, AlertState::Firing, Some(value), at, out);
            }
            Some(_) => {}
        }
    }

    /// Rules that are gone say no more, and series that are gone are forgotten.
    fn sweep(&self, judged: &mut Judged, at: Moment<'_>, out: &mut Out<'_>) {
        let changed = judged.set != self.rules.set;
        if !changed && at.now.since(judged.swept) < SWEEP_EVERY {
            return;
        }
        (judged.set, judged.swept) = (self.rules.set, at.now);
        judged.rules.retain(|name, series| {
            let rule = self.own().find(|rule| rule.name == *name);
            series.retain(|_, one| {
                let why = match rule {
                    None => "the rule is off",
                    Some(rule) if rule.limit_for(at.cluster, one.about.instance.as_ref()).is_none() => {
                        "the rule is off here"
                    }
                    Some(_) if at.now.since(one.seen) >= FORGOTTEN => "nothing was known of it for a day",
                    Some(_) => return true,
                };
                resolve(name, one, None, why, at, out);
                false
            });
            !series.is_empty()
        });
    }
}

impl Judged {
    /// The series with these labels, and its key; none where the rule is off, or has too many.
    pub(super) fn series(
        &mut self,
        rule: &Rule,
        numbers: &Numbers,
        labels: &BTreeMap<String, String>,
        at: Moment<'_>,
    ) -> Option<(&mut Series, String)> {
        let about = about(rule, numbers, labels);
        rule.limit_for(at.cluster, about.instance.as_ref())?;
        let key = key(&about);
        let series = self.rules.entry(rule.name.clone()).or_default();
        if series.len() >= SERIES && !series.contains_key(&key) {
            self.beyond += 1;
            return None;
        }
        let one = series.entry(key.clone()).or_insert_with(|| Series { about, ..Series::default() });
        let field = rule.metric.and_then(field_of);
        let words = numbers.words.as_ref().filter(|(of, _)| Some(*of) == field);
        one.about.words = words.map(|(_, words)| words.clone());
        one.seen = at.now;
        Some((one, key))
    }

    /// What a rule says of an instance (or of the cluster) is over, whatever its numbers are.
    pub(super) fn finish(
        &mut self,
        rule: &Rule,
        instance: Option<&InstanceId>,
        why: &str,
        at: Moment<'_>,
        out: &mut Out<'_>,
    ) {
        let Some(series) = self.rules.get_mut(&rule.name) else { return };
        series.retain(|_, one| {
            let its = one.about.instance.as_ref() == instance;
            if its {
                resolve(&rule.name, one, None, why, at, out);
            }
            !its
        });
    }

    /// Whether a rule says something of an instance.
    pub(super) fn is_firing(&self, rule: &Rule, instance: &InstanceId) -> bool {
        let series = self.rules.get(&rule.name).into_iter().flat_map(BTreeMap::values);
        series.filter(|one| one.instance() == Some(instance)).any(|one| one.firing.is_some())
    }
}

/// What a rule's series is of: an instance, a host, or the cluster, and the metric's own labels.
fn about(rule: &Rule, numbers: &Numbers, labels: &BTreeMap<String, String>) -> About {
    let host = numbers.host.as_ref().map(|host| host.as_str().to_owned());
    let mut labels = labels.clone();
    let instance = numbers.instance.clone().filter(|_| rule.about() == "instance");
    if rule.about() == "host" {
        labels.extend(host.clone().map(|host| ("host".to_owned(), host)));
    }
    About { instance, labels, host, words: None }
}

fn key(about: &About) -> String {
    let instance = about.instance.as_ref().map_or("", InstanceId::as_str);
    if about.labels.is_empty() { instance.to_owned() } else { format!("{instance}{:?}", about.labels) }
}

fn judge(rule: &Rule, limit: &Limit, one: &mut Series, value: f64, at: Moment<'_>, out: &mut Out<'_>) {
    if at.now.since(one.last) > rule.input.hole(rule.metric) {
        one.pending = None; // what was in between, nobody knows
    }
    one.last = at.now;
    if one.firing.is_some() {
        if limit.beyond(value, limit.clear) {
            restate(rule, limit, one, value, at, out);
        } else {
            resolve(&rule.name, one, Some(value), "", at, out);
        }
        return;
    }
    if !limit.beyond(value, limit.at) {
        one.pending = None;
        return;
    }
    let since = *one.pending.get_or_insert(at.now);
    if at.now.since(since) >= limit.lasts {
        begin(rule, limit, one, (since, value), at, out);
    }
}

/// Beyond its second limit it is critical; it stays so until it is not beyond the first one.
fn severity(rule: &Rule, limit: &Limit, value: f64, before: Option<Severity>) -> Severity {
    let critical = limit.critical.is_some_and(|critical| limit.beyond(value, critical));
    let stays = before == Some(Severity::Critical) && limit.beyond(value, limit.at);
    if critical || stays { Severity::Critical } else { rule.severity }
}

pub(super) fn begin(
    rule: &Rule,
    limit: &Limit,
    one: &mut Series,
    (since, value): (Timestamp, f64),
    at: Moment<'_>,
    out: &mut Out<'_>,
) {
    let severity = severity(rule, limit, value, None);
    let summary = sentence(rule, limit, &one.about, value, at);
    let firing = Firing { since, severity, notifies: rule.notifies, summary, value: Exact(value), told: at.now };
    say(&rule.name, &one.about, &firing, AlertState::Firing, Some(value), at, out);
    one.pending = None;
    one.firing = Some(firing);
}

fn restate(rule: &Rule, limit: &Limit, one: &mut Series, value: f64, at: Moment<'_>, out: &mut Out<'_>) {
    let Some(before) = &one.firing else { return };
    let severity = severity(rule, limit, value, Some(before.severity));
    let (less, more) = (before.value.0.abs().min(value.abs()), before.value.0.abs().max(value.abs()));
    let summary = sentence(rule, limit, &one.about, value, at);
    // What is only yes or no has its news in its words: another channel stands.
    let is_other = rule.unit() == Unit::Boolean && summary != before.summary;
    let moved = is_other || (more >= less * MOVED && more > less);
    if severity == before.severity && !(moved && at.now.since(before.told) >= RESTATE_AFTER) {
        return;
    }
    let firing = Firing { severity, notifies: rule.notifies, summary, value: Exact(value), told: at.now, ..*before };
    say(&rule.name, &one.about, &firing, AlertState::Firing, Some(value), at, out);
    one.firing = Some(firing);
}

pub(super) fn resolve(rule: &str, one: &mut Series, value: Option<f64>, why: &str, at: Moment<'_>, out: &mut Out<'_>) {
    one.pending = None;
    let Some(mut firing) = one.firing.take() else { return };
    let lasted = duration(at.now.since(firing.since));
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    firing.summary = cut(&format!("over after {lasted}{why}: {}", firing.summary));
    say(rule, &one.about, &firing, AlertState::Resolved, value, at, out);
}

fn sentence(rule: &Rule, limit: &Limit, about: &About, value: f64, at: Moment<'_>) -> String {
    let unit = rule.unit();
    let mut fields: BTreeMap<&str, String> = BTreeMap::from([
        ("cluster", at.cluster.to_string()),
        ("instance", about.instance.as_ref().map_or_else(|| at.cluster.to_string(), ToString::to_string)),
        ("value", number(value, unit)),
        ("limit", number(limit.at, unit)),
        ("for", duration(limit.lasts)),
    ]);
    fields.extend(about.host.as_ref().map(|host| ("host", host.clone())));
    fields.extend(rule.metric.and_then(field_of).zip(about.words.clone()));
    fields.extend(about.labels.iter().map(|(name, value)| (name.as_str(), value.clone())));
    rule.summary.say(&fields)
}

fn say(
    rule: &str,
    about: &About,
    firing: &Firing,
    state: AlertState,
    value: Option<f64>,
    at: Moment<'_>,
    out: &mut Out<'_>,
) {
    let About { instance, labels, .. } = about;
    let finding = Finding {
        fingerprint: fingerprint(at.cluster, rule, instance.as_ref(), labels),
        rule: rule.to_owned(),
        instance: instance.clone(),
        labels: labels.clone(),
        severity: firing.severity,
        state,
        since: firing.since,
        summary: firing.summary.clone(),
        value: value.filter(|value| value.is_finite()),
        notifies: firing.notifies,
    };
    let subject = Subject { cluster: at.cluster.clone(), instance: instance.clone() };
    out.emit(subject, at.cause, Fact::Finding(Box::new(finding)));
}

/// Whether a text names a series of `name`.
pub(super) fn labels_of(text: &str, name: &str) -> Option<BTreeMap<String, String>> {
    if text == name {
        return Some(BTreeMap::new());
    }
    let series = series::parse(text).ok()?;
    let names = series.metric.own_labels().map(str::to_owned);
    Some(names.zip(series.values).collect())
}
