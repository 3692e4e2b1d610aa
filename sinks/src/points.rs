//! Records of the bus enter, points for stores leave: numbers of instances, of their statements, and the series that say what
//! something is. Each point has the time that its record speaks of, so that who reads a record twice writes the same again.
//! Pure: no clock, no I/O.

mod alerts;
mod heartbeat;
mod seconds;
mod slow;
mod windows;

use std::collections::BTreeMap;

use millrace_schemas::event::{Event, Unreadable};
use millrace_schemas::ids::{ClusterId, DigestId, HostId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::metrics::{DIGEST_INFO, DIGEST_TABLES, Metric};
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{Alert, AlertState, Notice};
use millrace_schemas::topics::batch::Batch;
use millrace_schemas::topics::digests::{DigestEntry, Entry};
use millrace_schemas::topics::journal::Fact;
use millrace_schemas::topics::queries::{Row, is_of_slow_log};
use millrace_schemas::topics::samples::Taken;

use crate::line::Point;

/// The topics that points are made of.
pub const TOPICS: [Topic; 6] =
    [Topic::Digests, Topic::Samples, Topic::Windows, Topic::Queries, Topic::Journal, Topic::Alerts];

/// 200 bytes of a statement tell which one it is.
const TEXT_BYTES: usize = 200;

/// One of five series of an instance's statements is for slow ones: they are few, and what is beyond is in `other`, exactly.
const SLOW_SHARE: usize = 5;

/// 100,000 digests' texts and tables, some 50 MB: of a statement beyond them none are restated.
const TEXTS_MAX: usize = 100_000;

/// 1,000 batches of an instance have a place of their own in a second: an agent sends one to five in it. Stores keep milliseconds.
const PLACES: u64 = 1_000;

/// The name of what is folded.
const OTHER: &str = "other";

/// Makes points. It keeps texts of digests and, per instance, what of its newest window was over the budget.
#[derive(Debug)]
pub struct Points {
    texts: Texts,
    windows: windows::Budgets,
    slow: slow::Budget,
    /// Numbers whose series this version does not know, so far.
    pub unknown: u64,
}

/// Where a number is from.
struct Place<'a> {
    cluster: &'a str,
    instance: &'a str,
    host: &'a str,
}

impl Place<'_> {
    /// The labels of `metric`: those of the place, then `own` in order.
    fn labels(&self, metric: &'static Metric, own: &[&str]) -> Vec<(&'static str, String)> {
        let mut own = own.iter();
        let value = |label: &str| match label {
            "cluster" => self.cluster,
            "instance" => self.instance,
            "host" => self.host,
            _ => own.next().copied().unwrap_or_default(),
        };
        metric.labels.iter().copied().zip(metric.labels.iter().copied().map(value).map(str::to_owned)).collect()
    }
}

impl Points {
    /// `series` is what the statements of one instance may have at one moment.
    pub fn new(series: usize) -> Self {
        let slow = series / SLOW_SHARE;
        let windows = windows::Budgets::new(series - slow);
        Self { texts: Texts::new(), windows, slow: slow::Budget::new(slow), unknown: 0 }
    }

    /// Records from before come again: what was told of windows is told anew.
    pub fn begin(&mut self) {
        self.windows.begin();
    }

