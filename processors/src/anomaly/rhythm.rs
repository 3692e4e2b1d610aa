//! What is usual at this time of the day and of the week, where a series has such a rhythm: the half hours of a day with their means
//! and deviations, and the three hours of a week with what they add. 650 bytes. Values are kept relative to where the series began,
//! in units of how much it moved then, so that `f32` holds temperatures and counters alike.

use serde::{Deserialize, Serialize};

use super::baseline::Moment;

const DAY_SECONDS: i64 = 86_400;
/// Half hours: rush hours and batch jobs are told apart, and points of five minutes and of an hour both fill them.
const SLOTS: usize = 48;
/// Arrays of at most 32 can be serialized: the day in two halves.
const HALF: usize = SLOTS / 2;
/// Three hours: mornings of working days and of Sundays differ by as much as anything within them.
const BLOCKS: usize = 8;
/// Five days are remembered: a new habit is learnt in a week.
const DAYS_REMEMBERED: f64 = 5.0;
/// Four weeks, for what the days of the week add.
const WEEKS_REMEMBERED: f64 = 4.0;
/// A deviation counts for at most four usual ones, so that one bad day does not become the rule.
const CLIP: f32 = 4.0;
/// The first two days count in full: no usual deviation is known before.
const DAYS_UNCLIPPED: f64 = 2.0;
/// What `f32` holds with room for sums: a value that is further off is not usual at any time.
const FAR: f64 = 1e30;
/// What was never met: beyond `FAR`, and a number, since JSON has no NaN.
const UNKNOWN: f32 = f32::MAX;

/// The place of a moment in the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    slot: usize,
    day: usize,
    block: usize,
}

impl Place {
    /// The place of a moment, in seconds since the epoch.
    pub(super) fn of(seconds: i64) -> Self {
        let of_day = seconds.rem_euclid(DAY_SECONDS) as usize;
        let day = seconds.div_euclid(DAY_SECONDS).rem_euclid(7) as usize;
        Place { slot: of_day * SLOTS / DAY_SECONDS as usize, day, block: of_day * BLOCKS / DAY_SECONDS as usize }
    }
}

/// The profile of a day and of a week. What was never met is `UNKNOWN`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rhythm {
    origin: f64,
    unit: f64,
    mean: [[f32; HALF]; 2],
    spread: [[f32; HALF]; 2],
    week: [[f32; BLOCKS]; 7],
}

impl Rhythm {
    /// Knows nothing yet; values will be kept relative to `origin`, in units of `unit`, which is above zero.
    pub(super) fn new(origin: f64, unit: f64) -> Self {
        let unknown = [[UNKNOWN; HALF]; 2];
        Rhythm { origin, unit, mean: unknown, spread: unknown, week: [[UNKNOWN; BLOCKS]; 7] }
    }

    /// What is usual at this time of the day, and how far values are from it.
    pub(super) fn of_day(&self, place: Place) -> Option<(f64, f64)> {
        let (half, at) = (place.slot / HALF, place.slot % HALF);
        let (mean, spread) = (self.mean[half][at], self.spread[half][at]);
        (mean < UNKNOWN).then(|| (self.origin + f64::from(mean) * self.unit, f64::from(spread) * self.unit))
    }

    /// What this time of the week adds to it.
    pub(super) fn of_week(&self, place: Place) -> Option<f64> {
        let more = self.week[place.day][place.block];
        (more < UNKNOWN).then(|| f64::from(more) * self.unit)
    }

    /// Moves everything: the level has changed for good.
    pub(super) fn shift(&mut self, by: f64) {
        self.origin += by;
    }

    /// Takes a value in. What is out of the ordinary says how far values are from what is usual at this time, and not what is usual.
    pub(super) fn learn(&mut self, moment: &Moment, value: f64, alarmed: bool) {
        let Moment { place, days, step, .. } = *moment;
        let value = ((value - self.origin) / self.unit).clamp(-FAR, FAR) as f32;
        let (half, at) = (place.slot / HALF, place.slot % HALF);
        let (mean, spread) = (&mut self.mean[half][at], &mut self.spread[half][at]);
        if *mean >= UNKNOWN {
            (*mean, *spread) = (value, 0.0);
            return;
        }
        let off = value - *mean;
        let unclipped = days < DAYS_UNCLIPPED || *spread <= 0.0;
        let off = if unclipped { off } else { off.clamp(-CLIP * *spread, CLIP * *spread) };
        // The points of one half hour of one day weigh together as much as a day should; so do those of three hours for a week.
        let pace = pace(step * SLOTS as f64 / DAY_SECONDS as f64, days, DAYS_REMEMBERED);
        if alarmed {
            *spread += pace * (off.abs() - *spread);
            return;
        }
        *mean += pace * off;
        *spread += pace * (off.abs() - *spread);
        let pace = self::pace(step * BLOCKS as f64 / DAY_SECONDS as f64, days / 7.0, WEEKS_REMEMBERED);
        let week = &mut self.week[place.day][place.block];
        let before = if *week < UNKNOWN { *week } else { 0.0 };
        *week = before + pace * (off - before);
    }
}

/// How much one point weighs that is this `share` of a visit, after so many visits.
fn pace(share: f64, visits: f64, remembered: f64) -> f32 {
    (share.min(1.0) / (1.0 + visits.floor()).min(remembered)) as f32
}
