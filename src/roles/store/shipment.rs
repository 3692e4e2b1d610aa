//! What gathers on its way to a store: records and points enter, encoded points with their records are there to be sent. A record is in one
//! shipment whole, so that its position moves only when the store has all of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_sinks::line::{Point, Refused};
use millrace_sinks::store::Api;

use super::positions::Reached;

/// 5,000 lines a request: what InfluxDB recommends, and some 10 ms of work for a store.
const LINES_MAX: usize = 5_000;
/// 1 MiB a request, before it is packed: a store's own limits are higher.
const BYTES_MAX: usize = 1 << 20;
/// 250 ms: a second is shown seconds after its end, most of which the store takes, and four requests a second are no load for one.
const LINGER: Duration = Duration::from_millis(250);

/// Points as a store wants them, and the records that they are of.
#[derive(Debug)]
pub(super) struct Shipment {
    api: Api,
    /// All lines, one behind the other, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Which record each line is of.
    owners: Vec<usize>,
    records: Vec<Record>,
    since: Option<Instant>,
    reached: BTreeMap<(Topic, u32), (u64, Timestamp)>,
}

/// What became of the points of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Encoded {
    /// Characters that the protocol cannot carry.
    pub(super) replaced: u64,
    /// Points that no line can be made of.
    pub(super) refused: u64,
}

impl Shipment {
    /// Nothing yet, for a store that speaks `api`.
    pub(super) fn new(api: &Api) -> Self {
        let (text, ends, owners, records) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { api: api.clone(), text, ends, owners, records, since: None, reached: BTreeMap::new() }
    }

    /// A record was read that gives nothing.
    pub(super) fn pass(&mut self, record: &Record) {
        self.reached.insert((record.topic, record.partition), (record.offset + 1, record.appended));
        self.since.get_or_insert_with(Instant::now);
    }

    /// A record and its points.
    pub(super) fn take(&mut self, record: Record, points: &[Point]) -> Encoded {
        self.pass(&record);
        let mut encoded = Encoded::default();
        for point in points {
            match self.api.encode(point, &mut self.text) {
                Ok(replaced) => {
                    encoded.replaced += replaced;
                    self.ends.push(self.text.len());
                    self.owners.push(self.records.len());
                }
                Err(Refused::NotANumber(_) | Refused::NoField) => encoded.refused += 1,
            }
        }
        if self.owners.last() == Some(&self.records.len()) {
            self.records.push(record);
        }
        encoded
    }

    /// True when it should go.
    pub(super) fn is_due(&self) -> bool {
        self.is_full() || self.since.is_some_and(|since| since.elapsed() >= LINGER)
    }

    /// True when it should go at once.
    pub(super) fn is_full(&self) -> bool {
        self.ends.len() >= LINES_MAX || self.text.len() >= BYTES_MAX
    }

    /// How long it can still wait.
    pub(super) fn linger(&self) -> Duration {
        self.since.map_or(LINGER, |since| LINGER.saturating_sub(since.elapsed()))
    }

    /// The lines, in requests of the size that a store likes: the records of one poll may be more than one.
    pub(super) fn requests(&self) -> Vec<(usize, Vec<&[u8]>)> {
        let mut requests: Vec<(usize, Vec<&[u8]>)> = Vec::new();
        let mut bytes = 0;
        for at in 0..self.ends.len() {
            let line = self.encoded(at);
            if bytes + line.len() > BYTES_MAX || requests.last().is_none_or(|(_, lines)| lines.len() >= LINES_MAX) {
                requests.push((at, Vec::new()));
                bytes = 0;
            }
            bytes += line.len();
            if let Some((_, lines)) = requests.last_mut() {
                lines.push(line);
            }
        }
        requests
    }

    /// How many lines there are.
    pub(super) fn lines(&self) -> usize {
        self.ends.len()
    }

    fn encoded(&self, at: usize) -> &[u8] {
        &self.text[at.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[at]]
    }

    /// A line as a person reads it, and its record.
    pub(super) fn line(&self, at: usize) -> (String, &Record) {
        (self.api.show(self.encoded(at)), &self.records[self.owners[at]])
    }

    /// What was reached when all of it is stored, for positions, and with the append times for the lag.
    pub(super) fn reached(&self) -> (Reached, impl Iterator<Item = (Topic, u32, u64, Timestamp)> + '_) {
        let positions = self.reached.iter().map(|(at, (next, _))| (*at, *next)).collect();
        let dealt = self.reached.iter().map(|((topic, partition), (next, at))| (*topic, *partition, *next, *at));
        (positions, dealt)
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::record::Headers;

    use super::*;

    fn record(offset: u64) -> Record {
        let (key, headers) = (String::new(), Headers::new());
        Record { topic: Topic::Windows, partition: 1, offset, appended: Timestamp(9), key, headers, value: None }
    }

    fn api() -> Api {
        Api::V1 { database: "d".to_owned() }
    }

    fn point(label: &str, value: f64) -> Point {
        Point { measurement: "m", labels: vec![("a", label.to_owned())], fields: vec![("f", value)], at: Timestamp(0) }
    }

    #[test]
    fn lines_know_their_records_and_positions_are_those_of_whole_records() {
        let mut shipment = Shipment::new(&api());
        assert_eq!(
            shipment.take(record(4), &[point("x", 1.0), point("y\n", f64::NAN)]),
            Encoded { replaced: 0, refused: 1 }
        );
        assert_eq!(shipment.take(record(5), &[]), Encoded::default());
        assert_eq!(shipment.take(record(6), &[point("z\n", 2.0)]), Encoded { replaced: 1, refused: 0 });
        let of = |at| (shipment.line(at).0, shipment.line(at).1.offset);
        assert_eq!([of(0), of(1)], [("m,a=x f=1 0".to_owned(), 4), ("m,a=z\\  f=2 0".to_owned(), 6)]);
        assert_eq!(shipment.reached().0, Reached::from([((Topic::Windows, 1), 7)]));
        assert!(!shipment.is_due());
    }

    #[test]
    fn what_one_poll_gave_goes_in_requests_that_a_store_likes() {
        let mut shipment = Shipment::new(&api());
        let points: Vec<Point> = (0..LINES_MAX + 7).map(|at| point(&at.to_string(), 1.0)).collect();
        shipment.take(record(1), &points);
        assert!(shipment.is_full() && shipment.is_due());
        let sizes: Vec<_> = shipment.requests().iter().map(|(first, lines)| (*first, lines.len())).collect();
        assert_eq!(sizes, [(0, LINES_MAX), (LINES_MAX, 7)]);
        let mut wide = Shipment::new(&api());
        wide.take(record(1), &vec![point(&"x".repeat(BYTES_MAX / 3), 1.0); 4]);
        assert_eq!(wide.requests().iter().map(|(_, lines)| lines.len()).collect::<Vec<_>>(), [2, 2]);
    }
}
