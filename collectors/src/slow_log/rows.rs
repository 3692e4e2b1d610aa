//! Slow statements added up: entries of a log enter, rows of topic `queries` leave, by second, schema, user and digest, with the
//! slow log as their source. They are no counts of a server's work, which has other sources: only what was slow is in them, and
//! nobody may add them to those. It must never hold more than its limit: whoever feeds it takes the rows out.

use std::collections::{BTreeMap, HashMap};

use millrace_schemas::digest::{DigestId, Syntax};
use millrace_schemas::ids::InstanceId;
use millrace_schemas::sketch::Sketch;
use millrace_schemas::topics::queries::{Row, Source};

use super::SlowEntry;
use crate::rows::fold;
use crate::statements::{Interruption, Known, NewDigest};

/// 10,000 rows of some 500 bytes are held; a log of which every entry is another digest is told that much sooner.
const ROWS_MAX: usize = 10_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    second: i64,
    digest: DigestId,
    factor: u32,
    schema: String,
    user: String,
}

/// Adds up the entries of one instance's log.
#[derive(Debug)]
pub struct Rows {
    instance: InstanceId,
    known: Known,
    sums: HashMap<Key, Row>,
}

impl Rows {
    /// Nothing was read yet.
    pub fn new(instance: InstanceId) -> Self {
        Self { instance, known: Known::new(), sums: HashMap::new() }
    }

    /// Counts an entry that is to be read so, and says what class it is of. `rate` is how many statements each that is logged stands for, as the server
    /// says; where the entry says it itself, that holds.
    pub fn add(&mut self, entry: &SlowEntry, rate: u32, syntax: Syntax) -> DigestId {
        let sql = entry.sure_sql();
        let (digest, _) = self.known.identify(sql, (sql.len() as u64) < entry.sql_bytes, syntax);
        let key = Key {
            second: entry.ts.0.div_euclid(1_000_000),
            digest,
            factor: factor(entry, rate),
            schema: entry.schema.clone(),
            user: entry.user.clone(),
        };
        let row = row(&self.instance, &key, entry);
        match self.sums.get_mut(&key) {
            Some(sum) => sum.merge(&row),
            None => drop(self.sums.insert(key, row)),
        }
        digest
    }

    /// Nothing waits to be taken out.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// As much waits as may.
    pub fn is_full(&self) -> bool {
        self.sums.len() >= ROWS_MAX
    }

    /// What was counted since the last call, in order; of each second at most 2,000 digests, the others in one row.
    pub fn take(&mut self) -> Vec<Row> {
        // Counts of two factors are never in one row.
        let mut alike: BTreeMap<(i64, u32), Vec<Row>> = BTreeMap::new();
        for (key, row) in self.sums.drain() {
            alike.entry((key.second, key.factor)).or_default().push(row);
        }
        let in_order = |mut rows: Vec<Row>| {
            rows.sort_by_cached_key(|row| (row.digest, row.schema.clone(), row.user.clone()));
            rows
        };
        alike.into_values().flat_map(|rows| fold(in_order(rows), |row| row.rt_sum_us)).collect()
    }

    /// The new digests since the last call.
    pub fn take_new(&mut self) -> Vec<NewDigest> {
        self.known.take_new()
    }
}

/// How many statements an entry stands for.
pub fn factor(entry: &SlowEntry, rate: u32) -> u32 {
    let own = u32::try_from(entry.sampled).unwrap_or(u32::MAX);
    if own > 0 { own } else { rate.max(1) }
}

