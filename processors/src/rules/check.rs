//! Whether a draft makes sense. In: a draft. Out: a rule, or every problem where it stands: metrics that the catalogue does not
//! have, counters without a rate, limits that never or always hold, keys that another kind of judge needs.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::metrics::{self, Metric, PLACE, named};
use millrace_schemas::sections::{Problems, meant};
use millrace_schemas::topics::alerts::Severity;

use super::draft::{Draft, Given, LimitDraft, OverrideDraft};
use super::facts;
use super::rule::{Input, Judge, Limit, Override, Role, Rule, Side, input_of, is_counter};
use super::summary::Template;

/// The kinds of judges.
const JUDGES: [&str; 8] = ["threshold", "rate", "forecast", "peers", "history", "absence", "change", "always"];
/// 64 characters of a name: it is part of the address of a page.
const NAME: usize = 64;
/// A week: what is looked back at must be known, and snapshots hold it.
const SPAN_MOST: Duration = Duration::from_hours(168);
/// A day: who waits longer before telling looks at dashboards.
const FOR_MOST: Duration = Duration::from_hours(24);
/// Three samples: a rate over less is a rate over one.
const SPAN_LEAST: Duration = Duration::from_secs(30);
/// A year ahead: no line reaches further.
const WITHIN_MOST: Duration = Duration::from_hours(8_784);
/// A forecast is over when there is half as much time again, unless the file says otherwise.
const CLEAR_WITHIN: f64 = 1.5;

/// Notes problems of one rule.
struct Checked<'p, 't> {
    at: usize,
    name: String,
    problems: &'p mut Problems<'t>,
}

impl Checked<'_, '_> {
    fn note(&mut self, at: usize, what: impl std::fmt::Display) {
        self.problems.note(at, format!("{}: {what}", self.name));
    }
}

/// The rule of a draft.
pub(super) fn rule(draft: &Draft, problems: &mut Problems<'_>) -> Option<Rule> {
    let (name, at) = draft.name.clone();
    let mut checked = Checked { at, name: name.clone(), problems };
    named_well(&mut checked);
    let kind = kind(draft, &mut checked)?;
    foreign_keys(draft, &kind, &mut checked);
    let (metric, per) =
        (metric(draft.judge.metric.as_ref(), &mut checked), metric(draft.judge.per.as_ref(), &mut checked));
    let judge = judge(&kind, draft, &mut checked)?;
    let input = input(&judge, metric, per, draft, &mut checked)?;
    let only = only(draft, metric, &mut checked);
    if let Some((_, at)) = draft.judge.role
        && input != Input::Journal
    {
        checked.note(at, "role is known in the journal only; this metric is in samples");
    }
    let limit = limit(&judge, &draft.limit, at, metric.filter(|_| per.is_none()), &mut checked)?;
    let labels: Vec<&str> = metric.map_or_else(|| vec!["host"], |metric| metric.labels.to_vec());
    let summary = draft.summary.as_ref().or_else(|| {
        checked.note(at, "it needs summary = \"...\": what people are told");
        None
    });
    let summary = summary.and_then(|(text, at)| {
        let own = metric.and_then(facts::field_of);
        let labels = labels.iter().filter(|label| !PLACE[..2].contains(label));
        let labels: Vec<&str> = labels.copied().chain(own).collect();
        Template::parse(text, &labels).map_err(|why| checked.note(*at, format!("summary: {why}"))).ok()
    });
    let role: Option<Role> = draft.judge.role.map(|(role, _)| role);
    let minimum = draft.judge.minimum.map(|(minimum, _)| minimum);
    let overrides = draft
        .overrides
        .iter()
        .filter_map(|one| overridden(one, &judge, draft, metric.filter(|_| per.is_none()), &mut checked));
    let overrides: Vec<Override> = overrides.collect();
    let runbook = draft.runbook.as_ref().map(|(text, _)| text.clone());
    Some(Rule {
        runbook: runbook.unwrap_or_else(|| format!("docs/alerts.md#{}", name.to_lowercase())),
        name,
        severity: draft.severity.map_or(Severity::Warning, |(severity, _)| severity),
        notifies: draft.notifies.is_none_or(|(notifies, _)| notifies),
        summary: summary?,
        judge,
        input,
        metric,
        per,
        only,
        role,
        minimum,
        limit,
        overrides,
        changed: draft.changed,
    })
}

