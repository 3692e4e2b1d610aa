//! `millrace rules`: what is wrong with a file is told with its lines, and what is exported, Prometheus' own tool takes.

use std::path::Path;
use std::process::{Command, Output};

use crate::real::site::millrace;

fn rules(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, .. } = millrace().arg("rules").args(arguments).output().expect("it runs");
    (status.code(), String::from_utf8(stdout).expect("text"))
}

#[test]
fn a_file_is_checked_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.toml");
    let path = file.to_str().expect("text");
    std::fs::write(&file, "[[rule]]\nname = \"LagHigh\"\nabove = 60\n[[rule]]\nname = \"Watchdog\"\noff = true\n")
        .expect("writable");
    assert_eq!(rules(&["check", path]), (Some(0), "21 rules, 1 of them by this file, 1 switched off\n".to_owned()));
    std::fs::write(&file, "[[rule]]\nname = \"LagHigh\"\nabove = -1\n[[rule]]\nname = \"Watchdgo\"\noff = true\n")
        .expect("writable");
    let (code, told) = rules(&["check", path]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!((code, lines.len()), (Some(1), 2), "{told}");
    assert!(lines[0].starts_with(&format!("{path}:3: LagHigh: ")), "{told}");
    assert!(lines[1].starts_with(&format!("{path}:6: Watchdgo is no shipped rule")), "{told}");
    assert_eq!(rules(&["list", "--rules", path]).0, Some(2), "nothing is listed that is not in force");
    assert_eq!(rules(&["check", "/nowhere.toml"]).0, Some(2));
}

#[test]
fn what_is_exported_prometheus_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |file: &Path| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/store.sh");
        Command::new(script).args(["promtool", "check", "rules"]).arg(file).output().expect("it runs")
    };
    let file = folder.path().join("rules.yml");
    let (code, exported) = rules(&["export", "--for", "prometheus"]);
    assert_eq!(code, Some(0));
    std::fs::write(&file, &exported).expect("writable");
    let Output { status, stdout, stderr } = check(&file);
    let told = String::from_utf8_lossy(&stdout);
    assert!(status.success(), "{told}{}\n{exported}", String::from_utf8_lossy(&stderr));
    let alerts = exported.matches("  - alert: ").count();
    assert!(alerts >= 17 && told.contains(&format!("{alerts} rules found")), "{told}");
    // It does judge.
    std::fs::write(&file, exported.replace("vector(1)", "vector(")).expect("writable");
    assert!(!check(&file).status.success());
}
