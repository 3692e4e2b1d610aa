//! `millrace alerts`: what fires, and an operator's words about it. Each word is a fact of the journal, from which every process
//! that judges alerts draws the same conclusions; this command folds the journal as they do.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use millrace_processors::alerts::{Alerts, TEST_MAX};
use millrace_processors::anomalies;
use millrace_processors::failover::{FINDINGS, Failover};
use millrace_processors::refusals::ALERT as REFUSED;
use millrace_schemas::event::Event;
use millrace_schemas::ids::{ClusterId, EventId, InstanceId, fleet};
use millrace_schemas::time::{Timestamp, length};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{
    Alert, AlertState, Notice, Severity, Silence, Told, Word, fingerprint, test_labels,
};
use millrace_schemas::topics::journal::Fact;
use serde::Serialize;

use super::End;
use super::cluster::Asking;
use super::ledger::Ledger;
use super::output::{answer, printable};
use crate::config;
use crate::console::view::{AlertLine, urgency};
use crate::journal::{SCHEMA_VERSION, appended_to};

/// 8 digits name one of 65,000 alerts alone, as a rule; fewer are accepted where they do.
const DIGITS: usize = 8;
/// 4 digits at least: with fewer, a slip of the hand would name another alert.
const DIGITS_MIN: usize = 4;
/// 90 days: a silence that is longer is a rule that should be switched off.
const SILENCE_MAX: Duration = Duration::from_hours(24 * 90);

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every alert that fires, and the silences that stand or are to come.
    List(Asking),
    /// Show one alert whole, with everything that was said of it.
    Show {
        /// Its fingerprint, or the first digits of it.
        alert: String,
        #[command(flatten)]
        asking: Asking,
    },
    /// Say that you have taken an alert: no repeats and no escalation until it is over.
    Ack {
        /// Its fingerprint, or the first digits of it.
        alert: String,
        /// Your name, for who looks.
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        #[command(flatten)]
        asking: Asking,
    },
    /// Let nobody be notified of a cluster's alerts for a while: now, or later as a maintenance window.
    Silence(Silencing),
    /// Let an alert of a rule fire for a moment, marked as a test: every channel that would be told of it is told.
    Test(Testing),
    /// End a silence.
    Unsilence {
        /// Its id, or the first digits of it.
        silence: String,
        #[command(flatten)]
        asking: Asking,
    },
}

#[derive(Debug, Args)]
pub(super) struct Silencing {
    /// The cluster.
    cluster: ClusterId,
    /// This rule only.
    #[arg(long)]
    rule: Option<String>,
    /// This instance only.
    #[arg(long)]
    instance: Option<InstanceId>,
    /// For how long: `30m`, `2h`, `3 days`.
    #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
    lasts: Duration,
    /// When it begins: a time such as 2026-11-21T22:00:00Z. Without it, now.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Why, for who looks.
    #[arg(long)]
    reason: String,
    /// Your name, for who looks.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, Args)]
pub(super) struct Testing {
    /// The rule, as `millrace rules list` and docs/alerts.md have it.
    rule: String,
    /// The cluster.
    cluster: ClusterId,
    /// An instance that it is to be about.
    #[arg(long)]
    instance: Option<InstanceId>,
    /// Another severity than the rule's: `info`, `warning` or `critical`.
    #[arg(long)]
    severity: Option<Severity>,
    /// When it is over: after `30s`, `5m`, an hour at most.
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = short)]
    lasts: Duration,
    /// Your name, for who looks.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

fn short(text: &str) -> Result<Duration, String> {
    match lasting(text)? {
        lasts if lasts > TEST_MAX => {
            Err(format!("'{text}' is too long for a test: {} minutes at most", TEST_MAX.as_secs() / 60))
        }
        lasts => Ok(lasts),
    }
}

fn lasting(text: &str) -> Result<Duration, String> {
    match length(text)? {
        lasts if lasts.is_zero() => Err(format!("'{text}' is no time at all")),
        lasts if lasts > SILENCE_MAX => Err(format!(
            "'{text}' is too long: {} days at most; a rule that nobody wants is switched off in the rules",
            SILENCE_MAX.as_secs() / 86_400
        )),
        lasts => Ok(lasts),
    }
}

