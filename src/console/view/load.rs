//! Windows in, the digests that load the servers now out. Per instance the last closed 10-s window and the open one are added,
//! so that the figures move every second and still rest on ten seconds at least. Rows are replaced by higher revisions,
//! never added to them.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::ids::{DigestId, InstanceId};
use millrace_schemas::sketch::Sketch;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::queries::{Row, Source};
use millrace_schemas::topics::windows::{TOTAL, WIDTHS, Window};
use serde::Serialize;

use super::View;

/// The width that is watched.
const WIDTH: u32 = WIDTHS[0];
/// 30 windows of 10 s: five minutes fit a sparkline.
pub(crate) const TREND: usize = 30;
/// Rows are kept of 3 windows: the closed one, the open one, and one that is late to close.
const ROWS_OF: usize = 3;
/// 2,000 rows of a window, as its maker has, and the total and `other`.
const ROWS_MAX: usize = 2_002;
/// 1,000 instances; the terminal and the pages show fewer.
const INSTANCES_MAX: usize = 1_000;
/// 5 s without a row: an instance that is asked something has rows every second, one that has been silent longer is idle or
/// gone, and what it did before is not its load now.
const CURRENT: Duration = Duration::from_secs(5);
/// 15 s: a server's own counters are looked at once in a window of 10 s.
const CURRENT_BY_COUNTERS: Duration = Duration::from_secs(15);

/// A digest and its load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopDigest {
    /// The id.
    pub digest: DigestId,
    /// The canonical text, or what people read for a reserved id.
    pub text: String,
    /// What it does, as the server's counters name it; empty when unknown.
    pub kind: String,
    /// Of the response time of all statements, 0 to 1.
    pub share: f64,
    /// Mean number of sessions busy with it.
    pub load: f64,
    /// Statements per second.
    pub per_second: f64,
    /// Median response time.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// Rows sent and changed per second.
    pub rows_per_second: f64,
    /// Errors per second.
    pub errors_per_second: f64,
    /// Statements per second of the last windows, the newest last.
    pub trend: Vec<f64>,
}

/// What one line over time shows: statements per second, the newest last.
pub type Trend = Vec<f64>;

#[derive(Debug, Default)]
pub(super) struct Loads(BTreeMap<InstanceId, BTreeMap<i64, Slot>>);

/// One window of an instance.
#[derive(Debug, Default)]
struct Slot {
    at: Timestamp,
    closed: bool,
    rows: BTreeMap<(DigestId, String, String), (u32, Row)>,
    /// Statements by digest, kept when the rows are not.
    counts: BTreeMap<DigestId, u64>,
}

#[derive(Default)]
struct Sum {
    count: f64,
    errors: f64,
    rows: f64,
    busy: f64,
    rt: Sketch,
}

impl Loads {
    /// Takes rows in; returns how many were beyond a limit.
    pub(super) fn take(&mut self, windows: Vec<Window>, at: Timestamp) -> u64 {
        let mut beyond = 0;
        for window in windows.into_iter().filter(|window| window.width_seconds == WIDTH) {
            if !self.0.contains_key(&window.row.instance) && self.0.len() >= INSTANCES_MAX {
                beyond += 1;
                continue;
            }
            let slots = self.0.entry(window.row.instance.clone()).or_default();
            let slot = slots.entry(window.start()).or_default();
            slot.at = slot.at.max(at);
            slot.closed |= window.closed;
            let key = (window.row.digest, window.row.schema.clone(), window.row.user.clone());
            let newer = slot.rows.get(&key).is_none_or(|(revision, _)| *revision <= window.revision);
            if newer && (slot.rows.len() < ROWS_MAX || slot.rows.contains_key(&key)) {
                slot.rows.insert(key, (window.revision, window.row));
            } else if newer {
                beyond += 1;
            }
            prune(slots);
        }
        beyond
    }

