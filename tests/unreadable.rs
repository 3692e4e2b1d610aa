//! The three cases of a fact that cannot be read, each on a cluster whose primary then dies: what is no event goes to `dead`,
//! evidence of an unknown kind stops the cluster until an operator speaks, anything else unknown is skipped and counted.

use millrace_processors::failover::Failover;
use millrace_processors::fold::{Fate, Fold};
use millrace_processors::permits::Permits;
use millrace_schemas::cluster::{ClusterSpec, Mode, Process};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{Bytes, EVIDENCE, Headers, NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{Command, Fact};

const S: i64 = 1_000_000;

/// A cluster of three under a decider, and its fleet, one record after the other.
struct Cluster {
    fold: Fold<Failover>,
    permits: Fold<Permits>,
    spec: ClusterSpec,
    offset: u64,
    second: i64,
}

impl Cluster {
    /// Enrolled in mode auto, heard twice.
    fn new() -> Self {
        let (fold, permits) = (Fold::new(Failover, 0), Fold::new(Permits, 0));
        let mut cluster = Self { fold, permits, spec: examples::spec(), offset: 0, second: 0 };
        cluster.say(None, Fact::Command(Command::Enrol(Box::new(examples::spec()))));
        cluster.beat();
        cluster.beat();
        cluster
    }

    fn raw(&mut self, value: &str, evidence: bool) -> (Fate, Vec<NewRecord>) {
        let mut headers = Headers::new();
        if evidence {
            headers.insert(EVIDENCE.to_owned(), "true".to_owned());
        }
        self.fold("c1", headers, Bytes::copy_from_slice(value.as_bytes()))
    }

    /// Folds a value, and what the processors say to the journal about it.
    fn fold(&mut self, key: &str, headers: Headers, value: Bytes) -> (Fate, Vec<NewRecord>) {
        let record = Record {
            topic: Topic::Journal,
            partition: 0,
            offset: self.offset,
            appended: Timestamp((1_000 + self.second) * S + self.offset as i64),
            key: key.to_owned(),
            headers,
            value: Some(value),
        };
        self.offset += 1;
        let folded = self.fold.fold(&record);
        let mut all = folded.out;
        all.extend(self.permits.fold(&record).out);
        for said in all.clone().into_iter().filter(|one| one.topic == Topic::Journal) {
            all.extend(self.fold(&said.key, said.headers, said.value.expect("a fact")).1);
        }
        (folded.fate, all)
    }

    fn say(&mut self, about: Option<usize>, payload: Fact) -> Vec<NewRecord> {
        let cluster = ClusterId::parse("c1").expect("a legal id");
        let instance = about.map(|at| self.spec.members[at].instance.clone());
        let event = Event {
            id: EventId::derive(&["unreadable", &self.offset.to_string()]),
            source: "test".to_owned(),
            sequence: Sequence { incarnation: 1, counter: self.offset },
            at: Timestamp(1),
            appended: Timestamp::ZERO,
            subject: Subject { cluster, instance },
            cause: None,
            payload,
        };
        let (fate, out) = self.raw(&event.to_json(), true);
        assert_eq!(fate, Fate::Folded);
        out
    }

    /// A second passes, and every agent says that its server runs.
    fn beat(&mut self) {
        self.second += 1;
        for at in 0..3 {
            self.heartbeat(at, Process::Running { pid: 1 });
        }
    }

    fn heartbeat(&mut self, at: usize, process: Process) -> Vec<NewRecord> {
        let sample = examples::facts().into_iter().find_map(|fact| match fact {
            Fact::Heartbeat(heartbeat) => Some(heartbeat),
            _ => None,
        });
        let mut heartbeat = sample.expect("a sample");
        heartbeat.host = self.spec.members[at].host.clone();
        heartbeat.boot_us = (self.second * S) as u64;
        heartbeat.process = process;
        let source = self.spec.members[0].endpoint();
        if let Some(server) = &mut heartbeat.server {
            server.open = at == 0;
            server.receiver = server
                .receiver
                .take()
                .filter(|_| at > 0)
                .map(|receiver| millrace_schemas::topics::journal::Receiver { source, ..receiver });
        }
        self.say(Some(at), Fact::Heartbeat(heartbeat))
    }

    /// The primary is killed; the actions that follow.
    fn primary_dies(&mut self) -> usize {
        self.second += 1;
        let dead = Process::Exited { code: None, signal: Some(9), requested: false, held: true };
        let out = self.heartbeat(0, dead);
        out.iter().filter(|record| record.topic == Topic::Actions).count()
    }

    fn newer(kind: &str) -> String {
        let known = Event {
            id: EventId::derive(&["newer"]),
            source: "newer".to_owned(),
            sequence: Sequence { incarnation: 1, counter: 0 },
            at: Timestamp(1),
            appended: Timestamp::ZERO,
            subject: Subject::cluster(ClusterId::parse("c1").expect("a legal id")),
            cause: None,
            payload: Fact::Tick {},
        };
        known.to_json().replace("millrace.tick.v1", kind)
    }
}

#[test]
fn what_is_no_event_goes_to_dead_and_the_cluster_is_served() {
    let mut cluster = Cluster::new();
    for garbage in ["", "{", "[]", "\u{0}\u{1}", "{\"specversion\":\"2.0\"}", "null"] {
        let (fate, out) = cluster.raw(garbage, true);
        assert!(matches!(fate, Fate::Dead(_)), "{garbage:?}: {fate:?}");
        assert!(out.is_empty());
    }
    assert_eq!(cluster.primary_dies(), 1);
}

#[test]
fn a_kind_that_may_be_skipped_disables_nothing() {
    let mut cluster = Cluster::new();
    let (fate, _) = cluster.raw(&Cluster::newer("millrace.weather.v3"), false);
    assert_eq!(fate, Fate::Skipped("millrace.weather.v3".to_owned()));
    assert_eq!(cluster.primary_dies(), 1);
}

#[test]
fn unknown_evidence_stops_the_cluster_until_an_operator_speaks() {
    let mut cluster = Cluster::new();
    let (fate, out) = cluster.raw(&Cluster::newer("millrace.verdict.v9"), true);
    assert_eq!(fate, Fate::Folded);
    let alert = String::from_utf8_lossy(out[0].value.as_deref().unwrap_or_default()).into_owned();
    assert!(alert.contains("ClusterPaused") && alert.contains("millrace.verdict.v9"), "{alert}");

    assert_eq!(cluster.primary_dies(), 0, "nothing is done although the primary is dead");
    let state = cluster.fold.state(&ClusterId::parse("c1").expect("a legal id")).expect("known");
    assert_eq!(state.effective_mode(), Mode::Observe);

    cluster.second += 1;
    let out = cluster.say(None, Fact::Command(Command::SetMode { mode: Mode::Auto }));
    let text = |record: &NewRecord| String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
    assert!(out.iter().any(|record| text(record).contains("ClusterPaused") && text(record).contains("resolved")));
    assert_eq!(out.iter().filter(|record| record.topic == Topic::Actions).count(), 1, "then it is failed over");
}
