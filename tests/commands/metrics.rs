//! A role without a console is scraped where `[metrics]` says: every stage that it runs says how far behind it is.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::Client;

use crate::real::site::{PATIENCE, millrace};

/// Ended with the test, also with one that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The metrics, once they contain all of `expected`.
fn scraped(client: &Client, url: &str, expected: &[&str]) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = client.get(url).send().and_then(|answer| answer.error_for_status()?.text());
        match text {
            Ok(text) if expected.iter().all(|one| text.contains(one)) => return text,
            told => assert!(Instant::now() < until, "not all of {expected:?}: {told:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn processors_without_a_console_say_how_far_behind_each_stage_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = millrace_test_servers::free_port();
    let config = folder.path().join("millrace.toml");
    let text = format!(
        "[bus]\nfile = \"{}\"\n[metrics]\nlisten = \"127.0.0.1:{}\"\n[archive]\ndir = \"{}\"\n",
        folder.path().join("bus.db").display(),
        port.number,
        folder.path().join("archive").display()
    );
    std::fs::write(&config, text).expect("writable");
    let start = |role: &str| {
        let mut command = millrace();
        command.arg(role).arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Running(command.spawn().expect("millrace starts"))
    };
    let client = Client::builder().no_proxy().build().expect("a client");
    let url = format!("http://127.0.0.1:{}/metrics", port.number);
    let nothing_left = |stage: &str, topic: &str| {
        ["records", "seconds"]
            .map(|unit| format!("millrace_stage_lag_{unit}{{stage=\"{stage}\",topic=\"{topic}\"}} 0\n"))
    };
    let check = |role: &str, stages: &[(&str, &str)]| {
        let _running = start(role);
        let lines: Vec<String> = stages.iter().flat_map(|(stage, topic)| nothing_left(stage, topic)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        scraped(&client, &url, &lines)
    };
    let text = check("process", &[("deciders", "journal"), ("windows", "queries"), ("digests", "digests")]);
    assert!(!text.contains("stage=\"executor\""), "it runs none: {text}");
    check("execute", &[("executor", "journal"), ("executor", "actions")]);
    check("sink", &[("archive", "journal"), ("archive", "actions"), ("archive", "alerts")]);

    let _running = start("process");
    scraped(&client, &url, &["process_resident_memory_bytes"]);
    let answer = client.get(&url).header("host", "example.com").send().expect("an answer");
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    let elsewhere = client.get(url.replace("/metrics", "/api/state")).send().expect("an answer");
    assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
}
