//! `millrace slowlog` as a script uses it: what it prints, what it complains of, and how it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::real::site::millrace;

fn entry(second: u32, sql: &str) -> String {
    format!(
        "# Time: 2026-11-21T09:01:{second:02}.000068Z\n# User@Host: app[app] @  [127.0.0.1]  Id:   144\n\
         # Query_time: 0.000061  Lock_time: 0.000001 Rows_sent: 2  Rows_examined: 3 Errno: 1062 Bytes_sent: 24\n\
         SET timestamp=1795251707;\n{sql};\n"
    )
}

fn run(arguments: &[&str], files: &[&Path]) -> Output {
    millrace().arg("slowlog").args(arguments).args(files).output().expect("it runs")
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn entries_of_several_files_come_in_order_without_their_literals() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("a.log"), folder.path().join("b.log.gz"));
    fs::write(&first, entry(1, "SELECT 'secret1', 5")).expect("writable");
    let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&second).expect("made"), flate2::Compression::fast());
    let admin = entry(2, "# administrator command: Quit");
    gzip.write_all(format!("{}{admin}", entry(3, "SELECT 'a\n# Time: forged'")).as_bytes()).expect("writable");
    gzip.finish().expect("writable");
    let output = run(&[], &[folder.path()]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let found = lines(&output);
    assert_eq!(found.len(), 3);
    let expected = json!({
        "schema_version": 1, "ts": "2026-11-21T09:01:01.000068Z", "user": "app", "host": "", "ip": "127.0.0.1", "thread": 144,
        "schema": "", "query_time_us": 61, "lock_time_us": 1, "rows_sent": 2, "rows_examined": 3, "rows_affected": null,
        "bytes_sent": 24, "error": 1062, "attributes": {}, "sql": "SELECT ?, ?", "digest_id": found[0]["digest_id"],
        "pt_id": null,
        "source_file": first.display().to_string(), "offset": 0, "flags": [],
    });
    assert_eq!(found[0], expected);
    assert_eq!(found[1]["flags"], json!(["header_inside"]));
    assert_eq!(found[2]["sql"], "# administrator command: Quit");
    let shown = run(&["--show-literals"], &[&first]);
    assert_eq!(lines(&shown)[0]["sql"], "SELECT 'secret1', 5");
    // As pt-query-digest 3.2.1 has them; of the second it is not sure where its statement ends.
    let found: Vec<Value> =
        lines(&run(&["--pt-id"], &[folder.path()])).iter().map(|line| line["pt_id"].clone()).collect();
    assert_eq!(found, [json!("9ADD9ACD4052DB2F"), json!(null), json!("AA353644DE4C4CB4")]);
}

#[test]
fn what_the_log_does_not_say_of_its_sessions_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("slow.log");
    let statements = [r#"SELECT "a", 'x\' FROM t WHERE b = 'secret'"#, "SELECT 'it''s' FROM t"];
    fs::write(&log, statements.map(|sql| entry(1, sql)).concat()).expect("writable");
    let modes = ["--sql-mode", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"];
    let sql = |output: &Output| lines(output).iter().map(|line| line["sql"].clone()).collect::<Vec<_>>();
    let expected = [json!(r#"SELECT "a", ? FROM t WHERE b = ?"#), json!("SELECT ? FROM t")];
    assert_eq!(sql(&run(&modes, &[&log])), expected);
    let shown = run(&[&modes[..], &["--show-literals"]].concat(), &[&log]);
    assert_eq!(sql(&shown), statements.map(|sql| json!(sql)));
    // Not said: what may be a literal is not shown.
    let output = run(&[], &[&log]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("secret"), "{output:?}");
    let gbk = folder.path().join("gbk.log");
    let text = [entry(1, "").into_bytes(), entry(2, "SELECT 1").into_bytes()].concat();
    let text = [text.strip_suffix(b"SELECT 1;\n").expect("an entry"), b"SELECT '\xbf\x5c' AS \xd6\xd0;\n"].concat();
    fs::write(&gbk, text).expect("writable");
    let output = run(&["--charset", "gbk", "--show-literals"], &[&gbk]);
    let found = lines(&output);
    let last = found.last().expect("an entry");
    assert_eq!((&last["sql"], &last["flags"]), (&json!("SELECT '縗' AS 中"), &json!([])));
}

/// Its times have no fraction and no zone, so the dialect must be known: from the first line of a plain file and of a pipe.
#[test]
fn the_dialect_is_told_by_the_beginning() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("slow.log");
    let text = "# Time: 261121  9:02:22\n# User@Host: app[app] @ localhost []\n# Thread_id: 93  Schema: my shop  QC_hit: No\n\
                # Query_time: 0.500000  Lock_time: 0.000000  Rows_sent: 0  Rows_examined: 0\n\
                SET timestamp=1795251742;\nSELECT 1;\n";
    fs::write(&log, text).expect("writable");
    let output = run(&[], &[&log]);
    let found = lines(&output);
    assert_eq!((&found[0]["ts"], &found[0]["schema"]), (&json!("2026-11-21T09:02:22.500000Z"), &json!("my shop")));
    let output = run(&["--dialect", "mysql"], &[&log]);
    assert_eq!(
        (output.status.code(), &lines(&output)[0]["schema"]),
        (Some(3), &json!("my")),
        "MySQL's headers are others"
    );
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, other) = (folder.path().join("slow.log"), folder.path().join("other.txt"));
    let broken = "# Time: 2026-11-21T09:01:47.011068Z\n# User@Host: nonsense\nSELECT 1;\n";
    fs::write(&log, format!("{}{broken}{}", entry(1, "SELECT 1"), entry(2, "SELECT 2"))).expect("writable");
    fs::write(&other, "no log\n").expect("writable");
    let missing = folder.path().join("missing.log");
    let output = run(&[], &[&log, &missing, &other]);
    assert_eq!((output.status.code(), lines(&output).len()), (Some(3), 2));
    let told = String::from_utf8_lossy(&output.stderr);
    let at = entry(1, "SELECT 1").len();
    for expected in [
        format!("slow.log: {} bytes at offset {at} cannot be read: the header cannot be read", broken.len() - 10),
        "missing.log cannot be read further: No such file".to_owned(),
        "other.txt: nothing in it looks like an entry".to_owned(),
        "2 entries were read".to_owned(),
    ] {
        assert!(told.contains(&expected), "'{expected}' is not in\n{told}");
    }
    assert_eq!(run(&[], &[&missing]).status.code(), Some(2));
    assert_eq!(run(&["-f"], &[Path::new("-")]).status.code(), Some(2));
}

#[test]
fn what_is_added_is_followed_over_a_rotation() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("slow.log");
    fs::write(&log, entry(1, "SELECT 1")).expect("writable");
    let mut child = millrace().arg("slowlog").arg("-f").arg(&log).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut told = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || serde_json::from_str::<Value>(&told.next().expect("a line").expect("text")).expect("JSON");
    assert_eq!(next()["sql"], "SELECT ?");
    fs::rename(&log, folder.path().join("slow.log.1")).expect("renamed");
    let mut old = fs::File::options().append(true).open(folder.path().join("slow.log.1")).expect("opens");
    old.write_all(entry(2, "COMMIT").as_bytes()).expect("writable");
    fs::write(&log, entry(3, "ROLLBACK")).expect("writable");
    assert_eq!([next()["sql"].clone(), next()["sql"].clone()], ["COMMIT", "ROLLBACK"]);
    child.kill().expect("it runs");
    child.wait().expect("waitable");
}
