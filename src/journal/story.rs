//! For tests: a small fleet lives on a memory bus. Three servers speak once a second, the primary is killed, the decider
//! fails over, the new primary takes over. What the real processors emit is appended as it would be.

use std::sync::Arc;

use millrace_processors::alerts::Alerts;
use millrace_processors::failover::Failover;
use millrace_processors::permits::Permits;
use millrace_processors::routes::Routes;
use millrace_processors::windows::Windows;
use millrace_processors::{Fold, Processor};
use millrace_schemas::cluster::Process;
use millrace_schemas::event::{Event, Payload, Subject};
use millrace_schemas::ids::{ClusterId, DigestId, Epoch, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Action, Order, StepOutcome, StepResult};
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{
    Claimed, Command, Ended, Fact, Heartbeat, Outcome, PermitAnswered, ProcessChanged, SemiSync,
};
use millrace_schemas::topics::queries::Row;

use crate::bus::memory::{Faults, MemoryBus};
use crate::bus::{Bus as _, SharedBus};

/// The start, in microseconds.
pub(crate) const T0: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
/// When the primary is killed, in seconds after the start.
const KILLED: i64 = 15;

/// The fleet and what is told about it.
pub(crate) struct Story {
    bus: MemoryBus,
    failover: Fold<Failover>,
    permits: Fold<Permits>,
    routes: Fold<Routes>,
    alerts: Fold<Alerts>,
    windows: Windows,
    counter: u64,
    pub(crate) actions: Vec<Action>,
}

fn cluster() -> ClusterId {
    ClusterId::parse("c1").expect("the story is well formed")
}

fn db(number: u16) -> InstanceId {
    InstanceId::parse(format!("db{number}")).expect("the story is well formed")
}

impl Story {
    /// 15 s of health, a crash, a failover, 6 s more.
    pub(crate) fn failover() -> Self {
        let mut story = Self {
            bus: MemoryBus::new(1, 1, Faults::default()),
            failover: Fold::new(Failover, 0),
            permits: Fold::new(Permits, 0),
            routes: Fold::new(Routes, 0),
            alerts: Fold::new(Alerts::default(), 0),
            windows: Windows::new(0),
            counter: 0,
            actions: Vec::new(),
        };
        story.say(T0, None, Fact::Command(Command::Enrol(Box::new(examples::spec()))));
        for entry in examples::entries() {
            story.describe(entry);
        }
        for item in examples::items() {
            story.describe(item);
        }
        for second in 1..KILLED {
            story.second(second, 1);
        }
        let killed = T0 + KILLED * SECOND;
        let process = Process::Exited { code: None, signal: Some(9), requested: false, held: true };
        let change = ProcessChanged {
            host: examples::spec().members[0].host.clone(),
            boot_us: boot(killed),
            process,
            exited_boot_us: None,
        };
        story.say(killed, Some(db(1)), Fact::ProcessChanged(change));
        story.act(killed + 100_000);
        for second in KILLED + 1..KILLED + 7 {
            story.second(second, 2);
        }
        story
    }

    /// The bus with everything on it.
    pub(crate) fn shared(&self) -> SharedBus {
        Arc::new(self.bus.clone())
    }

    /// An action that nothing in the journal calls for, in the decider's name.
    pub(crate) fn forge_action(&mut self) {
        let payload = Order::Action(Box::new(examples::action()));
        self.forge(format!("{}.{}/journal/0", Failover::NAME, Failover::VERSION), payload);
    }

    /// A permit that nobody asked for, in the fleet's name.
    pub(crate) fn forge_permit(&mut self) {
        let (permit, until) = (EventId::derive(&["forged"]), Timestamp(T0));
        let answer = PermitAnswered { permit, epoch: Epoch(9), granted: true, reason: "forged".to_owned(), until };
        self.forge(format!("{}.{}/journal/0", Permits::NAME, Permits::VERSION), Fact::PermitAnswered(answer));
    }

    fn forge<P: Payload>(&mut self, source: String, payload: P) {
        let event = Event {
            id: EventId::derive(&["forged"]),
            source,
            sequence: Sequence { incarnation: 1, counter: 0 },
            at: Timestamp(T0),
            appended: Timestamp::ZERO,
            subject: Subject::cluster(cluster()),
            cause: None,
            payload,
        };
        self.append(event.to_record());
    }

    fn second(&mut self, second: i64, primary: u16) {
        let at = T0 + second * SECOND;
        for number in 1..=3 {
            self.say(at + i64::from(number) * 1_000, Some(db(number)), heartbeat(number, primary, at));
        }
        self.count(second, primary);
    }

