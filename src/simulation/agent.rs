//! An agent: tells what it sees of its server, and performs the steps addressed to its host, promises first. It may die before,
//! in the middle of and after a step; its promises and its position in `actions` are on disk.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_schemas::cluster::{ClusterSpec, Process};
use millrace_schemas::event::Subject;
use millrace_schemas::ids::{ClusterId, Epoch, InstanceId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Order, Step, StepOutcome, StepRequest};
use millrace_schemas::topics::journal::{Canary, Fact, Heartbeat, ProcessChanged, Receiver, SemiSync, ServerState};

use super::server::Content;
use super::voice::{Inbox, Library, Outbox, Voice, Word};
use super::world::World;
use crate::bus::memory::MemoryBus;

const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);

/// A step that is being performed.
#[derive(Debug)]
struct Working {
    request: StepRequest,
    done_at: Timestamp,
}

/// An agent.
pub(super) struct Agent {
    at: usize,
    cluster: ClusterId,
    spec: ClusterSpec,
    pub(super) back_at: Timestamp,
    /// Steps take seconds until then.
    pub(super) slow_until: Timestamp,
    /// On disk: the promise and the position.
    promised: (u64, u32),
    position: u64,
    read_to: u64,
    inbox: Inbox,
    requests: VecDeque<(u64, StepRequest)>,
    working: Option<Working>,
    outbox: Outbox,
    beat_at: Timestamp,
    told: Option<Process>,
    voice: Voice,
}

impl Agent {
    pub(super) fn new(bus: &MemoryBus, cluster: &ClusterId, spec: &ClusterSpec, at: usize) -> Self {
        Self {
            at,
            cluster: cluster.clone(),
            spec: spec.clone(),
            back_at: Timestamp::ZERO,
            slow_until: Timestamp::ZERO,
            promised: (0, 0),
            position: 0,
            read_to: 0,
            inbox: Inbox::new(bus, &[(Topic::Actions, 0)]),
            requests: VecDeque::new(),
            working: None,
            outbox: Outbox::default(),
            beat_at: Timestamp(at as i64 * 333_000),
            told: None,
            voice: Voice::new(format!("agent/h{}", at + 1)),
        }
    }

    fn instance(&self) -> &InstanceId {
        &self.spec.members[self.at].instance
    }

    /// Dies; what it was doing was done or not.
    pub(super) fn die(&mut self, bus: &MemoryBus, world: &mut World, back_at: Timestamp) {
        if let Some(working) = self.working.take()
            && world.dice.chance(500)
        {
            drop(self.perform(world, &working.request));
        }
        self.back_at = back_at;
        self.requests.clear();
        self.outbox = Outbox::default();
        self.told = None;
        self.read_to = self.position;
        self.inbox = Inbox::new(bus, &[(Topic::Actions, self.position)]);
        self.voice.restart();
    }

    /// Does one thing.
    pub(super) fn step(&mut self, bus: &MemoryBus, library: &mut Library, world: &mut World) {
        if world.now < self.back_at {
            return;
        }
        self.watch(world);
        let told = self.outbox.flush(bus);
        while let Some(record) = self.inbox.next(bus) {
            let offset = record.offset;
            self.read_to = offset + 1;
            if let Word::Order(Ok(event)) = library.read(&record)
                && let Order::Step(request) = &event.payload
                && request.instance == *self.instance()
            {
                self.requests.push_back((offset, (**request).clone()));
            }
        }
        // The position moves only after the result is appended.
        if told && self.working.is_none() && self.outbox.0.is_empty() {
            self.position = self.requests.front().map_or(self.read_to, |(offset, _)| *offset);
        }
        self.work(world);
    }

    fn work(&mut self, world: &mut World) {
        let newer = |working: &Working| self.requests.iter().any(|(_, other)| other.epoch > working.request.epoch);
        let cut_off = self.working.as_ref().is_some_and(newer);
        match self.working.take() {
            // A newer epoch kills the session of the step that is under way.
            Some(working) if cut_off => {
                let done = world.dice.chance(300);
                if done {
                    drop(self.perform(world, &working.request));
                }
                self.answer(
                    world,
                    &working.request,
                    StepOutcome::Failed { error: "its session was killed".to_owned() },
                );
            }
            Some(working) if world.now >= working.done_at => {
                let outcome = match self.perform(world, &working.request) {
                    Ok(outcome) => outcome,
                    Err(error) => StepOutcome::Failed { error },
                };
                self.answer(world, &working.request, outcome);
            }
            Some(working) => self.working = Some(working),
            None => self.begin(world),
        }
    }

