//! One open window: rows of one instance enter, their sums by schema, user and digest leave, and the instance's total.
//! At most 2,000 digests have rows of their own; the rest is one row `other` that is exact. Counts of sampled rows are
//! multiplied by their factor here, because a window mixes factors. It must never lose a count.
//!
//! Only the shortest window counts each row. In the wider ones around it a row only takes its place, in the order of coming, and
//! its counts follow with the sums of the shortest window when that one closes: adding is exact, so the sums are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_schemas::ids::{DigestId, InstanceId};
use millrace_schemas::sketch::Sketch;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::queries::{DIGESTS_PER_SECOND_MAX, Row, Seen};
use millrace_schemas::topics::windows::{TOTAL, WIDTHS};

/// As many as a second may have: a window of a healthy application has hardly more digests than its busiest second.
const ROWS_MAX: usize = DIGESTS_PER_SECOND_MAX;
/// 20,000 folded digests are told apart, 320 KB; `folded` says at least so many beyond.
const FOLDED_MAX: usize = 20_000;
/// 1,000: no sampler leaves out more; a larger factor is a defect that must not cost an hour of merging.
const FACTOR_MAX: u32 = 1_000;

/// How many windows lie around the shortest.
const WIDER: usize = WIDTHS.len() - 1;

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
    /// By digest, since few are run by several users or in several schemas; as a number, which is compared in one step.
    rows: BTreeMap<u128, Vec<Own>>,
    /// How many they are.
    own: usize,
    folded: BTreeSet<DigestId>,
}

/// A row of its own.
#[derive(Clone, Debug)]
struct Own {
    row: Row,
    /// Which of the wider windows wait for its counts; the others have counted each of its rows at once.
    owed: [bool; WIDER],
}

impl Open {
    /// A window without counts, of `instance`; `row` is the first to be counted.
    pub(super) fn new(instance: &InstanceId, row: &Seen<'_>, start: i64, offset: u64) -> Self {
        let total = Row { digest: TOTAL, ..empty(instance, row, start, "", "") };
        Self {
            from: offset,
            to: None,
            revision: 0,
            closed: false,
            shown_at: None,
            shown_revision: 0,
            total,
            rows: BTreeMap::new(),
            own: 0,
            folded: BTreeSet::new(),
        }
    }

    /// Everything of the instance.
    pub(super) fn total(&self) -> &Row {
        &self.total
    }

    /// Counts a row; for `wider` windows only as far as they cannot wait for the sums of this one.
    pub(super) fn count(&mut self, row: &Seen<'_>, wider: &mut [&mut Open]) {
        add(&mut self.total, row);
        let Some((own, is_new)) = self.own(row) else {
            self.fold_up(row);
            for wide in wider {
                wide.count_apart(row);
            }
            return;
        };
        add(&mut own.row, row);
        own.row.folded = own.row.folded.max(row.folded);
        for (wide, owed) in wider.iter_mut().zip(&mut own.owed) {
            // What is folded into `other` there may come from here under any digest.
            *owed = row.digest != DigestId::OTHER && if is_new { wide.own(row).is_some() } else { *owed };
            if !*owed {
                wide.count_apart(row);
            }
        }
    }

    /// Counts a row, but not in the total, which waits for that of the shortest window.
    fn count_apart(&mut self, row: &Seen<'_>) {
        match self.own(row) {
            Some((own, _)) => {
                add(&mut own.row, row);
                own.row.folded = own.row.folded.max(row.folded);
            }
            None => self.fold_up(row),
        }
    }

    /// The place of a row, made where there is room; true when it is new.
    fn own(&mut self, row: &Seen<'_>) -> Option<(&mut Own, bool)> {
        let has_room = self.own < ROWS_MAX;
        let digest = number(row.digest);
        let of_digest = if has_room { self.rows.entry(digest).or_default() } else { self.rows.get_mut(&digest)? };
        let found = of_digest.iter().position(|own| own.row.schema == row.schema && own.row.user == row.user);
        if let Some(at) = found {
            return Some((&mut of_digest[at], false));
        }
        if !has_room {
            return None;
        }
        let mine = empty(&self.total.instance, row, self.total.second, row.schema, row.user);
        self.own += 1;
        of_digest.push(Own { row: mine, owed: [false; WIDER] });
        of_digest.last_mut().map(|own| (own, true))
    }

    /// Counts a row that has no place of its own.
    fn fold_up(&mut self, row: &Seen<'_>) {
        if self.folded.len() < FOLDED_MAX {
            self.folded.insert(row.digest);
        }
        let folded = u32::try_from(self.folded.len()).unwrap_or(u32::MAX);
        let others = self.rows.entry(number(DigestId::OTHER)).or_default();
        let at = others.iter().position(|own| own.row.schema.is_empty() && own.row.user.is_empty());
        let at = at.unwrap_or_else(|| {
            let mine = empty(&self.total.instance, row, self.total.second, "", "");
            others.push(Own { row: Row { digest: DigestId::OTHER, ..mine }, owed: [false; WIDER] });
            self.own += 1;
            others.len() - 1
        });
        let other = &mut others[at].row;
        add(other, row);
        other.folded = other.folded.max(row.folded).max(folded);
    }

