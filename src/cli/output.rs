//! What commands print: text, or JSON with `schema_version` first. A reader that has gone (a closed pipe) ends the command.

use std::io::{self, Write as _};

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

/// Who read what is printed has closed the pipe, as `head` does: nothing is wrong, and there is nothing left to say.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(super) struct Unread;

/// What became of writing to standard output, as an error that ends the command.
pub(super) fn told(written: io::Result<()>) -> anyhow::Result<()> {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Unread.into(),
        _ => anyhow::Error::from(error).context("standard output cannot be written"),
    })
}

/// Says on standard error what is wrong with a part of the input; the command goes on.
pub(super) fn complain(text: &str) {
    eprintln!("millrace: {text}");
}

/// What somebody else wrote, so that it cannot move the cursor of who looks at it.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A text of so many characters at most; one that was longer ends in `…`.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}

/// Writes `text`, and a line end if it has none.
pub(super) fn say(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    told(out.write_all(text.as_bytes()).and_then(|()| out.write_all(end)).and_then(|()| out.flush()))
}

/// Writes one JSON value on a line of its own.
pub(super) fn write_line<T: Serialize>(out: &mut impl io::Write, line: &T) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// Writes `answer` in the form that was asked for.
pub(super) fn answer<T: Serialize>(form: Form, answer: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match form {
        Form::Text => say(&text(answer)),
        Form::Json => say(&serde_json::to_string(answer)?),
    }
}
