//! `millrace decode` and `millrace rt` as people and scripts use them: on a real capture of a real client and server, on what is no
//! capture or a part of one, and live beside both servers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_mysql::Flavour;
use millrace_mysql::connect::{Address, Session, Target};
use millrace_test_servers::{Island, Options, Proxy, Server};
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};

use crate::real::authority::{Way, client};
use crate::real::site::{PATIENCE, millrace};

/// A real session of MySQL 9.7's own client.
fn capture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("collectors/tests/data/mysql97-text.pcap")
}

fn run(command: &str, arguments: &[&str], file: &Path) -> Output {
    millrace().arg(command).args(arguments).arg("-r").arg(file).output().expect("it runs")
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// `decode` with the books at the end: the commands, and the books.
fn decoded(arguments: &[&str], file: &Path) -> (Vec<Value>, Value) {
    let output = run("decode", &[&["-o", "jsonl", "--summary", "json"], arguments].concat(), file);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let mut lines = lines(&output);
    let summary = lines.pop().expect("the books")["summary"].clone();
    (lines, summary)
}

#[test]
fn every_command_of_a_capture_is_a_line() {
    // The port is none that anybody would guess: the server is found by its greeting.
    let (commands, summary) = decoded(&[], &capture());
    assert_eq!(commands.len(), 14);
    let expected = json!({
        "schema_version": 1, "ts": "2026-11-21T15:05:29.152346Z", "client": "127.0.0.1:54954", "server": "127.0.0.1:33999",
        "connection": 1, "thread": 245, "user": "app", "schema": "sbtest", "command": "query",
        "sql": "select * from demo where id in (?,?)", "digest_id": commands[4]["digest_id"], "statement": 0,
        "rt_first_us": commands[4]["rt_first_us"], "rt_last_us": commands[4]["rt_last_us"], "rows": 2, "affected_rows": 0,
        "warnings": 0, "error": null, "request_bytes": 43, "response_bytes": 118, "flags": [], "gtid": null,
    });
    let mut found = commands[4].clone();
    found["ts"] = expected["ts"].clone();
    assert_eq!(found, expected);
    let several: Vec<_> = commands[8..11].iter().map(|line| (line["sql"].clone(), line["statement"].clone())).collect();
    assert_eq!(several, (0..3).map(|at| (json!("select ?"), json!(at))).collect::<Vec<_>>());
    assert_eq!(commands[3]["error"], json!({"code": 1062, "sqlstate": "23000"}));
    assert_eq!((&commands[13]["command"], &commands[13]["rt_first_us"]), (&json!("quit"), &json!(null)));
    let sum: u64 = ["decoded", "encrypted", "duplicate", "skipped", "shed", "undecodable"]
        .iter()
        .map(|of| summary["bytes"][of].as_u64().expect("a number"))
        .sum();
    assert_eq!(summary["bytes"]["captured"], sum);
    assert_eq!(summary["commands"], json!({"query": 11, "quit": 1}));
    assert_eq!((&summary["statements"], &summary["connections"]["seen"]), (&json!(13), &json!(1)));
}

#[test]
fn the_values_of_bulk_executions_are_read() {
    // `batch` of MariaDB's connector for Node.js 3, against MariaDB 10.11.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("collectors/tests/data/mariadb-bulk.pcap");
    let (commands, summary) = decoded(&["--show-literals"], &file);
    let bulk: Vec<_> = commands.iter().filter(|line| line["command"] == "stmt_bulk_execute").collect();
    let parameters: Vec<_> = bulk.iter().map(|line| &line["parameters"]).collect();
    let at = "2026-11-30 12:34:56.789000";
    let expected = [
        json!([[1, "one", 1.5, at, "0x00ff27"], [2, null, null, null, null]]),
        json!([[3, "it's", -0.25, at, null]]),
        json!([[4, "a long name that goes on for a while", 1e100, at, "A".repeat(300)]]),
        json!([["uno", 1], ["dos", 2]]),
    ];
    assert_eq!(parameters, expected.iter().collect::<Vec<_>>());
    assert_eq!(bulk.iter().map(|line| line["affected_rows"].as_u64()).collect::<Vec<_>>(), [2, 1, 1, 2].map(Some));
    assert_eq!((&summary["bytes"]["decoded"], &summary["bytes"]["captured"]), (&json!(1600), &json!(1600)));
    let (masked, _) = decoded(&[], &file);
    assert!(masked.iter().all(|line| line["parameters"].is_null()), "values stay where they are");
}

#[test]
fn literals_are_shown_only_when_asked_for_and_text_is_a_line_a_command() {
    let (commands, _) = decoded(&["--show-literals"], &capture());
    assert_eq!(commands[3]["sql"], "insert into demo values (1,'a'),(2,'b')");
    let text = run("decode", &[], &capture());
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert_eq!(text.lines().count(), 14);
    assert!(text.contains("app@sbtest query error 1062: insert into demo values (?,?),(?,?)"), "{text}");
    assert!(!text.contains("'a'"), "{text}");
    let first = run("decode", &["--count", "2", "--summary", "text"], &capture());
    let first = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(first.lines().nth(2).is_some_and(|line| line.starts_with("packets ")), "{first}");
}

#[test]
fn an_encrypted_session_is_turns() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("collectors/tests/data/mysql97-tls.pcap");
    let (commands, summary) = decoded(&[], &file);
    assert_eq!((commands.len(), &summary["encrypted_turns"]), (7, &json!(7)));
    assert!(commands.iter().all(|line| line["command"].is_null() && line["flags"] == json!(["encrypted"])));
    let rows = lines(&run("rt", &["-o", "jsonl", "--interval", "1m"], &file));
    let percent: Vec<_> = rows.iter().map(|row| row["encrypted_pct"].clone()).collect();
    assert_eq!(percent, [json!(100.0)]);
}