    /// Promises, then begins.
    fn begin(&mut self, world: &mut World) {
        let Some((_, request)) = self.requests.pop_front() else { return };
        if world.now > request.deadline {
            let reason = "its deadline had passed before it was begun".to_owned();
            self.answer(world, &request, StepOutcome::Refused { reason });
            return;
        }
        let asked = (request.epoch.0, request.number);
        if asked < self.promised {
            let reason = format!("epoch and step {asked:?} are over: {:?} were promised", self.promised);
            self.answer(world, &request, StepOutcome::Refused { reason });
            return;
        }
        self.promised = asked;
        let slow = world.now < self.slow_until || world.dice.chance(20);
        let takes = if slow { 1_000_000 + world.dice.below(8_000_000) } else { 2_000 + world.dice.below(60_000) };
        let takes = if matches!(request.step, Step::StartClosed { .. }) { takes + 500_000 } else { takes };
        self.working = Some(Working { request, done_at: world.now + Duration::from_micros(takes) });
    }

    fn perform(&self, world: &mut World, request: &StepRequest) -> Result<StepOutcome, String> {
        let source = match &request.step {
            Step::Follow { source } => self.spec.members.iter().position(|member| member.instance == source.instance),
            _ => None,
        };
        let report = world.perform(self.at, request.epoch.0, &request.step, source)?;
        world.check_writers();
        Ok(StepOutcome::Done(Box::new(report)))
    }

    fn answer(&mut self, world: &World, request: &StepRequest, outcome: StepOutcome) {
        self.tell(world, Fact::StepDone(Box::new(request.result(outcome, 1_000))));
    }

    fn tell(&mut self, world: &World, fact: Fact) {
        let subject = Subject::instance(self.cluster.clone(), self.instance().clone());
        let record = self.voice.say(world.now, subject, None, fact);
        self.outbox.0.push_back(record);
    }

    /// Tells changes of the process at once, and everything each second.
    fn watch(&mut self, world: &mut World) {
        let process = world.process(self.at);
        let host = self.spec.members[self.at].host.clone();
        let boot_us = world.now.0 as u64;
        if self.told.as_ref().is_some_and(|told| *told != process) {
            self.tell(
                world,
                Fact::ProcessChanged(ProcessChanged {
                    host: host.clone(),
                    boot_us,
                    process: process.clone(),
                    exited_boot_us: None,
                }),
            );
        }
        self.told = Some(process.clone());
        if world.now < self.beat_at {
            return;
        }
        while self.beat_at <= world.now {
            self.beat_at = self.beat_at + HEARTBEAT_EVERY;
        }
        if !world.servers[self.at].exists {
            return;
        }
        let server = &world.servers[self.at];
        if server.running && server.open && server.waiting.is_empty() {
            world.write(self.at, Content::Own);
        }
        let promised = Epoch(self.promised.0);
        let server = self.server_state(world);
        let server_error = server.is_none().then(|| "connection refused".to_owned());
        let heartbeat = Heartbeat { host, boot_us, process, promised, server, server_error, canary: Canary::Off };
        self.tell(world, Fact::Heartbeat(Box::new(heartbeat)));
    }

    fn server_state(&self, world: &World) -> Option<ServerState> {
        let server = &world.servers[self.at];
        let receiver = server.source.map(|source| Receiver {
            channel: String::new(),
            source: self.spec.members[source].endpoint(),
            receiving: world.receives(self.at),
            applying: server.applier,
            error: None,
            delay_us: Some(world.now.since(server.pulse).as_micros() as u64),
        });
        server.running.then(|| ServerState {
            flavour: server.flavour,
            version: "simulated".to_owned(),
            server_id: u32::from(server.number),
            open: server.open,
            executed: None,
            receiver,
            stopped_channel: None,
            semi_sync: SemiSync { source_enabled: server.semi_sync, replica_enabled: true, ..SemiSync::default() },
            queries_per_second: None,
            threads_running: 1,
            connections: 1,
            host_load: None,
        })
    }
}
