//! `millrace events TOPIC`: a topic as it is served to subscribers, one JSON value a line, until it is interrupted.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use millrace_schemas::topics::Topic;

use super::End;
use super::output::say;
use super::site::Source;
use crate::bus::{Assignment, From, Polled, SharedBus};
use crate::console::line;

/// 500 ms per look.
const WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The topic: journal, queries, actions, alerts, routes, ...
    topic: Topic,
    /// Where to begin: start, end, or an offset.
    #[arg(long, default_value = "end")]
    from: String,
    #[command(flatten)]
    source: Source,
    /// Ask a console; that is what is done when nothing else is named.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7070")]
    console: String,
    /// End after so many records.
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut left = arguments.count;
    // False when that was the last one asked for.
    let mut tell = |text: &str| -> anyhow::Result<bool> {
        say(text)?;
        left = left.map(|left| left.saturating_sub(1));
        Ok(left != Some(0))
    };
    if let Some(bus) = arguments.source.open()? {
        return follow(&bus, arguments, tell);
    }
    let url =
        format!("{}/api/events/{}?from={}", arguments.console.trim_end_matches('/'), arguments.topic, arguments.from);
    let answer = no_console(client()?.get(&url).send(), &arguments.console)?;
    for line in BufReader::new(answer).lines() {
        let line = line.context("the connection to the console broke")?;
        if let Some(data) = line.strip_prefix("data:")
            && !tell(data.trim_start())?
        {
            break;
        }
    }
    Ok(())
}

/// The same from the bus itself.
fn follow(
    bus: &SharedBus,
    arguments: &Arguments,
    mut tell: impl FnMut(&str) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let from = &arguments.from;
    let from: From = from.parse().map_err(|why| End::Usage(format!("--from {from} is {why}")))?;
    let mut reader = bus.reader(Assignment::Manual(vec![(arguments.topic, from)]))?;
    loop {
        for item in reader.poll(WAIT)? {
            if let Polled::Record(record) = item
                && !tell(&line(&record))?
            {
                return Ok(());
            }
        }
    }
}

/// A client without a limit of time, for streams, and without a proxy: consoles are on this host.
pub(super) fn client() -> anyhow::Result<reqwest::blocking::Client> {
    Ok(reqwest::blocking::Client::builder().timeout(None).no_proxy().build()?)
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
