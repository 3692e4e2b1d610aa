//! The brokers are away, stand still, or change: nothing that was acknowledged is lost, nobody is failed over for it, and what did
//! not fit while they were away is counted to the last record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::kafka::KafkaBus;
use millrace::bus::{Bus as _, Error};
use millrace_schemas::event::Event;
use millrace_schemas::metrics::{BUS_APPENDED, BUS_REFUSED, Registry};
use millrace_schemas::record::{Headers, NewRecord};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;
use millrace_test_servers::KafkaOptions;

use super::asked;
use super::books::{write_facts, write_rows};
use super::fleet::{Fleet, MEMORY_MAX};

/// Everything a fleet has.
const ROLES: [&str; 7] = ["p1", "p2", "e1", "s1", "a-h1", "a-h2", "a-h3"];

/// What must hold after an outage that was nobody's fault: one action, the operator's.
fn only_what_was_asked_for(fleet: &Fleet) {
    let kinds: Vec<_> = fleet.actions().iter().map(|action| action.kind.name()).collect();
    assert_eq!(kinds, ["create-cluster"], "a failover that nothing called for\n{}", fleet.logs());
}

/// How many gaps the agents told.
fn gaps(fleet: &Fleet) -> usize {
    let journal = fleet.told(Topic::Journal);
    let is_gap = |record| matches!(Event::<Fact>::from_record(record), Ok(Event { payload: Fact::Gap(_), .. }));
    journal.iter().filter(|record| is_gap(record)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_away_or_stood_still_cost_nothing_that_was_acknowledged() {
    let (dead, still) = (asked(Duration::from_mins(1)).away, asked(Duration::from_secs(45)).away);
    let mut fleet = Fleet::new(&KafkaOptions::default()).await;
    for role in ROLES {
        fleet.start(role);
    }
    fleet.create();
    let primary = fleet.primary(None).await;
    let (facts, rows) = (write_facts(&fleet), write_rows(&fleet));
    tokio::time::sleep(Duration::from_secs(3)).await;

    fleet.kafka.kill9(1);
    tokio::time::sleep(dead).await;
    fleet.kafka.start_again(1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    fleet.kafka.pause(1).await;
    tokio::time::sleep(still).await;
    fleet.kafka.resume(1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    fleet.all_run();
    only_what_was_asked_for(&fleet);
    let gaps = gaps(&fleet);
    assert!(gaps >= fleet.spec.members.len(), "{gaps} gaps were told by the agents\n{}", fleet.logs());

    // And whoever dies now is failed over.
    fleet.kill_server(&primary);
    let next = fleet.primary(Some(&primary)).await;
    fleet.ended("rejoin", 1).await;
    let (facts, rows) = (facts.stop(), rows.stop());
    let (heaviest, bytes) = fleet.heaviest();
    assert!(bytes <= MEMORY_MAX, "{heaviest} had {} MiB", bytes >> 20);
    println!("broker killed for {} s, then stopped in its tracks for {} s:", dead.as_secs(), still.as_secs());
    println!("  {}", facts.check(&fleet.told(Topic::Journal)));
    println!("  {}", rows.check(&fleet));
    println!("  failovers: 0 meanwhile, 1 afterwards from {} to {}; {gaps} gaps told", primary.instance, next.instance);
    println!("  memory: {heaviest} had the most, {} MiB", bytes >> 20);
    fleet.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_lose_one_after_the_other_and_no_acknowledged_record() {
    let away = asked(Duration::from_secs(30)).away;
    let mut fleet = Fleet::new(&KafkaOptions { brokers: 3, ..KafkaOptions::default() }).await;
    for role in ["p1", "p2", "e1"] {
        fleet.start(role);
    }
    let (facts, rows) = (write_facts(&fleet), write_rows(&fleet));
    tokio::time::sleep(Duration::from_secs(3)).await;
    // With six partitions over three brokers each of them leads some.
    fleet.kafka.kill9(1);
    tokio::time::sleep(away).await;
    fleet.kafka.start_again(1).await;
    for broker in 1..=3 {
        fleet.kafka.stop(broker).await;
        fleet.kafka.start_again(broker).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    fleet.all_run();
    let (facts, rows) = (facts.stop(), rows.stop());
    println!("three brokers: a leader killed for {} s, then all restarted in turn:", away.as_secs());
    println!("  {}", facts.check(&fleet.told(Topic::Journal)));
    println!("  {}", rows.check(&fleet));
    fleet.remove().await;
}

/// 1,000 records of 100 KiB are more than the 64 MiB that wait for brokers.
const RECORDS: usize = 1_000;
const BYTES: usize = 100 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_while_the_broker_is_away_is_counted_to_the_record() {
    let mut fleet = Fleet::new(&KafkaOptions::default()).await;
    let metrics = Arc::new(Registry::new());
    let bus = KafkaBus::new(&fleet.settings, "test", Arc::clone(&metrics)).expect("a client");
    bus.ping().expect("it is there");
    fleet.kafka.kill9(1);
    let record = |number: usize| NewRecord {
        topic: Topic::SlowQueries,
        partition_key: format!("c{number}"),
        key: number.to_string(),
        headers: Headers::new(),
        value: Some(vec![b'x'; BYTES].into()),
    };
    let receipts: Vec<_> = (0..RECORDS).map(|number| bus.append(vec![record(number)])).collect();
    fleet.kafka.start_again(1).await;
    let (mut taken, mut refused) = (0, 0);
    for receipt in receipts {
        match receipt.await {
            Ok(_) => taken += 1,
            Err(Error::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    let there = fleet.told(Topic::SlowQueries).len();
    println!("{RECORDS} records of 100 KiB while the broker was away: {taken} waited and came, {refused} were refused");
    assert_eq!((there, taken + refused), (taken, RECORDS), "every record came, or is counted");
    let counted = |metric| metrics.get(metric, &["slow-queries"]) as usize;
    assert_eq!((counted(&BUS_APPENDED), counted(&BUS_REFUSED)), (taken, refused));
    assert!(refused > 0 && taken > RECORDS / 2, "the buffer has an end, and is used");
    fleet.remove().await;
}

#[test]
fn a_client_that_finds_no_broker_says_so_within_seconds() {
    let settings = crate::bus::real_kafka_settings("127.0.0.1:1");
    let bus = KafkaBus::new(&settings, "test", Arc::new(Registry::new())).expect("a client");
    let began = Instant::now();
    let error = bus.ping().expect_err("nobody is there");
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("127.0.0.1:1")), "{error}");
    assert!(began.elapsed() < Duration::from_secs(30));
}
