//! Statements in, a profile out: what took the time, by digest, table, user, host or schema. Entries of slow logs enter one by
//! one, rows of captures by second and digest. Sums are exact whatever the memory: groups that matter least are folded into
//! `other`, which is exact too, and a group that comes back after that says so. It reads no clock and knows no file.

mod class;
mod compare;
mod filter;
mod group;
mod load;
mod names;
mod report;
mod sums;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use millrace_schemas::digest::DigestId;
use millrace_schemas::profile::{Class, GroupBy, OrderBy};
use millrace_schemas::sketch::Sketch;
use millrace_schemas::time::Timestamp;
use xxhash_rust::xxh3::xxh3_128;

pub use class::Classes;
pub use compare::{THRESHOLD_PERCENT, compare};
pub use filter::{BadFilter, Filter};
pub use report::{Limit, Wish};

use group::Group;
use load::Series;
use sums::Sums;

/// 8 MiB for groups: some 3,000 with all that is told of them, where a person reads twenty. The program takes 27 MiB without any,
/// the allocator about half as much again, and the folded ones 12 MB: together below 64 MiB.
const GROUPS_BYTES_MAX: usize = 8 << 20;
/// 1.5 million groups that were folded are remembered, by 8 bytes each.
const FOLDED_MAX: usize = 1_500_000;
/// 1995-01-01: no statement is older than the server. A time before is one that a client made up, and tells nothing.
const FIRST_US: i64 = 788_918_400_000_000;

/// One statement that ended; of a capture, those of one digest, user and second.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// When it ended.
    pub ended: Timestamp,
    /// Its digest.
    pub digest: DigestId,
    /// The account's user name.
    pub user: &'a str,
    /// The client's host.
    pub host: &'a str,
    /// The default schema.
    pub schema: &'a str,
    /// The connection's number in the server.
    pub thread: Option<u64>,
    /// How many statements.
    pub calls: u64,
    /// Each stands for so many, because the others were left out when the log was written.
    pub factor: u64,
    /// How long.
    pub times: Times<'a>,
    /// Time spent waiting for locks.
    pub lock_us: Option<u64>,
    /// Rows sent.
    pub rows_sent: u64,
    /// Rows examined.
    pub rows_examined: Option<u64>,
    /// Rows changed.
    pub rows_affected: Option<u64>,
    /// Bytes sent.
    pub bytes_sent: Option<u64>,
    /// How many ended with an error.
    pub errors: Option<u64>,
    /// Which; 0 is none.
    pub error_code: u32,
    /// What else is said of it.
    pub flags: &'a [&'a str],
    /// Its text.
    pub text: Text<'a>,
}

/// Durations of statements.
#[derive(Debug, Clone, Copy)]
pub enum Times<'a> {
    /// Of one, in microseconds.
    One(u64),
    /// Of several.
    Many {
        /// All of them.
        sketch: &'a Sketch,
        /// Their sum.
        sum_us: u64,
        /// The shortest.
        min_us: u64,
        /// The longest.
        max_us: u64,
    },
}

/// The text of a statement and where it is.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// What is known of the text.
    pub sql: &'a [u8],
    /// How long the whole text is.
    pub bytes: u64,
    /// Its literals are gone already.
    pub masked: bool,
    /// Which input, from 0.
    pub input: u64,
    /// Where in it.
    pub offset: Option<u64>,
}

/// Statements in sum.
#[derive(Debug, Default)]
pub struct Tally {
    group_by: GroupBy,
    order_by: OrderBy,
    /// Samples have their id of pt-query-digest.
    pt_ids: bool,
    bytes_max: usize,
    overall: Sums,
    load: Series,
    filtered: u64,
    /// By a hash of the key; listed in an order of their own, never in that of the map.
    groups: HashMap<u128, Box<Group>, BuildHasherDefault<Spread>>,
    /// What the groups take.
    bytes: usize,
    other: Sums,
    /// Groups that were folded into `other`, sorted.
    folded: Vec<u64>,
    /// More were folded than are remembered.
    folded_more: bool,
}

