//! `millrace events TOPIC`: a topic as it is served to subscribers, one JSON value a line, until it is interrupted.

use std::io::{BufRead as _, BufReader};

use anyhow::{Context as _, bail};
use clap::Args;
use millrace_schemas::topics::Topic;

use super::output::say;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The topic: journal, queries, actions, alerts, routes, ...
    topic: Topic,
    /// Where to begin: start, end, or an offset.
    #[arg(long, default_value = "end")]
    from: String,
    /// The process that owns the bus.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7070")]
    console: String,
    /// End after so many records.
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let url =
        format!("{}/api/events/{}?from={}", arguments.console.trim_end_matches('/'), arguments.topic, arguments.from);
    let client = reqwest::blocking::Client::builder().timeout(None).build()?;
    let answer = no_console(client.get(&url).send(), &arguments.console)?;
    let mut left = arguments.count;
    for line in BufReader::new(answer).lines() {
        let line = line.context("the connection to the console broke")?;
        if let Some(data) = line.strip_prefix("data:") {
            say(data.trim_start())?;
            left = left.map(|left| left.saturating_sub(1));
            if left == Some(0) {
                break;
            }
        }
    }
    Ok(())
}

/// Says what to do when nobody answers.
pub(super) fn no_console(
    sent: reqwest::Result<reqwest::blocking::Response>,
    console: &str,
) -> anyhow::Result<reqwest::blocking::Response> {
    let answer = sent.with_context(|| {
        format!("no console answers at {console}: start `millrace up`, or name another with --console URL")
    })?;
    if !answer.status().is_success() {
        let status = answer.status();
        bail!("{console} answered {status}: {}", answer.text().unwrap_or_default().trim());
    }
    Ok(answer)
}
