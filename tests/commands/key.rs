//! `millrace key` as an operator runs it: a key is made, enrolled, shown and revoked, and each exit code is the one that the
//! conventions name.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_millrace")).arg("key").args(arguments).current_dir(folder).output();
    program.expect("the program runs")
}

fn check(folder: &Path, arguments: &[&str], code: i32, expected: &str) -> String {
    let output = run(folder, arguments);
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{error}");
    assert!(format!("{out}{error}").contains(expected), "{arguments:?} does not say '{expected}': {out}{error}");
    out.trim().to_owned()
}

#[test]
fn a_key_is_made_enrolled_shown_and_revoked() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |arguments: &[&str], code, expected| check(folder.path(), arguments, code, expected);
    let public = check(&["new", "agent.key"], 0, "=");
    check(&["new", "agent.key"], 2, "never written over");
    check(&["list", "roster.toml"], 2, "roster.toml");
    let agent = ["enrol", "roster.toml", "--public", &public, "--role", "agent", "--host", "h1"];
    check(&agent, 2, "names its instances");
    check(&[&agent[..], &["--about", "shop/db1,shop/db2"]].concat(), 0, "may speak");
    check(&[&agent[..], &["--about", "*"]].concat(), 2, "already");
    let listed: Value =
        serde_json::from_str(&check(&["list", "roster.toml", "-o", "json"], 0, "shop/db2")).expect("JSON");
    assert_eq!(listed["schema_version"], 1);
    let key = &listed["keys"][0];
    assert_eq!((&key["speaks_as"][0], &key["revoked"]), (&Value::from("agent/h1"), &Value::Null));
    let id = key["id"].as_str().expect("an id");
    check(&["revoke", "roster.toml", id], 0, id);
    check(&["revoke", "roster.toml", id], 2, "already");
    check(&["list", "roster.toml"], 0, "revoked 20");
}
