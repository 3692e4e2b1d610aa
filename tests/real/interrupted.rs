//! Statements that somebody killed, or that ran into a time limit, are counted by digest: on the wire by the error that the client
//! gets, in MySQL's slow log by the error that it notes. MariaDB's slow log does not say how a statement ended, so nothing is said.

use millrace_mysql::{Flavour, Session};
use millrace_schemas::digest::{DigestId, Scanner};
use millrace_schemas::topics::queries::{Row, Source};
use millrace_test_servers::{Options, Server};

use super::beside::Beside;

const KILLED: &str = "SELECT nr AS killed FROM shop.slow WHERE SLEEP(60)";
const TIMED_OUT: &str = "SELECT nr AS timed_out FROM shop.slow WHERE SLEEP(60)";
/// So that statements of the agent, which come before, are slow too and each log is followed.
const ALL_ARE_SLOW: &str = "long-query-time=0";

async fn counted_as_what_they_are(flavour: Flavour) {
    let mut lines = vec![ALL_ARE_SLOW.to_owned()];
    lines.extend((flavour == Flavour::MySql).then(|| "log-slow-extra=ON".to_owned()));
    let server = Server::start(flavour, &Options { lines, ..Options::default() }).await;
    server.run(&["SET GLOBAL read_only = OFF", "CREATE TABLE shop.slow (nr INT PRIMARY KEY)"]).await;
    server.run(&["INSERT INTO shop.slow VALUES (1), (2)"]).await;
    let up = Beside::start(&server, "capture = \"lo\"", "statements = \"wire\"");
    let both = |rows: &[Row]| {
        let has = |source| rows.iter().any(|row| row.source == source);
        (has(Source::Wire) && has(Source::SlowLog)).then_some(())
    };
    up.until("rows of both sources", both).await;

    let (victim, killer) = (server.session().await, server.session().await);
    kill(victim, killer).await;
    let mut session = server.session().await;
    let limit = match flavour {
        Flavour::MySql => "SET SESSION max_execution_time = 100",
        Flavour::MariaDb => "SET SESSION max_statement_time = 0.1",
    };
    session.execute(limit).await.expect("set");
    let error = session.value(TIMED_OUT).await.expect_err("it runs into the limit");
    assert_eq!(error.code(), Some(if flavour == Flavour::MySql { 3024 } else { 1969 }), "{error}");
    session.close().await;

    let [killed, timed_out] = [KILLED, TIMED_OUT].map(|sql| Scanner::new().id_of(sql.as_bytes()));
    let counts = |rows: &[Row], digest: DigestId, source: Source| {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.digest == digest && row.source == source).collect();
        let sum = |of: fn(&Row) -> Option<u64>| rows.iter().map(|row| of(row)).sum::<Option<u64>>();
        let all = (sum(|row| Some(row.count)), sum(|row| row.killed), sum(|row| row.timed_out));
        (!rows.is_empty()).then_some(all)
    };
    let all = |rows: &[Row]| {
        let pairs = [
            (killed, Source::Wire),
            (timed_out, Source::Wire),
            (killed, Source::SlowLog),
            (timed_out, Source::SlowLog),
        ];
        let found: Vec<_> = pairs.into_iter().filter_map(|(digest, source)| counts(rows, digest, source)).collect();
        (found.len() == pairs.len()).then_some(found)
    };
    let found = up.until("rows of what was interrupted", all).await;
    let one = Some(1);
    assert_eq!(found[..2], [(one, one, Some(0)), (one, Some(0), one)], "{flavour}: on the wire");
    let logged = match flavour {
        Flavour::MySql => [(one, one, Some(0)), (one, Some(0), one)],
        Flavour::MariaDb => [(one, None, None), (one, None, None)],
    };
    assert_eq!(found[2..], logged, "{flavour}: in the slow log");
}

/// Kills the victim's statement as soon as it runs.
async fn kill(mut victim: Session, mut killer: Session) {
    let id = victim.id();
    let running =
        format!("SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {id} AND INFO LIKE '%killed%'");
    let killing = async {
        while killer.value(&running).await.expect("answered").as_deref() != Some("1") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        killer.execute(&format!("KILL QUERY {id}")).await.expect("killed");
        killer.close().await;
    };
    let (answer, ()) = tokio::join!(victim.value(KILLED), killing);
    let error = answer.expect_err("it was killed");
    assert_eq!(error.code(), Some(1317), "{error}");
    victim.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_interruptions_are_counted() {
    counted_as_what_they_are(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_interruptions_are_counted() {
    counted_as_what_they_are(Flavour::MariaDb).await;
}
