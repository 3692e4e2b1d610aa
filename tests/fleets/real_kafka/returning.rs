//! A broker that is killed comes back, and for a moment some of its partitions have no leader: whoever reads and writes them lives
//! on. They do so in a process of their own, since the client library has ended it there (`src/bus/kafka/leader_hints.c`).

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace::bus::kafka::KafkaBus;
use millrace::bus::kafka::topics::Topics;
use millrace::bus::{Assignment, Bus as _, From, Polled};
use millrace::config;
use millrace_schemas::metrics::Registry;
use millrace_schemas::record::{Headers, NewRecord};
use millrace_schemas::topics::Topic;
use millrace_test_servers::{Kafka, KafkaOptions};

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
        let topics = [Topic::Journal, Topic::Actions, Topic::Windows, Topic::Queries];
        let assignment = Assignment::Manual(topics.into_iter().map(|topic| (topic, From::End)).collect());
        let (mut reader, read) = (bus.reader(assignment).expect("a reader"), Arc::clone(&read));
        std::thread::spawn(move || {
            loop {
                let polled = reader.poll(Duration::from_millis(200)).unwrap_or_default();
                let records = polled.iter().filter(|item| matches!(item, Polled::Record(_))).count();
                read.fetch_add(records as u64, Ordering::Relaxed);
            }
        });
    }
    loop {
        for topic in [Topic::Journal, Topic::Windows] {
            // Not waited for: while the broker is away they wait in the library.
            drop(bus.append((0..KEYS).map(|key| record(topic, key)).collect()));
        }
        std::thread::sleep(Duration::from_millis(250));
        println!("\nread {}", read.load(Ordering::Relaxed));
    }
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
    let mut seen = 0;
    for round in 0..=RETURNS {
        // Records go their way: more than waited while the broker was away.
        let (until, enough) = (Instant::now() + PATIENCE, seen + 50 * KEYS as u64 * READERS as u64);
        while seen < enough {
            let Some(Ok(line)) = lines.next() else {
                panic!("after {round} returns the readers ended: {}", child.wait().expect("waitable"));
            };
            seen = line.strip_prefix("read ").and_then(|count| count.parse().ok()).unwrap_or(seen);
            assert!(Instant::now() < until, "after {round} returns only {seen} records were read, not {enough}");
        }
        if round < RETURNS {
            kafka.kill9(1);
            tokio::time::sleep(Duration::from_secs(1)).await;
            kafka.start_again(1).await;
        }
    }
    child.kill().and_then(|()| child.wait()).expect("it ends");
    println!("a broker came back {RETURNS} times: {READERS} readers of {PARTITIONS} partitions of 4 topics read on");
}
