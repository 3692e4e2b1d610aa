//! `millrace anomaly` as a script uses it: a row out for every row in, while the next one is not written yet.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::real::site::millrace;

/// Five minutes between two points from 2026-11-02 on, a daily rhythm, and at `spike` ten times the value.
fn series(points: usize, spike: usize) -> String {
    let mut text = "timestamp,value\n".to_owned();
    for at in 0..points {
        let (day, minute) = (2 + at / 288, at % 288 * 5);
        // A small step that repeats only after months stands for noise.
        let noise = (at * 7_919 % 101) as f64 / 10.0;
        let usual = 100.0 + 40.0 * (at as f64 / 288.0 * std::f64::consts::TAU).sin() + noise;
        let value = if at == spike { 10.0 * usual } else { usual };
        writeln!(text, "2026-11-{day:02} {:02}:{:02}:00,{value:.3}", minute / 60, minute % 60).expect("memory");
    }
    text
}

fn run(arguments: &[&str], file: &Path) -> Output {
    millrace().arg("anomaly").args(arguments).arg("-r").arg(file).output().expect("it runs")
}

fn written(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("writable");
    path
}

fn rows(output: &Output) -> Vec<(String, f64)> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("timestamp,value,anomaly_score"));
    let row = |line: &str| line.rsplit_once(',').map(|(row, score)| (row.to_owned(), score.parse().expect("a number")));
    lines.map(|line| row(line).expect("a row")).collect()
}

#[test]
fn every_row_comes_back_with_a_score() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = series(3_000, 2_500);
    let file = written(&folder, "qps.csv", &text);
    let output = run(&[], &file);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let found = rows(&output);
    let echoed: Vec<&str> = found.iter().map(|(row, _)| row.as_str()).collect();
    assert_eq!(echoed, text.lines().skip(1).collect::<Vec<_>>());
    assert!(found.iter().all(|(_, score)| (0.0..=1.0).contains(score)));
    let alarms: Vec<usize> = (0..found.len()).filter(|at| found[*at].1 >= 0.5 && *at > 600).collect();
    assert_eq!(alarms, [2_500]);
    // The same again, and as JSON lines, packed, from standard input.
    assert_eq!(run(&[], &file).stdout, output.stdout);
    let packed = folder.path().join("qps.csv.gz");
    let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&packed).expect("made"), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).expect("writable");
    gzip.finish().expect("writable");
    let input = fs::File::open(&packed).expect("there");
    let output = millrace().args(["anomaly", "-o", "jsonl", "-"]).stdin(input).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), found.len());
    assert!(
        told.starts_with(r#"{"schema_version":1,"timestamp":"2026-11-02 00:00:00","value":100.0,"#),
        "{}",
        &told[..90]
    );
    assert_eq!(lines[2_500]["anomaly_score"], json!(found[2_500].1));
    assert!(lines[2_500]["component"].is_string());
}

#[test]
fn what_cannot_be_read_keeps_its_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "host,timestamp,value\na,2026-11-02 00:00:00,1.0\na,soon,2\na,2026-11-02 00:10:00,\na,1793577600,lots\na\n\
                a,2026-11-02T00:25:00Z,\"1,5\"\na,2026-11-02T00:30:00+00:00,NaN\na,1793579400.5, 7\n";
    let file = written(&folder, "rows.csv", text);
    let output = run(&[], &file);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let expected = "timestamp,value,anomaly_score\n2026-11-02 00:00:00,1.0,0.000000\nsoon,2,0.000000\n\
                    2026-11-02 00:10:00,,0.000000\n1793577600,lots,0.000000\n,,0.000000\n\
                    2026-11-02T00:25:00Z,\"1,5\",0.000000\n2026-11-02T00:30:00+00:00,NaN,0.000000\n1793579400.5, 7,";
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.starts_with(expected), "{told}");
    let told = String::from_utf8_lossy(&output.stderr);
    for expected in [
        "rows.csv line 3: 'soon' is no time: give one such as",
        "rows.csv line 5: 'lots' is no finite number",
        "rows.csv line 6: '' is no time",
        "rows.csv line 7: '1,5' is no finite number",
        "4 of 8 rows could not be read and have the score 0",
    ] {
        assert!(told.contains(expected), "'{expected}' is not in\n{told}");
    }
    // A value that is missing is no error.
    let file = written(&folder, "gaps.csv", "timestamp,value\n0,1\n300,\n600,NaN\n900,1\n");
    let output = run(&[], &file);
    assert_eq!((output.status.code(), rows(&output).len()), (Some(0), 4));
}

#[test]
fn what_is_no_series_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let check = |arguments: &[&str], file: &Path, expected: &str| {
        let output = run(arguments, file);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{told}");
        assert!(told.contains(expected), "'{expected}' is not in\n{told}");
    };
    check(&[], &written(&folder, "empty.csv", ""), "is empty: its first line must be timestamp,value");
    let other = written(&folder, "other.csv", "time,qps\n0,1\n");
    check(&[], &other, "must name the columns timestamp and value in its first line, which is 'time,qps'");
    check(&[], &folder.path().join("missing.csv"), "missing.csv cannot be read: No such file");
    check(&["--sensitivity", "10"], &other, "10 is not in 1..=9");
    // The header alone is a series that has not begun.
    let output = run(&[], &written(&folder, "begin.csv", "timestamp,value\n"));
    assert_eq!((output.status.code(), rows(&output).len()), (Some(0), 0));
    // A packed file that is cut: what came before is told.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(series(2_000, 0).as_bytes()).expect("memory");
    let packed = gzip.finish().expect("memory");
    let cut = folder.path().join("cut.csv.gz");
    fs::write(&cut, &packed[..packed.len() / 2]).expect("writable");
    let output = run(&[], &cut);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(rows(&output).len() > 100);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be read further after"), "{output:?}");
}

#[test]
fn a_row_is_written_before_the_next_one_comes() {
    let text = series(400, 0);
    let mut child =
        millrace().args(["anomaly", "-r", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let (mut input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            tell.send(line.expect("text")).expect("somebody listens");
        }
    });
    for line in text.lines() {
        writeln!(input, "{line}").expect("it reads");
        // 20 s: a busy machine, and no other row to push this one out.
        let answer = told.recv_timeout(Duration::from_secs(20)).expect("a row for a row");
        assert!(answer.starts_with(line), "{answer} for {line}");
    }
    drop(input);
    assert!(child.wait().expect("waitable").success());
    reader.join().expect("it reads to the end");
}

#[test]
fn sensitivity_moves_scores_and_not_their_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = written(&folder, "qps.csv", &series(2_000, 1_500));
    let scores = |sensitivity: &str| rows(&run(&["--sensitivity", sensitivity], &file));
    let (least, usual, most) = (scores("1"), scores("5"), scores("9"));
    let alarms = |of: &[(String, f64)]| of.iter().filter(|(_, score)| *score >= 0.5).count();
    assert!(alarms(&least) <= alarms(&usual) && alarms(&usual) <= alarms(&most));
    assert!(least[1_500].1 < usual[1_500].1 && usual[1_500].1 <= most[1_500].1);
}
