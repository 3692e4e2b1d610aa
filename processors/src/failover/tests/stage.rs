//! A cluster of three under a decider, and the fleet's permits beside it: `db1` is the primary, `db2` and `db3` follow it. Tests say what each agent tells and
//! let time pass; the stage numbers, stamps and folds the records.

use std::collections::VecDeque;

use millrace_schemas::cluster::{ClusterSpec, Process};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::fleet;
use millrace_schemas::ids::{ClusterId, Epoch, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{Bytes, NewRecord};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Action, ActionKind, FailOver, Order, StepOutcome, StepResult};
use millrace_schemas::topics::alerts::Finding;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{
    Canary, Claimed, Command, Ended, Fact, Heartbeat, Outcome, ProcessChanged, Receiver, SemiSync, ServerState,
    StoppedChannel,
};

use super::super::{Failover, State, Verdict, verdict};
use crate::fold::Fold;
use crate::permits::Permits;

const S: i64 = 1_000_000;
const START: i64 = 1_000 * S;

pub(super) const RUNS: Process = Process::Running { pid: 7 };
pub(super) const KILLED: Process = Process::Exited { code: None, signal: Some(9), requested: false, held: true };
pub(super) const STOPPED: Process = Process::Exited { code: Some(0), signal: None, requested: true, held: false };

/// What an agent tells of its server.
#[derive(Clone, Debug)]
pub(super) struct Tells {
    pub(super) silent: bool,
    pub(super) process: Process,
    pub(super) open: bool,
    pub(super) server: bool,
    pub(super) canary: Canary,
    pub(super) source: Option<usize>,
    pub(super) receiving: bool,
    /// A channel from elsewhere.
    pub(super) stopped_channel: Option<StoppedChannel>,
    pub(super) delay_us: Option<u64>,
    pub(super) semi_sync: SemiSync,
    /// How long its facts take to the bus.
    pub(super) late_us: i64,
}

pub(super) struct Stage {
    pub(super) fold: Fold<Failover>,
    permits: Fold<Permits>,
    /// False while nobody decides about the fleet.
    pub(super) fleet: bool,
    pub(super) spec: ClusterSpec,
    pub(super) tells: Vec<Tells>,
    pub(super) now: i64,
    offset: u64,
    pub(super) out: Vec<NewRecord>,
}

pub(super) fn id(at: usize) -> InstanceId {
    examples::spec().members[at].instance.clone()
}

pub(super) fn cluster() -> ClusterId {
    ClusterId::parse("c1").expect("a legal id")
}

impl Stage {
    /// Enrolled with `change` made to the declaration, and healthy for three seconds.
    pub(super) fn with(change: impl FnOnce(&mut ClusterSpec)) -> Self {
        let mut spec = examples::spec();
        change(&mut spec);
        let mut stage = Self::undeclared(spec);
        let command = Command::Enrol(Box::new(stage.spec.clone()));
        stage.say(None, Fact::Command(command));
        stage.seconds(3);
        stage
    }

    /// Nobody has declared it.
    pub(super) fn undeclared(spec: ClusterSpec) -> Self {
        let tells = |at: usize| Tells {
            silent: false,
            process: RUNS,
            open: at == 0,
            server: true,
            canary: if at == 0 { Canary::Written { took_us: 900 } } else { Canary::Off },
            source: (at > 0).then_some(0),
            receiving: at > 0,
            stopped_channel: None,
            delay_us: (at > 0).then_some(1_000),
            semi_sync: SemiSync {
                source_active: at == 0,
                source_enabled: at == 0,
                acknowledgers: 2,
                ..SemiSync::default()
            },
            late_us: 0,
        };
        let members = spec.members.len();
        let fold = Fold::new(Failover, 0);
        Self {
            fold,
            permits: Fold::new(Permits, 0),
            fleet: true,
            spec,
            tells: (0..members).map(tells).collect(),
            now: START,
            offset: 0,
            out: Vec::new(),
        }
    }

    pub(super) fn healthy() -> Self {
        Self::with(|_| ())
    }

