//! `millrace digest` as people use it: over logs of real servers and over ones that are made to be difficult.

mod live;
mod samples;
mod schema;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use millrace_mysql::Flavour;
use millrace_test_servers::{Options, Server};
use serde_json::{Value, json};

use crate::real::site::millrace;

fn run(arguments: &[&str], files: &[&Path]) -> Output {
    millrace().arg("digest").args(arguments).args(files).output().expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn profile(arguments: &[&str], files: &[&Path]) -> Value {
    let output = run(&[&["-o", "json"], arguments].concat(), files);
    let profile: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(schema_of_profile(&profile), Vec::<String>::new(), "the answer obeys its schema");
    assert!(output.stdout.starts_with(b"{\"schema_version\":1,"));
    profile
}

/// What in a profile breaks its schema.
fn schema_of_profile(profile: &Value) -> Vec<String> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/src/golden/profile.schema.json");
    let schema: Value = serde_json::from_slice(&fs::read(golden).expect("the schema")).expect("JSON");
    schema::broken(&schema, profile)
}

/// An entry as MySQL writes it.
fn entry(second: u32, user: &str, query_time: &str, sql: &str) -> String {
    format!(
        "# Time: 2026-11-21T09:01:{second:02}.000068Z\n# User@Host: {user}[{user}] @  [10.0.0.{second}]  Id:   144\n\
         # Query_time: {query_time}  Lock_time: 0.000001 Rows_sent: 2  Rows_examined: 3 Errno: {} Bytes_sent: 24 \
         Created_tmp_tables: {}\n\
         use shop;\nSET timestamp=1795251707;\n{sql};\n",
        if sql.contains("fails") { 1317 } else { 0 },
        u32::from(sql.contains("order by"))
    )
}

/// Three digests, seven statements.
fn log(folder: &Path) -> PathBuf {
    let statements = [
        (1, "app", "0.000100", "select * from orders where id = 41"),
        (2, "app", "0.000200", "select * from orders where id = 42"),
        (3, "batch", "0.000300", "select * from orders where id = 'planted'"),
        (4, "app", "1.500000", "select o.id from orders o join items i using (id) order by o.id limit 5 -- planted"),
        (5, "app", "0.500000", "select o.id from orders o join items i using (id) order by o.id limit 6"),
        (6, "app", "0.000050", "update items set a = 'planted fails' where b = 0xbeef"),
        (7, "app", "0.000010", "select * from orders where id = 43"),
    ];
    let path = folder.join("slow.log");
    let log: String = statements.iter().map(|(second, user, time, sql)| entry(*second, user, time, sql)).collect();
    fs::write(&path, log).expect("writable");
    path
}

/// Columns of a terminal, as far as these tests use wide characters.
fn columns(line: &str) -> usize {
    line.chars().map(|c| if ('\u{2e80}'..='\u{ffef}').contains(&c) { 2 } else { 1 }).sum()
}