fn named_well(checked: &mut Checked<'_, '_>) {
    let name = &checked.name;
    let legal = name.chars().all(|char| char.is_ascii_alphanumeric());
    if name.is_empty() || name.len() > NAME || !legal || !name.starts_with(|first: char| first.is_ascii_uppercase()) {
        let at = checked.at;
        checked.problems.note(
            at,
            format!("\"{name}\" is no name of a rule: up to {NAME} letters and digits, the first a capital: LagHigh"),
        );
    }
}

fn kind(draft: &Draft, checked: &mut Checked<'_, '_>) -> Option<String> {
    let Some((kind, at)) = &draft.judge.judge else {
        checked.note(checked.at, format!("it needs judge, which is one of {}", JUDGES.join(", ")));
        return None;
    };
    if !JUDGES.contains(&kind.as_str()) {
        checked.note(*at, format!("judge = \"{kind}\" is not known: it is one of {}", JUDGES.join(", ")));
        return None;
    }
    Some(kind.clone())
}

/// Keys that another kind of judge needs.
fn foreign_keys(draft: &Draft, kind: &str, checked: &mut Checked<'_, '_>) {
    let (judge, limit) = (&draft.judge, &draft.limit);

    let numbers = ["threshold", "rate", "peers", "history", "change"];
    let keys: [(&str, Option<usize>, &[&str]); 15] = [
        ("metric", judge.metric.as_ref().map(|one| one.1), &JUDGES[..7]),
        ("per", judge.per.as_ref().map(|one| one.1), &["threshold", "rate", "forecast", "peers", "history"]),
        ("span", judge.span.map(|one| one.1), &["rate", "forecast", "change"]),
        ("reaches", judge.reaches.map(|one| one.1), &["forecast"]),
        ("only-below", judge.only_below.map(|one| one.1), &["forecast"]),
        ("minimum", judge.minimum.map(|one| one.1), &["threshold", "rate", "peers", "history"]),
        ("against", judge.against.as_ref().map(|one| one.1), &["history"]),
        ("only", judge.only.as_ref().map(|one| one.1), &JUDGES[..7]),
        ("above", limit.above.map(|one| one.1), &numbers),
        ("below", limit.below.map(|one| one.1), &["threshold", "rate", "peers", "history"]),
        ("clear", limit.clear.map(|one| one.1), &numbers),
        ("critical", limit.critical.map(|one| one.1), &numbers),
        ("within", limit.within.map(|one| one.1), &["forecast"]),
        ("clear-within", limit.clear_within.map(|one| one.1), &["forecast"]),
        ("critical-within", limit.critical_within.map(|one| one.1), &["forecast"]),
    ];
    for (key, at, kinds) in keys {
        if let Some(at) = at.filter(|_| !kinds.contains(&kind)) {
            checked.note(at, format!("{key} is for judge = {}; this one is \"{kind}\"", kinds.join(", ")));
        }
    }
}

fn metric(given: Option<&(String, usize)>, checked: &mut Checked<'_, '_>) -> Option<&'static Metric> {
    let (name, at) = given?;
    let Some(metric) = named(name) else {
        let names: Vec<&str> = metrics::all().map(|metric| metric.name).collect();
        let near = meant(name, &names).map_or_else(String::new, |near| format!("; {near} is probably meant"));
        checked.note(*at, format!("{name} is no metric{near}; `millrace metrics` prints all"));
        return None;
    };
    if input_of(metric).is_none() {
        checked.note(*at, format!("{name} is told at /metrics only: no rule can read it"));
        return None;
    }
    Some(metric)
}

fn span(draft: &Draft, checked: &mut Checked<'_, '_>) -> Option<Duration> {
    let Some((span, at)) = draft.judge.span else {
        checked.note(checked.at, "it needs span = \"5m\": over how long it looks back");
        return None;
    };
    if span < SPAN_LEAST || span > SPAN_MOST {
        checked.note(at, "span is from 30s to 7d");
        return None;
    }
    Some(span)
}