    /// Folds a fact; what came out is kept and returned.
    pub(super) fn say(&mut self, about: Option<usize>, payload: Fact) -> Vec<NewRecord> {
        self.offset += 1;
        let event = Event {
            id: EventId::derive(&["stage", &self.offset.to_string()]),
            source: format!("stage/{}", about.unwrap_or(9)),
            sequence: Sequence { incarnation: 1, counter: self.offset },
            at: Timestamp(1),
            appended: Timestamp::ZERO,
            subject: Subject { cluster: cluster(), instance: about.map(|at| self.spec.members[at].instance.clone()) },
            cause: None,
            payload,
        };
        let new = event.to_record();
        self.put(&new)
    }

    /// Folds a record as the bus would hand it over now, and what the processors say to the journal about it.
    pub(super) fn put(&mut self, new: &NewRecord) -> Vec<NewRecord> {
        let (mut all, mut journal) = (Vec::new(), VecDeque::from([new.clone()]));
        while let Some(new) = journal.pop_front() {
            self.offset += 1;
            let record = new.stored(0, self.offset, Timestamp(self.now));
            let mut out = self.fold.fold(&record).out;
            if self.fleet {
                out.extend(self.permits.fold(&record).out);
            }
            journal.extend(out.iter().filter(|one| one.topic == Topic::Journal).cloned());
            all.extend(out);
        }
        self.out.extend(all.iter().cloned());
        all
    }

    /// Time passes: ticks each 200 ms, and each second a heartbeat of every agent that is not silent.
    pub(super) fn seconds(&mut self, seconds: u32) {
        for _ in 0..seconds {
            for fifth in 0..5 {
                self.now += S / 5;
                if fifth == 4 {
                    for at in 0..self.tells.len() {
                        self.beat(at);
                    }
                }
                self.say(None, Fact::Tick {});
            }
        }
    }

    pub(super) fn beat(&mut self, at: usize) {
        let tells = self.tells[at].clone();
        if tells.silent {
            return;
        }
        let heartbeat = self.heartbeat(at, &tells);
        self.say(Some(at), Fact::Heartbeat(Box::new(heartbeat)));
    }

    fn boot_us(&self, at: usize) -> u64 {
        (self.now - START + 1_000 * S - self.tells[at].late_us) as u64
    }

    fn heartbeat(&self, at: usize, tells: &Tells) -> Heartbeat {
        let receiver = tells.source.map(|source| Receiver {
            channel: String::new(),
            source: self.spec.members[source].endpoint(),
            receiving: tells.receiving,
            applying: true,
            error: None,
            delay_us: tells.delay_us,
        });
        let running = tells.server && matches!(tells.process, Process::Running { .. });
        let server = running.then(|| ServerState {
            flavour: self.spec.flavour,
            version: "test".to_owned(),
            server_id: at as u32 + 1,
            open: tells.open,
            executed: None,
            receiver,
            stopped_channel: tells.stopped_channel.clone(),
            semi_sync: tells.semi_sync,
            queries_per_second: None,
            threads_running: 1,
            connections: 1,
            host_load: None,
        });
        Heartbeat {
            host: self.spec.members[at].host.clone(),
            boot_us: self.boot_us(at),
            process: tells.process.clone(),
            promised: Epoch(0),
            server_error: server.is_none().then(|| "connection refused".to_owned()),
            server,
            canary: tells.canary.clone(),
        }
    }

    /// The process of `at` changes, and its agent tells at once.
    pub(super) fn process(&mut self, at: usize, process: Process) -> Vec<NewRecord> {
        self.tells[at].process = process.clone();
        if !matches!(process, Process::Running { .. }) {
            self.tells[at].open = false;
        }
        self.now += 20_000;
        let (host, boot_us) = (self.spec.members[at].host.clone(), self.boot_us(at));
        self.say(Some(at), Fact::ProcessChanged(ProcessChanged { host, boot_us, process, exited_boot_us: None }))
    }

    pub(super) fn state(&self) -> &State {
        self.fold.state(&cluster()).expect("the cluster is known")
    }

    pub(super) fn verdict(&self) -> Verdict {
        verdict::of(self.state(), Timestamp(self.now))
    }

    /// Every action so far.
    pub(super) fn actions(&self) -> Vec<Action> {
        actions(&self.out)
    }

