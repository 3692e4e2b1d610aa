//! `millrace channels list|test`: which channels a configuration has, and whether one takes a message. A test message says that it is one; where
//! a channel keeps what fires, it is resolved at once. The bus is not asked, and what the channel is for does not matter here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{Alert, AlertState, Notice, Severity, Told as Why, fingerprint};
use millrace_sinks::channels::{Address, Failed, Kind, Way, style};
use serde::Serialize;

use super::output::{Form, answer, printable};
use super::{End, Negative};
use crate::config::{self, Channel};
use crate::journal::SCHEMA_VERSION;
use crate::roles::speaker::now;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// One line for each channel: its name, its kind, where it goes to, what it is told.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Send a message that says that it is a test, and show the answer. Exit code 1: it was not taken.
    Test {
        /// The channel.
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/millrace/millrace.toml")]
    config: PathBuf,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, Serialize)]
struct Listed {
    schema_version: u32,
    channels: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    kind: &'static str,
    to: String,
    severity: &'static str,
    clusters: Vec<String>,
    rules: Vec<String>,
    escalations: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    untaken_for_us: Option<u64>,
    rate: u32,
    timeout_us: u64,
}

#[derive(Debug, Serialize)]
struct Tested {
    schema_version: u32,
    channel: String,
    messages: Vec<Message>,
}

#[derive(Debug, Serialize)]
struct Message {
    state: &'static str,
    id: EventId,
    /// `taken`, `refused` or `not-now`.
    outcome: &'static str,
    said: String,
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { common } => {
            let channels = config::load(&common.config)?.channels.iter().map(line).collect();
            answer(common.output, &Listed { schema_version: SCHEMA_VERSION, channels }, list)
        }
        Command::Test { name, common } => test(&name, &common),
    }
}

fn line(channel: &Channel) -> Line {
    let (kind, to) = kind(&channel.kind);
    Line {
        name: channel.name().to_owned(),
        kind,
        to,
        severity: channel.severity.name(),
        clusters: channel.clusters.iter().map(ToString::to_string).collect(),
        rules: channel.rules.clone(),
        escalations: channel.escalations,
        untaken_for_us: channel.untaken_for.map(|time| time.as_micros() as u64),
        rate: channel.rate,
        timeout_us: channel.timeout.as_micros() as u64,
    }
}

/// Its word in the configuration, and where it goes to.
fn kind(kind: &Kind) -> (&'static str, String) {
    let place = |address: &Address| match address {
        Address::Open(url) => url.clone(),
        Address::File(file) => format!("the address in {}", file.display()),
    };
    match kind {
        Kind::Webhook(hook) => ("webhook", place(&hook.url)),
        Kind::Alertmanager(hook) => ("alertmanager", place(&hook.url)),
        Kind::Slack(hook) => ("slack", place(&hook.url)),
        Kind::Chat { hook, .. } => ("chat", place(&hook.url)),
        Kind::Pagerduty { url, .. } => ("pagerduty", url.clone()),
        Kind::Email(email) => {
            let to: Vec<String> = email.to.iter().map(|one| one.email.to_string()).collect();
            ("email", format!("{} by {}:{}", to.join(", "), email.host, email.port))
        }
        Kind::Command { program, .. } => ("command", program.display().to_string()),
    }
}

fn list(told: &Listed) -> String {
    let mut text = String::new();
    for one in &told.channels {
        let _ = write!(text, "{:<16} {:<12} {}: {} and worse", one.name, one.kind, printable(&one.to), one.severity);
        let only = [("clusters", &one.clusters), ("rules", &one.rules)];
        for (what, names) in only.into_iter().filter(|(_, names)| !names.is_empty()) {
            let _ = write!(text, ", {what} {}", names.join(" "));
        }
        let escalations = if one.escalations { ", only what was escalated" } else { "" };
        if let Some(us) = one.untaken_for_us {
            let _ = write!(text, ", only what nobody took for {} min", us / 60_000_000);
        }
        let _ = writeln!(text, "{escalations}, {} messages a minute", one.rate);
    }
    if told.channels.is_empty() {
        text.push_str("no channels are configured: [[channel]] makes one\n");
    }
    text
}

fn test(name: &str, common: &Common) -> anyhow::Result<()> {
    let settings = config::load(&common.config)?;
    let Some(channel) = settings.channels.iter().find(|channel| channel.name() == name) else {
        let known: Vec<&str> = settings.channels.iter().map(Channel::name).collect();
        return Err(
            End::Usage(format!("there is no channel {name}; the configuration has: {}", known.join(", "))).into()
        );
    };
    let mut states = vec![AlertState::Firing];
    if matches!(channel.kind, Kind::Alertmanager(_) | Kind::Pagerduty { .. }) {
        states.push(AlertState::Resolved);
    }
    let mut tested = Tested { schema_version: SCHEMA_VERSION, channel: name.to_owned(), messages: Vec::new() };
    let began = now();
    for state in states {
        let event = message(name, &settings.name, state, began);
        let way = Way::open(&channel.kind, &channel.style, channel.timeout, channel.ca_file.as_deref());
        let (outcome, said) = match way.and_then(|way| way.deliver(std::slice::from_ref(&event))) {
            Ok(said) => ("taken", said),
            Err(Failed::Refused(why)) => ("refused", why),
            Err(Failed::Later { why, .. }) => ("not-now", why),
        };
        tested.messages.push(Message { state: style::state(state), id: event.id, outcome, said });
    }
    answer(common.output, &tested, said)?;
    let taken = tested.messages.iter().all(|message| message.outcome == "taken");
    if taken { Ok(()) } else { Err(Negative.into()) }
}

fn said(tested: &Tested) -> String {
    let mut text = String::new();
    for Message { state, id, outcome, said } in &tested.messages {
        let outcome = if *outcome == "not-now" { "not taken" } else { outcome };
        let _ = writeln!(text, "{} ({state}, {id}): {outcome}: {}", tested.channel, printable(said));
    }
    text
}

/// What is sent: nobody can take it for an alert.
fn message(channel: &str, from: &str, state: AlertState, began: Timestamp) -> Event<Notice> {
    let cluster = ClusterId::parse("test").expect("a legal id");
    let name = "ChannelTest";
    let resolved = state == AlertState::Resolved;
    let alert = Alert {
        fingerprint: fingerprint(&cluster, name, None, &BTreeMap::new()),
        name: name.to_owned(),
        instance: None,
        labels: BTreeMap::new(),
        severity: Severity::Info,
        severity_before: None,
        state,
        starts_at: began,
        ends_at: resolved.then(now),
        summary: format!("a test of the channel {channel} from {from}: nothing is wrong, and nothing is to be done"),
        runbook: "docs/channels.md".to_owned(),
        value: None,
        told: Some(if resolved { Why::Resolved } else { Why::Began }),
        quiet: None,
        hides: Vec::new(),
        acknowledged_by: None,
    };
    Event {
        id: EventId::derive(&[name, channel, from, &began.to_string(), style::state(state)]),
        source: format!("operator/{from}"),
        sequence: Sequence { incarnation: 0, counter: 0 },
        at: began,
        appended: began,
        subject: Subject::cluster(cluster),
        cause: None,
        payload: Notice::Alert(alert),
    }
}
