//! Our digests against those of a running MariaDB, which has no function that tells one: each statement is run, in a session of
//! its own, and `performance_schema` is asked what it was digested as. Most are refused; what was parsed has a digest nevertheless.

mod declared;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use millrace_mysql::{Flavour, Session};
use millrace_schemas::digest::Scanner;
use millrace_test_servers::{Options, Server, eventually};

use super::statements::{collected, generated};
use declared::{Difference, as_ours};

/// 600 generated statements: each takes a session of its own, and fewer do not meet every difference.
const GENERATED: usize = 600;
/// 250 of the 316 collected statements: others are of MySQL alone, or are not run.
const COLLECTED_MIN: usize = 250;
/// 450 of the generated ones: MariaDB does not take each of them.
const GENERATED_MIN: usize = 450;

/// Ends the server, or the session of who asks.
const NOT_RUN: [&str; 4] = ["shutdown", "restart", "clone", "kill"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_prints_the_same_text_but_for_what_is_declared() {
    let lines = [
        // What was run last is kept for each session, and no text is cut.
        "performance-schema-consumer-events-statements-current=ON",
        "performance-schema-digests-size=10000",
        "performance-schema-max-digest-length=65536",
        "max-digest-length=65536",
    ];
    let options = Options { lines: lines.map(str::to_owned).to_vec(), ..Options::default() };
    let server = Server::start(Flavour::MariaDb, &options).await;
    let mut reader = server.session().await;
    let mut scanner = Scanner::new();
    let mut counted: BTreeMap<Option<Difference>, usize> = BTreeMap::new();
    let (mut digested, mut wrong, mut printed) = ([0, 0], Vec::new(), BTreeSet::new());
    let collected = collected().into_iter().filter(|sql| !NOT_RUN.iter().any(|verb| sql.starts_with(verb)));
    let statements = collected.map(|sql| (0, sql)).chain(generated(GENERATED).into_iter().map(|sql| (1, sql)));
    for (source, sql) in statements {
        let Some(theirs) = digested_as(&server, &mut reader, &sql).await else { continue };
        digested[source] += 1;
        let ours = scanner.digest(sql.as_bytes()).text;
        let (expected, differences) = as_ours(&theirs, &ours);
        if expected != ours {
            wrong.push(format!("{sql}\n  theirs: {theirs}\n  ours:   {ours}\n  wanted: {expected}"));
        }
        if differences.is_empty() {
            *counted.entry(None).or_default() += 1;
        }
        for difference in differences {
            *counted.entry(Some(difference)).or_default() += 1;
        }
        printed.insert(theirs);
    }
    let [of_collection, of_grammar] = digested;
    let _ = writeln!(std::io::stderr(), "{of_collection} collected and {of_grammar} generated statements: {counted:?}");
    assert!(wrong.is_empty(), "{} undeclared differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(of_collection >= COLLECTED_MIN && of_grammar >= GENERATED_MIN, "{of_collection}, {of_grammar} generated");
    let met = Difference::ALL.iter().filter(|difference| counted.contains_key(&Some(**difference)));
    assert_eq!(met.count(), Difference::ALL.len(), "a declared difference was never met: {counted:?}");
    // What collectors read is the summary: it has the same texts.
    let summary = "SELECT DIGEST_TEXT FROM performance_schema.events_statements_summary_by_digest WHERE COUNT_STAR > 0";
    let rows = reader.rows(summary).await.expect("it answers");
    let summed: BTreeSet<String> = rows.iter().filter_map(|row| row.text("DIGEST_TEXT")).collect();
    let missing: Vec<&String> = printed.difference(&summed).collect();
    assert!(missing.is_empty(), "the summary does not have {missing:?}");
}

/// The text that the server gives the statement; none for what it cannot parse.
async fn digested_as(server: &Server, reader: &mut Session, sql: &str) -> Option<String> {
    let mut runner = server.session().await;
    // Some statements set the server's defaults, or drop the schema.
    for statement in
        ["SET SESSION TRANSACTION READ WRITE", "SET sql_mode = ''", "CREATE DATABASE IF NOT EXISTS shop", "USE shop"]
    {
        runner.execute(statement).await.expect("it answers");
    }
    let id = runner.value("SELECT CONNECTION_ID()").await.expect("it answers").expect("a number");
    let _ = runner.rows(sql).await;
    // The answer comes before the server is done with the statement.
    let last = format!(
        "SELECT IFNULL(DIGEST_TEXT, '') FROM performance_schema.events_statements_current \
         JOIN performance_schema.threads USING (THREAD_ID) WHERE PROCESSLIST_ID = {id} AND END_EVENT_ID IS NOT NULL"
    );
    let text = eventually("the statement ends", async || reader.value(&last).await.expect("it answers")).await;
    runner.close().await;
    Some(text).filter(|text| !text.is_empty())
}
