//! One open window: rows of one instance enter, their sums by schema, user and digest leave, and the instance's total.
//! At most 2,000 digests have rows of their own; the rest is one row `other` that is exact. Counts of sampled rows are
//! multiplied by their factor here, because a window mixes factors. It must never lose a count.
//!
//! Only the shortest window counts each row. In the wider ones around it a row only takes its place, in the order of coming, and
//! its counts follow when the window inside closes, from each to the next wider: adding is exact, so the sums are the same.

mod places;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::ids::DigestId;
use millrace_schemas::sketch::{Gathered, Sketch};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::queries::{DIGESTS_PER_SECOND_MAX, Row, Seen, Source};
use millrace_schemas::topics::windows::TOTAL;

use places::Places;

/// As many as a second may have: a window of a healthy application has hardly more digests than its busiest second.
const ROWS_MAX: usize = DIGESTS_PER_SECOND_MAX;
/// 20,000 folded digests are told apart, 320 KB; `folded` says at least so many beyond.
const FOLDED_MAX: usize = 20_000;
/// 1,000: no sampler leaves out more; a larger factor is a defect that must not cost an hour of merging.
const FACTOR_MAX: u32 = 1_000;

/// The counts of a row of a window; its names are held apart.
pub(super) type Sum = Row<(), ()>;

/// A row of a window as it leaves.
pub(super) type Shown<'a> = Row<&'a str, &'a str, &'a Sketch>;

/// The names that the windows of one instance hold, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeSet<Arc<str>>);

impl Names {
    fn of(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(name);
        self.0.insert(Arc::clone(&new));
        new
    }

    /// Drops those that no window holds any more.
    pub(super) fn tidy(&mut self) {
        self.0.retain(|name| Arc::strong_count(name) > 1);
    }
}

/// The response times of the rows of a batch, on their way to the total of its window.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    first: Gathered,
    last: Gathered,
}

/// What the windows of an instance use while they count.
pub(super) struct Beside<'a> {
    pub(super) names: &'a mut Names,
    pub(super) times: &'a mut Times,
    /// The window before the one that counts, which is open a little longer: what it has tells what will be needed.
    pub(super) before: Option<&'a Open>,
}

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
    instance: Arc<str>,
    total: Sum,
    rows: Places,
    folded: BTreeSet<DigestId>,
}

/// A row of its own.
#[derive(Clone, Debug)]
struct Own {
    digest: DigestId,
    schema: Arc<str>,
    user: Arc<str>,
    source: Source,
    /// The next wider window waits for its counts, and has a row for them, as those around that have; else all of them have
    /// counted each of its rows at once.
    owed: bool,
    /// None until something is counted in it: in a wider window, until the first window inside closes.
    sum: Option<Box<Sum>>,
}

impl Open {
    /// A window without counts; `row` is the first to be counted.
    pub(super) fn new(row: &Seen<'_>, start: i64, offset: u64, names: &mut Names) -> Self {
        Self {
            from: offset,
            to: None,
            revision: 0,
            closed: false,
            shown_at: None,
            shown_revision: 0,
            instance: names.of(row.instance),
            total: empty(row, start, TOTAL, row.source),
            rows: Places::default(),
            folded: BTreeSet::new(),
        }
    }

    /// Everything of the instance.
    pub(super) fn total(&self) -> &Sum {
        &self.total
    }

