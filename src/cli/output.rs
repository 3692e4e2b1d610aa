//! What commands print: text, or JSON with `schema_version` first. A reader that has gone (a closed pipe) ends the command.

use std::io::Write as _;

use clap::ValueEnum;
use serde::Serialize;

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people, 80 columns.
    Text,
    /// One JSON value.
    Json,
}

/// Writes `text`, and a line end if it has none.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Writes `answer` in the form that was asked for.
pub(super) fn answer<T: Serialize>(form: Form, answer: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match form {
        Form::Text => say(&text(answer)),
        Form::Json => say(&serde_json::to_string(answer)?),
    }
}
