//! A cluster, its agents, two deciders and two executors, and the rest of its fleet, in one seeded world on the memory bus:
//! which of them moves next, what breaks, what is repeated, late or lost, all follow from the seed. The real deciders, runbooks
//! and claims are run; servers, guards and hands are models. Broken invariants come back as text with the seed; the same seed
//! gives the same bytes. No clock, no thread, no file: ten thousand schedules take less than a minute.

mod agent;
mod decider;
mod executor;
mod faults;
mod fleet;
mod server;
mod voice;
mod world;

use std::time::Duration;

use millrace_processors::failover::Failover;
use millrace_processors::fold::Fold;
use millrace_schemas::cluster::{ClusterSpec, Member, Mode};
use millrace_schemas::event::Subject;
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::{ClusterId, HostId, InstanceId};
use millrace_schemas::record::{Bytes, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::{Command, Fact, Outcome as End};
use xxhash_rust::xxh3::Xxh3;

use crate::bus::memory::{Dice, Faults, MemoryBus};
use crate::bus::{Assignment, Bus as _, From, Polled};
use agent::Agent;
use decider::Decider;
use executor::Executor;
use faults::Fault;
use fleet::Others;
use server::Content;
use voice::{Library, Voice};
use world::World;

const MEMBERS: usize = 3;
/// 40 writes: enough that some are always on their way when something breaks.
const WRITES_MAX: u32 = 40;

/// How a schedule is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether anything breaks at all.
    pub faults: bool,
    /// How long after the last fault has ended everything must be well again.
    pub converge_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        // 180 s: two actions that run into their deadlines of 60 s, one after the other, and a third that succeeds.
        Self { faults: true, converge_within: Duration::from_mins(3) }
    }
}

/// What became of a schedule.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The first invariant that broke.
    pub violation: Option<String>,
    /// Hash of every byte in `journal`, `actions`, `alerts` and `routes`.
    pub hash: u128,
    /// Epochs in which a server was opened.
    pub promotions: usize,
    /// Writes that clients were told are safe.
    pub acknowledged: usize,
    /// It ended in a refusal that only a person can lift: histories that went apart.
    pub refused: bool,
    /// How often the fleet refused it a failover.
    pub refused_by_fleet: usize,
    /// How long it took, in simulated time.
    pub took: Duration,
    /// The journal, for replays.
    pub journal: Vec<Record>,
    /// What was decided.
    pub actions: Vec<Record>,
}

struct Simulation {
    options: Options,
    bus: MemoryBus,
    cluster: ClusterId,
    spec: ClusterSpec,
    world: World,
    library: Library,
    deciders: Vec<Decider>,
    executors: Vec<Executor>,
    operator: Voice,
    others: Others,
    agents: Vec<Agent>,
    faults: Vec<(Timestamp, Fault)>,
    refused: bool,
    /// When the last fault is over.
    calm_at: Timestamp,
    bus_back_at: Timestamp,
}

/// Runs the schedule of `seed`.
pub fn run(seed: u64, options: Options) -> Outcome {
    let mut simulation = Simulation::new(seed, options);
    simulation.begin();
    let mut checked = Timestamp::ZERO;
    loop {
        simulation.turn();
        let now = simulation.world.now;
        if simulation.world.violation.is_some() {
            break;
        }
        if now.since(checked) >= Duration::from_millis(500) && simulation.faults.is_empty() && now > simulation.calm_at
        {
            checked = now;
            let Some(trouble) = simulation.trouble() else { break };
            if simulation.is_for_a_person() {
                simulation.refused = true;
                break;
            }
            simulation.approve();
            if now.since(simulation.calm_at) > options.converge_within {
                simulation
                    .world
                    .fail(&format!("not well again {:?} after the last fault: {trouble}", options.converge_within));
            }
        }
    }
    simulation.end(seed)
}

