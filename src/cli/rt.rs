//! `millrace rt`: response times of a capture or an interface, a row per interval, with the columns that tcprstat has. Percentiles are
//! those of all commands of the interval; tcprstat's are averages and maxima over the fastest 95 or 99 %, so its numbers are lower.
//! Encrypted connections count too: a burst of the client and the server's answer.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use clap::{Args, ValueEnum};
use millrace_collectors::wire::{Batch, Decoder, Timed};
use millrace_schemas::time::{Timestamp, length};
use serde::Serialize;

use super::captures;
use super::output::{complain, told, write_line};

/// The layout of a line.
const SCHEMA_VERSION: u32 = 1;
/// 24 rows between two headings: a terminal's lines.
const ROWS_PER_HEADING: u64 = 24;
/// Most response times of an interval that percentiles are taken of: 16 Mi in 128 MiB, a quarter of a minute of the fastest server.
/// What comes beyond is in all other columns, and said.
const TIMES_MAX: usize = 16 << 20;
/// Most empty intervals in a row that are shown: a capture of two days with an hour each is no reason for 80,000 rows.
const EMPTY_MAX: i64 = 1_000;
/// 100 ms: as fast as anybody reads.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: captures::Arguments,
    /// How long each row's interval is: `1s`, `500ms`, `1m`.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// End after so many rows.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Which packet of the answer ends the time: the first, as tcprstat has it, or the last.
    #[arg(long, value_enum, default_value = "first")]
    until: Until,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Until {
    /// The first packet of the answer.
    First,
    /// The last packet of the answer.
    Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A table, microseconds.
    Text,
    /// One JSON object per row.
    Jsonl,
}

fn interval(text: &str) -> Result<Duration, String> {
    let length = length(text)?;
    if length < INTERVAL_MIN {
        return Err(format!("'{text}' is too short: at least {}ms", INTERVAL_MIN.as_millis()));
    }
    Ok(length)
}

/// The row of an interval.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    schema_version: u32,
    /// When the interval begins.
    ts: String,
    /// Commands; where not every connection was followed, for how many those that were stand.
    count: u64,
    max_us: u64,
    min_us: u64,
    avg_us: u64,
    med_us: u64,
    stddev_us: u64,
    p95_us: u64,
    p99_us: u64,
    /// Percent of the commands that were turns of encrypted connections.
    encrypted_pct: f64,
    /// Packets that the kernel or the interface dropped, and holes that the sequence numbers show.
    drops: u64,
    /// At most for so many each command stands that was seen.
    sample_factor: u32,
}

/// What an interval has so far.
#[derive(Debug, Default)]
struct Bucket {
    times: Vec<u64>,
    /// Commands that were seen, and for how many they stand.
    seen: u64,
    count: u64,
    sample_factor: u32,
    encrypted: u64,
    sum: u128,
    squares: u128,
    least: Option<u64>,
    most: u64,
    drops: u64,
}

impl Bucket {
    fn add(&mut self, us: u64, encrypted: bool, sample_factor: u32) {
        let (stands_for, time) = (u64::from(sample_factor), u128::from(us));
        self.seen += 1;
        self.count += stands_for;
        self.sample_factor = self.sample_factor.max(sample_factor);
        self.encrypted += u64::from(encrypted) * stands_for;
        self.sum += time * u128::from(stands_for);
        self.squares += time * time * u128::from(stands_for);
        self.least = Some(self.least.map_or(us, |least| least.min(us)));
        self.most = self.most.max(us);
        if self.times.len() < TIMES_MAX {
            self.times.push(us);
        }
    }

    fn row(mut self, begins_us: i64) -> Row {
        self.times.sort_unstable();
        let count = u128::from(self.count.max(1));
        let average = self.sum as f64 / count as f64;
        let variance = self.squares as f64 / count as f64 - average * average;
        Row {
            schema_version: SCHEMA_VERSION,
            ts: Timestamp(begins_us).to_string(),
            count: self.count,
            max_us: self.most,
            min_us: self.least.unwrap_or(0),
            avg_us: average.round() as u64,
            med_us: rank(&self.times, 50),
            stddev_us: variance.max(0.0).sqrt().round() as u64,
            p95_us: rank(&self.times, 95),
            p99_us: rank(&self.times, 99),
            encrypted_pct: (10_000.0 * self.encrypted as f64 / count as f64).round() / 100.0,
            drops: self.drops,
            sample_factor: self.sample_factor.max(1),
        }
    }
}

/// The percentile of sorted times by the nearest rank: the least of them that so many percent do not exceed.
fn rank(sorted: &[u64], percent: usize) -> u64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(0)
}

/// Sorts commands into intervals; closes them in order.
#[derive(Debug)]
struct Intervals {
    length_us: i64,
    until: Until,
    open: BTreeMap<i64, Bucket>,
    /// The first interval that is not closed.
    next: Option<i64>,
}

