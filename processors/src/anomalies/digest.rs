//! What is known of one digest of an instance: five series, its weight in the load, and which of the series are unusual. A window's
//! sums enter. What nobody feels is no event: each series has the least calls, the least effect and the least share that count.

use serde::{Deserialize, Serialize};

use super::Settings;
use super::series::{Bar, Series, Verdict};

/// 2 %: who has less of an instance's response time may double it and nobody feels it. Statements of a table count together.
pub(super) const SHARE_LEAST: f32 = 0.02;
/// 0.2 %: a hundred of them, or ten on one table, are felt; what has less is noise.
const PART_LEAST: f32 = 0.002;
/// 20 calls: a mean of fewer says more about one of them than about the digest.
const CALLS_LEAST: u64 = 20;
/// 100 calls: the 99th percentile of fewer is the slowest of them.
const TAIL_CALLS_LEAST: u64 = 100;
/// 100 us: what is faster than that is as fast as the network lets it.
const TIME_LEAST_US: f32 = 100.0;
/// 10 ms: a tail that rises by less is not seen by anybody.
const TAIL_LEAST_US: f32 = 10_000.0;
/// 1,000 rows more for each call: less is read from memory in a millisecond.
const ROWS_LEAST: f32 = 1_000.0;
/// Of calls, 10 % of the load: traffic moves by itself, also that of single statements.
const CALLS_SHARE_LEAST: f32 = 0.1;
/// 2 % of the calls more than usual, and ten of them: single errors are a part of life.
const ERRORS_LEAST: f32 = 0.02;
const ERRORS_COUNT_LEAST: u64 = 10;
/// 0.2 %: errors are counted from there, so that the first of a digest that never had one is not infinitely many.
pub(super) const ERRORS_FLOOR: f32 = 0.002;
/// 60 windows, ten minutes: the load and the presence of a digest are those of the last of them.
const PACE: f32 = 60.0;
/// Seen in nine of ten windows it is always there: only of such a one calls can be too many. Others come in batches.
const ALWAYS: f32 = 0.9;
/// Who was always there until five minutes ago is at 0.6; who is there in every other window at 0.5.
const MOSTLY: f32 = 0.55;

/// What one digest, or a whole instance, did in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Statements.
    pub count: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// Their response times, added.
    pub rt_sum_us: u64,
    /// The 99th percentile of these.
    pub p99_us: u64,
    /// Rows read, where that is known.
    pub rows_examined: Option<u64>,
}

/// What of a digest can be unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    /// The mean response time.
    Time,
    /// The 99th percentile.
    Tail,
    /// Rows read for each call.
    Rows,
    /// The share of calls that end in an error.
    Errors,
    /// How often it is called.
    Calls,
}

const ALL: [Of; 5] = [Of::Time, Of::Tail, Of::Rows, Of::Errors, Of::Calls];

impl Of {
    /// The factor that is an event at the middle sensitivity: means of many calls are steady, calls themselves are not.
    const fn factor(self) -> f32 {
        match self {
            Self::Time => 1.6,
            Self::Tail => 2.5,
            Self::Rows | Self::Errors => 4.0,
            Self::Calls => 3.0,
        }
    }

    fn bar(self, settings: &Settings) -> Bar {
        settings.bar(self.factor())
    }
}

/// The state of one digest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Saved", from = "Saved")]
pub(super) struct Digest {
    /// Its share of the instance's response time, averaged.
    pub(super) load: f32,
    present: f32,
    series: [Series; 5],
    /// The group that tells of it, while something of it is unusual.
    pub(super) group: Option<String>,
    /// Its share in the last window that it was in.
    pub(super) share: f32,
}

/// A [`Digest`] in a snapshot: a thousand of them are in one, so it has no names. Series that have not begun are left out.
#[derive(Serialize, Deserialize)]
struct Saved([u32; 3], Vec<(u8, Series)>, Option<String>);

impl From<Digest> for Saved {
    fn from(one: Digest) -> Self {
        let series = (0..).zip(one.series).filter(|(_, series)| *series != Series::default());
        Self([one.load, one.present, one.share].map(f32::to_bits), series.collect(), one.group)
    }
}

impl From<Saved> for Digest {
    fn from(Saved(numbers, saved, group): Saved) -> Self {
        let [load, present, share] = numbers.map(f32::from_bits);
        let mut series = [Series::default(); 5];
        for (at, one) in saved {
            if let Some(place) = series.get_mut(usize::from(at)) {
                *place = one;
            }
        }
        Self { load, present, series, group, share }
    }
}

/// One thing that is unusual of a digest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finds {
    pub(super) of: Of,
    /// How many times as much as usual.
    pub(super) factor: f32,
    /// What is usual, in the unit of what it is of.
    pub(super) usual: f32,
    pub(super) now: f32,
}

