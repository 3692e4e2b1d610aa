//! What a slow log has is in a store as often as it was sent, and once, also when the sink was killed and reads again.

use std::time::{Duration, Instant};

use millrace_mysql::Flavour;
use millrace_schemas::digest::{DigestId, Scanner};
use millrace_test_servers::{Options, Server, Store};
use serde_json::Value;

use super::beside::Beside;
use super::site::PATIENCE;

/// 300 over some 6 s: an agent sends each second in parts, since its looks at the log do not begin with seconds.
const RUNS: u32 = 300;
const PAUSE: Duration = Duration::from_millis(20);
const SQL: &str = "SELECT 1 AS slow_and_stored UNION ALL SELECT 2";
/// The rows of one.
const ROWS: u32 = 2;
/// 10 s: a sink that was started again has sent the last 15 s once more within one or two.
const SETTLED: Duration = Duration::from_secs(10);

/// The whole of a number of a digest.
async fn sum(store: &Store, metric: &str, digest: DigestId) -> f64 {
    let query = format!("sum(sum_over_time({metric}{{digest=\"{digest}\",cluster=\"c1\",instance=\"db1\"}}[10m]))");
    let url = format!("{}/api/v1/query", store.url());
    let url = reqwest::Url::parse_with_params(&url, [("query", query.as_str()), ("nocache", "1")]).expect("a URL");
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer: Value = client.get(url).send().await.expect("it answers").json().await.expect("JSON");
    answer["data"]["result"][0]["value"][1].as_str().map_or(0.0, |text| text.parse().expect("a number"))
}

async fn slow_statements_are_stored_once(flavour: Flavour) {
    let lines = vec!["long-query-time=0".to_owned(), "read-only=OFF".to_owned()];
    let server = Server::start(flavour, &Options { lines, ..Options::default() }).await;
    let store = Store::start();
    let url = store.url();
    let to = format!("\n[[store]]\nname = \"v\"\nurl = \"{url}\"\nkind = \"influx-v2\"\norg = \"o\"\nbucket = \"b\"\n");
    let mut up = Beside::start(&server, "", &to);
    up.until("rows of the slow log", |rows| (!rows.is_empty()).then_some(())).await;
    let mut session = server.session().await;
    for _ in 0..RUNS {
        session.rows(SQL).await.expect("answered");
        tokio::time::sleep(PAUSE).await;
    }
    session.close().await;
    let digest = Scanner::new().id_of(SQL.as_bytes());
    let all = |count: u32| f64::from(count) - 0.5..f64::from(count) + 0.5;
    let until = Instant::now() + PATIENCE;
    while !all(RUNS).contains(&sum(&store, "millrace_slow_queries", digest).await) {
        let there = sum(&store, "millrace_slow_queries", digest).await;
        assert!(Instant::now() < until, "{flavour}: {there} of {RUNS} are stored\n{}", up.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // What was read of the log is noted by then: it is the sink alone that does its work again.
    tokio::time::sleep(SETTLED).await;
    up.child.kill().expect("it runs");
    up.child.wait().expect("waitable");
    up.again();
    tokio::time::sleep(SETTLED).await;
    let rows = sum(&store, "millrace_slow_rows_sent", digest).await;
    let (queries, seconds) =
        (sum(&store, "millrace_slow_queries", digest).await, sum(&store, "millrace_slow_seconds", digest).await);
    println!("{flavour}: {queries} slow statements of {RUNS} are stored, {rows} rows, {seconds} s");
    assert!(all(RUNS).contains(&queries), "{flavour}: {queries} of {RUNS} after a kill");
    assert!(all(RUNS * ROWS).contains(&rows), "{flavour}: {rows} rows of {RUNS} statements");
    assert!(seconds > 0.0 && seconds < f64::from(RUNS), "{flavour}: {seconds} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_statements_of_mysql_are_stored_once() {
    slow_statements_are_stored_once(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_statements_of_mariadb_are_stored_once() {
    slow_statements_are_stored_once(Flavour::MariaDb).await;
}
