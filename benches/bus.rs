//! How fast the local bus is: producers that wait for each answer, against bare SQLite on the same disk in the same run, so that
//! the ratio tells of the code and not of the disk; and the way there from another process. Goals: 20,000 records a second with
//! eight producers and more, p99 of an append at most 20 ms.
//! `cargo bench --bench bus`; with `--test` (as `cargo test --benches` runs it) only a second's worth.
#![allow(clippy::print_stdout)] // the numbers are what it is for

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::SharedBus;
use millrace::bus::http::{self, HttpBus, Token};
use millrace::bus::local::LocalBus;
use millrace_schemas::metrics::Registry;
use millrace_schemas::record::{Bytes, Headers, NewRecord};
use millrace_schemas::topics::Topic;
use rusqlite::{Connection, params};

/// Eight agents, or the roles of one process.
const FEW: usize = 8;
/// 64 agents that send each record by itself: the worst case of a site.
const MANY: usize = 64;
/// 100 records an append: what an agent's outbox holds under load.
const BATCH: usize = 100;
/// 400 bytes: a heartbeat without its sets.
const VALUE_BYTES: usize = 400;

fn record() -> NewRecord {
    let headers = Headers::from([("content-type".to_owned(), "application/cloudevents+json".to_owned())]);
    NewRecord {
        topic: Topic::Journal,
        partition_key: "c1".to_owned(),
        key: "c1".to_owned(),
        headers,
        value: Some(Bytes::from(vec![b'x'; VALUE_BYTES])),
    }
}

/// Records a second, and the sorted times of single appends.
struct Run {
    rate: f64,
    took: Vec<Duration>,
}

impl Run {
    fn of(records: usize, began: Instant, mut took: Vec<Duration>) -> Self {
        took.sort();
        Self { rate: records as f64 / began.elapsed().as_secs_f64(), took }
    }

    fn quantile(&self, q: f64) -> f64 {
        let at = ((self.took.len() - 1) as f64 * q) as usize;
        self.took[at].as_secs_f64() * 1_000.0
    }

    fn print(&self, what: &str, peer: f64) {
        let (p50, p99) = (self.quantile(0.5), self.quantile(0.99));
        println!(
            "{what:<42} {:>9.0} records/s  p50 {p50:>6.2} ms  p99 {p99:>6.2} ms  {:>6.2} x batches",
            self.rate,
            self.rate / peer
        );
    }
}

/// A new bus of its own in `folder`.
fn local(folder: &Path) -> SharedBus {
    let folder = tempfile::tempdir_in(folder).expect("a folder").keep();
    Arc::new(LocalBus::open(&folder.join("bus.db"), Arc::new(Registry::new())).expect("a new bus opens"))
}

/// Another process' way to a new bus: served on loopback by a runtime that lives as long as the program.
fn over_http(folder: &Path) -> SharedBus {
    let bus = local(folder);
    let file = folder.join("bus.token");
    let token = Token::read_or_make(&file).expect("made");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let (_stay, stop) = tokio::sync::watch::channel(false);
            http::serve(bus, listener, token, stop).await.expect("served");
        });
    });
    Arc::new(HttpBus::new(address, &file).expect("a client"))
}

/// Producers that append `batch` records at a time and wait for the answer.
fn bus(bus: &SharedBus, producers: usize, batch: usize, each: usize) -> Run {
    let began = Instant::now();
    let producer = |bus: SharedBus| {
        move || {
            let mut took = Vec::with_capacity(each);
            for _ in 0..each {
                let began = Instant::now();
                bus.append(vec![record(); batch]).wait().expect("appended");
                took.push(began.elapsed());
            }
            took
        }
    };
    let threads: Vec<_> = (0..producers).map(|_| std::thread::spawn(producer(Arc::clone(bus)))).collect();
    let took = threads.into_iter().flat_map(|thread| thread.join().expect("a producer ends")).collect();
    Run::of(producers * each * batch, began, took)
}

/// Bare SQLite with the same durability: one connection, `batch` rows per transaction.
fn bare(folder: &Path, batch: usize, each: usize) -> Run {
    let mut connection = Connection::open(folder.join(format!("bare-{batch}.db"))).expect("SQLite opens");
    connection.pragma_update(None, "journal_mode", "wal").expect("set");
    connection.pragma_update(None, "synchronous", "full").expect("set");
    let table = "CREATE TABLE t(offset INTEGER PRIMARY KEY, key TEXT, appended INTEGER, headers TEXT, value BLOB)";
    connection.execute_batch(table).expect("made");
    let value = vec![b'x'; VALUE_BYTES];
    let began = Instant::now();
    let mut took = Vec::with_capacity(each);
    for at in 0..each {
        let one = Instant::now();
        let transaction = connection.transaction().expect("begun");
        for row in 0..batch {
            transaction
                .prepare_cached("INSERT INTO t VALUES(?1, ?2, ?3, ?4, ?5)")
                .and_then(|mut insert| insert.execute(params![(at * batch + row) as i64, "c1", 0_i64, "{}", value]))
                .expect("inserted");
        }
        transaction.commit().expect("committed");
        took.push(one.elapsed());
    }
    Run::of(each * batch, began, took)
}

fn main() {
    let short = std::env::args().any(|argument| argument == "--test");
    let scale = if short { 1 } else { 10 };
    let folder = tempfile::tempdir().expect("a folder");
    let batches = bare(folder.path(), BATCH, 100 * scale);
    let peer = batches.rate;
    batches.print("bare SQLite, 100 rows a commit", peer);
    bare(folder.path(), 1, 100 * scale).print("bare SQLite, 1 row a commit", peer);
    let at = folder.path();
    let full = bus(&local(at), FEW, BATCH, 50 * scale);
    let ten = bus(&local(at), FEW, 10, 100 * scale);
    let many = bus(&local(at), MANY, 1, 50 * scale);
    full.print("bus, 8 producers, 100 records an append", peer);
    ten.print("bus, 8 producers, 10 records an append", peer);
    many.print("bus, 64 producers, 1 record an append", peer);
    bus(&local(at), FEW, 1, 200 * scale).print("bus, 8 producers, 1 record an append", peer);
    bus(&over_http(at), FEW, 10, 100 * scale).print("over HTTP, 8 producers, 10 an append", peer);
    bus(&over_http(at), MANY, 1, 50 * scale).print("over HTTP, 64 producers, 1 an append", peer);
    let held = |good: bool| if good { "held" } else { "MISSED" };
    for (what, run) in [("100 an append", &full), ("10 an append", &ten), ("64 producers, 1 an append", &many)] {
        println!("goal of 20,000 records/s, {what}: {}", held(run.rate >= 20_000.0));
        println!("goal of p99 <= 20 ms, {what}: {}", held(run.quantile(0.99) <= 20.0));
    }
}
