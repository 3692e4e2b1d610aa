//! `millrace dead list|show|replay`: what no stage could use lies in `dead`, as it was. List and show read it; replay appends a
//! record once more where it lay before, after what could not read it was put right. What was refused for its signature is never
//! replayed, and nothing is signed here: a record keeps the word of who wrote it.

mod letter;
mod replay;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use millrace_schemas::record::{Bytes, Headers};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use serde::Serialize;

use super::End;
use super::output::{Form, answer, cut, printable};
use super::site::Source;
use crate::bus::{Assignment, From, Polled, SharedBus};
use crate::journal::{SCHEMA_VERSION, appended_to};
use letter::{Letter, Place, hex_dump};

/// 200 ms per poll, 25 of them without the record: by then the bus has nothing at that place.
const POLL: Duration = Duration::from_millis(200);
const EMPTY_MAX: u32 = 25;
/// 80 columns: a terminal's.
const COLUMNS: usize = 80;
/// 12 columns of a reason are the least that says anything.
const REASON_MIN: usize = 12;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// One line for each record: its place, when it came, where it lay before, which stage could not use it, and why.
    List {
        #[command(flatten)]
        source: Source,
        /// Only what was of this topic.
        #[arg(long)]
        topic: Option<Topic>,
        /// The newest so many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
        /// The form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// A record with all its headers, and its bytes as they were.
    Show {
        #[command(flatten)]
        source: Source,
        /// Where it lies: PARTITION-OFFSET, as `list` shows it.
        place: Place,
        /// Write exactly the bytes, and nothing else.
        #[arg(long, conflicts_with = "output")]
        raw: bool,
        /// The form of the answer.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Append records once more where they lay before. Readers may judge one late, or know it already by its sequence, and drop
    /// it. What was refused for its signature is not replayed (exit code 4).
    Replay(Replay),
}

/// What is to be replayed, and how.
#[derive(Debug, Args)]
pub(super) struct Replay {
    #[command(flatten)]
    source: Source,
    /// The record: PARTITION-OFFSET, as `list` shows it.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    place: Option<Place>,
    /// Every record that may be. One that died several times is replayed once.
    #[arg(long)]
    all: bool,
    /// With --all: only what was of this topic.
    #[arg(long, requires = "all")]
    topic: Option<Topic>,
    /// Say what would be replayed, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// A record of the list.
#[derive(Debug, Serialize)]
struct Line {
    place: String,
    appended: Timestamp,
    /// Where it lay before; absent when its headers do not say.
    topic: Option<Topic>,
    original: Option<String>,
    stage: Option<String>,
    reason: String,
    key: String,
    bytes: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Listed {
    schema_version: u32,
    /// Older ones that the limit left out.
    left_out: u64,
    letters: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    schema_version: u32,
    #[serde(flatten)]
    line: Line,
    headers: &'a Headers,
    /// The bytes when they are text; else they are in the next one.
    value: Option<&'a str>,
    value_base64: Option<String>,
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { source, topic, limit, output } => {
            answer(output, &listed(&named(&source)?, topic, limit)?, list_text)
        }
        Command::Show { source, place, raw, output } => show(&fetched(&named(&source)?, place)?, raw, output),
        Command::Replay(replay) => replay::run(&replay),
    }
}

/// The bus that was named.
fn named(source: &Source) -> anyhow::Result<SharedBus> {
    match source.open()? {
        Some(bus) => Ok(bus),
        None => Err(End::Usage("name the bus: --config FILE or --bus FILE".to_owned()).into()),
    }
}

/// All letters, or those that were of `topic`, in order within each partition.
fn letters(
    bus: &SharedBus,
    topic: Option<Topic>,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Letter>> + use<>> {
    let all = appended_to(bus, Topic::Dead)?.map(|record| record.map(Letter::new));
    Ok(all.filter(move |letter| letter.as_ref().map_or(true, |letter| topic.is_none() || letter.topic() == topic)))
}

/// The letter at `place`.
fn fetched(bus: &SharedBus, place: Place) -> anyhow::Result<Letter> {
    let mut from: BTreeMap<u32, u64> = (0..).zip(bus.ends(Topic::Dead)?).collect();
    if from.get(&place.partition).is_none_or(|end| place.offset >= *end) {
        bail!("there is no record {place} in dead: `millrace dead list` shows what is there");
    }
    from.insert(place.partition, place.offset);
    let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Dead, From::Offsets(from))]))?;
    let mut empty = 0;
    while empty < EMPTY_MAX {
        let polled = reader.poll(POLL)?;
        empty = if polled.is_empty() { empty + 1 } else { 0 };
        for item in polled {
            let (Polled::Record(record) | Polled::Refused { record, .. }) = item else { continue };
            if record.partition == place.partition && record.offset == place.offset {
                return Ok(Letter::new(record));
            }
            if record.partition == place.partition && record.offset > place.offset {
                bail!("the record {place} of dead is not kept any more");
            }
        }
    }
    bail!("the record {place} of dead is not kept any more, or the bus does not show it")
}