    /// The points of a record; none of what stores do not get.
    pub fn of(&mut self, record: &Record) -> Result<Vec<Point>, Unreadable> {
        match record.topic {
            Topic::Samples => self.sample(record),
            Topic::Windows => self.windows.points(record, &self.texts),
            Topic::Queries => {
                let batch = Batch::of(record).map_err(Unreadable::Malformed)?;
                let is_slow = is_of_slow_log(batch.producer);
                if is_slow { self.slow.points(&batch, &self.texts) } else { seconds::points(&batch) }
            }
            Topic::Journal => Ok(match Event::<Fact>::from_record(record) {
                Ok(event) => heartbeat::points(&event),
                Err(Unreadable::UnknownKind(_) | Unreadable::UnknownEvidence(_)) => Vec::new(),
                Err(error) => return Err(error),
            }),
            Topic::Digests => self.digest(record),
            Topic::Alerts => {
                let event = Event::<Notice>::from_record(record)?;
                let ended = ended_before(&event).map(|ended| alerts::points(&ended));
                let points = alerts::points(&event);
                Ok(ended.into_iter().flatten().chain(points).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn sample(&mut self, record: &Record) -> Result<Vec<Point>, Unreadable> {
        let event = Event::<Taken>::from_record(record)?;
        let Taken::Sample(sample) = event.payload;
        let instance = event.subject.instance.as_ref().map_or("", InstanceId::as_str);
        let place = Place { cluster: event.subject.cluster.as_str(), instance, host: sample.host.as_str() };
        let (known, unknown) = sample.known();
        self.unknown += unknown;
        let mut lines = Lines::default();
        for (series, value) in known {
            let values: Vec<&str> = series.values.iter().map(String::as_str).collect();
            lines.add(series.metric, place.labels(series.metric, &values), value);
        }
        Ok(lines.at(sample.taken))
    }

    fn digest(&mut self, record: &Record) -> Result<Vec<Point>, Unreadable> {
        if record.value.is_none() {
            return Ok(Vec::new()); // a tombstone
        }
        let event = Event::<Entry>::from_record(record)?;
        let Entry::Digest(entry) = event.payload;
        let DigestEntry { digest, text, kind, tables, .. } = entry;
        let about = About { kind, text: beginning(&text).to_owned(), tables: beginning(&tables.join(", ")).to_owned() };
        let points = about.points(digest, record.appended);
        if self.texts.len() < TEXTS_MAX || self.texts.contains_key(&digest) {
            self.texts.insert(digest, about);
        }
        Ok(points)
    }
}

/// An alert whose severity changed goes on in another series; the one that it had is over, and would fire for ever otherwise.
fn ended_before(event: &Event<Notice>) -> Option<Event<Notice>> {
    let Notice::Alert(alert) = &event.payload;
    let severity = alert.severity_before?;
    let ended = Alert { severity, state: AlertState::Resolved, quiet: None, ..alert.clone() };
    Some(Event { payload: Notice::Alert(ended), ..event.clone() })
}

/// What digests are.
type Texts = BTreeMap<DigestId, About>;

/// What a digest is: its kind, and the beginnings of its text and of the list of its tables.
#[derive(Debug)]
struct About {
    kind: String,
    text: String,
    /// Empty until the parser has looked at the text, and of what names none.
    tables: String,
}

impl About {
    /// The same at one moment.
    fn points(&self, digest: DigestId, at: Timestamp) -> Vec<Point> {
        let mut lines = Lines::default();
        let nowhere = Place { cluster: "", instance: "", host: "" };
        let digest = digest.to_string();
        lines.add(&DIGEST_INFO, nowhere.labels(&DIGEST_INFO, &[&digest, &self.kind, &self.text]), 1.0);
        if !self.tables.is_empty() {
            lines.add(&DIGEST_TABLES, nowhere.labels(&DIGEST_TABLES, &[&digest, &self.tables]), 1.0);
        }
        lines.at(at)
    }
}

/// The first bytes of a text, up to a whole character.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A measurement, with labels.
type Head = (&'static str, Vec<(&'static str, String)>);

/// Fields that have measurement and labels in common are one line.
#[derive(Default)]
struct Lines(BTreeMap<Head, Vec<(&'static str, f64)>>);

impl Lines {
    fn add(&mut self, metric: &'static Metric, labels: Vec<(&'static str, String)>, value: f64) {
        self.0.entry((metric.measurement, labels)).or_default().push((metric.field, value));
    }

    fn at(self, at: Timestamp) -> Vec<Point> {
        let point = |((measurement, labels), fields)| Point { measurement, labels, fields, at };
        self.0.into_iter().map(point).collect()
    }
}

/// Where points of a second lie that a batch of this number tells: at a millisecond that this batch alone has there, so that two batches
/// of one second are both there, and one that is read again is there once.
fn moment(sequence: Sequence, second: i64) -> Timestamp {
    let place = sequence.incarnation.wrapping_add(sequence.counter) % PLACES;
    Timestamp(second.saturating_mul(1_000_000).saturating_add(place as i64 * 1_000))
}

/// The point of metrics that have measurement and labels in common, with their numbers in the same order. A metric without a number is not
/// in it.
fn point_of<const N: usize>(
    metrics: &[&'static Metric; N],
    place: &Place<'_>,
    own: &[&str],
    numbers: [Option<f64>; N],
    at: Timestamp,
) -> Point {
    let fields = metrics.iter().zip(numbers).filter_map(|(metric, number)| Some((metric.field, number?))).collect();
    Point { measurement: metrics[0].measurement, labels: place.labels(metrics[0], own), fields, at }
}

/// Rows that are over a budget, as one, and how many they are.
#[derive(Debug, Default)]
struct Folded(Option<(Row, u64)>);

impl Folded {
    /// Adds a row. One that stands for several digests counts as them.
    fn add(&mut self, row: Row) {
        let rows = u64::from(row.folded.max(1));
        match &mut self.0 {
            Some((sum, folded)) => {
                sum.merge(&row);
                *folded += rows;
            }
            None => self.0 = Some((row, rows)),
        }
    }
}

/// Where an instance of a heartbeat is.
fn place<'a>(cluster: &'a ClusterId, instance: &'a InstanceId, host: &'a HostId) -> Place<'a> {
    Place { cluster: cluster.as_str(), instance: instance.as_str(), host: host.as_str() }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
#[path = "severity_tests.rs"]
mod severity_tests;