#[test]
fn response_times_are_those_of_the_commands() {
    let (commands, _) = decoded(&[], &capture());
    for (until, field) in [("first", "rt_first_us"), ("last", "rt_last_us")] {
        let rows = lines(&run("rt", &["-o", "jsonl", "--interval", "1h", "--until", until], &capture()));
        let mut times: Vec<u64> = commands.iter().filter_map(|line| line[field].as_u64()).collect();
        times.sort_unstable();
        let row = &rows[0];
        let of = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
        assert_eq!((rows.len(), &row["count"]), (1, &json!(times.len())));
        assert_eq!((&row["min_us"], &row["max_us"]), (&json!(times[0]), &json!(times[times.len() - 1])));
        assert_eq!((&row["med_us"], &row["p95_us"], &row["p99_us"]), (&json!(of(50)), &json!(of(95)), &json!(of(99))));
        assert_eq!((&row["drops"], &row["sample_factor"]), (&json!(0), &json!(1)));
    }
    let text = String::from_utf8_lossy(&run("rt", &[], &capture()).stdout).into_owned();
    assert!(text.lines().all(|line| line.len() == 80), "{text}");
}

#[test]
fn what_is_no_capture_or_only_a_part_of_one_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("trace.pcap");
    let bytes = std::fs::read(capture()).expect("readable");
    let mut other_link = bytes.clone();
    other_link[20] = 105; // Wi-Fi
    // The first packet says that it has 4 GB.
    let mut giant = bytes.clone();
    giant[32..40].fill(0xff);
    let check = |bytes: &[u8], code: i32, words: &str| {
        std::fs::write(&file, bytes).expect("writable");
        for command in ["decode", "rt"] {
            let output = run(command, &[], &file);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{command}: {said}");
            assert!(said.contains(words) && said.contains("trace.pcap"), "{command}: {said}");
        }
    };
    check(b"", 2, "does not begin as a capture does");
    check(b"# Time: 2026-11-21T09:01:00Z\n", 2, "does not begin as a capture does");
    check(&bytes[..10], 2, "cannot be read");
    check(&other_link, 2, "link type 105");
    check(&giant, 2, "cannot be read");
    check(&bytes[..bytes.len() - 20], 3, "cannot be read further");
    let packed = folder.path().join("trace.pcap.zst");
    std::fs::write(&packed, zstd::encode_all(&bytes[..], 1).expect("packs")).expect("writable");
    assert_eq!(decoded(&[], &packed).0.len(), 14);
}