    fn trend(&self, digest: DigestId, instance: Option<&InstanceId>) -> Trend {
        let chosen = || self.chosen(instance);
        let Some(newest) = chosen().filter_map(|(_, slots)| slots.keys().next_back()).max() else { return Vec::new() };
        let starts = (0..TREND as i64).rev().map(|back| newest - back * i64::from(WIDTH));
        starts
            .map(|start| {
                let slots = chosen().filter_map(|(_, slots)| slots.get(&start));
                slots.map(|slot| slot.count(digest) as f64 / slot.seconds(start)).sum::<f64>()
            })
            .collect()
    }

    fn chosen(&self, instance: Option<&InstanceId>) -> impl Iterator<Item = (&InstanceId, &BTreeMap<i64, Slot>)> {
        self.0.iter().filter(move |(id, _)| instance.is_none_or(|instance| instance == *id))
    }

    /// Sums by digest of what the instances do now.
    fn sums(&self, now: Timestamp, instance: Option<&InstanceId>) -> BTreeMap<DigestId, Sum> {
        let mut sums: BTreeMap<DigestId, Sum> = BTreeMap::new();
        for (_, slots) in self.chosen(instance) {
            if slots.values().next_back().is_none_or(|newest| !newest.is_current(now)) {
                continue;
            }
            let current: Vec<(i64, &Slot)> = slots.iter().rev().take(2).map(|(start, slot)| (*start, slot)).collect();
            let seconds: f64 = current.iter().map(|(start, slot)| slot.seconds(*start)).sum();
            for (_, row) in current.iter().flat_map(|(_, slot)| slot.rows.values()) {
                let sum = sums.entry(row.digest).or_default();
                sum.count += row.count as f64 / seconds;
                sum.errors += row.errors as f64 / seconds;
                sum.rows += (row.rows_sent + row.rows_affected) as f64 / seconds;
                sum.busy += row.rt_sum_us as f64 / 1e6 / seconds;
                sum.rt.merge(&row.rt_last);
            }
        }
        sums
    }
}

impl Slot {
    fn count(&self, digest: DigestId) -> u64 {
        if self.rows.is_empty() {
            return self.counts.get(&digest).copied().unwrap_or(0);
        }
        self.rows.iter().filter(|((id, _, _), _)| *id == digest).map(|(_, (_, row))| row.count).sum()
    }

    /// The server's own counters counted it: all of the window at one moment.
    fn is_by_counters(&self) -> bool {
        self.rows.values().any(|(_, row)| row.source == Source::PerformanceSchema)
    }

    /// It says what is done now. The newest window of an instance whose packets are counted is open: a closed one was closed by silence.
    fn is_current(&self, now: Timestamp) -> bool {
        let age = now.since(self.at);
        if self.is_by_counters() { age < CURRENT_BY_COUNTERS } else { !self.closed && age < CURRENT }
    }

    /// How much of the window has been counted.
    fn seconds(&self, start: i64) -> f64 {
        let elapsed = self.at.0 as f64 / 1e6 - start as f64;
        let whole = self.closed || self.is_by_counters();
        if whole { f64::from(WIDTH) } else { elapsed.clamp(1.0, f64::from(WIDTH)) }
    }
}

/// Keeps rows of the newest windows, counts of the others, nothing older.
fn prune(slots: &mut BTreeMap<i64, Slot>) {
    while slots.len() > TREND {
        slots.pop_first();
    }
    for slot in slots.values_mut().rev().skip(ROWS_OF).filter(|slot| !slot.rows.is_empty()) {
        for ((digest, _, _), (_, row)) in std::mem::take(&mut slot.rows) {
            *slot.counts.entry(digest).or_default() += row.count;
        }
    }
}

impl View {
    /// The `n` digests with the most load now, of one instance or all.
    pub fn top_digests(&self, n: usize) -> Vec<TopDigest> {
        self.top_digests_of(None, n)
    }

