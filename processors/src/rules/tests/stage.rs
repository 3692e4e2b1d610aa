//! A small bus for one processor: numbers of seconds go in, findings come out as one line each.

use std::sync::Arc;

use millrace_schemas::cluster::Process;
use millrace_schemas::event::{Event, Payload, Subject};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::ids::{ClusterId, Epoch, EventId, HostId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{AlertState, Finding};
use millrace_schemas::topics::journal::{Canary, Fact, Heartbeat, Load, Receiver, SemiSync, ServerState};
use millrace_schemas::topics::samples::{Sample, Taken};

use super::super::{Journal, Rules, Sampled};
use crate::fold::{Fate, Fold, Processor, Saved};

/// The first second of every stage: an hour's beginning, so that hours are easy to reckon.
pub(super) const START: i64 = 1_699_999_200;

/// Rules of a text, without those that are shipped.
pub(super) fn rules(text: &str) -> Arc<Rules> {
    let mut rules = Rules::read(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    rules.all.retain(|rule| rule.changed);
    Arc::new(rules)
}

/// One shipped rule.
pub(super) fn shipped(name: &str) -> Arc<Rules> {
    Arc::new(Rules::read("").expect("right").only(name).unwrap_or_else(|| panic!("{name} is not shipped")))
}

pub(super) fn instance(name: &str) -> InstanceId {
    InstanceId::parse(name).expect("a legal id")
}

pub(super) fn host(name: &str) -> HostId {
    HostId::parse(format!("h-{name}")).expect("a legal id")
}

pub(super) struct Stage<P: Processor> {
    pub(super) fold: Fold<P>,
    offset: u64,
    pub(super) cluster: &'static str,
    /// Everything that came out.
    pub(super) out: Vec<NewRecord>,
}

pub(super) fn samples(rules: &Arc<Rules>) -> Stage<Sampled> {
    Stage::new(Sampled::new(Arc::clone(rules)))
}

pub(super) fn journal(rules: &Arc<Rules>) -> Stage<Journal> {
    Stage::new(Journal::new(Arc::clone(rules)))
}

impl<P: Processor> Stage<P> {
    pub(super) fn new(processor: P) -> Self {
        Self { fold: Fold::new(processor, 0), offset: 0, cluster: "c1", out: Vec::new() }
    }

    /// The record of a payload that is appended `second` seconds after the start.
    pub(super) fn record<Q: Payload>(&mut self, second: f64, about: Option<&str>, source: &str, payload: Q) -> Record {
        self.offset += 1;
        let cluster = ClusterId::parse(self.cluster).expect("a legal id");
        let event = Event {
            id: EventId::derive(&["stage", &self.offset.to_string()]),
            source: source.to_owned(),
            sequence: Sequence { incarnation: self.offset, counter: 0 },
            at: Timestamp(1),
            appended: Timestamp::ZERO,
            subject: Subject { cluster, instance: about.map(instance) },
            cause: None,
            payload,
        };
        event.to_record().stored(0, self.offset, Timestamp(START * 1_000_000 + (second * 1e6) as i64))
    }

    pub(super) fn fold(&mut self, record: &Record) -> Vec<String> {
        let folded = self.fold.fold(record);
        assert_eq!(folded.fate, Fate::Folded);
        self.out.extend(folded.out.clone());
        folded.out.iter().map(|record| line(&finding(record))).collect()
    }

    pub(super) fn say<Q: Payload>(&mut self, second: f64, about: Option<&str>, payload: Q) -> Vec<String> {
        let record = self.record(second, about, "agent/h1", payload);
        self.fold(&record)
    }

    /// What it saved, taken up by another one.
    pub(super) fn restarted(&self, processor: P) -> Self {
        let saved: Vec<Saved> = self.fold.save();
        let mut fold = Fold::new(processor, 0);
        fold.restore(&saved).expect("it was saved so");
        Self { fold, offset: self.offset, cluster: self.cluster, out: self.out.clone() }
    }
}

impl Stage<Sampled> {
    /// A sample of an instance.
    pub(super) fn sample(&mut self, second: f64, about: &str, values: &[(&str, f64)]) -> Vec<String> {
        let values = values.iter().map(|(series, value)| ((*series).to_owned(), *value)).collect();
        let sample = Sample { host: host(about), taken: Timestamp(0), values, left_out: 0 };
        self.say(second, Some(about), Taken::Sample(sample))
    }

    /// One number of `db1` every 10 s; what is found, by the second.
    pub(super) fn series(&mut self, series: &str, values: &[f64]) -> Vec<String> {
        let told = values.iter().enumerate().map(|(at, value)| {
            let second = at as f64 * 10.0;
            self.sample(second, "db1", &[(series, *value)]).into_iter().map(move |line| format!("{second} {line}"))
        });
        told.collect::<Vec<_>>().into_iter().flatten().collect()
    }
}

impl Stage<Journal> {
    pub(super) fn beat(&mut self, second: f64, about: &str, server: Option<ServerState>) -> Vec<String> {
        let process = Process::Running { pid: 1 };
        self.say(second, Some(about), Fact::Heartbeat(Box::new(heartbeat(second, about, process, server))))
    }

    pub(super) fn load(&mut self, second: f64, about: &str, statements: u64, errors: u64) -> Vec<String> {
        let start = Timestamp((START + second as i64) * 1_000_000);
        let load = Load { start, width_seconds: 10, statements, errors, p50_us: 100, p99_us: 1_000 };
        self.say(second, Some(about), Fact::Load(load))
    }
}

pub(super) fn heartbeat(second: f64, about: &str, process: Process, server: Option<ServerState>) -> Heartbeat {
    Heartbeat {
        host: host(about),
        boot_us: 1_000_000_000 + (second * 1e6) as u64,
        process,
        promised: Epoch(1),
        server_error: server.is_none().then(|| "refused".to_owned()),
        server,
        canary: Canary::Off,
    }
}

/// A primary that has executed `executed`, and waits for acknowledgements.
pub(super) fn primary(executed: &str) -> ServerState {
    ServerState {
        flavour: Flavour::MySql,
        version: "9.7.4".to_owned(),
        server_id: 1,
        open: true,
        executed: GtidSet::parse(Flavour::MySql, executed).ok(),
        receiver: None,
        stopped_channel: None,
        semi_sync: SemiSync { source_enabled: true, source_active: true, acknowledgers: 2, ..SemiSync::default() },
        queries_per_second: None,
        threads_running: 1,
        connections: 1,
        host_load: None,
    }
}

/// A replica that is `delay` seconds behind.
pub(super) fn replica(executed: &str, delay: f64) -> ServerState {
    let receiver = Receiver {
        channel: String::new(),
        source: "h-db1:3306".to_owned(),
        receiving: true,
        applying: true,
        error: None,
        delay_us: Some((delay * 1e6) as u64),
    };
    ServerState { open: false, receiver: Some(receiver), semi_sync: SemiSync::default(), ..primary(executed) }
}

pub(super) fn finding(record: &NewRecord) -> Finding {
    let event =
        Event::<Fact>::from_json(record.value.as_deref().unwrap_or_default(), true).expect("what was emitted is read");
    match event.payload {
        Fact::Finding(finding) => *finding,
        other => panic!("a finding was expected, not {other:?}"),
    }
}

/// `LagHigh db1 warning since 60 = 31`.
pub(super) fn line(finding: &Finding) -> String {
    let about = finding.instance.as_ref().map_or_else(String::new, |instance| format!(" {instance}"));
    let labels = finding.labels.iter().fold(String::new(), |text, (name, value)| format!("{text} {name}={value}"));
    let state = match finding.state {
        AlertState::Firing => format!("{:?}", finding.severity).to_lowercase(),
        AlertState::Resolved => "over".to_owned(),
    };
    let since = (finding.since.0 - START * 1_000_000) as f64 / 1e6;
    let value = finding.value.map_or_else(String::new, |value| format!(" = {}", (value * 1_000.0).round() / 1_000.0));
    format!("{}{about}{labels} {state} since {since}{value}", finding.rule)
}