    /// Every finding so far.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let facts = self.out.iter().filter(|record| record.topic == Topic::Journal).map(read::<Fact>);
        facts.filter_map(|fact| if let Fact::Finding(finding) = fact { Some(*finding) } else { None }).collect()
    }

    pub(super) fn finding(&self, rule: &str) -> Option<Finding> {
        self.findings().into_iter().rfind(|finding| finding.rule == rule)
    }

    pub(super) fn claim(&mut self, action: &Action, executor: &str) -> Vec<NewRecord> {
        self.say(None, Fact::Claimed(Claimed { action: Box::new(action.clone()), executor: executor.to_owned() }))
    }

    pub(super) fn end(&mut self, action: &Action, outcome: Outcome) -> Vec<NewRecord> {
        self.say(None, Fact::Ended(Ended { action: action.id, epoch: action.epoch, outcome }))
    }

    /// Everything that was said to or by the fleet, in order.
    pub(super) fn permits(&self) -> Vec<Fact> {
        let facts = self.out.iter().filter(|one| one.topic == Topic::Journal).map(read::<Fact>);
        facts.filter(|fact| !matches!(fact, Fact::Finding(_))).collect()
    }

    /// Another cluster of the fleet speaks to it.
    pub(super) fn other(&mut self, payload: Fact) -> Vec<NewRecord> {
        self.offset += 1;
        let event = Event {
            id: EventId::derive(&["another", &self.offset.to_string()]),
            source: "failover.2/journal/1".to_owned(),
            sequence: Sequence { incarnation: self.offset, counter: 0 },
            at: Timestamp(1),
            appended: Timestamp::ZERO,
            subject: Subject::cluster(fleet()),
            cause: None,
            payload,
        };
        self.put(&event.to_record())
    }

    /// The result of a step that let `at` follow the primary.
    pub(super) fn followed(&mut self, at: usize) {
        let result = StepResult {
            action: EventId(1),
            epoch: Epoch(1),
            number: 5,
            instance: id(at),
            step: "follow".to_owned(),
            outcome: StepOutcome::Done(Box::default()),
            took_us: 1,
        };
        self.say(Some(at), Fact::StepDone(Box::new(result)));
    }

    /// The last action is claimed and done: `to` is the primary, and the others follow it.
    pub(super) fn promoted(&mut self, to: usize) {
        let action = self.actions().pop().expect("an action");
        self.claim(&action, "e1");
        for (at, tells) in self.tells.iter_mut().enumerate() {
            tells.open = at == to;
            let follows = at != to && matches!(tells.process, Process::Running { .. });
            tells.source = follows.then_some(to);
            tells.receiving = follows;
            tells.canary = if at == to { Canary::Written { took_us: 900 } } else { Canary::Off };
        }
        self.end(&action, Outcome::Done { primary: id(to) });
    }
}

pub(super) fn read<P: millrace_schemas::event::Payload>(record: &NewRecord) -> P {
    Event::<P>::from_json(record.value.as_deref().unwrap_or_default(), false).expect("what was emitted is read").payload
}

pub(super) fn actions(records: &[NewRecord]) -> Vec<Action> {
    let orders = records.iter().filter(|record| record.topic == Topic::Actions);
    orders
        .filter_map(|record| match read::<Order>(record) {
            Order::Action(action) => Some(*action),
            Order::Step(_) => None,
        })
        .collect()
}

pub(super) fn fail_over(action: &Action) -> &FailOver {
    match &action.kind {
        ActionKind::FailOver(fail_over) => fail_over,
        other => panic!("a fail-over was expected, not {}", other.name()),
    }
}

pub(super) fn mysql(spec: &mut ClusterSpec) {
    spec.flavour = Flavour::MySql;
}

/// Bytes, for comparing two runs.
pub(super) fn values(records: &[NewRecord]) -> Vec<Option<Bytes>> {
    records.iter().map(|record| record.value.clone()).collect()
}

/// What people are told, which nothing is decided by.
pub(super) fn is_finding(record: &NewRecord) -> bool {
    record.topic == Topic::Journal && matches!(read::<Fact>(record), Fact::Finding(_))
}
