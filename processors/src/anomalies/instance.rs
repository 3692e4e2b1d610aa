//! One instance: closed 10-s windows enter, one after the other, and words leave about what is unusual in them. At most
//! [`DIGESTS`] digests are followed, those with the most load; the others are counted. Of digests that are unusual together one word
//! is said, by table (`groups.rs`); the totals of the instance have words of their own.

use std::collections::BTreeMap;

use millrace_schemas::ids::DigestId;
use serde::{Deserialize, Serialize};

use super::digest::{Digest, ERRORS_FLOOR, Sums};
use super::groups::{Groups, Word};
use super::hours::Hours;
use super::series::{Series, Verdict};
use super::{Beside, Settings};

/// 1,000: beyond the thousand with the most load none has two per cent of it, and a state of an instance is below 600 KiB.
pub(super) const DIGESTS: usize = 1_000;
/// The width of the windows that are judged.
pub(super) const WIDTH: i64 = 10;
/// A minute without a window: nothing is known of what was unusual before.
pub(super) const HOLE: i64 = 60;
/// Six windows end whatever holds.
pub(super) const HOLE_PASSES: usize = 6;
/// 200 statements in ten seconds: an instance with fewer is busy with itself, and any of its users may double them.
const QUERIES_LEAST: u64 = 200;
/// Three times as many statements as usual, or a third, also for the hour of the day.
const QUERIES_FACTOR: f32 = 3.0;
/// Four times the share of errors.
const ERRORS_FACTOR: f32 = 4.0;
/// 2 % of all statements more than usual, and 20 of them, end in an error: somebody's work does not get done.
const ERRORS_LEAST: f32 = 0.02;
const ERRORS_COUNT_LEAST: u64 = 20;

/// What one digest did in a window, and who asked for most of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured<'a> {
    /// The digest.
    pub digest: DigestId,
    /// The user with the most of its response time.
    pub user: &'a str,
    /// What it did.
    pub sums: Sums,
}

/// What is known of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Instance {
    /// The start of the newest window that was judged.
    start: i64,
    digests: BTreeMap<DigestId, Digest>,
    queries: Series,
    errors: Series,
    hours: Hours,
    groups: Groups,
    /// Rows of digests that were not followed, because others have more load.
    beyond: u64,
}

impl Instance {
    /// The start of the newest window that was judged.
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// How many series it has, and how many rows were of none.
    pub fn counted(&self) -> (usize, u64) {
        (2 + 5 * self.digests.len(), self.beyond)
    }

    /// Judges a window that is closed. Windows come in order; one that is not newer says nothing.
    pub fn window(&mut self, start: i64, total: &Sums, rows: &[Measured<'_>], beside: &Beside<'_>) -> Vec<Word> {
        if start <= self.start {
            return Vec::new();
        }
        let hole = self.start > 0 && start - self.start > HOLE;
        self.start = start;
        if hole {
            self.after_a_hole();
        }
        self.totals(start, total, beside.settings);
        self.follow(total, rows, beside.settings);
        let totals = (self.queries, self.errors);
        self.groups.settle(start, total, &mut self.digests, rows, totals, beside)
    }

    /// The share of the load of digests that have gone, or most of them, by a window that was judged.
    pub(super) fn gone(&self, rows: &[Measured<'_>]) -> f32 {
        let calls: BTreeMap<DigestId, u64> = rows.iter().map(|row| (row.digest, row.sums.count)).collect();
        let left = |id: &DigestId| calls.get(id).copied().unwrap_or(0);
        self.digests.iter().map(|(id, digest)| digest.gone(left(id))).sum::<f32>().min(1.0)
    }

    /// The sums of the instance itself.
    fn totals(&mut self, start: i64, total: &Sums, settings: &Settings) {
        let calls = total.count as f32;
        if total.count == 0 {
            return;
        }
        let queries = calls.ln();
        let known = self.hours.knows(start, queries);
        self.hours.add(start, queries);
        let enough = total.count.max(self.queries.level().exp() as u64) >= QUERIES_LEAST;
        let _: Verdict = self.queries.observe(queries, 1.0, &settings.bar(QUERIES_FACTOR), |_| enough && !known);
        let level = self.errors.level();
        let counts = |by: f32| {
            by > 0.0 && total.errors >= ERRORS_COUNT_LEAST && (level + by).exp() - level.exp() >= ERRORS_LEAST
        };
        let errors = (total.errors as f32 / calls + ERRORS_FLOOR).ln();
        let _: Verdict = self.errors.observe(errors, 1.0, &settings.bar(ERRORS_FACTOR), counts);
    }

    /// Each digest takes in what it did, or that it did nothing.
    fn follow(&mut self, total: &Sums, rows: &[Measured<'_>], settings: &Settings) {
        let mut strangers = Vec::new();
        let mut seen: Vec<DigestId> = Vec::with_capacity(rows.len());
        for row in rows {
            match self.digests.get_mut(&row.digest) {
                Some(digest) => {
                    digest.observe(&row.sums, total, settings);
                    seen.push(row.digest);
                }
                None if row.digest != DigestId::OTHER => strangers.push(row),
                None => {}
            }
        }
        seen.sort_unstable();
        for (id, digest) in &mut self.digests {
            if seen.binary_search(id).is_err() {
                digest.pass();
            }
        }
        self.admit(total, strangers, settings);
    }

    /// Makes room for digests that are not followed yet: one goes for each whose load is less.
    fn admit(&mut self, total: &Sums, mut strangers: Vec<&Measured<'_>>, settings: &Settings) {
        if strangers.is_empty() {
            return;
        }
        strangers.sort_by_key(|row| (std::cmp::Reverse(row.sums.rt_sum_us), row.digest));
        let mut least: Vec<(f32, DigestId)> = Vec::new();
        if self.digests.len() + strangers.len() > DIGESTS {
            let may_go = self.digests.iter().filter(|(_, digest)| !digest.is_unusual() && digest.group.is_none());
            least = may_go.map(|(id, digest)| (digest.load, *id)).collect();
            // The last of the list goes first.
            least.sort_unstable_by(|(one, a), (other, b)| other.total_cmp(one).then(a.cmp(b)));
        }
        for row in strangers {
            let share = row.sums.rt_sum_us as f32 / total.rt_sum_us.max(1) as f32;
            if self.digests.len() >= DIGESTS {
                let Some((_, id)) = least.pop_if(|(load, _)| *load < share) else {
                    self.beyond += 1;
                    continue;
                };
                self.digests.remove(&id);
            }
            let mut digest = Digest::new(share);
            digest.observe(&row.sums, total, settings);
            self.digests.insert(row.digest, digest);
        }
    }

    /// What was unusual before nobody heard of the instance is not known to be so now.
    fn after_a_hole(&mut self) {
        for _ in 0..HOLE_PASSES {
            self.queries.pass();
            self.errors.pass();
        }
        for digest in self.digests.values_mut() {
            for _ in 0..HOLE_PASSES {
                digest.pass();
            }
        }
    }

    /// Everything is to be learnt anew: it is another server now.
    pub fn rebase(&mut self) {
        self.queries.rebase();
        self.errors.rebase();
        self.digests.values_mut().for_each(Digest::rebase);
    }
}
