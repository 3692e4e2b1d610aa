//! `millrace up` beside a server whose statements are counted by its own counters: rows of `queries` with that source, texts in
//! `digests`, and not a row from the wire, though that is captured.

use std::time::{Duration, Instant};

use millrace_mysql::Flavour;
use millrace_schemas::digest::Scanner;
use millrace_schemas::topics::queries::{Row, Source};
use millrace_test_servers::{Options, Server};

use super::beside::Beside;
use super::site::PATIENCE;

/// 200 of each; a server may count one or two wrongly, as was measured.
const RUNS: u64 = 200;
const WRONG_MAX: u64 = 2;

async fn counted_by_the_server(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    server.run(&["SET GLOBAL read_only = OFF", "CREATE TABLE shop.counted (nr INT PRIMARY KEY, c INT)"]).await;
    let up = Beside::start(&server, "capture = \"lo\"", "statements = \"performance-schema\"");
    let until = Instant::now() + PATIENCE;
    // The agent's own statements come first: it has looked once.
    while up.rows().is_empty() {
        assert!(Instant::now() < until, "no rows came");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut session = server.session().await;
    session.execute("USE shop").await.expect("it answers");
    for at in 0..RUNS {
        session.execute(&format!("INSERT INTO counted VALUES ({at}, {at})")).await.expect("inserted");
    }
    session.close().await;
    let digest = Scanner::new().id_of(b"INSERT INTO counted VALUES (1, 1)");
    let counted = loop {
        let rows = up.rows();
        let ours: Vec<&Row> = rows.iter().filter(|row| row.digest == digest).collect();
        let counted: u64 = ours.iter().map(|row| row.count).sum();
        if counted + WRONG_MAX >= RUNS {
            assert!(rows.iter().all(|row| row.source == Source::PerformanceSchema), "the wire counted too: {rows:?}");
            assert!(ours.iter().all(|row| row.schema == "shop" && row.rows_affected == row.count), "{ours:?}");
            break counted;
        }
        assert!(Instant::now() < until, "{counted} of {RUNS} were counted");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(counted <= RUNS + WRONG_MAX, "{counted} of {RUNS}");
    assert_eq!(up.text_of(digest).as_deref(), Some("INSERT INTO `counted` VALUES (...)"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_counts_its_statements_itself() {
    counted_by_the_server(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_counts_its_statements_itself() {
    counted_by_the_server(Flavour::MariaDb).await;
}
