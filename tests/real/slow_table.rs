//! A slow log that is a table is followed as a file is: what is added while the agent runs or is away is counted once, and that the
//! table was emptied is told.

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

fn sql(name: &str) -> String {
    format!("SELECT SLEEP(0.01) AS in_table_{name}, 'literal'")
}

async fn say(server: &Server, name: &str) {
    let mut session = server.session().await;
    session.execute("USE shop").await.expect("it answers");
    session.value(&sql(name)).await.expect("answered");
    session.close().await;
}

/// Waits until each of these was counted, and sees that it was once.
async fn counted(up: &Beside, names: &[&str]) {
    let digests = names.iter().map(|name| Scanner::new().id_of(sql(name).as_bytes())).collect::<Vec<_>>();
    let all = |rows: &[Row]| {
        let of = |digest| rows.iter().filter(move |row| row.digest == digest).cloned().collect::<Vec<Row>>();
        let found: Vec<Vec<Row>> = digests.iter().map(|digest| of(*digest)).collect();
        found.iter().all(|rows| !rows.is_empty()).then_some(found)
    };
    for rows in up.until("rows of the table", all).await {
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 1, "{rows:#?}");
        let row = &rows[0];
        assert_eq!((row.source, row.schema.as_str(), row.user.as_str()), (Source::SlowLog, "shop", "millrace"));
        assert!(row.rt_sum_us >= 10_000 && row.rows_sent == 1, "{row:?}");
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let second = since.as_secs().cast_signed();
        assert!((second - 180..=second).contains(&row.second), "{row:?} at {second}");
    }
}

async fn followed(flavour: Flavour) {
    let lines = vec!["long-query-time=0".to_owned(), "log-output=TABLE".to_owned()];
    let server = Server::start(flavour, &Options { lines, ..Options::default() }).await;
    server.run(&["SET GLOBAL read_only = OFF"]).await;
    say(&server, "before").await;
    let mut up = Beside::start(&server, "", "statements = \"wire\"");
    up.until("rows of the table", |rows| (!rows.is_empty()).then_some(())).await;
    say(&server, "first").await;
    counted(&up, &["first"]).await;
    up.end();
    say(&server, "unseen").await;
    up.again();
    counted(&up, &["first", "unseen"]).await;

    server.run(&["TRUNCATE TABLE mysql.slow_log"]).await;
    let emptied = "millrace_slow_log_broken_total{instance=\"db1\"}";
    let until = Instant::now() + PATIENCE;
    while up.metric(emptied).await != Some(1.0) {
        assert!(Instant::now() < until, "it was not told that the table was emptied\n{}", up.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    say(&server, "after").await;
    counted(&up, &["first", "unseen", "after"]).await;
    let before = Scanner::new().id_of(sql("before").as_bytes());
    assert!(up.rows().iter().all(|row| row.digest != before), "what was there before the agent came was counted");
    let took = up.metric("millrace_slow_log_table_look_seconds{instance=\"db1\"}").await;
    assert!(took.is_some_and(|took| took > 0.0), "{took:?}");
    let entries = up.told(Topic::SlowQueries);
    let sql = entries.iter().filter_map(|record| Event::<Slow>::from_record(record).ok());
    let sql: Vec<String> = sql.map(|Event { payload: Slow::Query(query), .. }| query.sql).collect();
    assert!(sql.iter().any(|sql| sql.contains("in_table_after")) && !sql.iter().any(|sql| sql.contains("literal")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_slow_log_in_a_table_is_followed() {
    followed(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_slow_log_in_a_table_is_followed() {
    followed(Flavour::MariaDb).await;
}