/// The program as it captures, until it has said what was waited for.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(command: &str, port: u16, arguments: &[&str]) -> Self {
        let mut command_line = millrace();
        command_line.args([command, "-i", "lo", "-o", "jsonl", "-p"]).arg(port.to_string()).args(arguments);
        Self::run(command_line)
    }

    fn run(mut command_line: Command) -> Self {
        let mut child =
            command_line.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        let Some(Ok(line)) = self.lines.next() else {
            let mut said = String::new();
            let _ = self.child.stderr.take().expect("piped").read_to_string(&mut said);
            panic!("it ended: {said}");
        };
        serde_json::from_str(&line).expect("JSON")
    }

    /// Ends it as a terminal does, and what it said from here on.
    fn end(mut self) -> Vec<Value> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is our child");
        let rest = self.lines.map(|line| serde_json::from_str(&line.expect("readable")).expect("JSON")).collect();
        assert!(self.child.wait().expect("waitable").success());
        rest
    }
}

async fn commands_are_seen_live(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let open: &[&str] = match flavour {
        Flavour::MySql => &["SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF"],
        Flavour::MariaDb => &["SET GLOBAL read_only=OFF"],
    };
    server.run(open).await;
    let mut watch = Watch::start("decode", server.port(), &["--show-literals", "--summary", "json"]);
    // It captures once it sees anything.
    let (began, mut session) = (Instant::now(), server.session().await);
    let seen = std::thread::spawn(move || {
        let line = watch.next();
        (watch, line)
    });
    while !seen.is_finished() {
        assert!(began.elapsed() < PATIENCE, "nothing is captured");
        session.execute("SELECT 'are you there'").await.expect("it answers");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (mut watch, _) = seen.join().expect("it saw something");
    session.close().await;
    // One whose beginning is seen.
    let mut session = server.session().await;
    session.execute("USE shop").await.expect("it answers");
    session.execute("CREATE TABLE seen (id BIGINT PRIMARY KEY, c VARCHAR(20))").await.expect("created");
    session.execute_with("INSERT INTO seen VALUES (?, ?)", (7_u64, "seven")).await.expect("inserted");
    session.execute_with("SELECT c FROM seen WHERE id = ?", (7_u64,)).await.expect("selected");
    session.execute("SELECT nosuch FROM seen").await.expect_err("there is no such column");
    session.execute("SELECT 'the last'").await.expect("it answers");
    let mut found = Vec::new();
    while found.last().is_none_or(|line: &Value| line["sql"] != "SELECT 'the last'") {
        found.push(watch.next());
    }
    let of = |command: &str, sql: &str| {
        let fits = |line: &&Value| line["command"] == command && line["sql"] == sql;
        found.iter().find(fits).unwrap_or_else(|| panic!("{flavour}: no {command} {sql}: {found:#?}"))
    };
    let insert = of("stmt_execute", "INSERT INTO seen VALUES (?, ?)");
    assert_eq!((&insert["parameters"], &insert["affected_rows"]), (&json!([7, "seven"]), &json!(1)));
    assert_eq!((&insert["schema"], &insert["flags"]), (&json!("shop"), &json!([])));
    let select = of("stmt_execute", "SELECT c FROM seen WHERE id = ?");
    assert_eq!((&select["rows"], &select["parameters"]), (&json!(1), &json!([7])));
    assert_eq!(of("stmt_prepare", "INSERT INTO seen VALUES (?, ?)")["digest_id"], insert["digest_id"]);
    assert_eq!(of("query", "SELECT nosuch FROM seen")["error"], json!({"code": 1054, "sqlstate": "42S22"}));
    let last = of("query", "SELECT 'the last'");
    assert!(last["user"].is_string() && last["thread"].is_number(), "{last}");
    assert!(last["rt_last_us"].as_u64() >= last["rt_first_us"].as_u64() && last["rt_first_us"].as_u64() > Some(0));
    session.close().await;
    let rest = watch.end();
    let summary = &rest.last().expect("the books")["summary"];
    assert_eq!((&summary["kernel"]["dropped"], &summary["bytes"]["undecodable"]), (&json!(0), &json!(0)), "{summary}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_mysql_are_seen_live() {
    commands_are_seen_live(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_mariadb_are_seen_live() {
    commands_are_seen_live(Flavour::MariaDb).await;
}

/// Statements over a Unix socket are in no packet: the summary says how many a server had that were not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_summary_says_what_no_packet_showed() {
    const IN_PACKETS: u64 = 100;
    const IN_NONE: u64 = 300;
    /// So that hardly one ends while the server answers how many there were.
    const PAUSE: Duration = Duration::from_millis(5);
    let server = Server::start(Flavour::MySql, &Options::default()).await;
    let target = server.target("db1");
    let file = target.account.password_file.as_ref().expect("it has a password").display().to_string();
    let from = format!("mysql://{}@127.0.0.1:{}", target.account.user, server.port());
    let arguments = ["--summary", "json", "--from", &from, "--password-file", &file];
    let mut watch = Watch::start("decode", server.port(), &arguments);
    let (mut clear, mut socket) = (client(&server, Way::Clear).await, client(&server, Way::Socket).await);
    let seen = std::thread::spawn(move || {
        watch.next();
        watch
    });
    while !seen.is_finished() {
        clear.query_drop("SELECT 'are you there'").await.expect("it answers");
        tokio::time::sleep(PAUSE).await;
    }
    let watch = seen.join().expect("it saw something");
    // The server is asked each second, first when the capture begins.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for at in 0..IN_NONE {
        socket.query_drop("SELECT 1").await.expect("it answers");
        if at < IN_PACKETS {
            clear.query_drop("SELECT 1").await.expect("it answers");
        }
        tokio::time::sleep(PAUSE).await;
    }
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let rest = watch.end();
    let told = &rest.last().expect("the books")["summary"]["server"];
    let number = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("no {name} in {told}"));
    let unseen = number("statements") - number("shown");
    assert!(unseen.abs_diff(IN_NONE) <= 5 && number("shown") >= IN_PACKETS, "{told}");
    let ratio = unseen as f64 / number("statements") as f64;
    assert!((told["unseen_ratio"].as_f64().expect("a share") - ratio).abs() < 1e-9, "{told}");
    assert_eq!(told["stands_in"], "performance_schema");
}

#[test]
fn a_server_is_asked_only_while_an_interface_is_captured() {
    let output = run("decode", &["--summary", "json", "--from", "db1"], &capture());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("--interface"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_times_are_told_live() {
    let server = Server::start(Flavour::MariaDb, &Options::default()).await;
    let mut watch = Watch::start("rt", server.port(), &["--count", "3"]);
    let seen = std::thread::spawn(move || (0..3).map(|_| watch.next()).collect::<Vec<_>>());
    let mut session = server.session().await;
    let began = Instant::now();
    while !seen.is_finished() {
        assert!(began.elapsed() < PATIENCE, "no three rows");
        session.execute("SELECT SLEEP(0.01)").await.expect("it answers");
    }
    let rows = seen.join().expect("three rows");
    assert!(
        rows.iter().any(|row| row["count"].as_u64() > Some(5) && row["med_us"].as_u64() >= Some(10_000)),
        "{rows:?}"
    );
}

/// Each thread reads its share of the connections: together they see every statement once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_threads_see_every_statement_once() {
    const SESSIONS: usize = 24;
    let server = Server::start(Flavour::MySql, &Options::default()).await;
    let mut watch = Watch::start("decode", server.port(), &["--show-literals", "--summary", "json", "--threads", "3"]);
    let mut first = server.session().await;
    let seen = std::thread::spawn(move || {
        watch.next();
        watch
    });
    let began = Instant::now();
    while !seen.is_finished() {
        assert!(began.elapsed() < PATIENCE, "nothing is captured");
        first.execute("SELECT 'are you there'").await.expect("it answers");
    }
    let mut watch = seen.join().expect("it saw something");
    // The others may begin to capture a moment after the first.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for session in 0..SESSIONS {
        let mut own = server.session().await;
        for at in 0..10 {
            own.execute(&format!("SELECT 'session', {session}, {at}")).await.expect("it answers");
        }
        own.close().await;
    }
    first.execute("SELECT 'the last'").await.expect("it answers");
    let expected =
        (0..SESSIONS).flat_map(|session| (0..10).map(move |at| format!("SELECT 'session', {session}, {at}")));
    let mut expected: Vec<String> = expected.collect();
    let (mut found, mut connections) = (Vec::new(), BTreeMap::new());
    while found.len() < expected.len() {
        let line = watch.next();
        if let Some(sql) = line["sql"].as_str().filter(|sql| sql.contains("'session'")) {
            *connections.entry(line["connection"].as_u64().expect("a number")).or_insert(0) += 1;
            found.push(sql.to_owned());
        }
    }
    let rest = watch.end();
    assert!(rest.iter().all(|line| !line["sql"].as_str().is_some_and(|sql| sql.contains("'session'"))), "{rest:?}");
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(connections.values().copied().collect::<Vec<_>>(), [10; SESSIONS], "each connection has its number");
    let shares: BTreeSet<u64> = connections.keys().map(|number| number % 3).collect();
    assert!(shares.len() > 1, "one thread read them all: {connections:?}");
}

/// On a host of containers a packet crosses a bridge and the link behind it, and `any` sees it on both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_that_crosses_several_interfaces_counts_once() {
    const STATEMENTS: usize = 200;
    let island = match Island::new() {
        Ok(island) => island,
        Err(why) => return eprintln!("left out: no island can be had here: {why}"),
    };
    island.bridge();
    let server = Server::start(Flavour::MySql, &Options::default()).await;
    let proxy = Proxy::start((island.way_to_servers(), 0).into(), ([127, 0, 0, 1], server.port()).into());
    let port = proxy.address().port();
    let address = Address::Tcp { host: island.way_to_servers().to_string(), port };
    let target = Target { address, ..server.target("test") };
    let mut command = millrace();
    command.args(["decode", "-i", "any", "-o", "jsonl", "--show-literals", "--summary", "json", "-p"]);
    let mut watch = Watch::run(island.enter(command.arg(port.to_string())));
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, stopped) = (target.clone(), Arc::clone(&stop));
    let asking = island.spawn(move || {
        alone(async {
            while !stopped.load(Ordering::Relaxed) {
                let mut session = Session::open(&asked).await.expect("it answers");
                session.execute("SELECT 'are you there'").await.expect("it answers");
                session.close().await;
            }
        });
    });
    watch.next();
    stop.store(true, Ordering::Relaxed);
    asking.join().expect("asked");
    let asking = island.spawn(move || {
        alone(async {
            let mut session = Session::open(&target).await.expect("it answers");
            for number in 1..=STATEMENTS {
                session.execute(&format!("SELECT 'number', {number}")).await.expect("it answers");
            }
            session.close().await;
        });
    });
    let last = format!("SELECT 'number', {STATEMENTS}");
    let mut found = Vec::new();
    while found.last() != Some(&last) {
        found.extend(watch.next()["sql"].as_str().filter(|sql| sql.contains("'number'")).map(str::to_owned));
    }
    asking.join().expect("asked");
    let expected: Vec<String> = (1..=STATEMENTS).map(|number| format!("SELECT 'number', {number}")).collect();
    assert_eq!(found, expected);
    let rest = watch.end();
    let summary = &rest.last().expect("the books")["summary"];
    let bytes = |of: &str| summary["bytes"][of].as_u64().expect("a number");
    assert!(bytes("duplicate") >= bytes("decoded"), "each packet was seen twice: {summary}");
    assert_eq!((bytes("missing"), bytes("undecodable")), (0, 0), "{summary}");
}

/// Runs on this thread.
fn alone(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work);
}
