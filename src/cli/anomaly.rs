//! `millrace anomaly`: a series as CSV in, the same rows with a score of 0..1 out. A row is written before the next one is read, and
//! rests on nothing that comes after it. Every row gets a row: what cannot be read has the score 0, and is named and counted.

use std::io::{self, BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use csv::{ByteRecord, ReaderBuilder};
use millrace_processors::anomaly::{Component, Scorer, Sensitivity};
use millrace_schemas::time::Timestamp;
use serde::Serialize;

use super::End;
use super::input::{Place, places};
use super::output::{complain, told, write_line};

/// The layout of a line.
const SCHEMA_VERSION: u32 = 1;
/// Ten unreadable rows are named; more tell nothing new.
const NAMED_MAX: u64 = 10;
/// Whole seconds up to here are exact in an `f64`, and in microseconds in an `i64`: the year 287,000.
const EPOCH_SECONDS_MAX: f64 = 9.0e12;

/// What `--help` says below the options.
const MORE_HELP: &str = "\
Input:
  The first line names the columns; timestamp and value are read, others are passed over.
  Times: 2026-11-21 09:00:00 (UTC), RFC 3339, or seconds since 1970.
  An empty value and NaN say that there is none: score 0.
  A row whose time or value cannot be read: score 0, named on standard error, exit code 3.

Output:
  timestamp and value as they were, and anomaly_score, 0..1. A half or more is an alarm, for any series.
  An event has one such row, at its beginning, or a few; what follows from it is held down.

Examples:
  millrace anomaly -r qps.csv
  zcat qps.csv.gz | millrace anomaly -r - --sensitivity 3 | awk -F, '$3 >= 0.5'
  millrace anomaly -r qps.csv -o jsonl";

#[derive(Debug, Args)]
#[command(after_long_help = MORE_HELP)]
pub(super) struct Arguments {
    /// The series, also packed (gzip, zstd, xz); `-` is standard input.
    #[arg(required_unless_present = "read", value_name = "FILE.csv")]
    file: Option<PathBuf>,
    /// The same, as capture tools name it.
    #[arg(short, long, value_name = "FILE.csv", conflicts_with = "file")]
    read: Option<PathBuf>,
    /// How readily it alarms: 1, only at what was never heard of, to 9, at what is a little odd.
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u8).range(i64::from(Sensitivity::LEAST)..=i64::from(Sensitivity::MOST)))]
    sensitivity: u8,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "csv")]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// `timestamp,value,anomaly_score`.
    Csv,
    /// One JSON object per row, with the component that found it most unusual.
    Jsonl,
}

/// One row, as a JSON line.
#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    timestamp: &'a str,
    /// Null where there is none, or it cannot be read.
    value: Option<f64>,
    anomaly_score: f64,
    /// What of the value is most unusual; null where nothing is.
    component: Option<Component>,
}

/// What a row says.
#[derive(Debug, PartialEq)]
pub(super) enum Row {
    Value(Timestamp, f64),
    /// It says that there is no value.
    Missing,
    /// Why it cannot be read.
    Unreadable(String),
}

/// Where the two columns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) timestamp: usize,
    pub(super) value: usize,
}

impl Columns {
    pub(super) fn of(header: &ByteRecord) -> Option<Self> {
        let at = |name: &str| header.iter().position(|field| field.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        Some(Columns { timestamp: at("timestamp")?, value: at("value")? })
    }
}

pub(super) fn read_row(timestamp: &[u8], value: &[u8]) -> Row {
    let text = |field: &[u8]| String::from_utf8_lossy(field.trim_ascii()).into_owned();
    let (time, number) = (text(timestamp), text(value));
    let Some(at) = moment(&time) else {
        return Row::Unreadable(format!(
            "'{time}' is no time: give one such as 2026-11-21 09:00:00, RFC 3339 or seconds since 1970"
        ));
    };
    if number.is_empty() {
        return Row::Missing;
    }
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() => Row::Value(at, number),
        Ok(number) if number.is_nan() => Row::Missing,
        _ => Row::Unreadable(format!("'{number}' is no finite number")),
    }
}

/// `2026-11-21 09:00:00` (UTC), RFC 3339, or seconds since 1970.
fn moment(text: &str) -> Option<Timestamp> {
    // What names an offset is read with it; a time of day alone would pass over it.
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        return Some(Timestamp(time.timestamp().as_microsecond()));
    }
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() <= EPOCH_SECONDS_MAX)?;
    Some(Timestamp((seconds * 1e6).round() as i64))
}

/// How many rows had no score of their own.
#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    unreadable: u64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let named =
        arguments.read.as_ref().or(arguments.file.as_ref()).map_or_else(|| Path::new("-").to_owned(), Clone::clone);
    let found = places(&[named])?;
    let [place] = found.as_slice() else {
        return Err(End::Usage(format!("one file has one series; {} were named", found.len())).into());
    };
    let input = place.open().map_err(|error| End::Usage(format!("{place} cannot be read: {error}")))?;
    let sensitivity = Sensitivity::new(arguments.sensitivity).unwrap_or_default();
    let mut out =
        Out { form: arguments.output, each: place.bytes().is_none(), to: BufWriter::new(io::stdout().lock()) };
    let mut counts = Counts::default();
    let broken = score(place, input, Scorer::new(sensitivity), &mut out, &mut counts)?;
    told(out.to.flush())?;
    if let Some(why) = broken {
        return Err(End::Partial(format!("{place} cannot be read further after {} rows: {why}", counts.rows)).into());
    }
    if counts.unreadable > 0 {
        let Counts { rows, unreadable } = counts;
        return Err(End::Partial(format!("{unreadable} of {rows} rows could not be read and have the score 0")).into());
    }
    Ok(())
}