fn assert_fits(report: &str) {
    for line in report.lines() {
        assert!(columns(line) <= 80, "{} columns: {line}", columns(line));
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn the_report_reads_like_a_profile() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    let output = run(&["--limit", "2"], &[&log]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let report = text(&output);
    assert_fits(&report);
    for expected in [
        "MySQL slow log, 7 entries, all readable",
        "2026-11-21 09:01:01 - 09:01:07 UTC, 6.00 s",
        "  calls   7, 1.17/s                   time      2.00 s, 0.33 at once on average",
        "other   7 us waiting for locks, 168 bytes sent, 1 error (1 killed)",
        "rank  digest     share     calls     p50     p95     p99  statement",
        "select orders, items",
        "1 other",
        "users       app 75.0%, batch 25.0%",
        "flags       tmp_table",
        "sample      1.50 s at 2026-11-21 09:01:04, offset ",
        "select o.id from orders o join items i using (id) order by o.id limit ?",
    ] {
        assert!(report.contains(expected), "'{expected}' is not in\n{report}");
    }
    assert!(!report.contains("planted") && !report.contains("beef"), "a literal came through:\n{report}");
    assert!(!report.contains("pt id"), "{report}");
    // As pt-query-digest 3.2.1 has it.
    let report = text(&run(&["--limit", "2", "--pt-id"], &[&log]));
    assert_fits(&report);
    assert!(report.contains("\n  pt id       250828B19352C3E9\n"), "{report}");
    let found = profile(&["--pt-id"], &[&log]);
    assert_eq!(found["groups"][0]["pt_id"], "250828B19352C3E9");
    assert_eq!(profile(&["--pt-id", "--group-by", "user"], &[&log])["groups"][0]["pt_id"], Value::Null);
    assert!(text(&run(&["--pt-id", "-o", "html"], &[&log])).contains("<dt>pt id</dt><dd>250828B19352C3E9</dd>"));
    let shown = text(&run(&["--show-literals", "--limit", "all"], &[&log]));
    assert!(shown.contains("id = 'planted'") && shown.contains("error codes 1317"), "{shown}");
}

#[test]
fn the_numbers_are_those_of_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    let found = profile(&["--order-by", "count"], &[&log]);
    let overall = &found["overall"];
    let expected = json!([7, 2_000_660, 10, 1_500_000, 7, 14, 21, 168, 1, 1]);
    let names = [
        "calls",
        "time_us",
        "min_us",
        "max_us",
        "lock_time_us",
        "rows_sent",
        "rows_examined",
        "bytes_sent",
        "errors",
        "killed",
    ];
    assert_eq!(Value::from(names.map(|name| overall[name].clone()).to_vec()), expected);
    let first = &found["groups"][0];
    assert_eq!(
        (&first["calls"], &first["time_us"], &first["digest"]["tables"]),
        (&json!(4), &json!(610), &json!(["orders"]))
    );
    assert_eq!(first["users"]["named"], json!([{"name": "app", "calls": 3}, {"name": "batch", "calls": 1}]));
    assert_eq!(
        (&first["first_seen"], &first["last_seen"]),
        (&json!("2026-11-21T09:01:01.000068Z"), &json!("2026-11-21T09:01:07.000068Z"))
    );
    assert_eq!(first["load"]["calls"], json!([1, 1, 1, 0, 0, 0, 1]));
    assert_eq!(found["other"], Value::Null);
    let keys = |arguments: &[&str]| -> Vec<(String, u64)> {
        let found = profile(arguments, &[&log]);
        let groups = found["groups"].as_array().expect("groups").clone();
        groups
            .iter()
            .map(|group| (group["key"].as_str().expect("a key").to_owned(), group["calls"].as_u64().expect("calls")))
            .collect()
    };
    let check = |by: &str, expected: &[(&str, u64)]| {
        let expected: Vec<(String, u64)> = expected.iter().map(|(key, calls)| ((*key).to_owned(), *calls)).collect();
        assert_eq!(keys(&["--group-by", by, "--order-by", "count", "--limit", "2"]), expected, "{by}");
    };
    check("table", &[("orders", 6), ("items", 3)]);
    check("user", &[("app", 6), ("batch", 1)]);
    check("schema", &[("shop", 7)]);
    let key = |order: &str| profile(&["--order-by", order, "--limit", "1"], &[&log])["groups"][0]["max_us"].clone();
    assert_eq!(
        [key("time"), key("max"), key("rows"), key("count")],
        [json!(1_500_000), json!(1_500_000), json!(300), json!(300)]
    );
}

#[test]
fn filters_and_spans_leave_out_and_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    let calls = |arguments: &[&str]| {
        let found = profile(arguments, &[&log]);
        (found["overall"]["calls"].as_u64().expect("calls"), found["filtered"].as_u64().expect("entries"))
    };
    assert_eq!(calls(&["--filter", "user = 'app' and query_time > 150us and not table = 'items'"]), (1, 6));
    assert_eq!(calls(&["--filter", "error != 0 or sql ~ 'planted'"]), (3, 4));
    assert_eq!(calls(&["--since", "2026-11-21T09:01:03Z", "--until", "2026-11-21T10:01:05+01:00"]), (2, 5));
    assert_eq!(calls(&["--since", "1h", "--filter", "user = 'nobody'"]).0, 0);
    let nothing = text(&run(&["--filter", "user = 'nobody'"], &[&log]));
    assert!(nothing.contains("No statement is in it that fits"), "{nothing}");
    for (option, value) in
        [("--filter", "user = nobody"), ("--since", "yesterday"), ("--limit", "many"), ("--sample-factor", "0")]
    {
        let output = run(&[option, value], &[&log]);
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
    }
    let output = run(&["--filter", "user = 'app' and qery_time > 1s"], &[&log]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("column 18") && told.contains("\n                   ^"), "{told}");
}