fn judge(kind: &str, draft: &Draft, checked: &mut Checked<'_, '_>) -> Option<Judge> {
    if !["absence", "always"].contains(&kind) && draft.judge.metric.is_none() {
        checked.note(checked.at, "it needs metric = \"...\": what is judged");
        return None;
    }
    match kind {
        "threshold" => Some(Judge::Threshold),
        "rate" => Some(Judge::Rate { span: span(draft, checked)? }),
        "change" => Some(Judge::Change { span: span(draft, checked)? }),
        "peers" => Some(Judge::Peers),
        "absence" => Some(Judge::Absence),
        "always" => Some(Judge::Always),
        "forecast" => {
            let span = span(draft, checked);
            let Some((reaches, _)) = draft.judge.reaches else {
                checked.note(checked.at, "it needs reaches = 0: the value at which it is too late");
                return None;
            };
            let only_below = draft.judge.only_below.map(|(below, _)| below);
            Some(Judge::Forecast { span: span?, reaches, only_below })
        }
        _ => {
            let given = draft.judge.against.clone();
            let (against, at) = given.unwrap_or((vec!["yesterday".to_owned(), "last-week".to_owned()], checked.at));
            if against.is_empty() || against.iter().any(|one| one != "yesterday" && one != "last-week") {
                checked.note(at, "against is a list of \"yesterday\", \"last-week\", or both");
                return None;
            }
            let has = |name: &str| against.iter().any(|one| one == name);
            Some(Judge::History { yesterday: has("yesterday"), last_week: has("last-week") })
        }
    }
}

/// Where its numbers are; `None` with a problem where they are not in one place, or make no sense together.
fn input(
    judge: &Judge,
    metric: Option<&'static Metric>,
    per: Option<&'static Metric>,
    draft: &Draft,
    checked: &mut Checked<'_, '_>,
) -> Option<Input> {
    let at = |given: &Given<String>, other: usize| given.as_ref().map_or(other, |one| one.1);
    let at_metric = at(&draft.judge.metric, checked.at);
    if draft.judge.metric.is_some() && metric.is_none() || draft.judge.per.is_some() && per.is_none() {
        return None; // said already
    }
    let rate = matches!(judge, Judge::Rate { .. });
    for (one, at) in [(metric, at_metric), (per, at(&draft.judge.per, checked.at))] {
        let Some(one) = one else { continue };
        if matches!(judge, Judge::Absence) {
            continue;
        }
        if is_counter(one) && !rate {
            checked.note(at, format!("{} is a counter, which only rises: judge = \"rate\" and a span", one.name));
            return None;
        }
        if !is_counter(one) && rate {
            checked.note(at, format!("{} is a gauge and has no rate: judge = \"threshold\"", one.name));
            return None;
        }
    }
    let input = metric.map_or(Some(Input::Journal), input_of)?;
    if matches!(judge, Judge::Absence) && metric.is_some() && input == Input::Journal {
        checked.note(at_metric, "the journal has heartbeats: absence without metric says that an instance is silent");
        return None;
    }
    if let Some(per) = per
        && let Some(metric) = metric
    {
        let at = at(&draft.judge.per, checked.at);
        if input_of(per) != Some(input) {
            checked.note(at, format!("{} is not told together with {}", per.name, metric.name));
            return None;
        }
        if per.own_labels().any(|label| !metric.own_labels().any(|own| own == label)) {
            checked.note(at, format!("{} has labels that {} does not have", per.name, metric.name));
            return None;
        }
    }
    Some(input)
}

fn only(draft: &Draft, metric: Option<&'static Metric>, checked: &mut Checked<'_, '_>) -> BTreeMap<String, String> {
    let Some((only, at)) = &draft.judge.only else { return BTreeMap::new() };
    let labels: Vec<&str> = metric.map_or_else(Vec::new, |metric| metric.own_labels().collect());
    for (name, _) in only {
        if metric.is_some() && !labels.contains(&name.as_str()) {
            let known = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
            checked.note(*at, format!("only: {name} is no label of the metric; its own are {known}"));
        }
    }
    only.iter().cloned().collect()
}

fn limit(
    judge: &Judge,
    draft: &LimitDraft,
    at: usize,
    plain: Option<&Metric>,
    checked: &mut Checked<'_, '_>,
) -> Option<Limit> {
    let lasts = draft.lasts.map_or(Duration::ZERO, |(lasts, _)| lasts);
    if lasts > FOR_MOST
        && let Some((_, at)) = draft.lasts
    {
        checked.note(at, "for is a day at most");
        return None;
    }
    match judge {
        Judge::Always => Some(Limit { side: Side::Above, at: 0.0, clear: 0.0, critical: None, lasts }),
        Judge::Absence => {
            if lasts < Duration::from_secs(5) {
                checked.note(
                    draft.lasts.map_or(at, |one| one.1),
                    "absence needs for, of 5s at least: how long nothing is said",
                );
                return None;
            }
            let seconds = lasts.as_secs_f64();
            Some(Limit { side: Side::Above, at: seconds, clear: seconds, critical: None, lasts })
        }
        Judge::Forecast { .. } => within(draft, at, lasts, checked),
        _ => beyond(judge, draft, (at, lasts), plain, checked),
    }
}

