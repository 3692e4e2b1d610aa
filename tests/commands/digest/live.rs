//! `millrace digest --from`: a real server watched by its own counters while statements run whose number is known.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use millrace_mysql::Flavour;
use millrace_schemas::digest::Scanner;
use millrace_test_servers::{Options, Server};
use serde_json::Value;

use super::{assert_fits, millrace, schema_of_profile};

/// 300 of each statement: what a server may count wrongly, by 1 or 2 as was measured, is far less.
const RUNS: u64 = 300;
const WRONG_MAX: u64 = 2;
/// Looks of a second each after the first: the statements take less.
const LOOKS: usize = 8;

fn from(server: &Server) -> Command {
    let account = &server.template().accounts.agent;
    let mut command = millrace();
    command.args(["digest", "--limit", "all", "--from", &format!("127.0.0.1:{}", server.port())]);
    command.args(["--user", &account.user, "--password-file"]).arg(&account.password_file);
    command
}

async fn a_server_is_watched(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let mut session = server.session().await;
    // Not `id`: MariaDB prints that as a keyword, ID, and nothing tells how it was written.
    let table = "CREATE TABLE watched (nr INT PRIMARY KEY, c VARCHAR(20))";
    for statement in ["SET GLOBAL read_only = OFF", "USE shop", table] {
        session.execute(statement).await.expect("it answers");
    }
    let mut child = from(&server)
        .args(["-o", "json", "--interval", "1s", "--count", &(LOOKS + 1).to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    lines.next().expect("a profile of the first second").expect("text");
    for at in 0..RUNS {
        session.execute(&format!("INSERT INTO watched VALUES ({at}, 'planted{at}')")).await.expect("inserted");
        session.rows(&format!("SELECT c FROM watched WHERE nr = {at} AND c = 'planted{at}'")).await.expect("a row");
        let refused = session.execute(&format!("INSERT INTO watched VALUES ({at}, 'again')")).await;
        refused.expect_err("the key is there already");
    }
    let mut scanner = Scanner::new();
    let mut of = |sql: &str| scanner.id_of(sql.as_bytes()).to_string();
    let (insert, select) =
        (of("INSERT INTO watched VALUES (1, 'a')"), of("SELECT c FROM watched WHERE nr = 1 AND c = 'a'"));
    let (mut sums, mut told) = ([0_u64; 4], String::new());
    for line in lines {
        let line = line.expect("text");
        assert!(line.starts_with("{\"schema_version\":1,") && !line.contains("planted"), "{line}");
        let profile: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(schema_of_profile(&profile), Vec::<String>::new());
        assert_eq!(profile["inputs"][0]["kind"], "performance_schema");
        for group in profile["groups"].as_array().expect("groups") {
            let number = |name: &str| group[name].as_u64().expect("a number");
            if group["key"] == insert.as_str() {
                sums[0] += number("calls");
                sums[1] += number("errors");
            } else if group["key"] == select.as_str() {
                sums[2] += number("calls");
                sums[3] += number("rows_sent");
            }
        }
        told = line;
    }
    assert!(child.wait().expect("it ends").success());
    let expected = [2 * RUNS, RUNS, RUNS, RUNS];
    let good = sums.iter().zip(expected).all(|(sum, expected)| sum.abs_diff(expected) <= WRONG_MAX);
    assert!(good, "inserts, errors, selects, rows: {sums:?}, not {expected:?}; the last profile: {told}");
    session.close().await;

    let text = from(&server).args(["--interval", "1s", "--count", "1"]).output().expect("it runs");
    assert!(text.status.success(), "{text:?}");
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(text.contains("performance_schema") && text.contains("calls/s"), "{text}");
    assert_fits(&text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_is_watched_by_its_own_counters() {
    a_server_is_watched(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_is_watched_by_its_own_counters() {
    a_server_is_watched(Flavour::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_watch_is_told_why() {
    let mut server = Server::start(Flavour::MariaDb, &Options::default()).await;
    let refused = |output: std::process::Output, part: &str| {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(part), "{error}");
    };
    refused(from(&server).args(["-o", "html"]).output().expect("it runs"), "-o html needs files");
    refused(from(&server).args(["--interval", "1ms"]).output().expect("it runs"), "1s to 1h");
    refused(from(&server).args(["--filter", "query_time > 1s"]).output().expect("it runs"), "summed by digest");
    let mut session = server.session().await;
    let off = "UPDATE performance_schema.setup_consumers SET ENABLED = 'NO' WHERE NAME = 'statements_digest'";
    session.execute(off).await.expect("switched off");
    refused(from(&server).output().expect("it runs"), "statements_digest is off");
    session.close().await;
    server.kill();
    refused(from(&server).output().expect("it runs"), "cannot connect");
}
