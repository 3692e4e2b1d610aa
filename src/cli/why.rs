//! `millrace why CLUSTER|ID`: from an archive, from a bus, or from the console of the process that has it open.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use millrace_schemas::time::Timestamp;

use super::output::{Form, answer, say};
use super::site::Source;
use crate::journal::{appended, archived, why};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A cluster, or the id of a fact or an action.
    what: String,
    /// As of this time, UTC.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Read an archive.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "bus", "console"])]
    archive: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Ask a console; that is what is done when nothing else is named.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7070")]
    console: String,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let told = if let Some(dir) = &arguments.archive {
        why(archived(dir)?, &arguments.what, arguments.at)?
    } else if let Some(bus) = arguments.source.open()? {
        why(appended(&bus)?, &arguments.what, arguments.at)?
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
    super::events::no_console(super::events::client()?.get(&url).send(), &arguments.console)
        .and_then(|answer| Ok(answer.text()?))
        .and_then(|text| say(&text))
}
