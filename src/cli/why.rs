//! `millrace why CLUSTER|ID`: from an archive, from a bus file, or from the console of the process that has it open.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use millrace_schemas::metrics::Registry;
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_sinks::archive::{partitions, read};

use super::output::{Form, answer, say};
use crate::bus::local::LocalBus;
use crate::bus::{Assignment, Bus as _, From, Polled};
use crate::journal::why;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A cluster, or the id of a fact or an action.
    what: String,
    /// As of this time, UTC.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Read an archive.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["bus", "console"])]
    archive: Option<PathBuf>,
    /// Read a bus file. Nobody may have it open.
    #[arg(long, value_name = "FILE", conflicts_with = "console")]
    bus: Option<PathBuf>,
    /// Ask the process that owns the bus.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7070")]
    console: String,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let told = if let Some(dir) = &arguments.archive {
        let mut records: Vec<anyhow::Result<Record>> = Vec::new();
        for partition in partitions(dir, Topic::Journal)? {
            records.extend(read(dir, Topic::Journal, partition)?.map(|record| record.map_err(anyhow::Error::from)));
        }
        why(records, &arguments.what, arguments.at)?
    } else if let Some(file) = &arguments.bus {
        let bus = LocalBus::open(file, Arc::new(Registry::new()))?;
        let end = bus.end(Topic::Journal, 0)?;
        let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Start)]))?;
        let mut records = Vec::new();
        while records.last().is_none_or(|record: &Record| record.offset + 1 < end) {
            let polled = reader.poll(Duration::ZERO)?;
            if polled.is_empty() {
                break;
            }
            records.extend(polled.into_iter().filter_map(|item| match item {
                Polled::Record(record) => Some(record),
                _ => None,
            }));
        }
        why(records.into_iter().map(Ok), &arguments.what, arguments.at)?
    } else {
        return ask(arguments);
    };
    answer(arguments.output, &told, ToString::to_string)
}

fn ask(arguments: &Arguments) -> anyhow::Result<()> {
    let mut url = format!("{}/api/why/{}", arguments.console.trim_end_matches('/'), arguments.what);
    let form = if arguments.output == Form::Text { "text" } else { "json" };
    let _ = write!(url, "?output={form}");
    if let Some(at) = arguments.at {
        let _ = write!(url, "&at={at}");
    }
    super::events::no_console(reqwest::blocking::get(&url), &arguments.console)
        .and_then(|answer| Ok(answer.text()?))
        .and_then(|text| say(&text))
}
