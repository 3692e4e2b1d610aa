//! 1,000 clusters of three under one decider that checks every signature. Servers die one after the other, each of another
//! cluster: from the moment the agent is told of the exit to the moment a reader of `actions` has the failover. The limit of
//! three failovers in ten minutes stands: what it took includes the question for the permit and its answer, and each action is
//! refused by an executor at once, so that the permit comes back and the next may fail.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace::bus::{Assignment, From, Polled, Reader, SharedBus};
use millrace::roles::speaker::now;
use millrace::trust::key_file;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::ClusterId;
use millrace_schemas::record::{Bytes, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Action, ActionKind, Order};
use millrace_schemas::topics::journal::{Claimed, Command, Ended, Fact, Outcome};

use crate::agents::{Agent, Voice, beat, fleet, spec, write_roster};
use crate::place::Place;
use crate::process::Process;
use crate::trips::Trips;
use crate::{held, quantile};

/// 1,000 clusters of three: 3,000 heartbeats a second.
const CLUSTERS: usize = 1_000;
/// 120 exits: one of them is beyond the 99th hundredth.
const EXITS: usize = 120;
/// 700 ms between two, so that they fall into every part of the 5 s between snapshots.
const EVERY: Duration = Duration::from_millis(700);
/// 3 connections, which agents share.
const CONNECTIONS: usize = 3;
/// 2 threads speak for all agents.
const SPEAKERS: usize = 2;
/// 60 s for anything.
const PATIENCE: Duration = Duration::from_mins(1);
/// 10 s of the whole journal are weighed.
const WEIGHED: Duration = Duration::from_secs(10);
/// The goals.
const MEDIAN_MS: f64 = 50.0;
const P99_MS: f64 = 150.0;
const BYTES_PER_INSTANCE_SECOND: f64 = 1_500.0;
const RECORDS_PER_CLUSTER_SECOND: usize = 50;

pub(crate) fn measure(servers: &str, short: bool) {
    let place = Place::new(servers, "bench-fleet.");
    let (clusters, exits) = if short { (30, 3) } else { (CLUSTERS, EXITS) };
    let buses: Vec<SharedBus> = (0..CONNECTIONS).map(|at| place.bus(&format!("agents-{at}"))).collect();
    let agents = fleet(clusters, &buses);
    let person = Voice::new("operator/bench".to_owned(), u64::MAX, place.bus("operator"));
    let executor = Voice::new("executor/bench".to_owned(), u64::MAX - 1, place.bus("executor"));
    let trust = trust(&place, &agents, &person, &executor);
    let process = Process::start(&place, "decider", None, &trust);
    enrol(&agents, &person);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let speak = |share| {
            scope.spawn({
                let (agents, stop) = (&agents, &stop);
                move || beat(agents, share, SPEAKERS, stop)
            })
        };
        let speakers: Vec<_> = (0..SPEAKERS).map(speak).collect();
        // Everybody is heard, and the processes have warmed up.
        std::thread::sleep(Duration::from_secs(10));
        exits_to_actions(&place, &agents, &executor, &process, exits);
        weigh(&place, clusters);
        stop.store(true, Ordering::Relaxed);
        for speaker in speakers {
            let behind = speaker.join().expect("it ends");
            println!("fleet: heartbeats were said at most {:.0} ms late", behind * 1e3);
        }
    });
    println!("fleet: refused by signature: {}", refused(&process));
}

/// Declares every cluster; again where the broker, which has just made hundreds of partitions, did not answer in time.
fn enrol(agents: &[Agent], person: &Voice) {
    let until = Instant::now() + PATIENCE;
    let mut left: Vec<usize> = (0..agents.len() / 3).collect();
    while !left.is_empty() {
        assert!(Instant::now() < until, "{} clusters cannot be enrolled", left.len());
        let say = |number: usize| {
            let subject = Subject::cluster(agents[number * 3].cluster.clone());
            (number, person.say(subject, Fact::Command(Command::Enrol(Box::new(spec(number))))))
        };
        let said: Vec<_> = left.into_iter().map(say).collect();
        left = said.into_iter().filter_map(|(number, receipt)| receipt.wait().is_err().then_some(number)).collect();
    }
}

/// The section of the decider's configuration, and the files that it names.
fn trust(place: &Place, agents: &[Agent], person: &Voice, executor: &Voice) -> String {
    let (key, roster) = (place.folder().join("decider.key"), place.folder().join("roster.toml"));
    let public = key_file::make(&key).expect("made").public();
    let mut others = format!(
        "[[key]]\nid = \"{}\"\npublic = \"{public}\"\nroles = [\"process\"]\nnames = [\"decider\"]\nabout = [\"*\"]\n",
        public.id()
    );
    person.entry(&mut others, "\"operator\"", "names = [\"bench\"]", "*");
    executor.entry(&mut others, "\"execute\"", "names = [\"bench\"]", "*");
    write_roster(&roster, agents, &others);
    format!("[trust]\nkey-file = \"{}\"\nroster = \"{}\"\n", key.display(), roster.display())
}

/// Records that somebody's signature did not cover: none, or the fleet is not what it says.
fn refused(process: &Process) -> f64 {
    process.metric("millrace_refused_records_total{")
}

fn is_heartbeat(record: &Record) -> bool {
    Event::<Fact>::from_record(record).is_ok_and(|event| matches!(event.payload, Fact::Heartbeat(_)))
}

