//! The lake: closed windows and slow statements enter as records of the bus, Parquet files for other programs leave, one for each day
//! and cluster: `TABLE/day=2026-12-01/cluster=c1/PARTITION-FROM-TO.parquet`, where FROM and TO (not included) are the offsets that
//! it was made of. The same offsets give the same bytes under the same names. A day is the one in UTC that a row speaks of; a row
//! that comes late is in a further file of its day. It must never make two rows of a record that comes twice.

mod file;
pub mod place;
mod slow;
mod windows;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use millrace_schemas::event::Unreadable;
use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;

pub use place::Place;

/// What is written.
pub const TOPICS: [Topic; 2] = [Topic::Windows, Topic::SlowQueries];

/// 2,000 records back a repeat is known. A window processor that was killed says again what it said since its last snapshot, 5 s
/// of records; some 40 busy instances of a partition append 2,000 in a minute.
pub const LOOK_BACK: u64 = 2_000;

/// Digits of an offset in a file name: `u64::MAX` has 20, and names must sort.
const DIGITS: usize = 20;

/// A file that is to be there: its name below the lake, and its bytes.
pub type File = (String, Vec<u8>);

/// What became of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rows that it gave.
    pub rows: u64,
    /// Rows that were there already.
    pub repeated: u64,
}

/// Rows of one partition that are not in files yet.
#[derive(Debug)]
pub struct Gathered {
    partition: u32,
    rows: Rows,
    recent: Recent,
}

/// By day and cluster.
type Days<T> = BTreeMap<(String, String), T>;

#[derive(Debug)]
enum Rows {
    Windows(Days<windows::Rows>),
    Slow(Days<slow::Rows>),
}

impl Gathered {
    /// Of a partition of one of [`TOPICS`]; none of another.
    pub fn new(topic: Topic, partition: u32) -> Option<Self> {
        let rows = match topic {
            Topic::Windows => Rows::Windows(Days::new()),
            Topic::SlowQueries => Rows::Slow(Days::new()),
            _ => return None,
        };
        Some(Self { partition, rows, recent: Recent::default() })
    }

    /// Takes the rows of a record.
    pub fn take(&mut self, record: &Record) -> Result<Counted, Unreadable> {
        self.recent.forget_before(record.offset.saturating_sub(LOOK_BACK));
        match &mut self.rows {
            Rows::Windows(days) => windows::take(record, days, &mut self.recent),
            Rows::Slow(days) => slow::take(record, days, &mut self.recent),
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        match &self.rows {
            Rows::Windows(days) => days.values().map(BTreeMap::len).sum(),
            Rows::Slow(days) => days.values().map(BTreeMap::len).sum(),
        }
    }

    /// The files of the rows, which are made of the records from `from` up to `to`.
    pub fn files(&self, from: u64, to: u64) -> Result<Vec<File>, String> {
        let partition = self.partition;
        let name = |topic: Topic, (day, cluster): &(String, String)| {
            format!("{topic}/day={day}/cluster={cluster}/{partition:03}-{from:0DIGITS$}-{to:0DIGITS$}.parquet")
        };
        match &self.rows {
            Rows::Windows(days) => {
                days.iter().map(|(of, rows)| Ok((name(Topic::Windows, of), windows::file(rows)?))).collect()
            }
            Rows::Slow(days) => {
                days.iter().map(|(of, rows)| Ok((name(Topic::SlowQueries, of), slow::file(rows)?))).collect()
            }
        }
    }

    /// The rows are in files, or were before.
    pub fn clear(&mut self) {
        match &mut self.rows {
            Rows::Windows(days) => days.clear(),
            Rows::Slow(days) => days.clear(),
        }
    }
}

/// Which rows came in the newest records, by a hash: of a million of them two are taken for one once in ten million times.
#[derive(Debug, Default)]
struct Recent {
    /// The revision, and the offset that it came with last.
    known: BTreeMap<u64, (u32, u64)>,
    order: VecDeque<(u64, u64)>,
}

impl Recent {
    fn forget_before(&mut self, offset: u64) {
        while let Some((at, hash)) = self.order.front().copied().filter(|(at, _)| *at < offset) {
            self.order.pop_front();
            if self.known.get(&hash).is_some_and(|(_, last)| *last == at) {
                self.known.remove(&hash);
            }
        }
    }

    /// True when this row, or a later revision of it, has not come before.
    fn is_news(&mut self, row: &impl Hash, revision: u32, offset: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        row.hash(&mut hasher);
        let hash = hasher.finish();
        let known = self.known.entry(hash).or_insert((0, offset));
        let is_new = revision > known.0;
        *known = (revision.max(known.0), offset);
        self.order.push_back((offset, hash));
        is_new
    }
}

/// The day, in UTC, of a time in microseconds; none for a time that no calendar has.
fn day_of(at_us: i64) -> Option<String> {
    let at = jiff::Timestamp::from_microsecond(at_us).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests;
