//! `millrace fingerprint` as a script uses it.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::real::site::millrace;

fn run(arguments: &[&str], input: &[u8]) -> String {
    let mut command = millrace();
    command.arg("fingerprint").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("waitable");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn every_statement_of_every_line_has_its_digest() {
    let input = b"select 1 from shop.t where a = 'x'; commit\n\n-- nothing\nSELECT 'qut\nUpdate \xff\xfe set b=2";
    let lines = run(&["-o", "jsonl"], input);
    let found: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let places: Vec<_> = found.iter().map(|line| json!([line["input"], line["statement"]])).collect();
    assert_eq!(places, [json!([1, 0]), json!([1, 1]), json!([4, 0]), json!([5, 0])]);
    assert_eq!(found[0]["digest_text"], "SELECT ? FROM `shop` . `t` WHERE `a` = ?");
    assert_eq!((&found[0]["kind"], &found[0]["tables"]), (&json!("select"), &json!(["shop.t"])));
    let cut: Vec<bool> = found.iter().map(|line| line["truncated"].as_bool().expect("a boolean")).collect();
    assert_eq!(cut, [false, false, true, false]);
    assert!(lines.starts_with("{\"schema_version\":1,"), "{lines}");
    assert!(!lines.contains("'x") && !lines.contains("qut"), "a literal came through: {lines}");
}

#[test]
fn statements_with_line_ends_are_parted_by_nul() {
    let text = run(&["--null"], b"select\n1\0select 2\0begin\0");
    let lines: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once("  ")).collect();
    assert_eq!(lines.iter().map(|(_, text)| *text).collect::<Vec<_>>(), ["SELECT ?", "SELECT ?", "BEGIN"]);
    assert_eq!(lines[0].0, lines[1].0, "one class");
    // `select ?` as pt-query-digest 3.2.1 has it.
    let text = run(&["--null", "--pt-id"], b"select\n1\0");
    assert_eq!(text, format!("{}  16219655761820A2  SELECT ?\n", lines[0].0));
    let of = |input: &[u8]| run(&["--null", "--pt-id"], input).split("  ").nth(1).expect("an id").to_owned();
    assert_eq!(of(b"select 1 -- x;\0"), "55761EAA5F9A4E3A", "the blank before the comment counts");
    assert!(lines.iter().all(|(id, _)| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
}

#[test]
fn statements_are_read_as_their_session_means_them() {
    let text = |arguments: &[&str], input: &[u8]| {
        let lines = run(arguments, input);
        lines.lines().filter_map(|line| Some(line.split_once("  ")?.1.to_owned())).collect::<Vec<_>>()
    };
    let ansi = br#"select "a" from t where b = 'x\' and c = 'y'; select 1"#;
    assert_eq!(
        text(&["--sql-mode", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES"], ansi),
        ["SELECT `a` FROM `t` WHERE `b` = ? AND `c` = ?", "SELECT ?"]
    );
    // 表 ends with the byte of a backslash, and é is one byte in latin1.
    assert_eq!(text(&["--charset", "sjis"], b"select '\x95\x5c', `\x95\x5c`"), ["SELECT ? , `表`"]);
    assert_eq!(text(&["--charset", "latin1"], b"select caf\xe9"), ["SELECT `café`"]);
    let refused = |arguments: &[&str], part: &str| {
        let output = millrace().arg("fingerprint").args(arguments).stdin(Stdio::null()).output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains(part), "{error}");
    };
    refused(&["--sql-mode", "ANSY"], "no sql_mode is called `ANSY`");
    refused(&["--charset", "utf-8"], "no server has a character set `utf-8`");
}