fn spec(flavour: Flavour) -> ClusterSpec {
    let instance = |number: usize| InstanceId::parse(format!("db{number}")).expect("a legal id");
    let member = |number: usize| Member {
        instance: instance(number),
        host: HostId::parse(format!("h{number}")).expect("a legal id"),
        address: "127.0.0.1".to_owned(),
        port: 33_060 + number as u16,
    };
    ClusterSpec {
        name: "simulated".to_owned(),
        flavour,
        members: (1..=MEMBERS).map(member).collect(),
        primary: instance(1),
        acknowledgers: (1..=MEMBERS).map(instance).collect(),
        acknowledgements: 1,
        mode: Mode::Auto,
        template: Some("simulated".to_owned()),
    }
}

impl Simulation {
    fn new(seed: u64, options: Options) -> Self {
        let mut dice = Dice::new(seed);
        let flavour = if dice.chance(500) { Flavour::MySql } else { Flavour::MariaDb };
        let chance = |dice: &mut Dice, most: u64| if options.faults && dice.chance(600) { dice.below(most) } else { 0 };
        let wrong = Faults {
            duplicate: chance(&mut dice, 150),
            lost_answer: chance(&mut dice, 80),
            late: chance(&mut dice, 150),
        };
        let bus = MemoryBus::new(dice.roll(), 1, wrong);
        let cluster = ClusterId::parse("c1").expect("a legal id");
        let spec = spec(flavour);
        let faults = if options.faults { faults::draw(&mut dice, MEMBERS) } else { Vec::new() };
        let others = Others::draw(&mut dice);
        Self {
            options,
            deciders: (0..2).map(|number| Decider::new(&bus, &cluster, number)).collect(),
            executors: (0..2).map(|number| Executor::new(&bus, number)).collect(),
            agents: (0..MEMBERS).map(|at| Agent::new(&bus, &cluster, &spec, at)).collect(),
            world: World::new(dice, flavour, MEMBERS),
            library: Library::default(),
            operator: Voice::new("operator/o".to_owned()),
            others,
            calm_at: Timestamp(3_000_000),
            bus_back_at: Timestamp::ZERO,
            refused: false,
            bus,
            cluster,
            spec,
            faults,
        }
    }

    /// An operator speaks: one in four clusters is created, the others are there already.
    fn begin(&mut self) {
        let spec = Box::new(self.spec.clone());
        let command = if self.world.dice.chance(250) {
            Command::CreateCluster(spec)
        } else {
            self.world.settle();
            Command::Enrol(spec)
        };
        self.bus.set_now(self.world.now);
        self.tell(command);
    }

    /// Time moves, something breaks, and one actor does one thing.
    fn turn(&mut self) {
        // Coarser once everything that breaks has broken: what is left is mostly waiting.
        let calm = self.faults.is_empty() && self.world.now > self.calm_at;
        let usual = if calm { 30_000 } else { 12_000 };
        let pace = if self.world.dice.chance(30) { 60_000 } else { usual };
        self.world.now = self.world.now + Duration::from_micros(1 + self.world.dice.below(pace));
        self.bus.set_now(self.world.now);
        self.bus.set_away(self.world.now < self.bus_back_at);
        while self.faults.first().is_some_and(|(at, _)| *at <= self.world.now) {
            let (_, fault) = self.faults.remove(0);
            self.strike(fault);
        }
        self.others.step(&self.bus, self.world.now);
        self.world.guards();
        match self.world.dice.below(12) {
            at @ 0..=1 => self.deciders[at as usize].step(&self.bus, &mut self.library, &mut self.world),
            at @ 2..=3 => self.executors[at as usize - 2].step(&self.bus, &mut self.library, &mut self.world),
            at @ 4..=6 => self.agents[at as usize - 4].step(&self.bus, &mut self.library, &mut self.world),
            at @ 7..=10 => {
                self.world.replicate((at as usize - 7) % MEMBERS);
                self.world.check_writers();
            }
            _ => {
                if self.world.written < WRITES_MAX && self.world.dice.chance(400) {
                    self.world.written += 1;
                    let write = Content::App(self.world.written);
                    self.world.client_write(write);
                }
            }
        }
    }