    /// The same for one instance.
    pub fn top_digests_of(&self, instance: Option<&InstanceId>, n: usize) -> Vec<TopDigest> {
        let mut sums = self.loads.sums(self.now, instance);
        let total = sums.remove(&TOTAL).map_or(0.0, |sum| sum.busy);
        let mut sums: Vec<(DigestId, Sum)> = sums.into_iter().collect();
        let all = if total > 0.0 { total } else { sums.iter().map(|(_, sum)| sum.busy).sum() };
        sums.sort_by(|(a, x), (b, y)| y.busy.total_cmp(&x.busy).then_with(|| a.cmp(b)));
        sums.truncate(n);
        sums.into_iter().map(|(digest, sum)| self.line(digest, &sum, all, instance)).collect()
    }

    /// Everything of one instance or all; none while nothing is known.
    pub fn total_load(&self, instance: Option<&InstanceId>) -> Option<TopDigest> {
        let sum = self.loads.sums(self.now, instance).remove(&TOTAL)?;
        Some(self.line(TOTAL, &sum, sum.busy, instance))
    }

    /// One digest; none while it does nothing.
    pub fn load_of(&self, digest: DigestId, instance: Option<&InstanceId>) -> Option<TopDigest> {
        let mut sums = self.loads.sums(self.now, instance);
        let total = sums.get(&TOTAL).map_or(0.0, |sum| sum.busy);
        let sum = sums.remove(&digest)?;
        Some(self.line(digest, &sum, total, instance))
    }

    /// The instances that have windows.
    pub fn loaded_instances(&self) -> impl Iterator<Item = &InstanceId> {
        self.loads.0.keys()
    }

    fn line(&self, digest: DigestId, sum: &Sum, all: f64, instance: Option<&InstanceId>) -> TopDigest {
        let entry = self.digest(digest);
        let text = digest.reserved().map(str::to_owned).or_else(|| entry.map(|entry| entry.text.clone()));
        TopDigest {
            digest,
            text: text.unwrap_or_else(|| "(text not known yet)".to_owned()),
            kind: entry.map_or_else(String::new, |entry| entry.kind.clone()),
            share: if all > 0.0 { (sum.busy / all).min(1.0) } else { 0.0 },
            load: sum.busy,
            per_second: sum.count,
            p50_us: sum.rt.quantile(0.5).unwrap_or(0),
            p99_us: sum.rt.quantile(0.99).unwrap_or(0),
            rows_per_second: sum.rows,
            errors_per_second: sum.errors,
            trend: self.loads.trend(digest, instance),
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::topics::examples::window;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const T0: i64 = 1_700_000_000;

    /// Statements per second of all instances that are shown `after` seconds of [`T0`], when each window up to then had 50.
    fn shown(source: Source, told_after: i64, after: i64) -> f64 {
        let mut loads = Loads::default();
        for start in [T0 - 20, T0 - 10, T0] {
            let told = start + told_after;
            let windows = window(start, 50, 1_000, false).map(|mut window| {
                window.row.source = source;
                window
            });
            if told <= T0 + after {
                loads.take(windows.to_vec(), Timestamp(told * SECOND));
            }
        }
        let mut sums = loads.sums(Timestamp((T0 + after) * SECOND), None);
        sums.remove(&TOTAL).map_or(0.0, |sum| sum.count)
    }

    #[test]
    fn who_is_counted_by_its_counters_is_not_idle_between_two_looks() {
        for after in 0..17 {
            let shown = shown(Source::PerformanceSchema, 7, after);
            assert!((shown - 5.0).abs() < 1e-9, "{shown} a second {after} s after the window began");
        }
        assert!(shown(Source::PerformanceSchema, 7, 25) < 1e-9, "who says nothing for two windows is gone");
        assert!(shown(Source::Wire, 7, 13) < 1e-9, "whose packets are counted is told of each second");
    }
}