fn within(draft: &LimitDraft, at: usize, lasts: Duration, checked: &mut Checked<'_, '_>) -> Option<Limit> {
    let Some((within, at)) = draft.within else {
        checked.note(at, "it needs within = \"24h\": how near the end may come");
        return None;
    };
    let hours = |time: Duration| time.as_secs_f64() / 3_600.0;
    let clear = draft.clear_within.map_or(hours(within) * CLEAR_WITHIN, |(clear, _)| hours(clear));
    let critical = draft.critical_within.map(|(critical, _)| hours(critical));
    if within.is_zero() || within > WITHIN_MOST {
        checked.note(at, "within is from 1s to a year");
        return None;
    }
    if clear < hours(within) {
        checked.note(draft.clear_within.map_or(at, |one| one.1), "clear-within is longer than within, or as long");
        return None;
    }
    if critical.is_some_and(|critical| critical >= hours(within)) {
        checked.note(draft.critical_within.map_or(at, |one| one.1), "critical-within is shorter than within");
        return None;
    }
    Some(Limit { side: Side::Below, at: hours(within), clear, critical, lasts })
}

fn beyond(
    judge: &Judge,
    draft: &LimitDraft,
    (at, lasts): (usize, Duration),
    plain: Option<&Metric>,
    checked: &mut Checked<'_, '_>,
) -> Option<Limit> {
    let (side, limit, at) = match (draft.above, draft.below) {
        (Some((above, at)), None) => (Side::Above, above, at),
        (None, Some((below, at))) => (Side::Below, below, at),
        (None, None) => {
            checked.note(at, "it needs above or below: the limit");
            return None;
        }
        (Some(_), Some((_, at))) => {
            checked.note(at, "above and below exclude each other");
            return None;
        }
    };
    let times = matches!(judge, Judge::Peers | Judge::History { .. });
    let boolean = plain.is_some_and(|metric| metric.unit == "boolean") && matches!(judge, Judge::Threshold);
    let absurd = match side {
        Side::Above if limit < 0.0 => Some("nothing that is measured is below 0: it would always hold"),
        Side::Below if limit <= 0.0 => Some("nothing that is measured is below 0: it would never hold"),
        Side::Above if boolean && limit >= 1.0 => Some("a metric that is 0 or 1 is never above 1"),
        Side::Below if boolean && limit > 1.0 => Some("a metric that is 0 or 1 is always below that"),
        Side::Above if times && limit <= 1.0 => Some("it says how many times as much: more than 1"),
        Side::Below if times && limit >= 1.0 => Some("it says how many times as much: less than 1"),
        _ => None,
    };
    if let Some(absurd) = absurd {
        checked.note(at, absurd);
        return None;
    }
    let clear = draft.clear.map_or(limit, |(clear, _)| clear);
    let one = Limit { side, at: limit, clear, critical: draft.critical.map(|(critical, _)| critical), lasts };
    if one.beyond(clear, limit) {
        checked
            .note(draft.clear.map_or(at, |one| one.1), "clear lies beyond the limit: it would be over before it began");
        return None;
    }
    if one.critical.is_some_and(|critical| !one.beyond(critical, limit)) {
        checked.note(draft.critical.map_or(at, |one| one.1), "critical lies beyond the limit, or it is no second one");
        return None;
    }
    Some(one)
}

fn overridden(
    one: &OverrideDraft,
    judge: &Judge,
    draft: &Draft,
    plain: Option<&Metric>,
    checked: &mut Checked<'_, '_>,
) -> Option<Override> {
    let (cluster, instance) = (one.cluster.clone(), one.instance.clone());
    if one.off.is_some_and(|(off, _)| off) {
        return Some(Override { cluster, instance, limit: None });
    }
    let whole = one.limit.clone().over(&draft.limit, one.at);
    let limit = limit(judge, &whole, one.at, plain, checked)?;
    Some(Override { cluster, instance, limit: Some(limit) })
}
