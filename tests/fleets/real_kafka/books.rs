//! The books: what was given to the bus and acknowledged, against what is there; and the windows of a seeded input against those
//! of an undisturbed run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millrace::bus::SharedBus;
use millrace::roles::speaker::now;
use millrace_processors::windows::Windows;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, DigestId, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{NewRecord, Record, partition_of};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::Fact;
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::windows::{Window, decode, encode};

use super::fleet::Fleet;
use crate::real::site::PATIENCE;

/// Clusters whose facts are numbered, and whose instances are loaded.
const CLUSTERS: usize = 6;
/// 20 facts a second and cluster.
const FACT_EVERY: Duration = Duration::from_millis(50);
/// 5 seconds of rows in a second: windows close while the test looks.
const SECOND_EVERY: Duration = Duration::from_millis(200);
/// The seeded input begins here: never in the future of the append time.
const BEGIN: i64 = 1_700_000_000;

fn cluster(number: usize) -> ClusterId {
    ClusterId::parse(format!("c-book{number}")).expect("legal")
}

/// Someone who writes until told to stop.
pub(super) struct Writer<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Writer<T> {
    fn start(work: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self { stop, thread: std::thread::spawn(move || work(&seen)) }
    }

    /// Ends it; what it had written.
    pub(super) fn stop(self) -> T {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a writer does not panic")
    }
}

/// Appends until it is acknowledged, as producers of facts that must not be lost do.
fn surely(bus: &SharedBus, records: &[NewRecord], retries: &mut u64) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = bus.append(records.to_vec()).wait() {
        assert!(Instant::now() < until, "it is never acknowledged: {error}");
        *retries += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What was acknowledged of the facts.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// How many of each cluster: the numbers from 0.
    facts: BTreeMap<ClusterId, u64>,
    retries: u64,
}

/// Writes numbered facts.
pub(super) fn write_facts(fleet: &Fleet) -> Writer<Acknowledged> {
    let bus = fleet.bus();
    Writer::start(move |stop| {
        let mut done = Acknowledged::default();
        for counter in 0.. {
            for number in 0..CLUSTERS {
                surely(&bus, &[fact(cluster(number), counter)], &mut done.retries);
                done.facts.insert(cluster(number), counter + 1);
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(FACT_EVERY);
        }
        done
    })
}

fn fact(cluster: ClusterId, counter: u64) -> NewRecord {
    Event {
        id: EventId::derive(&["book", cluster.as_str(), &counter.to_string()]),
        source: "book/1".to_owned(),
        sequence: Sequence { incarnation: 1, counter },
        at: Timestamp(1),
        appended: Timestamp::ZERO,
        subject: Subject::cluster(cluster),
        cause: None,
        payload: Fact::Tick {},
    }
    .to_record()
}

impl Acknowledged {
    /// Holds what was acknowledged against what is there; the line of the books.
    pub(super) fn check(&self, journal: &[Record]) -> String {
        let mut there: BTreeMap<ClusterId, BTreeSet<u64>> = BTreeMap::new();
        let (mut copies, mut newest) = (0_u64, BTreeMap::new());
        for record in journal {
            let Ok(event) = Event::<Fact>::from_record(record) else { continue };
            if event.source != "book/1" {
                continue;
            }
            let counter = event.sequence.counter;
            let last = newest.entry(event.subject.cluster.clone()).or_insert(0);
            assert!(counter <= *last + 1, "{} skipped from {last} to {counter}", event.subject.cluster);
            *last = counter.max(*last);
            copies += u64::from(!there.entry(event.subject.cluster).or_default().insert(counter));
        }
        let acknowledged: u64 = self.facts.values().sum();
        for (cluster, facts) in &self.facts {
            let of_it = there.get(cluster).map_or(0, |found| found.range(..*facts).count() as u64);
            assert_eq!(of_it, *facts, "acknowledged facts of {cluster} are lost");
        }
        format!("facts: {acknowledged} acknowledged, 0 lost, {copies} there twice, {} sent again", self.retries)
    }
}

/// What was given to the window processors: per instance, how many seconds.
#[derive(Debug, Default)]
pub(super) struct Given {
    seconds: i64,
    retries: u64,
}

/// Writes the seeded rows, a record per instance and second.
pub(super) fn write_rows(fleet: &Fleet) -> Writer<Given> {
    let bus = fleet.bus();
    Writer::start(move |stop| {
        let mut given = Given::default();
        // To the end of a minute, and a while longer, so that its windows close.
        while !(stop.load(Ordering::Relaxed) && given.seconds > 60 && given.seconds % 60 == 20) {
            for number in 0..CLUSTERS {
                surely(&bus, &[rows(number, given.seconds)], &mut given.retries);
            }
            given.seconds += 1;
            std::thread::sleep(SECOND_EVERY);
        }
        given
    })
}

/// The rows of an instance in a second: the same at each run.
fn rows(number: usize, second: i64) -> NewRecord {
    let instance = InstanceId::parse(format!("db{number}")).expect("legal");
    let of_digest = |digest: u8| {
        let count = 1 + (second as u64 * 7 + u64::from(digest) * 3 + number as u64) % 11;
        let time = 100 + (second as u64 * 31 + u64::from(digest) * 17) % 5_000;
        let like = examples::row(BEGIN + second, DigestId([digest; 16]), count, time);
        Row { instance: instance.clone(), errors: u64::from(second % 13 == 0), rows_sent: count * 2, ..like }
    };
    let batch: Vec<Row> = (1..=20).map(of_digest).collect();
    examples::counted(cluster(number).as_str(), &format!("agent/book{number}"), second as u64, &batch)
}

/// A final row of a window: what it is about, and its bytes.
type Finals = BTreeMap<(String, u32, i64, DigestId), Vec<u8>>;

/// The final windows of 10 s and 1 min: of the copies of one the highest revision.
fn finals<'a>(values: impl Iterator<Item = &'a [u8]>, before: i64) -> Finals {
    let mut newest: BTreeMap<(String, u32, i64, DigestId), Window> = BTreeMap::new();
    for window in values.flat_map(|value| decode(value).expect("decodes")) {
        let end = window.start() + i64::from(window.width_seconds);
        if !window.closed
            || window.width_seconds > 60
            || end > before
            || !window.row.instance.as_str().starts_with("db")
        {
            continue;
        }
        let about = (window.row.instance.to_string(), window.width_seconds, window.start(), window.row.digest);
        match newest.get(&about) {
            Some(known) if known.revision >= window.revision => {}
            _ => drop(newest.insert(about, window)),
        }
    }
    newest.into_iter().map(|(about, window)| (about, encode(&[window]).expect("encodes"))).collect()
}

