//! Every role is killed in turn (SIGKILL) and started again, under load; then the primary's server is killed too.

use std::collections::BTreeMap;
use std::time::Duration;

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
