//! MariaDB leaves out slow statements and marks none of those that it logs: the factor is asked of the server, and every row and
//! entry carries it, so that what is left out can be made up for.

use std::time::{Duration, Instant};

use millrace_mysql::Flavour;
use millrace_schemas::digest::Scanner;
use millrace_schemas::event::Event;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::queries::{Row, Source};
use millrace_schemas::topics::slow_queries::Slow;
use millrace_test_servers::{Options, Server};

use super::beside::Beside;
use super::site::PATIENCE;

const RATE: u32 = 5;
const RUNS: u64 = 100;
/// Which of the statements are logged depends on how many others come between; 100 at 5 gave 20, and never half or twice that.
const LOGGED: std::ops::RangeInclusive<u64> = 10..=40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_left_out_slow_statements_are_made_up_for() {
    let lines = vec!["long-query-time=0".to_owned(), format!("log-slow-rate-limit={RATE}")];
    let server = Server::start(Flavour::MariaDb, &Options { lines, ..Options::default() }).await;
    let up = Beside::start(&server, "", "");
    let slow = |rows: &[Row]| rows.iter().any(|row| row.source == Source::SlowLog).then_some(());
    up.until("rows of the slow log", slow).await;
    let factor = "millrace_slow_log_sample_factor{instance=\"db1\"}";
    let until = Instant::now() + PATIENCE;
    while up.metric(factor).await != Some(f64::from(RATE)) {
        assert!(Instant::now() < until, "{factor} is not {RATE}\n{}", up.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let sql = "SELECT 1 AS sampled_here";
    let mut session = server.session().await;
    for _ in 0..RUNS {
        session.value(sql).await.expect("answered");
    }
    session.close().await;
    let digest = Scanner::new().id_of(sql.as_bytes());
    let logged = |rows: &[Row]| {
        let ours: Vec<Row> =
            rows.iter().filter(|row| row.digest == digest && row.source == Source::SlowLog).cloned().collect();
        let count: u64 = ours.iter().map(|row| row.count).sum();
        (count >= *LOGGED.start()).then_some(ours)
    };
    up.until("rows of the sampled statement", logged).await;
    tokio::time::sleep(Duration::from_secs(2)).await; // what may still come
    let rows = logged(&up.rows()).expect("there were some");
    let count: u64 = rows.iter().map(|row| row.count).sum();
    assert!(LOGGED.contains(&count), "{count} of {RUNS} were logged: {rows:#?}");
    assert!(rows.iter().all(|row| row.sample_factor == RATE), "{rows:#?}");
    let entries = up.told(Topic::SlowQueries);
    let factors: Vec<u32> = entries
        .iter()
        .filter_map(|record| Event::<Slow>::from_record(record).ok())
        .map(|Event { payload: Slow::Query(query), .. }| query)
        .filter(|query| query.digest == digest)
        .map(|query| query.sample_factor)
        .collect();
    assert!(!factors.is_empty() && factors.iter().all(|factor| *factor == RATE), "{factors:?}");
}
