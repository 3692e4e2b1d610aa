//! One open window: rows of one instance enter, their sums by schema, user and digest leave, and the instance's total.
//! At most 2,000 digests have rows of their own; the rest is one row `other` that is exact. Counts of sampled rows are
//! multiplied by their factor here, because a window mixes factors. It must never lose a count.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_schemas::ids::DigestId;
use millrace_schemas::sketch::Sketch;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::queries::{DIGESTS_PER_SECOND_MAX, Row};
use millrace_schemas::topics::windows::{TOTAL, Window};

/// As many as a second may have: a window of a healthy application has hardly more digests than its busiest second.
const ROWS_MAX: usize = DIGESTS_PER_SECOND_MAX;
/// 20,000 folded digests are told apart, 320 KB; `folded` says at least so many beyond.
const FOLDED_MAX: usize = 20_000;
/// 1,000: no sampler leaves out more; a larger factor is a defect that must not cost an hour of merging.
const FACTOR_MAX: u32 = 1_000;

/// A window that is being counted, or has just closed.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// The first input offset that counts in it.
    pub(super) from: u64,
    /// The last one.
    to: Option<u64>,
    /// How many batches were counted; one more when closed.
    pub(super) revision: u32,
    /// Nothing will be added.
    pub(super) closed: bool,
    shown_at: Option<Timestamp>,
    shown_revision: u32,
    total: Row,
    rows: BTreeMap<(String, String, DigestId), Row>,
    folded: BTreeSet<DigestId>,
}

impl Open {
    /// A window without counts, of the instance of `row`.
    pub(super) fn new(row: &Row, start: i64, offset: u64) -> Self {
        let total = Row { digest: TOTAL, ..empty(row, start, String::new(), String::new()) };
        Self {
            from: offset,
            to: None,
            revision: 0,
            closed: false,
            shown_at: None,
            shown_revision: 0,
            total,
            rows: BTreeMap::new(),
            folded: BTreeSet::new(),
        }
    }

    /// Everything of the instance.
    pub(super) fn total(&self) -> &Row {
        &self.total
    }

    /// Counts a row.
    pub(super) fn count(&mut self, row: &Row) {
        add(&mut self.total, row);
        let start = self.total.second;
        let key = (row.schema.clone(), row.user.clone(), row.digest);
        if let Some(mine) = self.rows.get_mut(&key) {
            add(mine, row);
            mine.folded = mine.folded.max(row.folded);
            return;
        }
        if self.rows.len() < ROWS_MAX {
            let mut mine = empty(row, start, row.schema.clone(), row.user.clone());
            add(&mut mine, row);
            mine.folded = row.folded;
            self.rows.insert(key, mine);
            return;
        }
        if self.folded.len() < FOLDED_MAX {
            self.folded.insert(row.digest);
        }
        let folded = u32::try_from(self.folded.len()).unwrap_or(u32::MAX);
        let other = self
            .rows
            .entry((String::new(), String::new(), DigestId::OTHER))
            .or_insert_with(|| Row { digest: DigestId::OTHER, ..empty(row, start, String::new(), String::new()) });
        add(other, row);
        other.folded = other.folded.max(row.folded).max(folded);
    }

    /// The batch at `offset` is in it.
    pub(super) fn batch(&mut self, offset: u64) {
        if self.to != Some(offset) {
            self.to = Some(offset);
            self.revision += 1;
        }
    }

    /// Nothing will be added.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.revision += 1;
    }

    /// True when it changed since it was shown and that was long enough ago.
    pub(super) fn is_stale(&self, now: Timestamp, every: Duration) -> bool {
        self.revision > self.shown_revision && self.shown_at.is_none_or(|at| now.since(at) >= every)
    }

    /// It is shown now.
    pub(super) fn shown(&mut self, now: Timestamp) {
        self.shown_at = Some(now);
        self.shown_revision = self.revision;
    }

    /// The total and the rows, of an open window at most `live` of them.
    pub(super) fn windows(&self, width_seconds: u32, live: usize) -> Vec<Window> {
        let mut rows: Vec<&Row> = self.rows.values().collect();
        if !self.closed && rows.len() > live {
            rows.sort_by(|a, b| b.rt_sum_us.cmp(&a.rt_sum_us).then_with(|| a.digest.cmp(&b.digest)));
            rows.truncate(live);
        }
        std::iter::once(&self.total)
            .chain(rows)
            .map(|row| Window { width_seconds, revision: self.revision, closed: self.closed, row: row.clone() })
            .collect()
    }
}

fn empty(row: &Row, start: i64, schema: String, user: String) -> Row {
    Row {
        second: start,
        instance: row.instance.clone(),
        schema,
        user,
        digest: row.digest,
        source: row.source,
        sample_factor: 1,
        count: 0,
        errors: 0,
        rows_sent: 0,
        rows_affected: 0,
        rows_examined: row.rows_examined.map(|_| 0),
        lock_us: row.lock_us.map(|_| 0),
        bytes_in: 0,
        bytes_out: 0,
        rt_sum_us: 0,
        rt_min_us: 0,
        rt_max_us: 0,
        rt_first: Sketch::new(),
        rt_last: Sketch::new(),
        folded: 0,
    }
}

/// Adds `row`, multiplied by its sample factor. What one side does not know, the sum does not know.
fn add(sum: &mut Row, row: &Row) {
    let factor = row.sample_factor.clamp(1, FACTOR_MAX);
    let times = |value: u64| value.saturating_mul(u64::from(factor));
    let plus = |a: &mut u64, b: u64| *a = a.saturating_add(times(b));
    let maybe = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(times(b?)));
    if row.count > 0 {
        sum.rt_min_us = if sum.count == 0 { row.rt_min_us } else { sum.rt_min_us.min(row.rt_min_us) };
        sum.rt_max_us = sum.rt_max_us.max(row.rt_max_us);
    }
    plus(&mut sum.count, row.count);
    plus(&mut sum.errors, row.errors);
    plus(&mut sum.rows_sent, row.rows_sent);
    plus(&mut sum.rows_affected, row.rows_affected);
    plus(&mut sum.bytes_in, row.bytes_in);
    plus(&mut sum.bytes_out, row.bytes_out);
    plus(&mut sum.rt_sum_us, row.rt_sum_us);
    sum.rows_examined = maybe(sum.rows_examined, row.rows_examined);
    sum.lock_us = maybe(sum.lock_us, row.lock_us);
    for _ in 0..factor {
        sum.rt_first.merge(&row.rt_first);
        sum.rt_last.merge(&row.rt_last);
    }
    // The coarsest sampling in the window: above 1, its counts are estimates.
    sum.sample_factor = sum.sample_factor.max(factor);
}
