//! One open window: rows of one instance enter, their sums by schema, user and digest leave, and the instance's total.
//! At most 2,000 digests have rows of their own; the rest is one row `other` that is exact. Counts of sampled rows are
//! multiplied by their factor here, because a window mixes factors. It must never lose a count.
//!
//! Only the shortest window counts each row. In the wider ones around it a row only takes its place, in the order of coming, and
//! its counts follow when the window inside closes, from each to the next wider: adding is exact, so the sums are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::ids::DigestId;
use millrace_schemas::sketch::Sketch;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::queries::{DIGESTS_PER_SECOND_MAX, Row, Seen, Source};
use millrace_schemas::topics::windows::TOTAL;

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
    /// By digest, since few are run by several users or in several schemas; as a number, which is compared in one step.
    rows: BTreeMap<u128, Vec<Own>>,
    /// How many they are.
    own: usize,
    folded: BTreeSet<DigestId>,
}

/// A row of its own.
#[derive(Clone, Debug)]
struct Own {
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
            rows: BTreeMap::new(),
            own: 0,
            folded: BTreeSet::new(),
        }
    }

    /// Everything of the instance.
    pub(super) fn total(&self) -> &Sum {
        &self.total
    }

    /// Counts a row; for `wider` windows, the next one first, only as far as they cannot wait for the sums of this one.
    pub(super) fn count(&mut self, row: &Seen<'_>, wider: &mut [&mut Open], names: &mut Names) {
        add_seen(&mut self.total, row);
        let start = self.total.second;
        if let Some((own, is_new)) = self.own(row, names) {
            own.count(row, start, row.digest);
            if is_new {
                own.owed = has_place(row, wider, names);
            }
            if own.owed {
                return;
            }
        } else {
            self.fold_up(row, names);
        }
        for wide in wider {
            wide.count_apart(row, names);
        }
    }

    /// Counts a row, but not in the total, which waits for that of the window inside.
    fn count_apart(&mut self, row: &Seen<'_>, names: &mut Names) {
        let start = self.total.second;
        if let Some((own, _)) = self.own(row, names) {
            own.count(row, start, row.digest);
        } else {
            self.fold_up(row, names);
        }
    }

    /// The place of a row, made where there is room; true when it is new. Who found none never finds one.
    fn own(&mut self, row: &Seen<'_>, names: &mut Names) -> Option<(&mut Own, bool)> {
        let has_room = self.own < ROWS_MAX;
        let digest = number(row.digest);
        let of_digest = if has_room { self.rows.entry(digest).or_default() } else { self.rows.get_mut(&digest)? };
        let found = of_digest.iter().position(|own| *own.schema == *row.schema && *own.user == *row.user);
        if let Some(at) = found {
            return Some((&mut of_digest[at], false));
        }
        if !has_room {
            return None;
        }
        self.own += 1;
        // Nearly always the only one of its digest: room for four would be most of what a window takes.
        of_digest.reserve_exact(1);
        of_digest.push(Own::new(names.of(row.schema), names.of(row.user), row.source));
        of_digest.last_mut().map(|own| (own, true))
    }

    /// Counts a row that has no place of its own.
    fn fold_up(&mut self, row: &Seen<'_>, names: &mut Names) {
        if self.folded.len() < FOLDED_MAX {
            self.folded.insert(row.digest);
        }
        let folded = u32::try_from(self.folded.len()).unwrap_or(u32::MAX);
        let others = self.rows.entry(number(DigestId::OTHER)).or_default();
        let at = others.iter().position(|own| own.schema.is_empty() && own.user.is_empty());
        let at = at.unwrap_or_else(|| {
            others.push(Own::new(names.of(""), names.of(""), row.source));
            self.own += 1;
            others.len() - 1
        });
        let sum = others[at].count(row, self.total.second, DigestId::OTHER);
        sum.folded = sum.folded.max(folded);
    }

    /// Takes over what the window inside that has closed owes it.
    pub(super) fn take_over(&mut self, closed: &Open) {
        add_sum(&mut self.total, &closed.total);
        for (digest, own) in closed.rows.iter().flat_map(|(digest, all)| all.iter().map(move |own| (digest, own))) {
            let Some(sum) = own.sum.as_deref().filter(|_| own.owed) else { continue };
            let mut mine = self.rows.get_mut(digest).into_iter().flatten();
            if let Some(mine) = mine.find(|mine| mine.schema == own.schema && mine.user == own.user) {
                mine.take_over(sum, self.total.second);
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
    pub(super) fn rows(&self, live: usize) -> Vec<Shown<'_>> {
        let rows = self.rows.values().flatten().filter_map(|own| Some((own, own.sum.as_deref()?)));
        let mut rows: Vec<(&Own, &Sum)> = rows.collect();
        if self.closed || rows.len() <= live {
            rows.sort_unstable_by(|a, b| place(*a).cmp(&place(*b)));
        } else {
            rows.sort_unstable_by(|a, b| {
                let slowest = b.1.rt_sum_us.cmp(&a.1.rt_sum_us);
                slowest.then(a.1.digest.cmp(&b.1.digest)).then_with(|| place(*a).cmp(&place(*b)))
            });
            rows.truncate(live);
        }
        let total = self.total.with(&*self.instance, "", "", |times| times);
        let shown =
            rows.into_iter().map(|(own, sum)| sum.with(&*self.instance, &*own.schema, &*own.user, |times| times));
        std::iter::once(total).chain(shown).collect()
    }
}

/// What the rows of a window differ in.
fn place<'a>((own, sum): (&'a Own, &Sum)) -> (&'a str, &'a str, DigestId) {
    (&own.schema, &own.user, sum.digest)
}