impl Intervals {
    fn new(interval: Duration, until: Until) -> Self {
        let length_us = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
        Intervals { length_us, until, open: BTreeMap::new(), next: None }
    }

    /// The interval of a moment; a late one counts in the first that is open.
    fn at(&mut self, us: i64) -> &mut Bucket {
        let number = us.div_euclid(self.length_us);
        self.open.entry(self.next.map_or(number, |next| number.max(next))).or_default()
    }

    fn add(&mut self, timed: &Timed) {
        let us = if self.until == Until::First { timed.rt_us.0 } else { timed.rt_us.1 };
        let end = timed.ts_us.saturating_add(i64::try_from(us).unwrap_or(i64::MAX));
        self.at(end).add(us, timed.encrypted, timed.sample_factor);
    }

    fn take(&mut self, batch: &Batch) {
        for timed in &batch.times {
            self.add(timed);
        }
        let drops = batch.kernel.dropped + batch.kernel.interface_dropped + batch.books.holes;
        if drops > 0 {
            self.at(batch.until_us).drops += drops;
        }
    }

    /// The rows of all intervals that end before this moment.
    fn close(&mut self, before_us: i64) -> Vec<Row> {
        let end = before_us.div_euclid(self.length_us);
        let mut rows = Vec::new();
        let Some(first) = self.next.or_else(|| self.open.keys().next().copied()) else { return rows };
        let mut number = first;
        while number < end {
            let Some(bucket) = self.open.remove(&number) else {
                let next = self.open.keys().next().copied().unwrap_or(end).min(end);
                if next - number > EMPTY_MAX {
                    let began = Timestamp(number * self.length_us);
                    complain(&format!("nothing was captured in {} intervals from {began} on", next - number));
                    number = next;
                } else {
                    rows.push(Bucket::default().row(number * self.length_us));
                    number += 1;
                }
                continue;
            };
            if bucket.seen > bucket.times.len() as u64 {
                let left_out = bucket.seen - bucket.times.len() as u64;
                complain(&format!(
                    "the percentiles of the next row leave out {left_out} commands: a shorter --interval has all"
                ));
            }
            rows.push(bucket.row(number * self.length_us));
            number += 1;
        }
        self.next = Some(number.max(first));
        rows
    }
}

/// Writes rows.
struct Teller<W> {
    out: W,
    form: Form,
    told: u64,
    most: u64,
}

impl<W: Write> Teller<W> {
    fn tell(&mut self, rows: &[Row]) -> io::Result<()> {
        for row in rows {
            if self.is_done() {
                return Ok(());
            }
            match self.form {
                Form::Jsonl => write_line(&mut self.out, row)?,
                Form::Text => {
                    if self.told.is_multiple_of(ROWS_PER_HEADING) {
                        writeln!(self.out, "{HEADING}")?;
                    }
                    writeln!(self.out, "{}", text(row))?;
                }
            }
            self.told += 1;
        }
        if rows.is_empty() { Ok(()) } else { self.out.flush() }
    }

    fn is_done(&self) -> bool {
        self.told >= self.most
    }
}

/// 80 columns.
const HEADING: &str = "time        count     max    min    avg    med stddev    p95    p99 enc% drop  *";

fn text(row: &Row) -> String {
    let time = row.ts.get(11..19).unwrap_or(&row.ts);
    format!(
        "{time} {:>8} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>4.0} {:>4} {:>2}",
        row.count,
        row.max_us,
        row.min_us,
        row.avg_us,
        row.med_us,
        row.stddev_us,
        row.p95_us,
        row.p99_us,
        row.encrypted_pct,
        row.drops,
        row.sample_factor
    )
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut intervals = Intervals::new(arguments.interval, arguments.until);
    let out = BufWriter::new(io::stdout().lock());
    let mut teller = Teller { out, form: arguments.output, told: 0, most: arguments.count.unwrap_or(u64::MAX) };
    let mut failed = None;
    let (mut last_us, mut unreadable) = (i64::MIN, 0);
    let outcome = arguments.source.batches(Decoder::keep_times, |batch| {
        intervals.take(&batch);
        unreadable += batch.books.frames_unreadable;
        last_us = last_us.max(batch.until_us);
        failed = teller.tell(&intervals.close(batch.until_us)).err();
        failed.is_none() && !teller.is_done()
    })?;
    told(failed.map_or(Ok(()), Err))?;
    // What is left of a file, or of the time before an interrupt, is a row too.
    let rest = intervals.close(last_us.saturating_add(intervals.length_us));
    told(teller.tell(&rest).and_then(|()| teller.out.flush()))?;
    outcome.end(unreadable)
}

#[cfg(test)]
#[path = "rt_tests.rs"]
mod tests;
