//! Members come and go, and some stand still and go on as if nothing had been: shares of the work move, and nothing of it is done
//! twice or left out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_schemas::topics::Topic;
use millrace_test_servers::KafkaOptions;

use super::asked;
use super::books::{write_facts, write_rows};
use super::fleet::{Fleet, MEMORY_MAX};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processors_that_join_and_leave_count_every_window_once() {
    let storm = asked(Duration::from_mins(3)).away;
    // 5 s between two in the whole proof; shorter where there are only ten.
    let every = Duration::from_secs(5).min(storm / 4);
    let mut fleet = Fleet::new(&KafkaOptions::default()).await;
    fleet.start("p1");
    let (facts, rows) = (write_facts(&fleet), write_rows(&fleet));
    let until = Instant::now() + storm;
    let mut turns = 0;
    while Instant::now() < until {
        fleet.start("p2");
        tokio::time::sleep(every).await;
        // Every second one takes its leave, the others are torn out.
        if turns % 2 == 0 {
            fleet.kill9("p2");
        } else {
            fleet.leave("p2");
        }
        tokio::time::sleep(every / 4).await;
        turns += 1;
    }
    let (facts, rows) = (facts.stop(), rows.stop());
    println!("{turns} processors joined and left within {} s:", storm.as_secs());
    println!("  {}", facts.check(&fleet.told(Topic::Journal)));
    println!("  {}", rows.check(&fleet));
    fleet.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zombies_do_nothing_twice() {
    // More than the 3 s after which a claim lapses, and the 10 s after which a member's share goes to the others.
    let still = asked(Duration::from_mins(1)).away.max(Duration::from_secs(12));
    let mut fleet = Fleet::new(&KafkaOptions::default()).await;
    for role in ["p1", "p2", "e1", "e2", "a-h1", "a-h2", "a-h3"] {
        fleet.start(role);
    }
    fleet.create();
    let primary = fleet.primary(None).await;
    let (facts, rows) = (write_facts(&fleet), write_rows(&fleet));
    tokio::time::sleep(Duration::from_secs(3)).await;
    fleet.pause("p1");
    fleet.pause("e1");
    fleet.kill_server(&primary);
    let next = fleet.primary(Some(&primary)).await;
    fleet.ended("rejoin", 1).await;
    tokio::time::sleep(still).await;
    fleet.resume("p1");
    fleet.resume("e1");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (facts, rows) = (facts.stop(), rows.stop());
    let mut ends: BTreeMap<_, usize> = BTreeMap::new();
    for end in fleet.ends() {
        *ends.entry(end.action).or_default() += 1;
    }
    assert!(ends.values().all(|times| *times == 1), "an action ended twice: {ends:?}");
    let mut kinds: BTreeMap<_, usize> = BTreeMap::new();
    for action in fleet.actions() {
        *kinds.entry(action.kind.name()).or_default() += 1;
    }
    assert_eq!(kinds, BTreeMap::from([("create-cluster", 1), ("fail-over", 1), ("rejoin", 1)]));
    assert_eq!(fleet.primary(None).await, next, "what the zombies had read is of the past");
    let (heaviest, bytes) = fleet.heaviest();
    assert!(bytes <= MEMORY_MAX, "{heaviest} had {} MiB", bytes >> 20);
    println!("an executor and a processor stood still during a failover and for {} s, and went on:", still.as_secs());
    println!("  {}", facts.check(&fleet.told(Topic::Journal)));
    println!("  {}", rows.check(&fleet));
    println!("  actions: {kinds:?}, each ended once; the primary stays {}", next.instance);
    fleet.remove().await;
}