impl Own {
    fn new(schema: Arc<str>, user: Arc<str>, source: Source) -> Self {
        Self { schema, user, source, owed: false, sum: None }
    }

    fn count(&mut self, row: &Seen<'_>, start: i64, digest: DigestId) -> &mut Sum {
        let Self { source, sum, .. } = self;
        let sum = sum.get_or_insert_with(|| Box::new(empty(row, start, digest, *source)));
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
    let Some((own, is_new)) = next.own(row, names) else { return false };
    // What is folded into `other` there may come from here under any digest.
    let owed = owed && row.digest != DigestId::OTHER;
    if is_new {
        own.owed = owed;
    }
    owed
}

fn number(digest: DigestId) -> u128 {
    u128::from_be_bytes(digest.0)
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
    }
}

/// Adds `row`, multiplied by its sample factor.
fn add_seen(sum: &mut Sum, row: &Seen<'_>) {
    let factor = u64::from(row.sample_factor.clamp(1, FACTOR_MAX));
    add(sum, row, factor, |times, more| times.merge_packed(more, factor));
}

/// Adds a sum of rows, which are multiplied already.
fn add_sum(sum: &mut Sum, part: &Sum) {
    add(sum, part, 1, Sketch::merge);
}

/// Adds the counts of `part`, `factor` times over. What one side does not know, the sum does not know.
fn add<I, T, S>(sum: &mut Sum, part: &Row<I, T, S>, factor: u64, merge: impl Fn(&mut Sketch, &S)) {
    let times = |value: u64| value.saturating_mul(factor);
    let plus = |a: &mut u64, b: u64| *a = a.saturating_add(times(b));
    let maybe = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(times(b?)));
    if part.count > 0 {
        sum.rt_min_us = if sum.count == 0 { part.rt_min_us } else { sum.rt_min_us.min(part.rt_min_us) };
        sum.rt_max_us = sum.rt_max_us.max(part.rt_max_us);
    }
    plus(&mut sum.count, part.count);
    plus(&mut sum.errors, part.errors);
    plus(&mut sum.rows_sent, part.rows_sent);
    plus(&mut sum.rows_affected, part.rows_affected);
    plus(&mut sum.bytes_in, part.bytes_in);
    plus(&mut sum.bytes_out, part.bytes_out);
    plus(&mut sum.rt_sum_us, part.rt_sum_us);
    sum.rows_examined = maybe(sum.rows_examined, part.rows_examined);
    sum.lock_us = maybe(sum.lock_us, part.lock_us);
    merge(&mut sum.rt_first, &part.rt_first);
    merge(&mut sum.rt_last, &part.rt_last);
    // The coarsest sampling in the window: above 1, its counts are estimates.
    sum.sample_factor = sum.sample_factor.max(part.sample_factor.clamp(1, FACTOR_MAX));
}

#[cfg(test)]
mod tests;