/// Packed files, standard input and folders give what the plain file gives, and many files at once give their sum.
#[test]
fn whatever_it_is_packed_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    let plain = fs::read(&log).expect("readable");
    let packed = folder.path().join("slow.log.1.zst");
    fs::write(&packed, zstd::encode_all(&plain[..], 1).expect("packs")).expect("writable");
    let mut child = millrace();
    let mut child = child
        .args(["digest", "-o", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("piped").write_all(&plain).expect("it reads");
    let piped: Value = serde_json::from_slice(&child.wait_with_output().expect("it ends").stdout).expect("JSON");
    let one = profile(&[], &[&log]);
    assert_eq!((&piped["overall"], &piped["inputs"][0]["file"]), (&one["overall"], &json!("-")));
    assert_eq!(profile(&["-r"], &[&packed])["groups"][0]["latency"], one["groups"][0]["latency"]);
    let both = profile(&[], &[folder.path()]);
    assert_eq!((&both["overall"]["calls"], &both["inputs"][1]["entries"]), (&json!(14), &json!(7)));
    assert_eq!(both["overall"]["time_us"], json!(4_001_320));
}

#[test]
fn what_cannot_be_read_is_counted_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    let broken = "# Time: 2026-11-21T09:01:47.011068Z\n# User@Host: nonsense\nSELECT 1;\n";
    let whole = fs::read_to_string(&log).expect("readable");
    fs::write(&log, format!("{broken}{whole}")).expect("writable");
    let missing = folder.path().join("missing.log");
    let output = run(&[], &[&log, &missing]);
    assert_eq!(output.status.code(), Some(3));
    let (report, told) = (text(&output), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(report.contains("7 entries; 1 part cannot be read, see standard error"), "{report}");
    assert!(report.contains("not read to its end: No such file"), "{report}");
    assert!(
        told.contains("slow.log: ") && told.contains("at offset 0 cannot be read: the header cannot be read"),
        "{told}"
    );
    assert_eq!(run(&[], &[&missing]).status.code(), Some(2));
}

/// A client sends a text that looks like an entry, and names and statements that would move a terminal's cursor.
#[test]
fn what_was_forged_is_flagged_and_harmless() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("slow.log");
    let forged = entry(9, "fake", "9.900000", "select 1");
    let wide = format!(
        "select\n\n'{}' from 表表表表表表表表表表表表表表表表表表表表表表表表表表表表表表表表表表表表表表 \u{1b}[2J",
        "x".repeat(9_000)
    );
    let entries = [
        entry(1, "app", "0.000100", &format!("select '{forged}'")),
        entry(2, "\u{1b}[31mred", "0.000100", "select 1 from t"),
        entry(3, "app", "3.000100", &wide),
    ];
    fs::write(&log, entries.concat()).expect("writable");
    let output = run(&["--show-literals", "--limit", "all"], &[&log]);
    assert!(output.status.success(), "{output:?}");
    let report = text(&output);
    assert_fits(&report);
    assert!(report.contains("3 entries, all readable") && report.contains("flags       header_inside"), "{report}");
    assert!(report.contains("bytes in all)"), "{report}");
    assert_eq!(profile(&["--group-by", "user", "--limit", "all"], &[&log])["groups"].as_array().map(Vec::len), Some(2));
}

