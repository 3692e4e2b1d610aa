//! `millrace topics`: the topics that the configuration wants on Kafka, and what differs from it there; `--apply` creates and sets,
//! `--check` only judges, `--list` asks no broker. Exit code 1 when something differs and stays so.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::Negative;
use super::output::{Form, answer};
use crate::bus::kafka::topics::{Difference, Topics, Wanted, wanted};
use crate::config::{self, Bus};
use crate::journal::SCHEMA_VERSION;

/// What of the topics is wanted.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration with [bus] kind = "kafka".
    #[arg(long, value_name = "FILE", default_value = "/etc/millrace/millrace.toml")]
    config: PathBuf,
    /// Create what is missing, and set what can be set.
    #[arg(long, conflicts_with = "check")]
    apply: bool,
    /// Say only what differs; exit code 1 when something does.
    #[arg(long)]
    check: bool,
    /// Say only what is wanted, as a table in Markdown; no broker is asked.
    #[arg(long, conflicts_with_all = ["apply", "check"])]
    list: bool,
    /// How it is told.
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Told {
    schema_version: u32,
    topics: Vec<Wanted>,
    done: Vec<String>,
    differences: Vec<Difference>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Bus::Kafka(kafka) = config::load(&arguments.config)?.bus else {
        bail!(super::End::Usage(format!(
            "{} has no [bus] kind = \"kafka\": the local bus needs no topics to be made",
            arguments.config.display()
        )));
    };
    if arguments.list {
        let told =
            Told { schema_version: SCHEMA_VERSION, topics: wanted(&kafka), done: Vec::new(), differences: Vec::new() };
        return answer(arguments.output, &told, |told| markdown(&told.topics));
    }
    let topics = Topics::new(&kafka)?;
    let done = if arguments.apply { topics.apply()? } else { Vec::new() };
    let differences = topics.differences()?;
    let all = if arguments.check { Vec::new() } else { wanted(&kafka) };
    let told = Told { schema_version: SCHEMA_VERSION, topics: all, done, differences };
    answer(arguments.output, &told, |told| text(told, arguments))?;
    if (arguments.check || arguments.apply) && !told.differences.is_empty() {
        return Err(Negative.into());
    }
    Ok(())
}

fn text(told: &Told, arguments: &Arguments) -> String {
    let mut lines: Vec<String> = told.done.clone();
    if !arguments.check && !arguments.apply {
        lines.extend(told.topics.iter().map(line));
        lines.push(String::new());
    }
    for one in &told.differences {
        let mark = if one.wrong { "  (nothing runs on it)" } else { "" };
        lines.push(format!("{one}{mark}"));
    }
    if told.differences.is_empty() {
        lines.push("all topics are as the configuration wants them".to_owned());
    } else if !arguments.apply {
        lines.push("`millrace topics --apply` creates topics and sets what can be set".to_owned());
    }
    lines.join("\n")
}

/// The topics as a table, for people who make them with tools of their own.
fn markdown(topics: &[Wanted]) -> String {
    let mut lines =
        vec!["| topic | partitions | replicas | kept | settings |".to_owned(), "|---|---|---|---|---|".to_owned()];
    for topic in topics {
        let settings = topic.settings.iter().map(|(name, value)| format!("`{name}={value}`")).collect::<Vec<_>>();
        let Wanted { name, partitions, replication, .. } = topic;
        lines.push(format!("| `{name}` | {partitions} | {replication} | {} | {} |", kept(topic), settings.join(" ")));
    }
    lines.join("\n")
}

/// How long records stay.
fn kept(topic: &Wanted) -> String {
    match topic.settings.get("retention.ms").and_then(|ms| ms.parse::<u64>().ok()) {
        Some(ms) => format!("{} days", ms / 86_400_000),
        None => "compacted".to_owned(),
    }
}

/// A topic in a line of a terminal.
fn line(topic: &Wanted) -> String {
    format!("{:<24} {:>3} partitions x {}  {}", topic.name, topic.partitions, topic.replication, kept(topic))
}