impl Digest {
    /// One that comes for the first time, with this share of the load.
    pub(super) fn new(share: f32) -> Self {
        Self { load: share, ..Self::default() }
    }

    /// Takes in what it did in a window. `total` is what the instance did.
    pub(super) fn observe(&mut self, sums: &Sums, total: &Sums, settings: &Settings) {
        let share = (sums.rt_sum_us as f32 / total.rt_sum_us.max(1) as f32).min(1.0);
        self.share = share;
        self.load += (share - self.load) / PACE;
        self.present += (1.0 - self.present) / PACE;
        if sums.count == 0 {
            return;
        }
        let calls = sums.count as f32;
        let usual_calls = self.series[4].level().exp();
        let is_always = self.present >= ALWAYS;
        // A mean of a quarter of the usual calls is twice as noisy.
        let weight = (calls / usual_calls.max(1.0)).sqrt().min(1.0);
        let felt = share >= PART_LEAST;
        for (at, of) in ALL.into_iter().enumerate() {
            let series = &mut self.series[at];
            let Some(value) = value_of(of, sums) else {
                // An event ends where nothing is heard of it: a tail that was slow after a restart would else hold as long as calls
                // are few, and all that is told with it.
                let _: Verdict = series.pass();
                continue;
            };
            let level = series.level();
            let rose = |by: f32| by > 0.0 && felt;
            let more = |by: f32| (level + by).exp() - level.exp();
            let counts = |by: f32| match of {
                Of::Time => rose(by) && sums.count >= CALLS_LEAST && more(by) >= TIME_LEAST_US,
                Of::Tail => rose(by) && sums.count >= TAIL_CALLS_LEAST && more(by) >= TAIL_LEAST_US,
                Of::Rows => rose(by) && sums.count >= CALLS_LEAST && more(by) >= ROWS_LEAST,
                Of::Errors => by > 0.0 && sums.errors >= ERRORS_COUNT_LEAST && more(by) >= ERRORS_LEAST,
                Of::Calls => rose(by) && is_always && sums.count >= CALLS_LEAST && share >= CALLS_SHARE_LEAST,
            };
            series.observe(value, if of == Of::Calls { 1.0 } else { weight }, &of.bar(settings), counts);
        }
    }

    /// A window without it.
    pub(super) fn pass(&mut self) {
        self.load -= self.load / PACE;
        self.present -= self.present / PACE;
        for series in &mut self.series {
            let _: Verdict = series.pass();
        }
    }

    pub(super) fn is_unusual(&self) -> bool {
        self.series.iter().any(Series::is_unusual)
    }

    /// Whether something is unusual in the last window.
    pub(super) fn deviates(&self) -> bool {
        self.series.iter().any(Series::deviates)
    }

    /// What is unusual in the last window, what matters most first.
    pub(super) fn finds(&self) -> Option<Finds> {
        let deviating = ALL.into_iter().zip(&self.series).find(|(_, series)| series.deviates());
        deviating.map(|(of, series)| {
            let level = series.level();
            let floor = if of == Of::Errors { ERRORS_FLOOR } else { 0.0 };
            let number = |at: f32| (at.exp() - floor).max(0.0);
            let factor = series.deviation().exp();
            Finds { of, factor, usual: number(level), now: number(level + series.deviation()) }
        })
    }

    /// How many windows showed what is unusual, where that has just been found.
    pub(super) fn windows(&self) -> i64 {
        self.series.iter().filter(|series| series.is_unusual()).map(Series::windows).max().unwrap_or(1)
    }

    /// Its share of the load while it is there, as far as it has gone: what is asked for less than half as often as usual, or not at
    /// all. `calls` is how often it was in the last window.
    pub(super) fn gone(&self, calls: u64) -> f32 {
        let usual = self.series[4].level().exp();
        let left = calls as f32 / usual.max(1.0);
        if self.present < MOSTLY || left >= 0.5 { 0.0 } else { (self.load / self.present * (1.0 - left)).min(1.0) }
    }

    /// Forgets what is usual, but not that it is here.
    pub(super) fn rebase(&mut self) {
        self.series.iter_mut().for_each(Series::rebase);
        self.group = None;
    }
}

/// The number that a series has of a window; none where that is not known, or says nothing.
fn value_of(of: Of, sums: &Sums) -> Option<f32> {
    let calls = sums.count as f32;
    Some(match of {
        Of::Time => (sums.rt_sum_us as f32 / calls).max(1.0).ln(),
        Of::Tail if sums.count < TAIL_CALLS_LEAST => return None,
        Of::Tail => (sums.p99_us as f32).max(1.0).ln(),
        Of::Rows => (sums.rows_examined? as f32 / calls + 1.0).ln(),
        Of::Errors => (sums.errors as f32 / calls + ERRORS_FLOOR).ln(),
        Of::Calls => calls.ln(),
    })
}
