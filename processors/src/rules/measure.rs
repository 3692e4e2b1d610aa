//! Makes the number that is judged of what a fact says: as it is, divided, as a rate, as the time until a limit, or compared with
//! other instances or other hours. Unknown stays unknown: no number is made of one that is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::metrics::{Metric, series};
use millrace_schemas::time::Timestamp;

use super::engine::{Series, labels_of};
use super::facts::Numbers;
use super::memory::{Exact, Line, Memory, Rise};
use super::rule::{Judge, Rule, Side};

/// 200 s: settings are told once a minute; one that was missed three times is not known any more.
const PARTNER_LIVES: Duration = Duration::from_secs(200);
/// Two others at least: of one alone nobody can say who is the odd one.
const PEERS_LEAST: usize = 2;
/// 1,000 times as much: beyond that, how many times says nothing.
const TIMES_MOST: f64 = 1_000.0;
/// The same hour of the day before, and of the week before.
const DAY: i64 = 24;
const WEEK: i64 = 168;

/// A value of a series that a rule looks at.
#[derive(Debug)]
pub(super) struct Found {
    /// The metric's own labels.
    pub(super) labels: BTreeMap<String, String>,
    value: f64,
    /// What it is divided by, where the same fact says it.
    per: Option<f64>,
}

/// The series of a rule among the numbers of a moment.
pub(super) fn found(rule: &Rule, numbers: &Numbers) -> Vec<Found> {
    let Some(metric) = rule.metric else { return Vec::new() };
    let per_of = |labels: &BTreeMap<String, String>| {
        let per = rule.per?;
        numbers.values.get(&text(per, labels)).copied()
    };
    if metric.own_labels().next().is_none() {
        let labels = BTreeMap::new();
        let value = numbers.values.get(metric.name).copied();
        return value.map(|value| Found { per: per_of(&labels), labels, value }).into_iter().collect();
    }
    let from = format!("{}{{", metric.name);
    let series = numbers.values.range(from.clone()..).take_while(|(series, _)| series.starts_with(&from));
    series
        .filter_map(|(series, value)| Some((labels_of(series, metric.name)?, *value)))
        .filter(|(labels, _)| rule.only.iter().all(|(name, value)| labels.get(name) == Some(value)))
        .map(|(labels, value)| Found { per: per_of(&labels), labels, value })
        .collect()
}

/// The series of a metric with those of the labels that it has.
fn text(metric: &Metric, labels: &BTreeMap<String, String>) -> String {
    let values: Vec<&str> = metric.own_labels().map(|name| labels.get(name).map_or("", String::as_str)).collect();
    series::text(metric, &values)
}

/// The number that is judged, if it can be known.
pub(super) fn measured(rule: &Rule, memory: &mut Memory, found: &Found, now: Timestamp) -> Option<f64> {
    let value = match rule.judge {
        Judge::Rate { span } => return rate(rule, memory, found, now, span),
        _ => quotient(rule, memory, found, now)?,
    };
    match rule.judge {
        Judge::Forecast { span, reaches, only_below } => {
            let slope = memory.line.get_or_insert_with(Line::default).add(now, value, span)?;
            let near = only_below.is_none_or(|below| value < below);
            Some(if near { hours_until(value, slope, reaches) } else { f64::INFINITY })
        }
        Judge::Peers => {
            memory.latest = Some((now, Exact(value)));
            Some(value)
        }
        Judge::History { yesterday, last_week } => {
            let hours = memory.hours.get_or_insert_with(Box::default);
            let mean = hours.add(now, value)?;
            let before = [yesterday.then_some(DAY), last_week.then_some(WEEK)];
            let before = before.into_iter().flatten().filter_map(|hour| hours.before(hour)).filter(|mean| *mean > 0.0);
            // Both must be exceeded, where both are known: what is usual on Mondays is not unusual.
            let usual = match rule.limit.side {
                Side::Above => before.reduce(f64::max)?,
                Side::Below => before.reduce(f64::min)?,
            };
            Some(large_enough(rule, mean, mean / usual))
        }
        Judge::Change { span } => Some(memory.changed(now, value, span)),
        _ => Some(large_enough(rule, found.value, value)),
    }
}

/// `number`, or what is surely fine where the value itself is too small to speak of.
fn large_enough(rule: &Rule, value: f64, number: f64) -> f64 {
    match rule.limit.side {
        _ if rule.minimum.is_none_or(|minimum| value >= minimum) => number,
        Side::Above => 0.0,
        Side::Below => f64::INFINITY,
    }
}

/// The value, divided where the rule says so. The divisor may be from a fact before.
fn quotient(rule: &Rule, memory: &mut Memory, found: &Found, now: Timestamp) -> Option<f64> {
    if rule.per.is_none() {
        return Some(found.value);
    }
    if let Some(per) = found.per {
        memory.partner = Some((now, Exact(per)));
    }
    let (at, Exact(per)) = memory.partner?;
    let known = now.since(at) <= PARTNER_LIVES && per > 0.0;
    known.then(|| found.value / per)
}

fn rate(rule: &Rule, memory: &mut Memory, found: &Found, now: Timestamp, span: Duration) -> Option<f64> {
    let rose = Rise::add(&mut memory.rise, now, found.value, span);
    let per = match (rule.per, found.per) {
        (None, _) => None,
        (Some(_), Some(per)) => Some(Rise::add(&mut memory.partner_rise, now, per, span)?),
        (Some(_), None) => return None,
    };
    let (rose, seconds) = rose?;
    let number = match per {
        None => rose / seconds,
        Some((per, _)) if per > 0.0 => rose / per,
        Some(_) => 0.0, // nothing was done, so nothing of it was bad
    };
    Some(large_enough(rule, rose, number))
}

/// Hours until `value` reaches `limit` at this slope; endless when it does not get nearer.
fn hours_until(value: f64, slope: f64, limit: f64) -> f64 {
    let left = limit - value;
    if left == 0.0 {
        0.0
    } else if left * slope > 0.0 {
        left / slope
    } else {
        f64::INFINITY
    }
}

/// How many times as much as the median of the others, where enough of them are known now.
pub(super) fn against_peers(
    rule: &Rule,
    series: &BTreeMap<String, Series>,
    own: &str,
    value: f64,
    now: Timestamp,
) -> Option<f64> {
    let hole = rule.input.hole(rule.metric);
    let others = series.iter().filter(|(key, _)| *key != own).filter_map(|(_, other)| other.memory.latest);
    let mut others: Vec<f64> = others.filter(|(at, _)| now.since(*at) <= hole).map(|(_, value)| value.0).collect();
    if others.len() < PEERS_LEAST {
        return None;
    }
    others.sort_by(f64::total_cmp);
    let middle = others.len() / 2;
    let median =
        if others.len().is_multiple_of(2) { f64::midpoint(others[middle - 1], others[middle]) } else { others[middle] };
    // Against nothing, anything is very much: only what is large enough in itself counts.
    if median <= 0.0 && rule.minimum.is_none() {
        return None;
    }
    let times = if median > 0.0 { (value / median).min(TIMES_MOST) } else { TIMES_MOST };
    Some(large_enough(rule, value, times))
}