    fn strike(&mut self, fault: Fault) {
        let now = self.world.now;
        let mut until = now;
        match fault {
            Fault::Primary => {
                let open = (0..MEMBERS).find(|at| self.world.servers[*at].running && self.world.servers[*at].open);
                if let Some(at) = open {
                    self.world.crash(at);
                }
            }
            Fault::Server(at) => self.world.crash(at),
            Fault::Agent(at, lasts) => {
                until = now + lasts;
                self.agents[at].die(&self.bus, &mut self.world, until);
            }
            Fault::Slow(at, lasts) => {
                until = now + lasts;
                self.agents[at].slow_until = until;
            }
            Fault::Host(at, lasts) => {
                until = now + lasts;
                self.world.host_down[at] = until;
                self.agents[at].die(&self.bus, &mut self.world, until);
                self.world.crash(at);
            }
            Fault::Decider(at, lasts) => {
                until = now + lasts;
                self.deciders[at].die(&self.bus, until);
            }
            Fault::Executor(at, lasts) => {
                until = now + lasts;
                self.executors[at].die(&self.bus, until);
            }
            Fault::Frozen(at, lasts) => {
                until = now + lasts;
                self.executors[at].freeze(until);
            }
            Fault::Bus(lasts) => {
                until = now + lasts;
                self.bus_back_at = self.bus_back_at.max(until);
            }
        }
        self.calm_at = self.calm_at.max(until);
    }

    /// True when nobody holds everything that somebody holds, all servers run closed, and the refusal says so: the servers have
    /// crashed in such an order that each may hold what no other has, and which of it counts no machine can know.
    fn is_for_a_person(&self) -> bool {
        let servers = &self.world.servers;
        let everything = |one: &server::Server| servers.iter().all(|other| other.log.iter().all(|it| one.has(*it)));
        let Some(last) = self.deciders[0].fold.state(&self.cluster).and_then(|state| state.last.as_ref()) else {
            return false;
        };
        matches!(&last.outcome, End::Refused { unblock, .. } if unblock.contains("operator"))
            && servers.iter().all(|one| one.running && !one.open)
            && !servers.iter().any(everything)
    }

    /// What is not well; nothing when the cluster is as it should be.
    fn trouble(&mut self) -> Option<String> {
        let state = self.deciders[0].fold.state(&self.cluster)?;
        if let Some(current) = &state.current {
            return Some(format!("{} is under way in epoch {}", current.action.kind.name(), current.action.epoch));
        }
        let name = |instance: &InstanceId| self.spec.members.iter().position(|member| member.instance == *instance);
        let Some(primary) = state.primary.as_ref().and_then(name) else {
            return Some("there is no primary".to_owned());
        };
        let server = &self.world.servers[primary];
        if !server.running || !server.open {
            return Some(format!("the primary db{} is not open", primary + 1));
        }
        if let Some((_, content)) = server.waiting.iter().find(|(position, _)| *position + 1 < server.log.len()) {
            return Some(format!("{content:?} still waits for an acknowledgement"));
        }
        for at in (0..MEMBERS).filter(|at| *at != primary) {
            let member = &self.world.servers[at];
            let person = state.quarantined.get(&self.spec.members[at].instance).is_some_and(|one| one.needs_person);
            if person && self.has_extra(at, primary) && member.running && !member.open {
                continue;
            }
            if member.source != Some(primary) || !self.world.receives(at) || !member.applier {
                return Some(format!("db{} does not follow db{}, it follows {:?}", at + 1, primary + 1, member.source));
            }
        }
        let rows = self.world.servers[primary].rows();
        let lost: Vec<u32> = self.world.acknowledged.difference(&rows).copied().collect();
        if !lost.is_empty() {
            self.world.fail(&format!("acknowledged writes {lost:?} are not on the primary db{}", primary + 1));
        }
        None
    }