    /// Takes over what a shorter window, the `at`th around which it lies, owes it.
    pub(super) fn take_over(&mut self, closed: &Open, at: usize) {
        sum(&mut self.total, &closed.total);
        for (digest, own) in closed.rows.iter().flat_map(|(digest, all)| all.iter().map(move |own| (digest, own))) {
            let mine = self.rows.get_mut(digest).into_iter().flatten();
            let mut mine = mine.filter(|mine| mine.row.schema == own.row.schema && mine.row.user == own.row.user);
            if own.owed[at]
                && let Some(mine) = mine.next()
            {
                sum(&mut mine.row, &own.row);
            }
        }
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
    pub(super) fn rows(&self, live: usize) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.values().flatten().map(|own| &own.row).collect();
        rows.sort_unstable_by(|a, b| (&a.schema, &a.user, a.digest).cmp(&(&b.schema, &b.user, b.digest)));
        if !self.closed && rows.len() > live {
            rows.sort_by(|a, b| b.rt_sum_us.cmp(&a.rt_sum_us).then_with(|| a.digest.cmp(&b.digest)));
            rows.truncate(live);
        }
        rows.insert(0, &self.total);
        rows
    }
}

fn number(digest: DigestId) -> u128 {
    u128::from_be_bytes(digest.0)
}

fn empty(instance: &InstanceId, row: &Seen<'_>, start: i64, schema: &str, user: &str) -> Row {
    Row {
        second: start,
        instance: instance.clone(),
        schema: schema.to_owned(),
        user: user.to_owned(),
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
fn add(sum: &mut Row, row: &Seen<'_>) {
    let factor = row.sample_factor.clamp(1, FACTOR_MAX);
    let times = |value: u64| value.saturating_mul(u64::from(factor));
    let plus = |a: &mut u64, b: u64| *a = a.saturating_add(times(b));
    let maybe = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(times(b?)));
    extend_range(sum, row.count, row.rt_min_us, row.rt_max_us);
    plus(&mut sum.count, row.count);
    plus(&mut sum.errors, row.errors);
    plus(&mut sum.rows_sent, row.rows_sent);
    plus(&mut sum.rows_affected, row.rows_affected);
    plus(&mut sum.bytes_in, row.bytes_in);
    plus(&mut sum.bytes_out, row.bytes_out);
    plus(&mut sum.rt_sum_us, row.rt_sum_us);
    sum.rows_examined = maybe(sum.rows_examined, row.rows_examined);
    sum.lock_us = maybe(sum.lock_us, row.lock_us);
    sum.rt_first.merge_packed(&row.rt_first, u64::from(factor));
    sum.rt_last.merge_packed(&row.rt_last, u64::from(factor));
    // The coarsest sampling in the window: above 1, its counts are estimates.
    sum.sample_factor = sum.sample_factor.max(factor);
}

/// Adds a sum of rows, which are multiplied already.
fn sum(sum: &mut Row, part: &Row) {
    let plus = |a: &mut u64, b: u64| *a = a.saturating_add(b);
    let maybe = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
    extend_range(sum, part.count, part.rt_min_us, part.rt_max_us);
    plus(&mut sum.count, part.count);
    plus(&mut sum.errors, part.errors);
    plus(&mut sum.rows_sent, part.rows_sent);
    plus(&mut sum.rows_affected, part.rows_affected);
    plus(&mut sum.bytes_in, part.bytes_in);
    plus(&mut sum.bytes_out, part.bytes_out);
    plus(&mut sum.rt_sum_us, part.rt_sum_us);
    sum.rows_examined = maybe(sum.rows_examined, part.rows_examined);
    sum.lock_us = maybe(sum.lock_us, part.lock_us);
    sum.rt_first.merge(&part.rt_first);
    sum.rt_last.merge(&part.rt_last);
    sum.sample_factor = sum.sample_factor.max(part.sample_factor);
    sum.folded = sum.folded.max(part.folded);
}

/// The shortest and the longest response time with those of `count` more statements.
fn extend_range(sum: &mut Row, count: u64, min_us: u64, max_us: u64) {
    if count > 0 {
        sum.rt_min_us = if sum.count == 0 { min_us } else { sum.rt_min_us.min(min_us) };
        sum.rt_max_us = sum.rt_max_us.max(max_us);
    }
}

#[cfg(test)]
mod tests;