/// Lets one server after the other die, and prints how long it took until its failover was read.
fn exits_to_actions(place: &Place, agents: &[Agent], executor: &Voice, process: &Process, exits: usize) {
    let bus = place.bus("watcher");
    let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Actions, From::End)])).expect("a reader");
    reader.poll(Duration::from_millis(100)).expect("readable");
    let (from, mut trips) = (ends(&bus), Trips::default());
    let (began, before) = (Instant::now(), process.cost());
    let (mut took, mut lags) = (Vec::new(), Vec::new());
    for exit in 0..exits {
        let agent = &agents[exit * 7 % (agents.len() / 3) * 3];
        let (since, told) = (Instant::now(), now());
        drop(agent.change(true));
        let (action, appended) = next_action(reader.as_mut(), &agent.cluster, process);
        took.push(since.elapsed().as_secs_f64() * 1e3);
        trips.add(&agent.cluster, told, appended, now());
        refuse(executor, agent, &action);
        lags.push(process.metric("millrace_stage_lag_seconds{stage=\"deciders\",topic=\"journal\"}") * 1e3);
        std::thread::sleep(EVERY.saturating_sub(since.elapsed()));
    }
    let (seconds, cost) = (began.elapsed().as_secs_f64(), process.cost().since(&before));
    took.sort_by(f64::total_cmp);
    lags.sort_by(f64::total_cmp);
    let (median, p99) = (quantile(&took, 0.5), quantile(&took, 0.99));
    println!(
        "fleet: exit to action, permit included, {exits} exits under {} heartbeats/s: median {median:.0} ms, p90 {:.0} ms, p99 {p99:.0} ms, at most {:.0} ms",
        agents.len(),
        quantile(&took, 0.9),
        took[took.len() - 1]
    );
    println!("goal of a median of {MEDIAN_MS} ms: {}", held(median <= MEDIAN_MS));
    println!("goal of a p99 of {P99_MS} ms: {}", held(p99 <= P99_MS));
    trips.tell(place, from);
    println!(
        "fleet: deciders are {:.0} ms behind in the median, {:.0} ms at most; they take {:.0} % of a core, their whole process {:.0} % and {:.0} MB",
        quantile(&lags, 0.5),
        lags[lags.len() - 1],
        100.0 * cost.thread("deciders") / seconds,
        100.0 * cost.all / seconds,
        process.memory()
    );
}

/// The failover of `cluster`, when it comes, and when it was appended.
fn next_action(reader: &mut dyn Reader, cluster: &ClusterId, process: &Process) -> (Action, Timestamp) {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        for item in reader.poll(Duration::from_millis(100)).expect("readable") {
            if let Polled::Record(record) = item
                && let Ok(Event { payload: Order::Action(action), .. }) = Event::<Order>::from_record(&record)
                && action.cluster == *cluster
                && matches!(action.kind, ActionKind::FailOver(_))
            {
                return (*action, record.appended);
            }
        }
    }
    panic!("{cluster} is not failed over:\n{}", process.log());
}

/// The action is claimed and refused, and the server runs again: its cluster gives the permit back.
fn refuse(executor: &Voice, agent: &Agent, action: &Action) {
    let cluster = || Subject::cluster(agent.cluster.clone());
    let claimed = Claimed { action: Box::new(action.clone()), executor: "executor/bench".to_owned() };
    drop(executor.say(cluster(), Fact::Claimed(claimed)));
    drop(agent.change(false));
    drop(agent.beat());
    let outcome = Outcome::Refused { reason: "only measured".to_owned(), unblock: "nothing".to_owned() };
    drop(executor.say(cluster(), Fact::Ended(Ended { action: action.id, epoch: action.epoch, outcome })));
}

/// Where each partition of the journal ends.
fn ends(bus: &SharedBus) -> BTreeMap<u32, u64> {
    (0..).zip(bus.ends(Topic::Journal).expect("the ends")).collect()
}

/// Reads back some seconds of the journal, while agents go on, and prints what they cost.
fn weigh(place: &Place, clusters: usize) {
    let bus = place.bus("scales");
    let from = ends(&bus);
    std::thread::sleep(WEIGHED);
    let to = ends(&bus);
    let mut reader =
        bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Offsets(from.clone()))])).expect("a reader");
    let mut left =
        to.iter().filter(|(at, end)| from[at] < **end).map(|(at, end)| (*at, *end)).collect::<BTreeMap<_, _>>();
    let (mut bytes, mut beats) = (0, 0);
    let mut busiest: BTreeMap<(String, i64), usize> = BTreeMap::new();
    while !left.is_empty() {
        for item in reader.poll(WEIGHED).expect("readable") {
            let Polled::Record(record) = item else { continue };
            if to[&record.partition] <= record.offset {
                continue;
            }
            left.retain(|at, end| *at != record.partition || record.offset + 1 < *end);
            bytes += weight(&record);
            beats += usize::from(is_heartbeat(&record));
            *busiest.entry((record.key, record.appended.0.div_euclid(1_000_000))).or_default() += 1;
        }
    }
    let most = busiest.values().max().copied().unwrap_or(0);
    let per = bytes as f64 / (clusters * 3) as f64 / WEIGHED.as_secs_f64();
    println!(
        "fleet: {beats} heartbeats in {} s; {per:.0} bytes of journal a second and instance with all headers; at most {most} records of a cluster in a second",
        WEIGHED.as_secs()
    );
    println!(
        "goal of {BYTES_PER_INSTANCE_SECOND} bytes a second and instance: {}",
        held(per <= BYTES_PER_INSTANCE_SECOND)
    );
    println!(
        "goal of {RECORDS_PER_CLUSTER_SECOND} records a second and cluster: {}",
        held(most <= RECORDS_PER_CLUSTER_SECOND)
    );
}

/// Key, headers and value, and what Kafka adds to each record (21 bytes at most).
fn weight(record: &Record) -> usize {
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    21 + record.key.len() + headers + record.value.as_ref().map_or(0, Bytes::len)
}