impl Tally {
    /// Nothing was seen yet.
    pub fn new(group_by: GroupBy, order_by: OrderBy) -> Self {
        Tally { group_by, order_by, bytes_max: GROUPS_BYTES_MAX, ..Tally::default() }
    }

    /// Whether samples of digests get the id that pt-query-digest has for them, which costs as much as many entries.
    #[must_use]
    pub fn with_pt_ids(self, wanted: bool) -> Self {
        Tally { pt_ids: wanted, ..self }
    }

    /// Says between which times all of it happened, where statements themselves do not tell.
    pub fn span(&mut self, from: Timestamp, to: Timestamp) {
        self.overall.seen(plausible(from), plausible(to));
    }

    /// Counts what a filter left out.
    pub fn leave_out(&mut self, entries: u64) {
        self.filtered += entries;
    }

    /// Counts a statement; `class` tells what its digest is, and is asked only where that is needed.
    pub fn take(&mut self, one: &Observed<'_>, class: &mut dyn FnMut() -> Arc<Class>) {
        self.overall.add(one);
        self.load.add(one);
        match self.group_by {
            GroupBy::Digest => self.count(u128::from_be_bytes(one.digest.0), "", one, Some(class)),
            GroupBy::User => self.count_named(one.user, one),
            GroupBy::Host => self.count_named(one.host, one),
            GroupBy::Schema => self.count_named(one.schema, one),
            GroupBy::Table => match class().tables.as_slice() {
                [] => self.count_named("", one),
                tables => {
                    for table in tables {
                        self.count_named(table, one);
                    }
                }
            },
        }
        if self.bytes > self.bytes_max {
            self.fold();
        }
    }

    fn count_named(&mut self, name: &str, one: &Observed<'_>) {
        self.count(xxh3_128(name.as_bytes()), name, one, None);
    }

    fn count(&mut self, key: u128, name: &str, one: &Observed<'_>, class: Option<&mut dyn FnMut() -> Arc<Class>>) {
        let Tally { groups, folded, folded_more, pt_ids, .. } = self;
        let group = groups.entry(key).or_insert_with(|| {
            let partial = *folded_more || folded.binary_search(&short(key)).is_ok();
            Box::new(Group::new(name, class.map(|class| class()), partial))
        });
        self.bytes += group.add(one, *pt_ids);
    }

    /// Folds the groups that matter least into `other`, until half of the memory is free.
    fn fold(&mut self) {
        let mut ranked: Vec<(u64, u128)> =
            self.groups.iter().map(|(key, group)| (group.sums.weight(self.order_by), *key)).collect();
        ranked.sort_unstable_by_key(|(weight, key)| (std::cmp::Reverse(*weight), *key));
        let mut kept = 0;
        for (_, key) in ranked {
            let bytes = self.groups.get(&key).map_or(0, |group| group.bytes());
            kept += bytes;
            if kept <= self.bytes_max / 2 {
                continue;
            }
            let Some(group) = self.groups.remove(&key) else { continue };
            self.bytes -= bytes;
            self.other.merge(&group.sums);
            // Who came back is remembered already; who cannot be remembered makes every later one doubtful.
            if self.folded.len() < FOLDED_MAX {
                self.folded.push(short(key));
            } else {
                self.folded_more = true;
            }
        }
        #[allow(clippy::stable_sort_primitive)] // merges the long sorted run and what was added in one pass
        self.folded.sort();
        self.folded.dedup();
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64 ^ (key >> 64) as u64;
    }
}

/// 64 bits tell the groups of one run apart: among two million, two are alike once in nine million runs.
fn short(key: u128) -> u64 {
    (key >> 64) as u64
}

/// The time, where it can be one.
fn plausible(at: Timestamp) -> Option<Timestamp> {
    (at.0 >= FIRST_US).then_some(at)
}

#[cfg(test)]
mod tests;
