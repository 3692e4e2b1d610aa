//! An anomaly on a real server: a statement under steady load whose table loses its index. It is found, with its table and by how
//! much it takes longer, nobody is notified, and it is over when the index is back. The warm-up is as short as a configuration may
//! have it, ten windows, instead of ten minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_mysql::Flavour;
use millrace_schemas::digest::Scanner;
use millrace_schemas::event::Event;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{AlertState, Finding, Notice, Quiet};
use millrace_schemas::topics::journal::Fact;
use millrace_test_servers::{Options, Server};

use super::beside::Beside;

/// 5 ms between two statements: 2,000 in a window, and the server is idle most of the time.
const EVERY: Duration = Duration::from_millis(5);
/// Ten windows to learn, and two more in case of a slow start.
const LEARNS: Duration = Duration::from_secs(125);
/// Two windows that show it, the end of the second, and what the way takes; three minutes where tests run beside each other.
const FOUND: Duration = Duration::from_mins(3);
/// 50,000 rows: read whole they take some milliseconds, by an index a tenth of one.
const ROWS: &str = "INSERT INTO shop.parcels (nr, owner, weight) WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n \
                    WHERE i < 50000) SELECT i, i, i FROM n";

#[ignore = "five minutes, since a series must be learnt first: make prove-anomaly"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_mysql_that_lost_its_index_is_found_and_over() {
    found_and_over(Flavour::MySql, "SET SESSION cte_max_recursion_depth = 60000").await;
}

#[ignore = "five minutes, since a series must be learnt first: make prove-anomaly"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_mariadb_that_lost_its_index_is_found_and_over() {
    found_and_over(Flavour::MariaDb, "SET SESSION max_recursive_iterations = 60000").await;
}

/// `deep` lets the server count to the number of the rows.
async fn found_and_over(flavour: Flavour, deep: &str) {
    let server = Server::start(flavour, &Options::default()).await;
    server
        .run(&[
            "SET GLOBAL read_only = OFF",
            "CREATE TABLE shop.parcels (nr INT PRIMARY KEY, owner INT, weight INT, KEY of_owner (owner))",
            deep,
            ROWS,
        ])
        .await;
    let up = Beside::start(
        &server,
        "",
        "statements = \"performance-schema\"\n[anomalies]\nlearns = \"100s\"\nquiet = \"0s\"\n",
    );
    let stop = Arc::new(AtomicBool::new(false));
    let mut session = server.session().await;
    let load = tokio::spawn({
        let stop = Arc::clone(&stop);
        async move {
            let mut owner = 0;
            while !stop.load(Ordering::Relaxed) {
                owner = (owner + 7_919) % 50_000;
                let statement = format!("SELECT SUM(weight) FROM shop.parcels WHERE owner = {owner}");
                session.execute(&statement).await.expect("it answers");
                tokio::time::sleep(EVERY).await;
            }
            session.close().await;
        }
    });
    tokio::time::sleep(LEARNS).await;
    assert_eq!(found(&up), [], "nothing has happened");
    server.run(&["ALTER TABLE shop.parcels DROP KEY of_owner"]).await;
    let began = until(&up, AlertState::Firing).await;
    let digest = Scanner::new().id_of(b"SELECT SUM(weight) FROM shop.parcels WHERE owner = 1").to_string();
    assert_eq!(began.labels.get("table").map(String::as_str), Some("shop.parcels"), "{began:?}");
    assert!(began.value.is_some_and(|factor| factor >= 1.6) && !began.notifies, "{began:?}");
    assert!(began.summary.contains(&digest[..8]) && began.summary.contains("times as"), "{began:?}");
    server.run(&["ALTER TABLE shop.parcels ADD KEY of_owner (owner)"]).await;
    let over = until(&up, AlertState::Resolved).await;
    assert_eq!((over.fingerprint, over.since), (began.fingerprint, began.since));
    stop.store(true, Ordering::Relaxed);
    load.await.expect("the load ends");
    // People can see it, and nobody was told.
    let alerts: Vec<_> =
        up.told(Topic::Alerts).iter().filter_map(|record| Event::<Notice>::from_record(record).ok()).collect();
    let mut ours = alerts.iter().filter(|event| {
        let Notice::Alert(alert) = &event.payload;
        alert.fingerprint == began.fingerprint
    });
    assert!(ours.clone().count() >= 2, "{alerts:#?}");
    assert!(ours.all(|event| {
        let Notice::Alert(alert) = &event.payload;
        alert.told.is_none() && (alert.state == AlertState::Resolved || alert.quiet == Some(Quiet::Shown))
    }));
}

/// What is found of statements in the journal.
fn found(up: &Beside) -> Vec<Finding> {
    let read = |record| Event::<Fact>::from_record(record).ok().map(|event| event.payload);
    let journal = up.told(Topic::Journal);
    let findings = journal.iter().filter_map(read);
    let findings = findings.filter_map(|fact| if let Fact::Finding(one) = fact { Some(*one) } else { None });
    findings.filter(|one| one.rule == "StatementRegressed").collect()
}

async fn until(up: &Beside, state: AlertState) -> Finding {
    let until = Instant::now() + FOUND;
    loop {
        let found = found(up);
        let is_its = |one: &&Finding| one.state == state && one.labels.contains_key("table");
        if let Some(one) = found.iter().rev().find(is_its) {
            return one.clone();
        }
        assert!(Instant::now() < until, "no {state:?} in {found:#?}\n{}", up.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