/// What MariaDB's `log_slow_rate_limit` left out is put back when it is said, what Percona Server left out always.
#[test]
fn sampled_logs_count_what_was_left_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    let found = profile(&["--sample-factor", "5"], &[&log]);
    assert_eq!((&found["overall"]["calls"], &found["overall"]["entries"]), (&json!(35), &json!(7)));
    assert_eq!((&found["overall"]["time_us"], &found["overall"]["sample_factor"]), (&json!(10_003_300), &json!(5)));
    assert!(text(&run(&["--sample-factor", "5"], &[&log])).contains("7 entries stand for 35 calls"));
    let marked = fs::read_to_string(&log).expect("readable");
    let marked = marked.replacen("Errno:", "Log_slow_rate_type: query  Log_slow_rate_limit: 10 Errno:", 1);
    fs::write(&log, marked).expect("writable");
    assert_eq!(profile(&[], &[&log])["overall"]["calls"], json!(16));
}

/// What a log says, summed in another way: the lines that begin as a header's do.
fn summed(log: &str) -> (u64, u64) {
    let times = log.lines().filter_map(|line| line.strip_prefix("# Query_time: ")?.split_ascii_whitespace().next());
    times.fold((0, 0), |(calls, sum), time| {
        let (seconds, part) = time.split_once('.').expect("a point");
        let us: u64 = format!("{seconds}{part:0<6}").parse().expect("digits");
        (calls + 1, sum + us)
    })
}