    /// Counts rows; for `wider` windows, the next one first, only as far as they cannot wait for the sums of this one.
    pub(super) fn count(&mut self, rows: &[Seen<'_>], wider: &mut [&mut Open], beside: &mut Beside<'_>) {
        for row in rows {
            let factor = add_counts_seen(&mut self.total, row);
            beside.times.first.add(&row.rt_first, factor);
            beside.times.last.add(&row.rt_last, factor);
            self.count_one(row, wider, beside);
        }
        self.total.rt_first.merge_gathered(&mut beside.times.first);
        self.total.rt_last.merge_gathered(&mut beside.times.last);
    }

    fn count_one(&mut self, row: &Seen<'_>, wider: &mut [&mut Open], beside: &mut Beside<'_>) {
        let start = self.total.second;
        if let Some((at, is_new)) = self.place(row, beside.names) {
            let like = beside.before.filter(|_| is_new).and_then(|before| before.rows.like(at, row.digest));
            let own = self.rows.at(at);
            own.count(row, start, like);
            if is_new {
                own.owed = has_place(row, wider, beside.names);
            }
            if own.owed {
                return;
            }
        } else {
            self.fold_up(row, beside.names);
        }
        for wide in wider {
            wide.count_apart(row, beside.names);
        }
    }

    /// Counts a row, but not in the total, which waits for that of the window inside.
    fn count_apart(&mut self, row: &Seen<'_>, names: &mut Names) {
        let start = self.total.second;
        if let Some((at, _)) = self.place(row, names) {
            self.rows.at(at).count(row, start, None);
        } else {
            self.fold_up(row, names);
        }
    }

    /// The place of a row, made where there is room; true when it is new. Who found none never finds one.
    fn place(&mut self, row: &Seen<'_>, names: &mut Names) -> Option<(usize, bool)> {
        let found = self.rows.find(row.digest, row.schema, row.user);
        if found.is_none() && self.rows.all().len() >= ROWS_MAX {
            return None;
        }
        let at = found.unwrap_or_else(|| self.rows.add(Own::new(row.digest, row.schema, row.user, row.source, names)));
        Some((at, found.is_none()))
    }

    /// Counts a row that has no place of its own.
    fn fold_up(&mut self, row: &Seen<'_>, names: &mut Names) {
        if self.folded.len() < FOLDED_MAX {
            self.folded.insert(row.digest);
        }
        let folded = u32::try_from(self.folded.len()).unwrap_or(u32::MAX);
        let found = self.rows.find(DigestId::OTHER, "", "");
        let at = found.unwrap_or_else(|| self.rows.add(Own::new(DigestId::OTHER, "", "", row.source, names)));
        let sum = self.rows.at(at).count(row, self.total.second, None);
        sum.folded = sum.folded.max(folded);
    }

    /// Takes over what the window inside that has closed owes it.
    pub(super) fn take_over(&mut self, closed: &Open) {
        add_sum(&mut self.total, &closed.total);
        for own in closed.rows.all() {
            let Some(sum) = own.sum.as_deref().filter(|_| own.owed) else { continue };
            if let Some(mine) = self.rows.find(own.digest, &own.schema, &own.user) {
                self.rows.at(mine).take_over(sum, self.total.second);
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

    /// The total and the rows, of an open window at most `live` of them: those with the most response time first.
    pub(super) fn rows(&mut self, live: usize) -> Vec<Shown<'_>> {
        let Self { total, instance, rows, closed, .. } = self;
        let counted = rows.all().iter().filter(|own| own.sum.is_some()).count();
        let shown = if *closed || counted <= live { rows.in_order() } else { rows.slowest(live) };
        let name = &**instance;
        let shown = shown.into_iter().filter_map(|own| Some((own, own.sum.as_deref()?)));
        let shown = shown.map(|(own, sum)| sum.with(name, &*own.schema, &*own.user, |times| times));
        let mut all = Vec::with_capacity(1 + counted);
        all.push(total.with(name, "", "", |times| times));
        all.extend(shown);
        all
    }
}

impl Own {
    fn new(digest: DigestId, schema: &str, user: &str, source: Source, names: &mut Names) -> Self {
        Self { digest, schema: names.of(schema), user: names.of(user), source, owed: false, sum: None }
    }

    /// Counts a row; the first in room for as much as `like` has.
    fn count(&mut self, row: &Seen<'_>, start: i64, like: Option<&Sum>) -> &mut Sum {
        let Self { digest, source, sum, .. } = self;
        let sum = sum.get_or_insert_with(|| {
            let mut sum = Box::new(empty(row, start, *digest, *source));
            if let Some(like) = like {
                sum.rt_first = Sketch::with_room_of(&like.rt_first);
                sum.rt_last = Sketch::with_room_of(&like.rt_last);
            }
            sum
        });
        add_seen(sum, row);
        sum.folded = sum.folded.max(row.folded);
        sum
    }

    /// Adds the sum of the window inside.
    fn take_over(&mut self, part: &Sum, start: i64) {
        match &mut self.sum {
            Some(sum) => {
                add_sum(sum, part);
                sum.folded = sum.folded.max(part.folded);
            }
            None => self.sum = Some(Box::new(Sum { second: start, source: self.source, ..part.clone() })),
        }
    }
}

/// Makes a place for a row in each of these windows, the next wider one first; true when all of them have room for it.
fn has_place(row: &Seen<'_>, windows: &mut [&mut Open], names: &mut Names) -> bool {
    let Some((next, around)) = windows.split_first_mut() else { return true };
    let owed = has_place(row, around, names);
    let Some((at, is_new)) = next.place(row, names) else { return false };
    // What is folded into `other` there may come from here under any digest.
    let owed = owed && row.digest != DigestId::OTHER;
    if is_new {
        next.rows.at(at).owed = owed;
    }
    owed
}

/// A row without counts that knows as much as `row` does.
fn empty(row: &Seen<'_>, start: i64, digest: DigestId, source: Source) -> Sum {
    Row {
        second: start,
        instance: (),
        schema: (),
        user: (),
        digest,
        source,
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
        killed: row.killed.map(|_| 0),
        timed_out: row.timed_out.map(|_| 0),
    }
}

/// Adds `row`, multiplied by its sample factor.
fn add_seen(sum: &mut Sum, row: &Seen<'_>) {
    let factor = add_counts_seen(sum, row);
    sum.rt_first.merge_packed(&row.rt_first, factor);
    sum.rt_last.merge_packed(&row.rt_last, factor);
}

/// The same without the response times: they are to be multiplied by the factor that it gives.
fn add_counts_seen(sum: &mut Sum, row: &Seen<'_>) -> u64 {
    let factor = u64::from(row.sample_factor.clamp(1, FACTOR_MAX));
    add_counts(sum, row, factor);
    factor
}

/// Adds a sum of rows, which are multiplied already.
fn add_sum(sum: &mut Sum, part: &Sum) {
    add_counts(sum, part, 1);
    sum.rt_first.merge(&part.rt_first);
    sum.rt_last.merge(&part.rt_last);
}

/// Adds the counts of `part`, `factor` times over, and keeps the coarsest sampling in the window: above 1, its counts are
/// estimates.
fn add_counts<I, T, S>(sum: &mut Sum, part: &Row<I, T, S>, factor: u64) {
    sum.add_counts(part, factor);
    sum.sample_factor = sum.sample_factor.max(part.sample_factor.clamp(1, FACTOR_MAX));
}

#[cfg(test)]
mod tests;