fn row(instance: &InstanceId, key: &Key, entry: &SlowEntry) -> Row {
    let interruption = entry.error.and_then(Interruption::of);
    let is = |kind| entry.error.map(|_| u64::from(interruption == Some(kind)));
    let mut times = Sketch::new();
    times.add(entry.query_time_us);
    Row {
        second: key.second,
        instance: instance.clone(),
        schema: key.schema.clone(),
        user: key.user.clone(),
        digest: key.digest,
        source: Source::SlowLog,
        sample_factor: key.factor,
        count: 1,
        errors: u64::from(entry.error.is_some_and(|error| error != 0)),
        rows_sent: entry.rows_sent,
        rows_affected: entry.rows_affected.unwrap_or(0),
        rows_examined: Some(entry.rows_examined),
        lock_us: Some(entry.lock_time_us),
        bytes_in: entry.bytes_received,
        bytes_out: entry.bytes_sent.unwrap_or(0),
        rt_sum_us: entry.query_time_us,
        rt_min_us: entry.query_time_us,
        rt_max_us: entry.query_time_us,
        // When the first row went out no log tells.
        rt_first: Sketch::new(),
        rt_last: times,
        folded: 0,
        killed: is(Interruption::Killed),
        timed_out: is(Interruption::TimedOut),
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::time::Timestamp;
    use millrace_schemas::topics::queries::DIGESTS_PER_SECOND_MAX;

    use super::*;

    fn entry(second: i64, sql: &str, error: Option<u32>) -> SlowEntry {
        SlowEntry {
            ts: Timestamp(second * 1_000_000 + 5),
            user: "app".to_owned(),
            schema: "shop".to_owned(),
            query_time_us: 7,
            lock_time_us: 2,
            rows_sent: 1,
            rows_examined: 3,
            error,
            sql: sql.into(),
            sql_bytes: sql.len() as u64,
            sure: sql.len(),
            ..SlowEntry::default()
        }
    }

    fn rows() -> Rows {
        Rows::new(InstanceId::parse("db1").expect("legal"))
    }

    #[test]
    fn entries_of_one_second_and_digest_are_one_row() {
        let mut rows = rows();
        for (second, sql, error) in
            [(5, "SELECT 1", Some(0)), (5, "select 2", Some(1317)), (6, "select 3", Some(3024)), (5, "do 1", None)]
        {
            rows.add(&entry(second, sql, error), 1, Syntax::default());
        }
        let told = rows.take();
        assert!(rows.is_empty());
        let of = |row: &Row| (row.second, row.count, row.errors, row.killed, row.timed_out, row.rt_sum_us);
        let mut told: Vec<_> = told.iter().map(of).collect();
        told.sort_unstable();
        let one = [(5, 1, 0, None, None, 7), (5, 2, 1, Some(1), Some(0), 14), (6, 1, 1, Some(0), Some(1), 7)];
        assert_eq!(told, one);
        assert_eq!(rows.take_new().len(), 2);
    }

    #[test]
    fn what_the_server_leaves_out_is_marked_and_never_mixed() {
        let mut rows = rows();
        rows.add(&entry(5, "SELECT 1", None), 5, Syntax::default());
        rows.add(&entry(5, "SELECT 1", None), 5, Syntax::default());
        rows.add(&entry(5, "SELECT 1", None), 1, Syntax::default());
        rows.add(&SlowEntry { sampled: 100, ..entry(5, "SELECT 1", None) }, 5, Syntax::default());
        let told: Vec<(u32, u64)> = rows.take().iter().map(|row| (row.sample_factor, row.count)).collect();
        assert_eq!(told, [(1, 1), (5, 2), (100, 1)]);
    }

    #[test]
    fn more_digests_than_a_second_may_have_are_folded_and_the_sums_stay_exact() {
        let mut rows = rows();
        let all = DIGESTS_PER_SECOND_MAX + 3;
        for at in 0..all {
            rows.add(&entry(5, &format!("SELECT c{at}"), Some(0)), 1, Syntax::default());
        }
        let told = rows.take();
        assert_eq!(told.len(), DIGESTS_PER_SECOND_MAX + 1);
        let other = told.iter().find(|row| row.digest == DigestId::OTHER).expect("folded");
        assert_eq!((other.folded, other.count, other.rt_sum_us, other.killed), (3, 3, 21, Some(0)));
        assert_eq!(told.iter().map(|row| row.count).sum::<u64>(), all as u64);
    }
}