/// What fires, as JSON.
#[derive(Serialize)]
struct Listed<'a> {
    schema_version: u32,
    alerts: Vec<Line<'a>>,
    silences: Vec<Silent<'a>>,
}

#[derive(Clone, Serialize)]
struct Line<'a> {
    cluster: &'a ClusterId,
    #[serde(flatten)]
    alert: &'a Alert,
}

#[derive(Serialize)]
struct Silent<'a> {
    cluster: &'a ClusterId,
    #[serde(flatten)]
    silence: &'a Silence,
}

/// What was said.
#[derive(Serialize)]
struct Done {
    schema_version: u32,
    cluster: ClusterId,
    #[serde(flatten)]
    word: Word,
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(asking) => list(&asking),
        Command::Show { alert, asking } => show(&alert, &asking),
        Command::Ack { alert, by, asking } => acknowledge(&alert, by, &asking),
        Command::Silence(silencing) => silence(silencing),
        Command::Test(testing) => test(testing),
        Command::Unsilence { silence, asking } => unsilence(&silence, &asking),
    }
}

type Alerting = Ledger<Alerts>;

fn open(asking: &Asking) -> anyhow::Result<Alerting> {
    Ledger::open(&asking.config, Alerts::default())
}

fn list(asking: &Asking) -> anyhow::Result<()> {
    let ledger = open(asking)?;
    let mut alerts: Vec<Line<'_>> = firing(&ledger).collect();
    alerts.sort_by_key(|line| urgency(line.alert));
    let silences: Vec<Silent<'_>> = ledger
        .clusters()
        .flat_map(|(cluster, state)| state.silences().map(move |silence| Silent { cluster, silence }))
        .filter(|silent| silent.silence.until > ledger.now())
        .collect();
    answer(asking.output, &Listed { schema_version: SCHEMA_VERSION, alerts, silences }, text)
}

fn firing(ledger: &Alerting) -> impl Iterator<Item = Line<'_>> {
    ledger.clusters().flat_map(|(cluster, state)| state.firing().map(move |alert| Line { cluster, alert }))
}

fn text(listed: &Listed<'_>) -> String {
    let mut text = String::new();
    if listed.alerts.is_empty() {
        text.push_str("no alert fires\n");
    }
    for line in &listed.alerts {
        let _ = writeln!(text, "{}", in_lines(line));
    }
    if !listed.silences.is_empty() {
        text.push_str("silences:\n");
    }
    for Silent { cluster, silence } in &listed.silences {
        let rule = silence.rule.as_deref().unwrap_or("every rule");
        let about = silence.instance.as_ref().map_or_else(String::new, |instance| format!("/{instance}"));
        let _ = writeln!(
            text,
            "  {}  {cluster}{about}  {}  {} to {}\n            {}, {}",
            digits(silence.id),
            printable(rule),
            seconds(silence.from),
            seconds(silence.until),
            printable(&silence.by),
            printable(&silence.reason)
        );
    }
    text
}

/// An alert as a person reads it: what and where, then the words, then what became of it.
fn in_lines(line: &Line<'_>) -> String {
    let alert = line.alert;
    let about = alert.instance.as_ref().map_or_else(String::new, |instance| format!("/{instance}"));
    let mut text = format!(
        "{}  {:8}  {}  {}{about}  since {}\n  {}",
        digits(alert.fingerprint),
        severity(alert.severity),
        printable(&alert.name),
        line.cluster,
        seconds(alert.starts_at),
        printable(&alert.summary),
    );
    for remark in AlertLine::of(line.cluster, alert).remarks() {
        let _ = write!(text, "\n  {}", printable(&remark));
    }
    text
}

/// What is critical is loud.
fn severity(severity: Severity) -> String {
    let name = severity.name();
    if severity == Severity::Critical { name.to_uppercase() } else { name.to_owned() }
}

fn digits(id: EventId) -> String {
    id.to_string().chars().take(DIGITS).collect()
}

/// Nobody needs more than seconds here.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    text.split('.').next().map_or_else(|| text.clone(), |whole| format!("{}Z", whole.trim_end_matches('Z')))
}

