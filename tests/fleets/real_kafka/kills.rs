//! Every role is killed in turn (SIGKILL) and started again, under load; then the primary's server is killed too.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_schemas::topics::Topic;
use millrace_test_servers::KafkaOptions;

use super::asked;
use super::books::{write_facts, write_rows};
use super::fleet::{Fleet, MEMORY_MAX};

/// In this order, again and again.
const ROLES: [&str; 8] = ["p1", "e1", "a-h1", "p2", "e2", "a-h2", "s1", "a-h3"];
/// A second between two: each is back at work when the next one goes, and no two of a kind are away at once.
const BETWEEN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_nothing_is_lost_and_nothing_done_twice() {
    let kills = asked(Duration::from_mins(1)).kills;
    let mut fleet = Fleet::new(&KafkaOptions::default()).await;
    for role in ROLES {
        fleet.start(role);
    }
    fleet.create();
    let primary = fleet.primary(None).await;
    let (facts, rows) = (write_facts(&fleet), write_rows(&fleet));
    let mut killed: BTreeMap<&str, usize> = BTreeMap::new();
    for role in ROLES.into_iter().cycle().take(kills) {
        fleet.kill9(role);
        *killed.entry(role).or_default() += 1;
        tokio::time::sleep(BETWEEN / 4).await;
        fleet.start(role);
        tokio::time::sleep(BETWEEN).await;
    }
    let kinds: Vec<_> = fleet.actions().iter().map(|action| action.kind.name()).collect();
    assert_eq!(kinds, ["create-cluster"], "nobody but the operator asked for anything: no failover is due");

    fleet.kill_server(&primary);
    let next = fleet.primary(Some(&primary)).await;
    fleet.ended("rejoin", 1).await;
    let (facts, rows) = (facts.stop(), rows.stop());
    let journal = fleet.told(Topic::Journal);
    let mut ends: BTreeMap<_, usize> = BTreeMap::new();
    for end in fleet.ends() {
        *ends.entry(end.action).or_default() += 1;
    }
    assert!(ends.values().all(|times| *times == 1), "an action ended twice: {ends:?}");
    let failovers = fleet.actions().iter().filter(|action| action.kind.name() == "fail-over").count();
    assert_eq!(failovers, 1, "one server was killed");
    let (heaviest, bytes) = fleet.heaviest();
    assert!(bytes <= MEMORY_MAX, "{heaviest} had {} MiB", bytes >> 20);
    println!("{kills} kills: {killed:?}");
    println!("  {}", facts.check(&journal));
    println!("  {}", rows.check(&fleet));
    println!(
        "  actions: {} done once each, 0 twice; 1 failover, from {} to {}",
        ends.len(),
        primary.instance,
        next.instance
    );
    println!("  memory: {heaviest} had the most, {} MiB", bytes >> 20);
    fleet.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_dies_in_the_middle_is_followed_by_another() {
    let mut fleet = Fleet::new(&KafkaOptions::default()).await;
    for role in ["p1", "p2", "e2", "a-h1", "a-h2", "a-h3"] {
        fleet.start(role);
    }
    fleet.create();
    let primary = fleet.primary(None).await;
    // The other one sees nothing until the first has claimed, asked for a promotion, and died.
    fleet.pause("e2");
    fleet.start_to_die("e1", "step.asked:promote");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let killed = Instant::now();
    fleet.kill_server(&primary);
    fleet.died("e1").await;
    let died = killed.elapsed();
    fleet.resume("e2");
    let next = fleet.primary(Some(&primary)).await;
    let promoted = killed.elapsed();
    fleet.ended("fail-over", 1).await;
    fleet.ended("rejoin", 1).await;
    let mut kinds: BTreeMap<_, usize> = BTreeMap::new();
    for action in fleet.actions() {
        *kinds.entry(action.kind.name()).or_default() += 1;
    }
    assert_eq!(kinds, BTreeMap::from([("create-cluster", 1), ("fail-over", 1), ("rejoin", 1)]));
    println!(
        "the executor that held the claim died {} ms after the primary; {} was published {} ms after it",
        died.as_millis(),
        next.instance,
        promoted.as_millis()
    );
    fleet.remove().await;
}
