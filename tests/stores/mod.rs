//! Numbers on their way to real stores: rows of statements enter, windows are made of them, and a store that is killed right after it
//! acknowledged, and away for a while, has each window row exactly once. What a store refuses goes to `dead`, alone.

mod killed;
mod lakes;
mod picky;
mod tls;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::local::LocalBus;
use millrace::bus::{Bus as _, SharedBus};
use millrace::config::{self, Settings};
use millrace::journal::appended_to;
use millrace::roles::up::{Roles, Up};
use millrace_schemas::event::{Event, Payload, Subject};
use millrace_schemas::ids::{ClusterId, DigestId, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::metrics::{SERIES_PER_INSTANCE, STORE_BAD_LINES, STORE_FAILED, STORE_REWINDS};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::windows::{self, TOTAL};
use millrace_schemas::topics::{Topic, examples, samples};
use millrace_sinks::store::Api;
use millrace_test_servers::Store;

use picky::Picky;

/// 12 s: the first window is closed and stored by then.
const BEFORE: Duration = Duration::from_secs(14);
/// 8 s away: longer than what a killed store forgets, shorter than a window.
const AWAY: Duration = Duration::from_secs(8);
/// 14 s between the two kills, so that a window is stored in between.
const BETWEEN: Duration = Duration::from_secs(14);
/// 60 s for what takes 5.
const PATIENCE: Duration = Duration::from_mins(1);
/// A user whose lines one of the stores does not like.
const REFUSED: &str = "refuse-me";

fn cluster() -> ClusterId {
    ClusterId::parse("c1").expect("legal")
}

fn settings(folder: &Path, stores: Vec<config::Store>) -> Settings {
    let bus = config::Bus::File { file: folder.join("bus.db"), listen: None, token_file: folder.join("bus.token") };
    Settings { stores, ..Settings::new("site", bus) }
}

fn store(name: &str, url: String) -> config::Store {
    let api = Api::V2 { org: "o".to_owned(), bucket: "b".to_owned() };
    config::Store { name: name.to_owned(), url, api, token_file: None, ca_file: None, series: SERIES_PER_INSTANCE }
}

/// Says each second what a server did, until it is told to end.
struct Server {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<f64>,
}

impl Server {
    fn start(bus: SharedBus) -> Self {
        let stop: Arc<std::sync::atomic::AtomicBool> = Arc::default();
        let ends = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut number, mut counted) = (0, 0.0);
            while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                let now = jiff::Timestamp::now().as_second();
                let rows = rows(now, number);
                counted += rows.iter().map(|row| row.count as f64).sum::<f64>();
                bus.append(vec![record(&rows, number)]).wait().expect("the bus is there");
                number += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
            counted
        });
        Self { stop, thread }
    }

    /// How many statements it counted.
    fn end(self) -> f64 {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// A second of three digests, with other counts each time; one of them by a user whose name a store does not like.
fn rows(second: i64, number: u64) -> [Row; 3] {
    let like = examples::rows().remove(0);
    let row = |at: u8, user: &str| Row {
        second,
        digest: DigestId([at; 16]),
        user: user.to_owned(),
        count: number % 7 + u64::from(at),
        ..like.clone()
    };
    [row(1, "app"), row(2, "a user, with=all\\"), row(3, REFUSED)]
}

/// Rows as an agent says them.
fn record(rows: &[Row], number: u64) -> NewRecord {
    examples::counted(cluster().as_str(), "agent/h1", number, rows)
}

fn event<P: Payload>(payload: P) -> NewRecord {
    numbered(payload, 0)
}

/// An event that is the same each time that it has this number.
fn numbered<P: Payload>(payload: P, counter: u64) -> NewRecord {
    let instance = InstanceId::parse("db1").expect("legal");
    let (at, sequence) = (Timestamp(jiff::Timestamp::now().as_microsecond()), Sequence { incarnation: 1, counter });
    let (id, subject) = (EventId::derive(&["test", &counter.to_string()]), Subject::instance(cluster(), instance));
    let source = "agent/h1".to_owned();
    Event { id, source, sequence, at, appended: Timestamp::ZERO, subject, cause: None, payload }.to_record()
}

/// Everything that is in a topic.
fn told(bus: &SharedBus, topic: Topic) -> Vec<Record> {
    appended_to(bus, topic).and_then(Iterator::collect::<Result<_, _>>).expect("readable")
}

/// Counts by series (digest, or the whole) and time in milliseconds.
type Counted = BTreeMap<(String, i64), f64>;

/// Statements in all of it.
fn total(counted: &Counted) -> f64 {
    counted.iter().filter(|((digest, _), _)| digest == "total").map(|(_, count)| count).sum()
}

/// What the closed windows of the bus say.
fn on_the_bus(bus: &SharedBus) -> Counted {
    let decode = |record: Record| windows::decode(record.value.as_deref().expect("rows")).expect("decodes");
    let all = told(bus, Topic::Windows).into_iter().flat_map(decode);
    let closed = all.filter(|window| window.closed && window.width_seconds == 10);
    let name = |digest| if digest == TOTAL { "total".to_owned() } else { format!("{digest}") };
    closed.map(|window| ((name(window.row.digest), (window.start() + 10) * 1_000), window.row.count as f64)).collect()
}

/// What a store has, each sample of it: one that is there twice fails.
fn in_the_store(store: &Store) -> Counted {
    store.flush();
    let mut counted = Counted::new();
    for name in ["millrace_load_queries", "millrace_statements_queries"] {
        for line in store.get(&format!("/api/v1/export?match[]={name}")).lines() {
            let series: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let digest = series["metric"]["digest"].as_str().unwrap_or("total").to_owned();
            let list = |key: &str| series[key].as_array().expect("a list").clone();
            for (value, at) in list("values").into_iter().zip(list("timestamps")) {
                let key = (digest.clone(), at.as_i64().expect("milliseconds"));
                let before = counted.insert(key.clone(), value.as_f64().expect("a number"));
                assert_eq!(before, None, "{key:?} is there twice");
            }
        }
    }
    counted
}

/// Waits until `store` has all of `expected`, and nothing else.
async fn has(store: &Store, expected: &Counted, what: &str) {
    let until = Instant::now() + PATIENCE;
    while in_the_store(store) != *expected {
        let stored = in_the_store(store);
        let other = expected.iter().filter(|(key, count)| stored.get(key) != Some(count));
        let missing: Vec<_> = other.map(|(key, count)| (key, count, stored.get(key))).collect();
        let more: Vec<_> = stored.keys().filter(|key| !expected.contains_key(key)).collect();
        assert!(Instant::now() < until, "{what}: {missing:?} missing or otherwise, {more:?} too many");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until the seconds that `store` has add up to what was `counted`.
async fn has_seconds(store: &Store, counted: f64) {
    let until = Instant::now() + PATIENCE;
    let sum = || -> f64 {
        let told = store.get("/api/v1/export?match[]=millrace_second_queries");
        let values = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["values"].clone();
        let values = told.lines().flat_map(|line| values(line).as_array().expect("a list").clone());
        values.filter_map(|value| value.as_f64()).sum()
    };
    while (sum() - counted).abs() > 0.1 {
        assert!(Instant::now() < until, "{counted} statements were counted, and {} are in the store", sum());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_killed_and_away_has_each_window_row_exactly_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut killed, strict) = (Store::start(), Store::start());
    let picky = Picky::start(strict.url(), REFUSED).await;
    let stores = vec![store("killed", killed.url()), store("strict", picky.url())];
    let up = Up::start(&settings(folder.path(), stores), Roles { process: true, sink: true, ..Roles::NONE })
        .expect("it starts");
    let mut records: Vec<NewRecord> = examples::taken().into_iter().map(event).collect();
    if let Some(samples::Taken::Sample(sample)) = examples::taken().into_iter().next() {
        let taken = Timestamp(jiff::Timestamp::now().as_microsecond());
        records.push(event(samples::Taken::Sample(samples::Sample { taken, ..sample })));
    }
    up.bus.append(records).await.expect("taken");
    let server = Server::start(Arc::clone(&up.bus));

    tokio::time::sleep(BEFORE).await;
    killed.kill(); // what it acknowledged in the last seconds is not on its disk
    tokio::time::sleep(AWAY).await;
    killed.start_again();
    tokio::time::sleep(BETWEEN).await;
    assert!(!in_the_store(&killed).is_empty(), "a window was stored in between");
    killed.kill();
    killed.start_again(); // at once: no request may have failed
    tokio::time::sleep(Duration::from_secs(1)).await;
    let counted = server.end();

    // The last window closes in the silence.
    let expected = lakes::closed(&up.bus, counted).await;
    has(&killed, &expected, "the store that was killed").await;
    // Nothing comes any more: what it forgets now is given again all the same.
    killed.kill();
    killed.start_again();
    has(&killed, &expected, "the store that was killed while nothing came").await;
    has_seconds(&killed, counted).await;
    let refused = format!("{}", DigestId([3; 16]));
    let liked: Counted = expected
        .iter()
        .filter(|((digest, _), _)| *digest != refused)
        .map(|(key, count)| (key.clone(), *count))
        .collect();
    has(&strict, &liked, "the store that refuses a line").await;
    assert!(
        killed.get("/api/v1/export?match[]=mysql_global_status_questions").contains("\"host\":\"h2\""),
        "samples too"
    );

    let count = |metric, store: &str| up.metrics.get(metric, &[store]) as u64;
    // On a starved machine a pause may be taken for one more, which costs nothing but lines.
    assert!(count(&STORE_REWINDS, "killed") >= 2, "both breaks were seen");
    assert_eq!(count(&STORE_BAD_LINES, "killed"), 0);
    assert!(count(&STORE_BAD_LINES, "strict") >= 1);
    let letters = told(&up.bus, Topic::Dead);
    assert_eq!(letters.len() as u64, (expected.len() - liked.len()) as u64, "one for each window");
    for letter in &letters {
        assert!(letter.headers["millrace.errors.line"].contains(REFUSED), "{:?}", letter.headers);
        assert!(letter.headers["millrace.errors.message"].contains(picky::WORDS), "{:?}", letter.headers);
        assert_eq!(letter.headers["millrace.errors.stage"], "store.strict.v1");
    }
    println!(
        "{} window rows exactly once; {} rewinds, {} failed requests; {} records in dead",
        expected.len(),
        count(&STORE_REWINDS, "killed"),
        count(&STORE_FAILED, "killed"),
        letters.len()
    );
    up.stop().await;
    let saved =
        LocalBus::open(&folder.path().join("bus.db"), Arc::default()).expect("it opens").load("store.strict.v1");
    assert!(saved.expect("readable").iter().any(|one| one.entity == "windows"), "positions are saved");
}