fn line(letter: &Letter) -> Line {
    let origin = letter.origin.as_ref().ok();
    Line {
        place: letter.place.to_string(),
        appended: letter.appended,
        topic: origin.map(|origin| origin.topic),
        original: origin.map(|origin| origin.place.to_string()),
        stage: origin.map(|origin| origin.stage.clone()),
        reason: letter.origin.as_ref().map_or_else(Clone::clone, |origin| origin.reason.clone()),
        key: letter.record.key.clone(),
        bytes: letter.record.value.as_ref().map(Bytes::len),
    }
}

fn listed(bus: &SharedBus, topic: Option<Topic>, limit: usize) -> anyhow::Result<Listed> {
    // The partitions come one beside the other: the oldest of all is left out.
    let mut newest = BTreeMap::new();
    let mut left_out = 0;
    for letter in letters(bus, topic)? {
        let letter = letter?;
        newest.insert((letter.appended, letter.place), line(&letter));
        if newest.len() > limit {
            newest.pop_first();
            left_out += 1;
        }
    }
    let letters = newest.into_values().collect();
    Ok(Listed { schema_version: SCHEMA_VERSION, left_out, letters })
}

/// One line each, in 80 columns: the reason has what the others leave of them.
fn list_text(listed: &Listed) -> String {
    if listed.letters.is_empty() && listed.left_out == 0 {
        return "nothing is in dead".to_owned();
    }
    let rows = listed.letters.iter().map(|line| {
        let from = match (&line.topic, &line.original) {
            (Some(topic), Some(place)) => format!("{topic} {place}"),
            _ => "unknown".to_owned(),
        };
        let stage = line.stage.clone().unwrap_or_else(|| "unknown".to_owned());
        [line.place.clone(), seconds(line.appended), from, printable(&stage), printable(&line.reason)]
    });
    let titles = ["PLACE", "APPENDED", "FROM", "STAGE", "REASON"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(titles).chain(rows).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let left = COLUMNS.saturating_sub(widths.iter().map(|width| width + 2).sum()).max(REASON_MIN);
    let mut text = String::new();
    for [place, appended, from, stage, reason] in &rows {
        let [a, b, c, d] = widths;
        let _ = writeln!(text, "{place:a$}  {appended:b$}  {from:c$}  {stage:d$}  {}", cut(reason, left));
    }
    if listed.left_out > 0 {
        let _ = writeln!(text, "{} older left out: --limit N shows more", listed.left_out);
    }
    text
}

/// To the second: a list is for looking.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(whole, _)| format!("{whole}Z"))
}

fn show(letter: &Letter, raw: bool, output: Form) -> anyhow::Result<()> {
    let value = letter.record.value.as_deref();
    if raw {
        let Some(value) = value else {
            bail!("the record {} has no value, so there are no bytes to write", letter.place)
        };
        let mut out = std::io::stdout().lock();
        out.write_all(value)?;
        return Ok(out.flush()?);
    }
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    let shown = Shown {
        schema_version: SCHEMA_VERSION,
        line: line(letter),
        headers: &letter.record.headers,
        value: text,
        value_base64: value.filter(|_| text.is_none()).map(|value| STANDARD.encode(value)),
    };
    answer(output, &shown, |_| show_text(letter))
}

fn show_text(letter: &Letter) -> String {
    let mut text = format!("place     {}\nappended  {}\n", letter.place, letter.appended);
    match &letter.origin {
        Ok(origin) => {
            let (topic, place) = (origin.topic, origin.place);
            let _ = writeln!(text, "from      {topic} {place}\nstage     {}", printable(&origin.stage));
            let _ = writeln!(text, "reason    {}", printable(&origin.reason));
        }
        Err(why) => {
            let _ = writeln!(text, "from      unknown: {why}");
        }
    }
    let _ = writeln!(text, "key       {}\nheaders", printable(&letter.record.key));
    for (name, value) in &letter.record.headers {
        let _ = writeln!(text, "  {}: {}", printable(name), printable(value));
    }
    match letter.record.value.as_deref() {
        None => text.push_str("no value\n"),
        Some(value) => {
            let _ = writeln!(text, "value     {} bytes", value.len());
            let plain = std::str::from_utf8(value).ok();
            text.push_str(&plain.map_or_else(|| hex_dump(value), multiline));
        }
    }
    text
}

/// Text with its own line ends and tabs, and no other control characters.
fn multiline(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_fits_in_80_columns_with_one_line_each() {
        let line = |place: &str, reason: &str| Line {
            place: place.to_owned(),
            appended: Timestamp(1_700_000_000_123_456),
            topic: Some(Topic::Journal),
            original: Some("3-1234567".to_owned()),
            stage: Some("failover".to_owned()),
            reason: reason.to_owned(),
            key: "c1".to_owned(),
            bytes: Some(2),
        };
        let letters =
            vec![line("0-1", "short"), line("17-123456", "it is no event:\n\u{1b}[2J expected a value at line 1")];
        let text = list_text(&Listed { schema_version: 1, left_out: 3, letters });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(!text.contains('\u{1b}') && lines[2].ends_with('…'), "{text}");
        assert!(lines[1].contains("2023-11-14T22:13:20Z  journal 3-1234567  failover  short"), "{text}");
        assert!(lines[3].starts_with("3 older left out"), "{text}");
        let nothing = list_text(&Listed { schema_version: 1, left_out: 0, letters: Vec::new() });
        assert_eq!(nothing, "nothing is in dead");
    }
}
