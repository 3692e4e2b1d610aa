//! The way between an agent and the brokers is slow, or cut: the agent of the primary's host is not heard, and its server is well.
//! That host is a network namespace of its own where one can be had: the cut is in its link to the brokers, on which packets vanish,
//! and its link to the other servers stays whole. Elsewhere the proxy that makes the way slow cuts it too, and the books say so.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use millrace_schemas::cluster::Member;
use millrace_schemas::event::Event;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;
use millrace_test_servers::{Island, KafkaOptions, Proxy};

use super::asked;
use super::books::write_facts;
use super::fleet::Fleet;
use crate::real::site::PATIENCE;

/// 100 ms each way: 200 ms for an answer.
const SLOW: Duration = Duration::from_millis(100);

/// A fleet whose agent of h1 reaches the brokers through a proxy, from an island if there is one; and how its way will be cut.
async fn apart() -> (Fleet, String) {
    let (island, how) = match Island::new() {
        Ok(island) => (Some(island), "packets between its network namespace and the brokers vanish".to_owned()),
        Err(why) => (None, format!("a proxy holds its bytes back, since no network namespace can be had: {why}")),
    };
    let behind = island.as_ref().map_or(Ipv4Addr::LOCALHOST, Island::way_to_brokers);
    let mut fleet = Fleet::new(&KafkaOptions { behind, ..KafkaOptions::default() }).await;
    if let Some(island) = &island {
        for member in &mut fleet.spec.members {
            let address = if member.host.as_str() == "h1" { island.address() } else { island.way_to_servers() };
            member.address = address.to_string();
        }
    }
    fleet.island = island;
    (fleet, how)
}

/// Cuts the way, or makes it whole again.
fn cut(fleet: &Fleet, proxies: &[Proxy], cut: bool) {
    match (&fleet.island, cut) {
        (Some(island), true) => island.cut(),
        (Some(island), false) => island.heal(),
        (None, true) => proxies.iter().for_each(Proxy::cut),
        (None, false) => proxies.iter().for_each(Proxy::heal),
    }
}

/// For how long the agent says that it was not heard, in seconds; waits until that is `at_least` so long.
async fn gap(fleet: &Fleet, primary: &Member, at_least: f64) -> f64 {
    let until = Instant::now() + PATIENCE;
    loop {
        let journal = fleet.told(Topic::Journal);
        let gaps = journal.iter().filter_map(|record| match Event::<Fact>::from_record(record) {
            Ok(Event { payload: Fact::Gap(gap), subject, .. })
                if subject.instance.as_ref() == Some(&primary.instance) =>
            {
                Some((gap.to_boot_us - gap.from_boot_us) as f64 / 1e6)
            }
            _ => None,
        });
        let longest = gaps.fold(0.0, f64::max);
        if longest >= at_least {
            return longest;
        }
        assert!(Instant::now() < until, "the agent tells of {longest} s, not of {at_least}\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_or_cut_way_to_the_broker_fails_nobody_over() {
    let (slow, away) = (asked(Duration::from_mins(1)).away, asked(Duration::from_mins(2)).away);
    let (mut fleet, how) = apart().await;
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
    cut(&fleet, &proxies, true);
    tokio::time::sleep(away).await;
    cut(&fleet, &proxies, false);
    for proxy in &proxies {
        proxy.delay(Duration::ZERO, Duration::ZERO);
    }
    let healed = Instant::now();
    let longest = gap(&fleet, &primary, away.as_secs_f64() / 4.0).await;
    let heard = healed.elapsed();
    // What was under way when it was cut comes in now, and means nothing any more.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let kinds: Vec<_> = fleet.actions().iter().map(|action| action.kind.name()).collect();
    assert_eq!(kinds, ["create-cluster"], "its replicas stream from it: it is well\n{}", fleet.logs());

    fleet.kill_server(&primary);
    let next = fleet.primary(Some(&primary)).await;
    fleet.ended("rejoin", 1).await;
    let facts = facts.stop();
    println!(
        "the agent of the primary's host: 200 ms away for {} s, then cut off for {} s:",
        slow.as_secs(),
        away.as_secs()
    );
    println!("  how: {how}");
    println!("  {}", facts.check(&fleet.told(Topic::Journal)));
    println!(
        "  failovers: 0 meanwhile, 1 afterwards from {} to {}; it told of {longest:.0} s, {:.1} s after the way was whole",
        primary.instance,
        next.instance,
        heard.as_secs_f64()
    );
    fleet.remove().await;
}
