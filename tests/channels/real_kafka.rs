//! Two notifiers of a channel over a real Kafka: they share its partitions, and one takes over from the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace::bus::kafka::topics::Topics;
use millrace_test_servers::shared_kafka;

use super::receiver::Receiver;
use super::*;
use crate::bus::real_kafka::settings as topics_of_its_own;

/// An alert in each of 12 clusters: they lie in all partitions.
fn storm(rule: &str) -> Vec<NewRecord> {
    let one =
        |number| alert_of(&format!("c{number}"), &format!("{rule}{number}"), Some(Told::Began), Severity::Critical);
    (0..12).map(one).collect()
}

fn expected(rule: &str) -> BTreeSet<String> {
    (0..12).map(|number| format!("{rule}{number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_notifiers_share_a_channel_over_kafka_and_one_takes_over() {
    let kafka = tokio::task::spawn_blocking(|| topics_of_its_own(shared_kafka())).await.expect("no panic");
    let (folder, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start());
    let partitions = kafka.partitions as usize;
    let topics = kafka.clone();
    tokio::task::spawn_blocking(move || Topics::new(&topics).and_then(|topics| topics.apply()).expect("they are made"))
        .await
        .expect("no panic");
    let notifier = |name: &str| {
        let state = folder.path().join(name);
        std::fs::create_dir(&state).expect("a folder");
        let bus = config::Bus::Kafka(config::Kafka { state, ..kafka.clone() });
        let settings = settings(folder.path(), vec![webhook("ops", receiver.url())]);
        Up::start(&Settings { bus, name: name.to_owned(), ..settings }, SINK).expect("it starts")
    };
    let (one, two) = (notifier("one"), notifier("two"));
    let bus = Arc::clone(&two.bus);
    let has_begun = || (bus.load("channel.ops.v1").expect("readable").len() == partitions).then_some(());
    tokio::task::block_in_place(|| {
        let until = Instant::now() + PATIENCE;
        while has_begun().is_none() {
            assert!(Instant::now() < until, "not every partition has begun");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let told = |rule: &'static str| {
        let taken: BTreeSet<String> = receiver.taken().into_iter().map(|(rule, _)| rule).collect();
        expected(rule).is_subset(&taken).then_some(())
    };
    bus.append(storm("A")).await.expect("taken");
    until("all of the first are told", || told("A")).await;
    one.stop().await;
    bus.append(storm("B")).await.expect("taken");
    until("all of the second are told by the one that is left", || told("B")).await;
    let got = receiver.got();
    let ids: BTreeSet<&str> = got.iter().map(|got| got.header("idempotency-key")).collect();
    assert_eq!(ids.len(), 24, "who is told twice is told with the same id: {} messages", got.len());
    two.stop().await;
}
