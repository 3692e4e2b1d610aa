//! What is unusual, from samples to people: records of `samples` enter a bus as agents append them, the role judges them, and findings
//! are in the journal, in alerts, and once a day with a receiver of webhooks. A day passes on the bus of the seeded world, whose
//! clock the test sets; everything else is as it runs.

mod real_kafka;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Order};
use std::thread::JoinHandle;

use millrace::bus::memory::{Faults, MemoryBus};
use millrace::roles::lag::Lags;
use millrace::roles::speaker::Speaker;
use millrace::roles::{anomalies, notify, process};
use millrace_schemas::event::Payload;
use millrace_schemas::ids::HostId;
use millrace_schemas::metrics::Registry;
use millrace_schemas::topics::alerts::Finding;
use millrace_schemas::topics::journal::Fact;
use millrace_schemas::topics::samples::{Sample, Taken};

use super::receiver::Receiver;
use super::*;

/// What an instance shows: threads that run, seconds behind its source, and how often it reads its files in a second.
type Shows = (f64, f64, f64);

const CALM: Shows = (6.0, 0.0, 100.0);

/// The samples of an instance, one each ten seconds.
struct Samples {
    cluster: &'static str,
    /// The second of the first.
    start: i64,
    next: i64,
    reads: f64,
}

impl Samples {
    /// So many of them end now.
    fn until_now(cluster: &'static str, count: i64) -> Self {
        let now = jiff::Timestamp::now().as_second().div_euclid(10) * 10;
        Self { cluster, start: now - count * 10, next: 0, reads: 0.0 }
    }

    fn take(&mut self, count: i64, shows: Shows) -> Vec<NewRecord> {
        (0..count).map(|_| self.one(shows)).collect()
    }

    fn one(&mut self, (threads, lag, files): Shows) -> NewRecord {
        self.next += 1;
        self.reads += files * 10.0;
        let values = [
            ("mysql_global_status_threads_running", threads),
            ("mysql_slave_status_seconds_behind_master{channel_name=\"\",connection_name=\"\"}", lag),
            ("mysql_global_status_innodb_data_reads", self.reads),
            ("mysql_global_status_innodb_data_writes", 7.0),
        ];
        let sample = Sample {
            host: HostId::parse("h1").expect("legal"),
            taken: Timestamp((self.start + self.next * 10 + 5) * 1_000_000),
            values: values.map(|(series, value)| (series.to_owned(), value)).into(),
            left_out: 0,
        };
        said(self.cluster, "agent/h1", self.next, Taken::Sample(sample))
    }
}

fn said<P: Payload>(cluster: &str, source: &str, number: i64, payload: P) -> NewRecord {
    let (name, instance) = (ClusterId::parse(cluster).expect("legal"), InstanceId::parse("db1").expect("legal"));
    let event = Event {
        id: EventId::derive(&[source, cluster, &number.to_string()]),
        source: source.to_owned(),
        sequence: Sequence { incarnation: 1, counter: number as u64 },
        at: Timestamp(jiff::Timestamp::now().as_microsecond()),
        appended: Timestamp::ZERO,
        subject: Subject::instance(name, instance),
        cause: None,
        payload,
    };
    event.to_record()
}

/// What was found, each with its event: who says something again says it with the same id.
fn found(bus: &SharedBus, rule: &str) -> Vec<(EventId, Finding)> {
    let journal = appended_to(bus, Topic::Journal).and_then(Iterator::collect::<Result<Vec<_>, _>>).expect("readable");
    let events = journal.iter().filter_map(|record| Event::<Fact>::from_record(record).ok());
    let findings = events.filter_map(|event| match event.payload {
        Fact::Finding(one) if one.rule == rule => Some((event.id, *one)),
        _ => None,
    });
    findings.collect()
}