/// The one among `known` that `wanted` begins the name of.
fn named<'a, T>(
    wanted: &str,
    what: &str,
    known: impl Iterator<Item = (EventId, T)> + 'a,
) -> anyhow::Result<(EventId, T)>
where
    T: 'a,
{
    let wanted = wanted.to_ascii_lowercase();
    if wanted.len() < DIGITS_MIN || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let problem = format!("'{wanted}' names no {what}: give {DIGITS_MIN} or more of the digits that `list` shows");
        return Err(End::Usage(problem).into());
    }
    let mut found: Vec<_> = known.filter(|(id, _)| id.to_string().starts_with(&wanted)).collect();
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (None, _) => Err(End::Refused(format!(
            "there is no {what} {wanted}: `millrace alerts list` shows what there is; nothing was changed"
        ))
        .into()),
        (Some(_), others) => {
            Err(End::Usage(format!("{wanted} begins {} of them: give more digits", others + 1)).into())
        }
    }
}

/// The alert that is meant, and its cluster.
fn meant(ledger: &Alerting, wanted: &str) -> anyhow::Result<(EventId, ClusterId)> {
    named(wanted, "alert that fires", firing(ledger).map(|line| (line.alert.fingerprint, line.cluster.clone())))
}

/// One that fires, or one that is over: everything that was said of it is in the topic.
fn show(wanted: &str, asking: &Asking) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Shown {
        schema_version: u32,
        cluster: ClusterId,
        alert: Alert,
        /// When it was said, and why channels were told.
        said: Vec<(Timestamp, AlertState, Option<Told>)>,
    }
    let ledger = open(asking)?;
    let mut told: Vec<(Timestamp, ClusterId, Alert)> = Vec::new();
    for record in appended_to(&ledger.bus, Topic::Alerts)? {
        let record = record?;
        if let Ok(Event { payload: Notice::Alert(alert), subject, .. }) = Event::<Notice>::from_record(&record) {
            told.push((record.appended, subject.cluster, alert));
        }
    }
    let known: std::collections::BTreeMap<EventId, ClusterId> =
        told.iter().map(|(_, cluster, alert)| (alert.fingerprint, cluster.clone())).collect();
    let (fingerprint, cluster) = named(wanted, "alert", known.into_iter())?;
    told.retain(|(.., alert)| alert.fingerprint == fingerprint);
    let said = told.iter().map(|(at, _, alert)| (*at, alert.state, alert.told)).collect();
    let Some((.., alert)) = told.pop() else { return Err(End::Refused(format!("{wanted} is gone")).into()) };
    answer(asking.output, &Shown { schema_version: SCHEMA_VERSION, cluster, alert, said }, |shown| {
        let alert = &shown.alert;
        let mut text = in_lines(&Line { cluster: &shown.cluster, alert });
        if let Some(ends) = alert.ends_at {
            let _ = write!(text, "\n  over since {}", seconds(ends));
        }
        let _ = write!(text, "\n  fingerprint {}\n  what to do: {}\n  said:", alert.fingerprint, alert.runbook);
        for (at, state, told) in &shown.said {
            let how = match (state, told) {
                (_, Some(told)) => format!("told, {}", told.name()),
                (AlertState::Firing, None) => "shown".to_owned(),
                (AlertState::Resolved, None) => "over, nobody was told".to_owned(),
            };
            let _ = write!(text, "\n    {}  {how}", seconds(*at));
        }
        text
    })
}

/// Who speaks, where they do not say it: who is logged in.
fn speaker(by: Option<String>) -> String {
    by.or_else(|| std::env::var("SUDO_USER").ok())
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}

fn acknowledge(wanted: &str, by: Option<String>, asking: &Asking) -> anyhow::Result<()> {
    let ledger = open(asking)?;
    let (fingerprint, cluster) = meant(&ledger, wanted)?;
    said(ledger, cluster, Word::Acknowledge { fingerprint, by: speaker(by) }, asking)
}

