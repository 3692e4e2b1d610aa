//! A broker that is killed comes back, and for a moment some of its partitions have no leader: whoever reads and writes them lives
//! on. They do so in a process of their own, since the client library has ended it there (`src/bus/kafka/leader_hints.c`).

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace::bus::kafka::KafkaBus;
use millrace::bus::kafka::topics::Topics;
use millrace::bus::{Assignment, Bus as _, From, Polled};
use millrace::config;
use millrace::roles::speaker::now;
use millrace_schemas::metrics::Registry;
use millrace_schemas::record::{Headers, NewRecord};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_test_servers::{Kafka, KafkaOptions};
use serde::{Deserialize, Serialize};

use crate::real::site::PATIENCE;

/// Tells the process of the readers where the broker is.
const SERVERS: &str = "MILLRACE_TEST_READERS_OF";
/// 12 readers of 24 partitions of each topic: with twice that the library ended a process at the first return of a broker.
const READERS: usize = 12;
const PARTITIONS: u32 = 24;
/// 96 keys: hardly a partition without one.
const KEYS: usize = 96;
/// The broker comes back so often.
const RETURNS: usize = 3;
/// 15 s after it came back everybody knows again who leads; the library alone may believe for 30 s that nobody does.
const KNOWN_WITHIN: Duration = Duration::from_secs(15);
const TOPICS: [Topic; 4] = [Topic::Journal, Topic::Actions, Topic::Windows, Topic::Queries];

fn settings(servers: &str, state: PathBuf) -> config::Kafka {
    config::Kafka {
        servers: servers.to_owned(),
        prefix: "returning.".to_owned(),
        partitions: PARTITIONS,
        replication: 1,
        tls: None,
        sasl: None,
        state,
    }
}

/// The process of the readers. In the parent's own run there is nothing to do.
#[test]
fn readers() {
    let Ok(servers) = std::env::var(SERVERS) else { return };
    let bus = KafkaBus::new(&settings(&servers, std::env::temp_dir()), "readers", Arc::new(Registry::new()));
    let bus = bus.expect("a client");
    let read = Arc::new(AtomicU64::new(0));
    for _ in 0..READERS {
        let assignment = Assignment::Manual(TOPICS.into_iter().map(|topic| (topic, From::End)).collect());
        let (mut reader, read) = (bus.reader(assignment).expect("a reader"), Arc::clone(&read));
        std::thread::spawn(move || {
            loop {
                let polled = reader.poll(Duration::from_millis(200)).unwrap_or_default();
                let records = polled.iter().filter(|item| matches!(item, Polled::Record(_))).count();
                read.fetch_add(records as u64, Ordering::Relaxed);
            }
        });
    }
    // And somebody always wants to know where the topics end, also in the moments in which nobody leads a partition.
    let told = TOPICS.map(|_| Arc::new(AtomicU64::new(0)));
    for (topic, told) in TOPICS.into_iter().zip(&told) {
        let (bus, told) = (bus.clone(), Arc::clone(told));
        std::thread::spawn(move || {
            loop {
                told.fetch_add(u64::from(bus.ends(topic).is_ok()), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
    }
    loop {
        for topic in [Topic::Journal, Topic::Windows] {
            // Not waited for: while the broker is away they wait in the library.
            drop(bus.append((0..KEYS).map(|key| record(topic, key)).collect()));
        }
        std::thread::sleep(Duration::from_millis(250));
        let ends: Vec<u64> = told.iter().map(|told| told.load(Ordering::Relaxed)).collect();
        let seen = Seen { at: now(), read: read.load(Ordering::Relaxed), ends };
        println!("\n{}", serde_json::to_string(&seen).expect("serializes"));
    }
}

/// What the readers say of themselves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    at: Timestamp,
    read: u64,
    /// How often it was told where each topic ends.
    ends: Vec<u64>,
}

fn record(topic: Topic, key: usize) -> NewRecord {
    let key = key.to_string();
    NewRecord { topic, partition_key: key.clone(), key, headers: Headers::new(), value: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_ends_nobody() {
    let mut kafka = Kafka::start(&KafkaOptions::default()).await;
    let settings = settings(kafka.bootstrap(), kafka.folder().to_owned());
    Topics::new(&settings).and_then(|topics| topics.apply()).expect("the topics are made");
    let mut child = Command::new(std::env::current_exe().expect("this test binary"))
        .args(["fleets::real_kafka::returning::readers", "--exact", "--nocapture"])
        .env(SERVERS, &settings.servers)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (mut seen, mut slowest) = (Seen::default(), Duration::ZERO);
    for round in 0..=RETURNS {
        // Records go their way: more than waited while the broker was away. And the end of each topic is told.
        let (returned, enough) = (now(), seen.read + 50 * KEYS as u64 * READERS as u64);
        let mut before: Option<Seen> = None;
        let mut known = false;
        while seen.read < enough || !known {
            let Some(Ok(line)) = lines.next() else {
                panic!("after {round} returns the readers ended: {}", child.wait().expect("waitable"));
            };
            let Ok(said) = serde_json::from_str(&line) else { continue };
            seen = said;
            if seen.at <= returned {
                continue; // said before the broker was back
            }
            let before = &before.get_or_insert_with(|| seen.clone()).ends;
            let took = seen.at.since(returned);
            if !known && seen.ends.iter().zip(before).all(|(now, before)| now > before) {
                (known, slowest) = (true, slowest.max(took));
            }
            assert!(took < PATIENCE, "after {round} returns only {} records were read, not {enough}", seen.read);
            assert!(
                known || took < KNOWN_WITHIN,
                "after {round} returns it is not told where the topics end: {seen:?}"
            );
        }
        if round < RETURNS {
            kafka.kill9(1);
            tokio::time::sleep(Duration::from_secs(1)).await;
            kafka.start_again(1).await;
        }
    }
    child.kill().and_then(|()| child.wait()).expect("it ends");
    println!(
        "a broker came back {RETURNS} times: {READERS} readers of {PARTITIONS} partitions of 4 topics read on, and it was told after \
         {slowest:?} at most where they end"
    );
}
