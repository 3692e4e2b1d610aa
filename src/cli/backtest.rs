//! `millrace backtest`: what would have fired. In: a bus, an archive, or series as CSV. Out: a line for each finding, with the time at
//! which it would have been said. Nobody is told of anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use csv::{ByteRecord, ReaderBuilder};
use millrace_processors::anomaly::{Component, Scorer};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{AlertState, Finding};
use millrace_sinks::archive::is_archive;
use serde::Serialize;

use super::End;
use super::anomaly::{Columns, Row, read_row};
use super::input::places;
use super::output::{Form, answer, cut, printable};
use super::site::Source;
use crate::backtest::{Recorded, Records, Said, none, test};
use crate::config;
use crate::journal::{SCHEMA_VERSION, appended_to, archived};

/// From this score on a value of a series is an alarm.
const ALARM: f64 = 0.5;
/// 80 columns for people.
const WIDTH: usize = 80;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Archives, as `millrace journal export` writes them, and series, CSV with the columns timestamp and value. An archive has the
    /// journal and neither windows nor samples: rules over the journal are judged anew, what was unusual is taken as it was said then,
    /// and rules over samples are not judged. A bus has all of it, for as long as its topics keep it.
    #[arg(value_name = "PATH", conflicts_with_all = ["config", "bus"])]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Show what would have been said from then on: 2026-11-21T09:00:00Z. What came before is folded, since a judgement rests on it.
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Show what would have been said before then.
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// A file of rules, over those that are shipped.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Debug, Default, Serialize)]
struct Answer {
    schema_version: u32,
    findings: Vec<Shown>,
    alarms: Vec<Alarm>,
    records: u64,
    unreadable: u64,
}

#[derive(Debug, Serialize)]
struct Shown {
    at: Timestamp,
    cluster: String,
    finding: Finding,
}

/// A value of a series that is an alarm.
#[derive(Debug, Serialize)]
struct Alarm {
    series: String,
    at: Timestamp,
    value: f64,
    score: f64,
    component: Option<Component>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let rules = Arc::new(config::rules(arguments.rules.as_deref())?);
    let mut told = Answer { schema_version: SCHEMA_VERSION, ..Answer::default() };
    let shown = |at: Timestamp| arguments.from.is_none_or(|from| at >= from) && arguments.to.is_none_or(|to| at < to);
    let (settings, mut all) = (arguments.source.anomalies()?, Vec::new());
    if let Some(bus) = arguments.source.open()? {
        let read = |topic| -> anyhow::Result<Records> { Ok(Box::new(appended_to(&bus, topic)?)) };
        all.push(Recorded {
            digests: read(Topic::Digests)?,
            samples: read(Topic::Samples)?,
            windows: read(Topic::Windows)?,
            journal: read(Topic::Journal)?,
        });
    } else if arguments.paths.is_empty() {
        return Err(
            End::Usage("name what was recorded: --config FILE, --bus FILE, an archive or a CSV".to_owned()).into()
        );
    }
    for path in &arguments.paths {
        if is_archive(path) {
            let journal: Records = Box::new(archived(path)?);
            all.push(Recorded { digests: none(), samples: none(), windows: none(), journal });
        } else {
            series(path, &mut told)?;
        }
    }
    for recorded in all {
        let tested = test(recorded, &rules, &settings)?;
        (told.records, told.unreadable) = (told.records + tested.records, told.unreadable + tested.unreadable);
        told.findings.extend(tested.said.into_iter().map(|Said { at, cluster, finding }| Shown {
            at,
            cluster: cluster.to_string(),
            finding,
        }));
    }
    told.findings.retain(|one| shown(one.at));
    told.alarms.retain(|one| shown(one.at));
    answer(arguments.output, &told, text)?;
    if told.unreadable > 0 {
        let Answer { records, unreadable, .. } = told;
        return Err(End::Partial(format!("{unreadable} of {records} records could not be read")).into());
    }
    Ok(())
}

/// The alarms of one series.
fn series(path: &Path, told: &mut Answer) -> anyhow::Result<()> {
    for place in places(&[path.to_owned()])? {
        let input = place.open().map_err(|error| End::Usage(format!("{place} cannot be read: {error}")))?;
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(input);
        let header = reader.byte_headers().map_err(|error| End::Usage(format!("{place} cannot be read: {error}")))?;
        let Some(columns) = Columns::of(header) else {
            let why =
                format!("{place} is no archive, and does not name the columns timestamp and value in its first line");
            return Err(End::Usage(why).into());
        };
        let (mut scorer, mut record) = (Scorer::default(), ByteRecord::new());
        while reader.read_byte_record(&mut record)? {
            told.records += 1;
            let field = |at: usize| record.get(at).unwrap_or_default();
            match read_row(field(columns.timestamp), field(columns.value)) {
                Row::Value(at, value) => {
                    let score = scorer.observe(at, value);
                    if score.score >= ALARM {
                        let series = place.to_string();
                        told.alarms.push(Alarm { series, at, value, score: score.score, component: score.component });
                    }
                }
                Row::Missing => {}
                Row::Unreadable(_) => told.unreadable += 1,
            }
        }
    }
    Ok(())
}

fn text(told: &Answer) -> String {
    let mut lines: Vec<String> = told.findings.iter().map(line).collect();
    lines.extend(told.alarms.iter().map(|alarm| {
        let component = alarm.component.map_or_else(String::new, |component| format!(" {component:?}"));
        let text = format!("{} {} is {}: {:.2}{component}", clock(alarm.at), alarm.series, alarm.value, alarm.score);
        cut(&printable(&text), WIDTH)
    }));
    let firing = told.findings.iter().filter(|one| one.finding.state == AlertState::Firing).count();
    lines.push(format!("{} records, {firing} findings, {} alarms of series", told.records, told.alarms.len()));
    lines.join("\n")
}

/// One finding: when, whether it begins (+) or is over (-), whether somebody would be notified (!), and what it says.
fn line(one: &Shown) -> String {
    let Finding { rule, state, notifies, summary, .. } = &one.finding;
    let mark = match state {
        AlertState::Resolved => '-',
        AlertState::Firing if *notifies => '!',
        AlertState::Firing => '+',
    };
    cut(&printable(&format!("{} {mark} {} {rule}: {summary}", clock(one.at), one.cluster)), WIDTH)
}

/// A time to the second.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..19).map_or(text.clone(), |time| format!("{time}Z"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_series_has_its_alarms_and_lines_fit_a_terminal() {
        let mut file = tempfile::NamedTempFile::with_suffix(".csv").expect("a file");
        writeln!(file, "timestamp,value").expect("writes");
        for number in 0..1_000 {
            let value = if number == 900 { 900 } else { 100 + [3, 1, 4, 1, 5, 9, 2, 6][number % 8] };
            writeln!(file, "{},{value}", 1_700_000_000 + number * 300).expect("writes");
        }
        writeln!(file, "yesterday,5").expect("writes");
        let mut told = Answer::default();
        series(file.path(), &mut told).expect("reads");
        assert_eq!((told.records, told.unreadable), (1_001, 1));
        assert!(told.alarms.iter().any(|alarm| (alarm.value - 900.0).abs() < 1e-9), "{told:?}");
        let text = text(&told);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.starts_with("2023-11-18T01:13:20Z "), "{text}");
    }
}