/// What a finding is of, and its state.
fn named(found: &[(EventId, Finding)]) -> Vec<(String, AlertState)> {
    found.iter().map(|(_, one)| (one.labels.get("of").cloned().unwrap_or_default(), one.state)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_lag_and_files_of_an_instance_are_found_and_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let roles = Roles { process: true, ..Roles::NONE };
    let up = Up::start(&settings(folder.path(), Vec::new()), roles).expect("it starts");
    // Files are learnt for a day.
    let mut samples = Samples::until_now("c1", 8_760);
    for _ in 0..18 {
        up.bus.append(samples.take(480, CALM)).await.expect("taken");
    }
    up.bus.append(samples.take(60, CALM)).await.expect("taken");
    let began = samples.start + (samples.next + 1) * 10;
    up.bus.append(samples.take(12, (90.0, 60.0, 1_000.0))).await.expect("taken");
    up.bus.append(samples.take(20, CALM)).await.expect("taken");
    let found = until("all are found and over", || {
        let found = found(&up.bus, "Anomaly");
        (found.len() >= 6).then_some(found)
    })
    .await;
    let mut told = named(&found);
    told.sort_by_key(|(of, state)| (of.clone(), *state == AlertState::Resolved));
    let both = |of: &str| [(of.to_owned(), AlertState::Firing), (of.to_owned(), AlertState::Resolved)];
    assert_eq!(told, ["files", "lag", "threads"].map(both).concat(), "{found:#?}");
    for (_, one) in &found {
        assert_eq!((one.since, one.notifies), (Timestamp(began * 1_000_000), false), "{one:?}");
    }
    let summary = |of: &str| {
        let is_its = |one: &&(EventId, Finding)| one.1.labels["of"] == of && one.1.state == AlertState::Firing;
        found.iter().find(is_its).map_or("", |one| one.1.summary.as_str())
    };
    assert!(summary("files").starts_with("db1 reads and writes its files 9.18 times as often"), "{found:#?}");
    assert!(summary("lag").starts_with("db1 is 60 s behind its source"), "{found:#?}");
    assert!(summary("threads").starts_with("90 threads run on db1"), "{found:#?}");
    up.stop().await;
}

/// The roles that lead from samples to people, over a bus of the test.
struct Running {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    fn start(bus: &SharedBus, folder: &Path, channel: Channel) -> Self {
        let (stop, metrics, lags) = (Arc::new(AtomicBool::new(false)), Arc::new(Registry::new()), Lags::default());
        let speaker = Speaker::new("ticker/site".to_owned(), folder, Arc::clone(bus)).expect("it speaks");
        let mut running = Self { stop, threads: Vec::new() };
        let lag = lags.stage("deciders");
        running.run(bus, &metrics, move |bus, metrics, stop| {
            process::run(bus, &speaker, metrics, &lag, &millrace_processors::alerts::Settings::default(), stop)
        });
        let lag = lags.stage("anomalies");
        running.run(bus, &metrics, move |bus, metrics, stop| {
            anomalies::run(bus, &millrace_processors::anomalies::Settings::default(), metrics, &lag, stop)
        });
        let lag = lags.stage("channel");
        running.run(bus, &metrics, move |bus, metrics, stop| notify::run(bus, &channel, metrics, &lag, stop));
        running
    }

    fn run(
        &mut self,
        bus: &SharedBus,
        metrics: &Arc<Registry>,
        role: impl FnOnce(&SharedBus, &Registry, &Arc<AtomicBool>) -> anyhow::Result<()> + Send + 'static,
    ) {
        let (bus, metrics, stop) = (Arc::clone(bus), Arc::clone(metrics), Arc::clone(&self.stop));
        self.threads.push(std::thread::spawn(move || role(&bus, &metrics, &stop).expect("it ends when it is told to")));
    }

    fn stop(self) {
        self.stop.store(true, Order::Relaxed);
        for thread in self.threads {
            thread.join().expect("it ran");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_told_once_a_day_what_was_unusual() {
    let (folder, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start());
    let world = MemoryBus::new(7, 1, Faults::default());
    // Days end at 7. The next end, not the last: a channel is told of nothing that is older than a day.
    let (hour, now) = (3_600, jiff::Timestamp::now().as_second());
    let end = (now - 7 * hour).div_euclid(24 * hour) * 24 * hour + 31 * hour;
    let mut samples = Samples { start: end - 20 * hour, ..Samples::until_now("c1", 0) };
    let [before, day, next] = [-20, 1, 25].map(|hours| Timestamp((end + hours * hour) * 1_000_000));
    world.set_now(before);
    let bus: SharedBus = Arc::new(world.clone());
    let running = Running::start(&bus, folder.path(), webhook("ops", receiver.url()));
    begun(&bus, "ops").await;
    for shows in [(100, CALM), (12, (90.0, 0.0, 100.0)), (20, CALM)] {
        bus.append(samples.take(shows.0, shows.1)).await.expect("taken");
    }
    until("threads are found and over", || (found(&bus, "Anomaly").len() == 2).then_some(())).await;
    // A second each: what is told waits a little for what it may follow from.
    let mut number = 0;
    let mut tick = |since: Timestamp| {
        number += 1;
        world.set_now(since + Duration::from_secs(number as u64));
        drop(bus.append(vec![said("c1", "test", number, Fact::Tick {})]));
    };
    for _ in 0..50 {
        tick(before);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(receiver.taken(), [], "nobody is told of one anomaly, and the day is not over");
    let firing = [pair("AnomalySummary", "firing")];
    let mut told = |since: Timestamp, expected: &[(String, String)]| {
        tick(since);
        (receiver.taken() == expected).then_some(())
    };
    until("the day is told", || told(day, &firing)).await;
    let body = receiver.got()[0].body.to_string();
    assert!(body.contains("1 thing was unusual in the day until") && body.contains("90 threads run on db1"), "{body}");
    let both = [pair("AnomalySummary", "firing"), pair("AnomalySummary", "resolved")];
    for _ in 0..50 {
        assert_eq!(told(day, &firing), Some(()), "it is told once");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until("a day without anything takes it back", || told(next, &both)).await;
    running.stop();
}
