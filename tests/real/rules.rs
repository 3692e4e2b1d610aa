//! Rules over real servers, from the agent to the journal: a replica that is only watched, with as many connections as it has room for,
//! whose applier was stopped, and which is behind. Each is found, with the number that was judged, and is over when it is over.

use std::time::Instant;

use millrace_mysql::Flavour;
use millrace_schemas::event::Event;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{AlertState, Finding};
use millrace_schemas::topics::journal::Fact;
use millrace_test_servers::Cluster;

use super::beside::Beside;
use super::site::PATIENCE;

/// 24: room for the agent's sessions, the replication's and ours.
const MOST: f64 = 24.0;
/// 18 of 24 and the agent's are more than the 70 % of the rule, and few enough that the agent still comes in.
const HELD: usize = 18;

/// The shipped rules with less patience than people have, so that the test needs not wait as they do. A replica that has nothing to do
/// is less than 1 s behind.
pub(super) const RULES: &str = "[[rule]]\nname = \"ConnectionsHigh\"\nabove = 0.7\nclear = 0.6\nfor = \"0s\"\n\
                     [[rule]]\nname = \"ReplicationStopped\"\nfor = \"3s\"\n\
                     [[rule]]\nname = \"LagHigh\"\nabove = 3\nclear = 2\nfor = \"0s\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_real_servers_is_found_and_over() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let cluster = Cluster::start(flavour, 1).await;
        let replica = &cluster.replicas[0];
        replica.run(&[&format!("SET GLOBAL max_connections = {MOST}")]).await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rules.toml");
        std::fs::write(&file, RULES).expect("writable");
        let beside = Beside::start(replica, "", &format!("\n[alerts]\nrules = \"{}\"\n", file.display()));
        until(&beside, "Watchdog", AlertState::Firing).await;
        assert!(found(&beside).iter().all(|one| one.rule == "Watchdog"), "{flavour}: {:?}", found(&beside));

        let stop = if flavour == Flavour::MySql { "STOP REPLICA SQL_THREAD" } else { "STOP SLAVE SQL_THREAD" };
        replica.run(&[stop]).await;
        let stopped = until(&beside, "ReplicationStopped", AlertState::Firing).await;
        assert_eq!((stopped.value, stopped.instance.map(|one| one.to_string())), (Some(0.0), Some("db1".to_owned())));
        replica.run(&[&stop.replace("STOP", "START")]).await;
        let over = until(&beside, "ReplicationStopped", AlertState::Resolved).await;
        assert_eq!((over.fingerprint, over.since, over.value), (stopped.fingerprint, stopped.since, Some(1.0)));

        // What the primary wrote waits for a lock: the replica runs, and is behind by its own word. Nobody writes heartbeat rows here.
        let mut lock = replica.session().await;
        lock.execute("FLUSH TABLES WITH READ LOCK").await.expect("it may");
        cluster.primary.run(&["CREATE DATABASE behind"]).await;
        let behind = until(&beside, "LagHigh", AlertState::Firing).await;
        assert!(behind.value.is_some_and(|seconds| seconds > 3.0), "{flavour}: {behind:?}");
        lock.execute("UNLOCK TABLES").await.expect("it may");
        lock.close().await;
        let over = until(&beside, "LagHigh", AlertState::Resolved).await;
        assert_eq!((over.fingerprint, over.since), (behind.fingerprint, behind.since), "{flavour}");
        assert!(over.value.is_some_and(|seconds| seconds <= 2.0), "{flavour}: {over:?}");

        let mut sessions = Vec::new();
        for _ in 0..HELD {
            sessions.push(replica.session().await);
        }
        let high = until(&beside, "ConnectionsHigh", AlertState::Firing).await;
        assert!(high.value.is_some_and(|share| share > 0.7 && share <= 1.0), "{flavour}: {high:?}");
        assert!(high.summary.contains("% of the connections of db1 are in use"), "{flavour}: {high:?}");
        for session in sessions {
            session.close().await;
        }
        let over = until(&beside, "ConnectionsHigh", AlertState::Resolved).await;
        assert_eq!((over.fingerprint, over.since), (high.fingerprint, high.since));
    }
}

/// Every finding in the journal.
fn found(beside: &Beside) -> Vec<Finding> {
    let read = |record| Event::<Fact>::from_record(record).ok().map(|event| event.payload);
    let findings = beside.told(Topic::Journal);
    let findings = findings.iter().filter_map(read);
    findings.filter_map(|fact| if let Fact::Finding(one) = fact { Some(*one) } else { None }).collect()
}

pub(super) async fn until(beside: &Beside, rule: &str, state: AlertState) -> Finding {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = found(beside);
        if let Some(one) = found.iter().rev().find(|one| one.rule == rule && one.state == state) {
            return one.clone();
        }
        assert!(Instant::now() < until, "no {rule} {state:?} in {found:#?}\n{}", beside.log());
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}
