//! The way between an agent and the brokers is slow, or cut: the agent of the primary's host is not heard, and its server is well.

use std::time::Duration;

use millrace_schemas::event::Event;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;
use millrace_test_servers::KafkaOptions;

use super::asked;
use super::books::write_facts;
use super::fleet::Fleet;

/// 100 ms each way: 200 ms for an answer.
const SLOW: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_or_cut_way_to_the_broker_fails_nobody_over() {
    let (slow, cut) = (asked(Duration::from_mins(1)).away, asked(Duration::from_mins(2)).away);
    let mut fleet = Fleet::new(&KafkaOptions::default()).await;
    let proxies = fleet.kafka.proxies();
    let proxied = fleet.kafka.bootstrap_proxied().to_owned();
    for role in ["p1", "p2", "e1", "a-h2", "a-h3"] {
        fleet.start(role);
    }
    fleet.start_at("a-h1", &proxied);
    fleet.create();
    let primary = fleet.primary(None).await;
    assert_eq!(primary.host.as_str(), "h1", "the agent of its host is the one behind the proxy");
    let facts = write_facts(&fleet);

    for proxy in &proxies {
        proxy.delay(SLOW, SLOW);
    }
    tokio::time::sleep(slow).await;
    for proxy in &proxies {
        proxy.cut();
    }
    tokio::time::sleep(cut).await;
    for proxy in &proxies {
        proxy.heal();
        proxy.delay(Duration::ZERO, Duration::ZERO);
    }
    tokio::time::sleep(Duration::from_secs(8)).await;

    let kinds: Vec<_> = fleet.actions().iter().map(|action| action.kind.name()).collect();
    assert_eq!(kinds, ["create-cluster"], "its replicas stream from it: it is well\n{}", fleet.logs());
    let journal = fleet.told(Topic::Journal);
    let gaps: Vec<f64> = journal
        .iter()
        .filter_map(|record| match Event::<Fact>::from_record(record) {
            Ok(Event { payload: Fact::Gap(gap), subject, .. })
                if subject.instance.as_ref() == Some(&primary.instance) =>
            {
                Some((gap.to_boot_us - gap.from_boot_us) as f64 / 1e6)
            }
            _ => None,
        })
        .collect();
    let longest = gaps.iter().copied().fold(0.0, f64::max);
    assert!(
        longest >= cut.as_secs_f64() / 4.0,
        "the agent tells for how long it was not heard: {gaps:?}\n{}",
        fleet.logs()
    );

    fleet.kill_server(&primary);
    let next = fleet.primary(Some(&primary)).await;
    fleet.ended("rejoin", 1).await;
    let facts = facts.stop();
    println!(
        "the agent of the primary's host: 200 ms away for {} s, then cut off for {} s:",
        slow.as_secs(),
        cut.as_secs()
    );
    println!("  {}", facts.check(&fleet.told(Topic::Journal)));
    println!(
        "  failovers: 0 meanwhile, 1 afterwards from {} to {}; it told of {longest:.0} s",
        primary.instance, next.instance
    );
    fleet.remove().await;
}
