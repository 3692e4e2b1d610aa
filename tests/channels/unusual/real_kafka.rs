//! The role on a real broker, in a process that is killed in the midst of what it judges: what is found is found once, and nothing of it
//! is lost. Who reads the journal drops what comes a second time under its id.

use std::collections::BTreeSet;

use millrace::bus::kafka::KafkaBus;
use millrace::bus::kafka::topics::Topics;
use millrace_test_servers::shared_kafka;

use super::*;
use crate::bus::real_kafka::settings as topics_of_its_own;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_killed_neither_repeats_nor_loses_what_is_unusual() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    std::fs::create_dir(&state).expect("a folder");
    let (kafka, bus) = tokio::task::spawn_blocking(move || {
        let kafka = config::Kafka { state, ..topics_of_its_own(shared_kafka()) };
        Topics::new(&kafka).and_then(|topics| topics.apply()).expect("they are made");
        let bus: SharedBus = Arc::new(KafkaBus::new(&kafka, "test", Arc::new(Registry::new())).expect("a client"));
        (kafka, bus)
    })
    .await
    .expect("no panic");
    let config = folder.path().join("millrace.toml");
    let config::Kafka { servers, prefix, partitions, replication, state, .. } = &kafka;
    let state = state.display();
    std::fs::write(
        &config,
        format!(
            "name = \"p1\"\n[bus]\nkind = \"kafka\"\nservers = \"{servers}\"\nprefix = \"{prefix}\"\npartitions = {partitions}\n\
             replication = {replication}\nstate-dir = \"{state}\"\n"
        ),
    )
    .expect("writable");
    let all = |clusters: &mut [Samples], count: i64, shows: Shows| -> Vec<NewRecord> {
        clusters.iter_mut().flat_map(|one| one.take(count, shows)).collect()
    };
    // Three clusters, which lie in several partitions.
    let mut clusters = ["c1", "c2", "c3"].map(|cluster| Samples::until_now(cluster, 200));
    let busy = (90.0, 0.0, 100.0);
    let ask = |what: &'static str, count: usize| {
        let bus = Arc::clone(&bus);
        move || {
            let found = tokio::task::block_in_place(|| found(&bus, "Anomaly"));
            let ids: BTreeSet<EventId> = found.iter().map(|(id, _)| *id).collect();
            assert!(ids.len() <= count, "{what}: {found:#?}");
            (ids.len() == count).then_some(())
        }
    };
    let child = Killed::start("process", &config);
    bus.append(all(&mut clusters, 100, CALM)).await.expect("taken");
    // Two values that are out are no proof: who takes the state up must know of them.
    bus.append(all(&mut clusters, 2, busy)).await.expect("taken");
    tokio::time::sleep(Duration::from_secs(7)).await; // some of it is stored, every five seconds
    drop(child);
    let child = Killed::start("process", &config);
    bus.append(all(&mut clusters, 4, busy)).await.expect("taken");
    until("threads of all three are found", ask("firing", 3)).await;
    drop(child); // before it has stored that it said so
    let child = Killed::start("process", &config);
    bus.append(all(&mut clusters, 2, busy)).await.expect("taken");
    tokio::time::sleep(Duration::from_secs(7)).await;
    drop(child);
    bus.append(all(&mut clusters, 20, CALM)).await.expect("taken"); // while nobody judges
    let _child = Killed::start("process", &config);
    until("it is over", ask("over", 6)).await;
    let found = tokio::task::block_in_place(|| found(&bus, "Anomaly"));
    let states: BTreeSet<(EventId, bool)> =
        found.iter().map(|(_, one)| (one.fingerprint, one.state == AlertState::Firing)).collect();
    assert_eq!(states.len(), 6, "each cluster's began and is over, once: {found:#?}");
    println!("{} findings under 6 ids, of a role that was killed three times", found.len());
}