async fn real_logs_are_exact(flavour: Flavour, extra: &str) {
    let options = Options { lines: vec!["long-query-time=0".to_owned(), extra.to_owned()], ..Options::default() };
    let mut server = Server::start(flavour, &options).await;
    let mut session = server.session().await;
    session.execute("USE shop").await.expect("it answers");
    for sql in ["SET SESSION sql_log_bin = 0", "CREATE TEMPORARY TABLE orders (id INT PRIMARY KEY, item VARCHAR(40))"] {
        session.execute(sql).await.expect("it answers");
    }
    for id in 0..40 {
        session.execute(&format!("INSERT INTO orders VALUES ({id}, 'planted{id}')")).await.expect("it answers");
    }
    for id in 0..60 {
        session.value(&format!("SELECT item FROM orders WHERE id = {id}")).await.expect("it answers");
    }
    session
        .value("SELECT COUNT(*) FROM (SELECT item, SLEEP(0.01) FROM orders ORDER BY item LIMIT 7) x")
        .await
        .expect("it answers");
    session.close().await;
    let log = server.folder().join("slow.log");
    millrace_test_servers::eventually("the last statement is in the log", async || {
        fs::read_to_string(&log).ok()?.contains("SLEEP(0.01)").then_some(())
    })
    .await;
    // Nothing is added between two readings.
    server.kill();
    let (calls, time_us) = summed(&fs::read_to_string(&log).expect("readable"));
    let found = profile(&["--limit", "all"], &[&log]);
    assert_eq!(
        (found["overall"]["calls"].as_u64(), found["overall"]["time_us"].as_u64()),
        (Some(calls), Some(time_us))
    );
    let groups = found["groups"].as_array().expect("groups");
    let sum = |name: &str| groups.iter().map(|group| group[name].as_u64().expect("a number")).sum::<u64>();
    assert_eq!((sum("calls"), sum("time_us")), (calls, time_us));
    let of = |start: &str| {
        let text = |group: &&Value| group["digest"]["digest_text"].as_str().expect("a text").starts_with(start);
        groups.iter().find(text).unwrap_or_else(|| panic!("{start} is not in {found}"))
    };
    assert_eq!(of("INSERT INTO `orders`")["calls"], json!(40));
    let read = of("SELECT `item` FROM `orders` WHERE");
    assert_eq!(
        (&read["calls"], &read["rows_sent"], &read["digest"]["kind"]),
        (&json!(60), &json!(40), &json!("select"))
    );
    assert!(of("SELECT COUNT")["max_us"].as_u64() >= Some(70_000), "it slept seven times");
    let report = text(&run(&[], &[&log]));
    assert_fits(&report);
    assert!(!report.contains("planted"), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_a_real_mysql_are_exact() {
    real_logs_are_exact(Flavour::MySql, "log-slow-extra=ON").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_a_real_mariadb_are_exact() {
    real_logs_are_exact(Flavour::MariaDb, "log-slow-verbosity=query_plan,innodb,explain").await;
}

/// The page loads nothing, runs nothing, and shows what a log holds as text.
#[test]
fn the_page_needs_nothing_else_and_escapes_what_it_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log(folder.path());
    let evil = "select '</script><img src=x onerror=alert(1)>' from `</style><script>alert(2)</script>`";
    let added = fs::read_to_string(&log).expect("readable") + &entry(8, "<b>user</b>", "2.000000", evil);
    fs::write(&log, added).expect("writable");
    let arguments = ["-o", "html", "--limit", "all"];
    let output = run(&arguments, &[&log]);
    assert!(output.status.success(), "{output:?}");
    let page = text(&output);
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    for barred in
        ["<script", "</script", "<b>user", "<img", "http:", "https:", "@import", "url(", "planted", "alert(1)"]
    {
        assert!(!page.contains(barred), "'{barred}' is in the page");
    }
    assert!(page.contains("&lt;/style&gt;&lt;script&gt;alert(2)") && page.contains("&lt;b&gt;user"), "{page}");
    assert_eq!(page.matches("<section").count(), 4);
    for plot in ["Statements at once over time", "Shares of the time", "Calls by duration", "Its load over time"] {
        assert!(page.contains(&format!("aria-label=\"{plot}\"")), "{plot}");
    }
    assert!(page.contains("Literals are masked."));
    let shown = text(&run(&[&arguments[..], &["--show-literals"]].concat(), &[&log]));
    assert!(shown.contains("&lt;/script&gt;&lt;img src=x") && !shown.contains("<script"), "{shown}");
    assert!(shown.contains("Samples show their literals"));
}

/// A log of `calls` statements on each table, each of which takes so long.
fn repeated(path: &Path, tables: &[(&str, u32)]) {
    let of = |(table, us): &(&str, u32)| -> String {
        let one =
            |call: u32| entry(call % 60, "app", &format!("0.{:06}", us + call % 7), &format!("select * from {table}"));
        (0..40).map(one).collect()
    };
    fs::write(path, tables.iter().map(of).collect::<String>()).expect("writable");
}

#[test]
fn what_changed_since_an_earlier_profile_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let [before, now, base] = ["before.log", "now.log", "base.json"].map(|name| folder.path().join(name));
    repeated(&before, &[("same", 1_000), ("worse", 1_000), ("better", 2_000), ("gone", 500)]);
    repeated(&now, &[("same", 1_100), ("worse", 1_400), ("better", 1_000), ("fresh", 500)]);
    let kept = run(&["-o", "json", "--limit", "all"], &[&before]);
    fs::write(&base, &kept.stdout).expect("writable");
    let base_name = base.to_str().expect("text");
    let output = run(&["--compare", base_name], &[&now]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = text(&output);
    assert_fits(&report);
    assert!(report.contains("1 slower, 1 new, 1 gone, 1 faster, 1 the same."), "{report}");
    let row = report.lines().find(|line| line.starts_with("slower")).expect("a slower one");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((words[2], words[4], &words[6..8]), ("ms", "ms", &["40", "40"][..]), "{row}");
    assert!(words[5].starts_with("1.3") || words[5].starts_with("1.4"), "40 % slower, within 2 %: {row}");
    let found = profile(&["--compare", base_name], &[&now]);
    let changes = found["comparison"]["changes"].as_array().expect("changes");
    let kinds: Vec<_> = changes.iter().map(|change| (&change["kind"], &change["digest"]["tables"][0])).collect();
    let expected = [("slower", "worse"), ("new", "fresh"), ("gone", "gone"), ("faster", "better")];
    assert_eq!(
        kinds,
        expected.map(|(kind, table)| (json!(kind), json!(table))).iter().map(|(a, b)| (a, b)).collect::<Vec<_>>()
    );
    let page = text(&run(&["-o", "html", "--compare", base_name], &[&now]));
    assert!(page.contains("Compared with") && page.contains("SELECT * FROM `worse`"));
    // A higher threshold, or the log itself: nothing became slower.
    assert_eq!(run(&["--compare", base_name, "--threshold", "50"], &[&now]).status.code(), Some(0));
    assert_eq!(run(&["--compare", base_name], &[&before]).status.code(), Some(0));
    // What is no base is named.
    let told = |arguments: &[&str]| {
        let output = run(arguments, &[&now]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(told(&["--compare", base_name, "--group-by", "user"]).contains("grouped by Digest"));
    assert!(told(&["--compare", before.to_str().expect("text")]).contains("it is no JSON"));
    fs::write(&base, "{\"schema_version\":9}").expect("writable");
    assert!(told(&["--compare", base_name]).contains("schema_version 9, this program reads 1"));
}

/// The project's own capture of a real session: whole, packed, cut inside a packet, of another port, and asked what it cannot tell.
#[test]
fn captures_are_read_as_logs_are() {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("collectors/tests/data/mysql97-text.pcap");
    let found = profile(&["--port", "33999", "--limit", "all"], &[&capture]);
    assert_eq!(
        (&found["inputs"][0]["kind"], &found["inputs"][0]["gaps"]["missing_bytes"]),
        (&json!("capture"), &json!(0))
    );
    let groups = found["groups"].as_array().expect("groups");
    let of = |text: &str| {
        let found = groups.iter().find(|group| group["digest"]["digest_text"] == text);
        found.map(|group| {
            [&group["calls"], &group["errors"], &group["rows_sent"], &group["rows_affected"]].map(Value::as_u64)
        })
    };
    assert_eq!(of("SELECT * FROM `demo` WHERE `id` IN (...)"), Some([Some(2), Some(0), Some(3), Some(0)]));
    assert_eq!(of("UPDATE `demo` SET `c` = ? WHERE `id` = ?"), Some([Some(1), Some(0), Some(0), Some(1)]));
    assert_eq!(groups[0]["users"]["named"][0]["name"], json!("app"));
    assert_eq!(found["overall"]["rows_examined"], Value::Null, "the wire does not tell");
    assert_fits(&text(&run(&["--port", "33999"], &[&capture])));

    let folder = tempfile::tempdir().expect("a folder");
    let bytes = fs::read(&capture).expect("readable");
    let packed = folder.path().join("trace.zst");
    fs::write(&packed, zstd::encode_all(&bytes[..], 1).expect("packs")).expect("writable");
    assert_eq!(profile(&["--port", "33999"], &[&packed])["overall"], found["overall"]);
    let cut = folder.path().join("cut.pcap");
    fs::write(&cut, &bytes[..bytes.len() - 150]).expect("writable");
    let output = run(&["--port", "33999", "-o", "json"], &[&cut]);
    let part: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(3));
    assert!(part["overall"]["calls"].as_u64() > Some(5), "what came before the cut counts: {part}");
    assert!(part["inputs"][0]["error"].as_str().expect("why").contains("truncated dump file"), "{part}");

    for (arguments, why) in [
        (&["--port", "3306"][..], "is of a server on port 3306: name the port with --port"),
        (&["--filter", "query_time > 1s"], "'query_time' cannot be asked of a capture"),
        (&["--type", "slowlog"], "nothing in it looks like an entry"),
    ] {
        let output = run(arguments, &[&capture]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && told.contains(why), "{told}");
    }
}