impl Given {
    /// Windows end before this second.
    fn end(&self) -> i64 {
        BEGIN + self.seconds - self.seconds % 60
    }

    /// What a run gives that nobody disturbs.
    fn undisturbed(&self, partitions: u32) -> Finals {
        let mut out: Vec<NewRecord> = Vec::new();
        for partition in 0..partitions {
            let mut windows = Windows::new(partition);
            let ours: Vec<usize> = (0..CLUSTERS)
                .filter(|number| partition_of(cluster(*number).as_str(), partitions) == partition)
                .collect();
            let mut offset = 0;
            for second in 0..self.seconds {
                for number in &ours {
                    let appended = Timestamp(now().0 / 1_000_000 * 1_000_000) + Duration::from_secs(second as u64 / 5);
                    out.extend(windows.fold(&rows(*number, second).stored(partition, offset, appended)).out);
                    offset += 1;
                }
            }
        }
        finals(values(&out), self.end())
    }

    /// Waits until every window that closed in an undisturbed run is there, and compares; the line of the books.
    pub(super) fn check(&self, fleet: &Fleet) -> String {
        let expected = self.undisturbed(fleet.settings.partitions);
        assert!(expected.len() > 100, "{} windows of {} s are no proof", expected.len(), self.seconds);
        let until = Instant::now() + PATIENCE;
        loop {
            let told = fleet.told(Topic::Windows);
            let found = finals(told.iter().filter_map(|record| record.value.as_deref()), self.end());
            if found == expected {
                let told = told.len();
                return format!(
                    "windows: {} s of rows, {} final rows of 10 s and 1 min equal to an undisturbed run byte for byte ({told} \
                     records, {} sent again)",
                    self.seconds,
                    found.len(),
                    self.retries
                );
            }
            if Instant::now() > until {
                let missing: Vec<_> = expected.keys().filter(|about| !found.contains_key(about)).take(5).collect();
                let other: Vec<_> = expected
                    .iter()
                    .filter(|(about, bytes)| found.get(about).is_some_and(|found| found != *bytes))
                    .map(|(about, _)| about)
                    .take(5)
                    .collect();
                panic!(
                    "of {} windows {} are there; missing for instance {missing:?}, different {other:?}\n{}",
                    expected.len(),
                    found.len(),
                    fleet.logs()
                );
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

fn values(records: &[NewRecord]) -> impl Iterator<Item = &[u8]> {
    records.iter().filter(|record| record.topic == Topic::Windows).filter_map(|record| record.value.as_deref())
}