/// Scores a whole input; what it gives is why it ended early.
fn score(
    place: &Place,
    input: impl BufRead,
    mut scorer: Scorer,
    out: &mut Out<impl Write>,
    counts: &mut Counts,
) -> anyhow::Result<Option<csv::Error>> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
    let mut record = ByteRecord::new();
    match reader.read_byte_record(&mut record) {
        Ok(true) => {}
        Ok(false) => return Err(End::Usage(format!("{place} is empty: its first line must be timestamp,value")).into()),
        Err(error) => return Err(End::Usage(format!("{place} cannot be read: {error}")).into()),
    }
    let Some(columns) = Columns::of(&record) else {
        let header = record.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(",");
        return Err(End::Usage(format!(
            "{place} must name the columns timestamp and value in its first line, which is '{header}'"
        ))
        .into());
    };
    told(out.header())?;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => return Ok(Some(error)),
        }
        counts.rows += 1;
        let field = |at: usize| record.get(at).unwrap_or_default();
        let (timestamp, value) = (field(columns.timestamp), field(columns.value));
        let row = read_row(timestamp, value);
        let score = match &row {
            Row::Value(at, value) => Some(scorer.observe(*at, *value)),
            Row::Missing => None,
            Row::Unreadable(why) => {
                counts.unreadable += 1;
                if counts.unreadable <= NAMED_MAX {
                    let line = record.position().map_or(0, csv::Position::line);
                    complain(&format!("{place} line {line}: {why}"));
                }
                None
            }
        };
        let number = if let Row::Value(_, value) = row { Some(value) } else { None };
        let component = score.and_then(|score| score.component);
        told(out.row((timestamp, value), number, score.map_or(0.0, |score| score.score), component))?;
    }
}

/// Where rows go.
struct Out<W> {
    form: Form,
    /// Whether each row is handed on at once: who writes a pipe may wait for it. A file is there as a whole.
    each: bool,
    to: W,
}

impl<W: Write> Out<W> {
    fn header(&mut self) -> io::Result<()> {
        if self.form == Form::Csv {
            self.to.write_all(b"timestamp,value,anomaly_score\n")?;
        }
        if self.each { self.to.flush() } else { Ok(()) }
    }

    fn row(
        &mut self,
        (timestamp, value): (&[u8], &[u8]),
        number: Option<f64>,
        score: f64,
        component: Option<Component>,
    ) -> io::Result<()> {
        match self.form {
            Form::Csv => {
                for field in [timestamp, value] {
                    write_field(&mut self.to, field)?;
                    self.to.write_all(b",")?;
                }
                writeln!(self.to, "{score:.6}")?;
            }
            Form::Jsonl => {
                let timestamp = &String::from_utf8_lossy(timestamp);
                let anomaly_score = (score * 1e6).round() / 1e6;
                let line = Line { schema_version: SCHEMA_VERSION, timestamp, value: number, anomaly_score, component };
                write_line(&mut self.to, &line)?;
            }
        }
        if self.each { self.to.flush() } else { Ok(()) }
    }
}

/// A field as it was read; in quotes where it needs them.
fn write_field(to: &mut impl Write, field: &[u8]) -> io::Result<()> {
    if !field.iter().any(|byte| b",\"\r\n".contains(byte)) {
        return to.write_all(field);
    }
    to.write_all(b"\"")?;
    for part in field.split_inclusive(|byte| *byte == b'"') {
        to.write_all(part)?;
        if part.ends_with(b"\"") {
            to.write_all(b"\"")?;
        }
    }
    to.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_three_forms() {
        let check = |text: &str, seconds: Option<f64>| {
            assert_eq!(moment(text), seconds.map(|seconds| Timestamp((seconds * 1e6) as i64)), "{text}");
        };
        check("2014-04-01 00:05:00", Some(1_396_310_700.0));
        check("2014-04-01 00:05:00.250000", Some(1_396_310_700.25));
        check("2014-04-01T00:05:00Z", Some(1_396_310_700.0));
        check("2014-04-01T02:05:00+02:00", Some(1_396_310_700.0));
        check("1396310700", Some(1_396_310_700.0));
        check("1396310700.5", Some(1_396_310_700.5));
        for text in ["", "yesterday", "NaN", "inf", "1e300"] {
            check(text, None);
        }
    }

    #[test]
    fn rows_are_values_gaps_or_unreadable() {
        let check = |value: &str, expected: &Row| assert_eq!(read_row(b"0", value.as_bytes()), *expected, "{value}");
        check(" 1.5e3", &Row::Value(Timestamp(0), 1_500.0));
        check("", &Row::Missing);
        check("NaN", &Row::Missing);
        check("inf", &Row::Unreadable("'inf' is no finite number".to_owned()));
        check("12 ms", &Row::Unreadable("'12 ms' is no finite number".to_owned()));
    }

    #[test]
    fn fields_are_quoted_where_they_need_it() {
        let check = |field: &str, expected: &str| {
            let mut to = Vec::new();
            write_field(&mut to, field.as_bytes()).expect("memory");
            assert_eq!(String::from_utf8_lossy(&to), expected);
        };
        check("2014-04-01 00:05:00", "2014-04-01 00:05:00");
        check("a,b", "\"a,b\"");
        check("say \"x\"", "\"say \"\"x\"\"\"");
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let columns = |fields: &[&str]| Columns::of(&ByteRecord::from(fields.to_vec()));
        assert_eq!(columns(&["timestamp", "value"]), Some(Columns { timestamp: 0, value: 1 }));
        assert_eq!(columns(&["host", "Value", " timestamp"]), Some(Columns { timestamp: 2, value: 1 }));
        assert_eq!(columns(&["time", "value"]), None);
    }
}
