//! How fast Millrace is over a real Kafka whose broker is on the same machine: windows against what librdkafka alone does with the
//! same bytes; and a fleet of 1,000 clusters of three whose agents sign a heartbeat each second: how long it takes from a process
//! exit to the action received, what the journal costs, and whether a decider that checks every signature keeps up.
//! `cargo bench --bench kafka [windows|fleet]`; with `--test` (as `cargo test --benches` runs it) only some seconds' worth.
#![allow(clippy::print_stdout)] // the numbers are what it is for

mod agents;
mod fleet;
mod place;
mod process;
mod rows;
mod trips;
mod windows;

use std::process::Command;

use millrace_test_servers::shared_kafka;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let short = arguments.iter().any(|argument| argument == "--test");
    let named: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| *name == part);
    if let Some(reason) = no_kafka() {
        println!("skipped: {reason}");
        return;
    }
    let servers = shared_kafka();
    if wanted("windows") {
        windows::measure(servers, short);
    }
    if wanted("fleet") {
        fleet::measure(servers, short);
    }
}

/// Why there is no broker to be had, if there is none.
fn no_kafka() -> Option<String> {
    match std::env::var("MILLRACE_KAFKA").as_deref() {
        Ok("none") => return Some("MILLRACE_KAFKA=none".to_owned()),
        Ok(_) => return None,
        Err(_) => {}
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/kafka.sh");
    match Command::new(script).arg("template").output() {
        Ok(made) if made.status.success() => None,
        Ok(made) => Some(String::from_utf8_lossy(&made.stderr).trim_end().to_owned()),
        Err(error) => Some(format!("{script}: {error}")),
    }
}

/// What is printed behind a goal.
fn held(good: bool) -> &'static str {
    if good { "held" } else { "MISSED" }
}

/// The value below which a share `q` of the sorted `values` lies.
fn quantile(values: &[f64], q: f64) -> f64 {
    values[((values.len() - 1) as f64 * q).round() as usize]
}