    /// True when `at` executed what `primary` has not: only a person can decide about that.
    fn has_extra(&self, at: usize, primary: usize) -> bool {
        self.world.servers[at].log.iter().any(|one| !self.world.servers[primary].has(*one))
    }

    /// The operator approves what waits for approval: more failovers in ten minutes than are made without a person.
    fn approve(&mut self) {
        let Some(epoch) = self.deciders[0].fold.state(&self.cluster).and_then(|state| state.proposed) else { return };
        self.tell(Command::Approve { epoch });
    }

    fn tell(&mut self, command: Command) {
        let subject = Subject::cluster(self.cluster.clone());
        let record = self.operator.say(self.world.now, subject, None, Fact::Command(command));
        while self.bus.append(vec![record.clone()]).wait().is_err() {}
    }

    /// Checks that a replay decides the same, and sums up.
    fn end(mut self, seed: u64) -> Outcome {
        self.bus.set_away(false);
        for decider in &mut self.deciders {
            decider.finish(&self.bus, &mut self.library);
        }
        let journal = read(&self.bus, Topic::Journal);
        let actions = read(&self.bus, Topic::Actions);
        if self.world.violation.is_none()
            && let Err(difference) = replay(&mut self.library, &journal, &actions)
        {
            self.world.fail(&difference);
        }
        let refused_by_fleet =
            fleet::check(&mut self.library, &self.cluster, &journal, &actions).unwrap_or_else(|broken| {
                self.world.fail(&broken);
                0
            });
        let mut hash = Xxh3::new();
        for record in
            journal.iter().chain(&actions).chain(&read(&self.bus, Topic::Alerts)).chain(&read(&self.bus, Topic::Routes))
        {
            hash.update(&record.offset.to_le_bytes());
            hash.update(&record.appended.0.to_le_bytes());
            hash.update(record.value.as_deref().unwrap_or_default());
        }
        let violation = self.world.violation.take().map(|what| format!("seed {seed}: {what} ({:?})", self.options));
        Outcome {
            seed,
            violation,
            hash: hash.digest128(),
            promotions: self.world.promotions(),
            acknowledged: self.world.acknowledged.len(),
            refused: self.refused,
            refused_by_fleet,
            took: self.world.now.since(Timestamp::ZERO),
            journal,
            actions,
        }
    }
}

fn read(bus: &MemoryBus, topic: Topic) -> Vec<Record> {
    let assignment = Assignment::Manual(vec![(topic, From::Start)]);
    let mut reader = bus.reader(assignment).expect("the memory bus always gives a reader");
    let mut records = Vec::new();
    let end = bus.end(topic, 0).unwrap_or(0) as usize;
    while records.len() < end {
        let polled = reader.poll(Duration::ZERO).unwrap_or_default();
        records.extend(polled.into_iter().filter_map(|item| match item {
            Polled::Record(record) => Some(record),
            Polled::Gained { .. } | Polled::Lost { .. } | Polled::Refused { .. } => None,
        }));
    }
    records
}

/// Folds `journal` anew: the actions that come out must be the ones that were decided.
fn replay(library: &mut Library, journal: &[Record], actions: &[Record]) -> Result<(), String> {
    let mut fold = Fold::new(Failover, 0);
    let mut again = std::collections::BTreeSet::new();
    for record in journal {
        let out = fold.fold_read(record, library.fact(record)).out;
        again.extend(out.into_iter().filter(|one| one.topic == Topic::Actions).filter_map(|one| one.value));
    }
    let kind = b"\"millrace.action.v1\"";
    let is_action = |value: &Bytes| value.windows(kind.len()).any(|window| window == kind);
    let live: std::collections::BTreeSet<_> =
        actions.iter().filter_map(|one| one.value.clone()).filter(is_action).collect();
    if live == again {
        return Ok(());
    }
    let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
    let only_live: Vec<String> = live.difference(&again).map(text).collect();
    let only_again: Vec<String> = again.difference(&live).map(text).collect();
    Err(format!("a replay decides otherwise: only live {only_live:?}, only replayed {only_again:?}"))
}