    /// The executor's part: claims what was decided, promotes db2, ends.
    fn act(&mut self, at: i64) {
        let action = self.actions.last().expect("a decision").clone();
        let (id, epoch) = (action.id, action.epoch);
        let claimed = Claimed { action: Box::new(action), executor: "executor/h1".to_owned() };
        self.say(at, None, Fact::Claimed(claimed));
        for (number, step) in ["fence", "stop-receiver", "promote"].into_iter().enumerate() {
            let result = StepResult {
                action: id,
                epoch,
                number: number as u32,
                instance: db(if number == 0 { 1 } else { 2 }),
                step: step.to_owned(),
                outcome: StepOutcome::Done(Box::default()),
                took_us: 12_000 * (number as u64 + 1),
            };
            self.say(
                at + 50_000 * (number as i64 + 1),
                Some(result.instance.clone()),
                Fact::StepDone(Box::new(result)),
            );
        }
        let outcome = Outcome::Done { primary: db(2) };
        self.say(at + 200_000, None, Fact::Ended(Ended { action: id, epoch, outcome }));
    }

    fn say(&mut self, at: i64, instance: Option<InstanceId>, fact: Fact) {
        let subject = Subject { cluster: cluster(), instance };
        let event = self.event(at, subject, fact);
        let record = self.append_at(at, event.to_record());
        self.fold(&record);
    }

    /// Folds a record of the journal; what comes out for the journal is folded in turn.
    fn fold(&mut self, record: &Record) {
        let mut out = self.failover.fold(record).out;
        out.extend(self.permits.fold(record).out);
        out.extend(self.routes.fold(record).out);
        out.extend(self.alerts.fold(record).out);
        for record in out {
            if record.topic == Topic::Actions {
                let event = Event::<Order>::from_json(record.value.as_deref().expect("the story is well formed"), true)
                    .expect("the story is well formed");
                if let Order::Action(action) = event.payload {
                    self.actions.push(*action);
                }
            }
            let record = self.append(record);
            if record.topic == Topic::Journal {
                self.fold(&record);
            }
        }
    }

    fn describe<P: Payload>(&mut self, entry: P) {
        let event = self.event(T0, Subject::cluster(cluster()), entry);
        self.append(event.to_record());
    }

    fn event<P: Payload>(&mut self, at: i64, subject: Subject, payload: P) -> Event<P> {
        self.counter += 1;
        Event {
            id: EventId::derive(&["story", &self.counter.to_string()]),
            source: "agent/h1".to_owned(),
            sequence: Sequence { incarnation: 1, counter: self.counter },
            at: Timestamp(at),
            appended: Timestamp::ZERO,
            subject,
            cause: None,
            payload,
        }
    }

    /// What the primary was asked in a second, through the window processor.
    fn count(&mut self, second: i64, primary: u16) {
        let rows = [row(second - 1, primary, DigestId([7; 16]), 40), row(second - 1, primary, DigestId::ADMIN, 2)];
        self.counter += 1;
        let record = examples::counted("c1", "agent/h1", self.counter, &rows);
        let record = self.append_at(T0 + second * SECOND + 10_000, record);
        for out in self.windows.fold(&record).out {
            // Loads go through the decider like every fact.
            if out.topic == Topic::Journal {
                let record = self.append(out);
                self.fold(&record);
            } else {
                self.append(out);
            }
        }
    }

    fn append_at(&mut self, at: i64, record: NewRecord) -> Record {
        self.bus.set_now(Timestamp(at));
        self.append(record)
    }

    fn append(&mut self, record: NewRecord) -> Record {
        let landed = self.bus.append(vec![record.clone()]).wait().expect("the story is well formed")[0];
        record.stored(landed.partition, landed.offset, landed.appended)
    }
}

fn boot(at: i64) -> u64 {
    (at - T0 + 1_000 * SECOND) as u64
}

fn heartbeat(number: u16, primary: u16, at: i64) -> Fact {
    let Fact::Heartbeat(sample) = examples::facts().remove(0) else { panic!("the first sample is a heartbeat") };
    let mut server = sample.server.clone().expect("the story is well formed");
    server.server_id = u32::from(number);
    server.open = number == primary;
    server.semi_sync = SemiSync { lossless: true, ..SemiSync::default() };
    if number == primary {
        server.receiver = None;
    }
    let dead = number == 1 && primary != 1;
    let exited = Process::Exited { code: None, signal: Some(9), requested: false, held: true };
    Fact::Heartbeat(Box::new(Heartbeat {
        host: examples::spec().members[usize::from(number) - 1].host.clone(),
        boot_us: boot(at),
        process: if dead { exited } else { Process::Running { pid: 4_000 + u32::from(number) } },
        promised: Epoch(u64::from(primary)),
        server: (!dead).then_some(server),
        ..*sample
    }))
}

fn row(second: i64, primary: u16, digest: DigestId, count: u64) -> Row {
    let like = examples::row(T0 / SECOND + second, digest, count, 1_500);
    Row { instance: db(primary), errors: 1, ..like }
}
