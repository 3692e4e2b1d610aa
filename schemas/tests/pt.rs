//! Our ids of statements against those that pt-query-digest prints. `golden/pt.tsv` holds the tool's own answers: the id, all of its
//! digits, and the number of the statement among the collected ones, or the statement itself. They were made by percona-toolkit
//! 3.2.1 with `MILLRACE_GOLDEN=write cargo test -p millrace-schemas --test pt`, which writes each statement into a slow log of
//! its own and asks the tool for its JSON; reading them back needs no tool.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_schemas::digest::PtId;

/// 316 statements were collected when this was written; fewer would say less.
const COLLECTED_MIN: usize = 316;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pt.tsv")
}

/// What servers are asked.
fn collected() -> Vec<&'static str> {
    let all = include_str!("../../tests/digests/statements.sql");
    all.split("\n\n").map(str::trim).filter(|sql| !sql.is_empty()).collect()
}

/// What leads into the tool's oddities, one a line.
fn odd() -> Vec<&'static str> {
    include_str!("golden/pt-odd.sql").lines().collect()
}

/// Statements, and how the golden file calls them.
fn statements() -> Vec<(String, &'static str)> {
    let collected = (1..).zip(collected()).map(|(number, sql): (usize, _)| (number.to_string(), sql));
    collected.chain(odd().into_iter().map(|sql| (sql.to_owned(), sql))).collect()
}

#[test]
fn ids_are_those_of_the_tool() {
    if std::env::var("MILLRACE_GOLDEN").is_ok_and(|value| value == "write") {
        let mut lines = String::new();
        for (name, sql) in statements() {
            let _ = writeln!(lines, "{}\t{name}", asked(sql));
        }
        fs::write(golden(), lines).expect("written");
    }
    let golden = fs::read_to_string(golden()).expect("the golden file");
    let statements = statements();
    assert_eq!(golden.lines().count(), statements.len(), "MILLRACE_GOLDEN=write asks the tool again");
    assert!(collected().len() >= COLLECTED_MIN, "{} statements", collected().len());
    let mut wrong = Vec::new();
    for (line, (name, sql)) in golden.lines().zip(&statements) {
        let (id, of) = line.split_once('\t').expect("an id, a tab and a name");
        assert_eq!(of, name);
        let ours = PtId::of(sql.as_bytes());
        assert!(ours.whole().ends_with(&ours.to_string()) && ours.to_string().len() == 16);
        if ours.whole() != id {
            wrong.push(format!("{sql}: the tool's is {id}, ours {ours:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), statements.len(), wrong.join("\n"));
}

/// The id that the tool prints for a statement.
fn asked(sql: &str) -> String {
    let head = "# Time: 2026-01-01T00:00:00.000000Z\n# User@Host: a[a] @ h []  Id: 1\n# Query_time: 1.0  Lock_time: 0.0 \
                Rows_sent: 1  Rows_examined: 1\nSET timestamp=1767225600;\n";
    // `use` and some `set` are of the log itself there; as bare lines they are statements.
    let answer = told("slowlog", &format!("{head}{sql};\n")).or_else(|| told("rawlog", &format!("{sql}\n")));
    answer.unwrap_or_else(|| panic!("pt-query-digest says nothing of {sql}"))
}

fn told(kind: &str, log: &str) -> Option<String> {
    let file = std::env::temp_dir().join(format!("millrace-pt-{}.log", std::process::id()));
    fs::write(&file, log).expect("written");
    let output = Command::new("pt-query-digest").args(["--output", "json", "--type", kind]).arg(&file).output();
    fs::remove_file(&file).expect("it is there");
    let output = output.expect("pt-query-digest runs: Debian has it in percona-toolkit");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let classes = answer["classes"].as_array().expect("classes");
    assert_eq!(classes.len(), 1, "{log} is one statement");
    Some(classes[0]["checksum"].as_str().expect("an id").to_owned())
}