fn silence(silencing: Silencing) -> anyhow::Result<()> {
    let Silencing { cluster, rule, instance, lasts, from, reason, by, asking } = silencing;
    let ledger = open_for(&cluster, &asking)?;
    let from = from.unwrap_or_else(|| ledger.now());
    let until = from + lasts;
    if until <= ledger.now() {
        return Err(End::Usage(format!("it would be over since {until}: nothing was changed")).into());
    }
    let by = speaker(by);
    let place = [cluster.as_str(), rule.as_deref().unwrap_or(""), instance.as_ref().map_or("", InstanceId::as_str)];
    let when = [from.to_string(), until.to_string(), ledger.now().to_string()];
    let parts: Vec<&str> = place.into_iter().chain(when.iter().map(String::as_str)).chain([by.as_str()]).collect();
    let id = EventId::derive(&parts);
    said(ledger, cluster, Word::Silence(Silence { id, rule, instance, from, until, by, reason }), &asking)
}

/// For a word about a cluster that there is: a slip of the hand would silence or test nobody. One that never had an alert is known to
/// the deciders only.
fn open_for(cluster: &ClusterId, asking: &Asking) -> anyhow::Result<Alerting> {
    let ledger = open(asking)?;
    if *cluster == fleet() || ledger.state(cluster).is_some() {
        return Ok(ledger);
    }
    drop(ledger); // one process speaks as this operator at a time
    Ledger::open(&asking.config, Failover)?.known(cluster)?;
    open(asking)
}

fn test(testing: Testing) -> anyhow::Result<()> {
    let Testing { rule, cluster, instance, severity, lasts, by, asking } = testing;
    let severity = severity.map_or_else(|| severity_of(&rule, &asking), Ok)?;
    let ledger = open_for(&cluster, &asking)?;
    let until = ledger.now() + lasts;
    said(ledger, cluster, Word::Test { rule, instance, severity, until, by: speaker(by) }, &asking)
}

/// How bad it is what a rule finds: one of the files of rules, or what processors find by themselves.
fn severity_of(rule: &str, asking: &Asking) -> anyhow::Result<Severity> {
    let rules = config::rules(config::load(&asking.config)?.rules.as_deref())?;
    let of_files = rules.all.iter().map(|one| (one.name.as_str(), one.severity));
    let mut all = of_files.chain(FINDINGS).chain(anomalies::FINDINGS).chain([(REFUSED, Severity::Critical)]);
    all.find(|(name, _)| *name == rule).map(|(_, severity)| severity).ok_or_else(|| {
        let problem =
            format!("there is no rule '{rule}': `millrace rules list` and docs/alerts.md have those that are");
        End::Usage(problem).into()
    })
}

fn unsilence(wanted: &str, asking: &Asking) -> anyhow::Result<()> {
    let ledger = open(asking)?;
    let known: Vec<(EventId, ClusterId)> = ledger
        .clusters()
        .flat_map(|(cluster, state)| state.silences().map(move |silence| (silence.id, cluster.clone())))
        .collect();
    let (silence, cluster) = named(wanted, "silence", known.into_iter())?;
    said(ledger, cluster, Word::Unsilence { silence }, asking)
}

fn said(mut ledger: Alerting, cluster: ClusterId, word: Word, asking: &Asking) -> anyhow::Result<()> {
    ledger.say(&cluster, Fact::AlertWord(word.clone()))?;
    answer(asking.output, &Done { schema_version: SCHEMA_VERSION, cluster, word }, |done| match &done.word {
        Word::Silence(silence) => format!(
            "silence {}: nobody is notified of {} of {} from {} to {}",
            digits(silence.id),
            silence.rule.as_deref().unwrap_or("any alert"),
            silence.instance.as_ref().map_or(done.cluster.as_str(), InstanceId::as_str),
            seconds(silence.from),
            seconds(silence.until)
        ),
        Word::Unsilence { silence } => format!("silence {} is over", digits(*silence)),
        Word::Acknowledge { fingerprint, by } => {
            format!("{by} has taken {}: no repeats and no escalation until it is over", digits(*fingerprint))
        }
        Word::Test { rule, instance, severity, until, .. } => {
            let id = fingerprint(&done.cluster, rule, instance.as_ref(), &test_labels());
            format!(
                "{}  {rule}, {}: channels are told, and again at {} that it is over\n\
                 `millrace alerts show {}` has what became of it",
                digits(id),
                severity.name(),
                seconds(*until),
                digits(id)
            )
        }
    })
}
