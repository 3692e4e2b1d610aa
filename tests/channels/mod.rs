//! Alerts on their way to people: records of the topic enter a real bus, and real receivers have each of them at least once, in order,
//! with the same id when it comes twice; what they never take is in `dead`.

mod answers;
mod commands;
mod kills;
mod others;
mod real_kafka;
mod receiver;
mod restarts;
mod tls;
mod untaken;
mod unusual;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace::bus::{Bus as _, SharedBus};
use millrace::config::{self, Channel, Settings};
use millrace::journal::appended_to;
use millrace::roles::up::{Roles, Up};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{Alert, AlertState, Notice, Severity, Told};
use millrace_sinks::channels::way::Hook;
use millrace_sinks::channels::{Address, Kind, Style};

use crate::real::site::millrace;

/// 60 s for what takes 1.
const PATIENCE: Duration = Duration::from_mins(1);
const SINK: Roles = Roles { sink: true, ..Roles::NONE };

fn settings(folder: &Path, channels: Vec<Channel>) -> Settings {
    let bus = config::Bus::File { file: folder.join("bus.db"), listen: None, token_file: folder.join("bus.token") };
    Settings { channels, ..Settings::new("site", bus) }
}

fn channel(name: &str, kind: Kind) -> Channel {
    Channel {
        kind,
        style: Style { receiver: name.to_owned(), runbooks: Some("https://wiki.example/blob/main".to_owned()) },
        clusters: Vec::new(),
        severity: Severity::Info,
        rules: Vec::new(),
        escalations: false,
        untaken_for: None,
        rate: 600,
        timeout: Duration::from_secs(2),
        ca_file: None,
    }
}

fn hook(url: String) -> Hook {
    Hook { url: Address::Open(url), token_file: None, key_file: None }
}

fn webhook(name: &str, url: String) -> Channel {
    channel(name, Kind::Webhook(hook(url)))
}

/// An alert of `c1/db1` as the life of alerts says it.
fn alert(rule: &str, told: Option<Told>, severity: Severity) -> NewRecord {
    alert_of("c1", rule, told, severity)
}

fn alert_of(cluster: &str, rule: &str, told: Option<Told>, severity: Severity) -> NewRecord {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let counter = NUMBER.fetch_add(1, Ordering::Relaxed);
    let at = Timestamp(jiff::Timestamp::now().as_microsecond());
    let (cluster, instance) = (ClusterId::parse(cluster).expect("legal"), InstanceId::parse("db1").expect("legal"));
    let resolved = told == Some(Told::Resolved);
    let alert = Alert {
        fingerprint: EventId::derive(&[rule]),
        name: rule.to_owned(),
        instance: Some(instance.clone()),
        labels: BTreeMap::new(),
        severity,
        severity_before: None,
        state: if resolved { AlertState::Resolved } else { AlertState::Firing },
        starts_at: at - Duration::from_secs(5),
        ends_at: resolved.then_some(at),
        summary: format!("{rule}: é < & \"quoted\""),
        runbook: format!("docs/alerts.md#{}", rule.to_lowercase()),
        value: None,
        told,
        quiet: None,
        hides: Vec::new(),
        acknowledged_by: (told == Some(Told::Acknowledged)).then(|| "ada".to_owned()),
    };
    let event = Event {
        id: EventId::derive(&["test", &counter.to_string()]),
        source: "alerts.1".to_owned(),
        sequence: Sequence { incarnation: 1, counter },
        at,
        appended: Timestamp::ZERO,
        subject: Subject::instance(cluster, instance),
        cause: None,
        payload: Notice::Alert(alert),
    };
    event.to_record()
}

fn began(rule: &str) -> NewRecord {
    alert(rule, Some(Told::Began), Severity::Critical)
}

fn ended(rule: &str) -> NewRecord {
    alert(rule, Some(Told::Resolved), Severity::Critical)
}

fn pair(rule: &str, state: &str) -> (String, String) {
    (rule.to_owned(), state.to_owned())
}

/// `millrace` in a role, as a process of its own that is killed with SIGKILL when it is dropped.
struct Killed(Child);

impl Killed {
    fn start(role: &str, config: &Path) -> Self {
        let mut command = millrace();
        command.args([role, "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it fails only if it has ended
        let _ = self.0.wait();
    }
}

async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a channel has begun: it is told of what comes from now on.
async fn begun(bus: &SharedBus, name: &str) {
    let processor = format!("channel.{name}.v1");
    until(&format!("{name} has begun"), || (!bus.load(&processor).expect("readable").is_empty()).then_some(())).await;
}

/// A site with these channels, which have begun.
async fn site(folder: &Path, channels: Vec<Channel>) -> Up {
    let names: Vec<String> = channels.iter().map(|channel| channel.name().to_owned()).collect();
    let up = Up::start(&settings(folder, channels), SINK).expect("it starts");
    for name in names {
        begun(&up.bus, &name).await;
    }
    up
}

fn letters(bus: &SharedBus) -> Vec<Record> {
    appended_to(bus, Topic::Dead).and_then(Iterator::collect::<Result<_, _>>).expect("readable")
}
