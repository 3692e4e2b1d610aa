//! The servers' own statement counters.

use millrace_mysql::{Flavour, digests};
use millrace_test_servers::{Options, Server};

const TIMES: u64 = 25;

async fn statements_are_counted(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let mut session = server.session().await;
    let before = digests::read_commands(&mut session).await.unwrap();
    digests::reset(&mut session).await.unwrap();
    for number in 0..TIMES {
        session.execute(&format!("SELECT {number} AS counted_text")).await.unwrap();
        session.execute_with("SET @counted_prepared = ?", (number,)).await.unwrap();
    }
    let found = digests::read(&mut session).await.unwrap();
    let counted: Vec<_> =
        found.iter().filter(|one| one.text.as_deref().is_some_and(|text| text.contains("counted_text"))).collect();
    let [one] = counted.as_slice() else { panic!("one digest: {counted:?}") };
    assert_eq!((one.count, one.rows_sent, one.errors), (TIMES, TIMES, 0));
    assert!(one.time_ps > 0 && one.digest.is_some());
    let after = digests::read_commands(&mut session).await.unwrap();
    let more = |event: &str| after.get(event).unwrap_or(&0) - before.get(event).unwrap_or(&0);
    assert!(more("statement/sql/select") >= TIMES, "{after:?}");
    assert_eq!(more("statement/com/Execute"), TIMES, "{after:?}");
}

#[tokio::test]
async fn mysql_counts_its_statements() {
    statements_are_counted(Flavour::MySql).await;
}

#[tokio::test]
async fn mariadb_counts_its_statements() {
    statements_are_counted(Flavour::MariaDb).await;
}
