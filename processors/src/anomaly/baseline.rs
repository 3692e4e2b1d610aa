//! What a series is expected to do next: its level, which a single value moves little, or the rhythm of its days where that has
//! foretold it better; how far it usually is from that; and how much of a deviation lasts to the next point.

use serde::{Deserialize, Serialize};

use super::rhythm::{Place, Rhythm};

/// 400 points: a day and a half of 5 minutes; the level is slower than a rhythm and faster than a season.
const MEMORY_POINTS: f64 = 400.0;
/// 300 points: which forecast errs less is decided anew within a day.
const ERROR_POINTS: f64 = 300.0;
/// A value moves the level by at most three usual deviations.
const CLIP: f64 = 3.0;
/// An error counts for at most six usual ones, so that one event does not decide between the forecasts.
const ERROR_CLIP: f64 = 6.0;
/// The first 20 points count in full: no usual deviation is known before.
const UNCLIPPED_POINTS: f64 = 20.0;
/// The days are believed once their forecast errs by 15 % less than the level, the weeks once they err by 5 % less than the days.
const DAY_BETTER: f64 = 0.85;
const WEEK_BETTER: f64 = 0.9;
/// Days are compared from the second on, weeks from the third.
const DAYS_MIN: f64 = 1.0;
const WEEK_DAYS_MIN: f64 = 7.0;
/// 16 points say how much a series moves, well enough for the unit of its rhythm.
const RHYTHM_POINTS: u32 = 16;
/// A deviation is not told from none below three tenths of a usual change, or below a thousandth of the level: where values have
/// steps, as counts and per cents have, one step is no event.
const STEP_SHARE: f64 = 0.3;
const LEVEL_SHARE: f64 = 0.001;
/// The usual change is the geometric mean of the newest 64, by weight: bursts do not move it.
const CHANGES_REMEMBERED: f32 = 64.0;
/// While a value is out of the ordinary the baseline learns at a quarter of its pace: not never, or it would be frozen for ever.
const ALARMED_PACE: f64 = 0.25;

/// What was expected of one value, and how far off it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// The value less the baseline.
    pub(super) residual: f64,
    /// How far values usually are from the baseline; above zero.
    pub(super) scale: f64,
    /// The value less what the point before it let expect.
    pub(super) error: f64,
    /// How large this error usually is; above zero.
    pub(super) error_scale: f64,
    /// By how much more restless it is at this time of the day than in general; at least 1.
    pub(super) restless: f64,
    /// The least deviation that is told from none.
    pub(super) floor: f64,
    from_days: bool,
}

/// Where and when a value is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) place: Place,
    /// How long the series is known, in days.
    pub(super) days: f64,
    /// The usual distance of two points in seconds; 0 while it is not known.
    pub(super) step: f64,
    /// How many values came before.
    pub(super) seen: u32,
}

/// The errors of the three forecasts, as means.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Errors {
    level: f64,
    day: f64,
    week: f64,
}

/// The baseline of one series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Baseline {
    rhythm: Option<Rhythm>,
    level: f64,
    spread: f64,
    error_spread: f64,
    residual: f64,
    errors: Errors,
    covariance: f32,
    variance: f32,
    change_ln: f32,
    changes: u32,
}

impl Baseline {
    /// A baseline at the first value.
    pub(super) fn new(value: f64) -> Self {
        Baseline {
            rhythm: None,
            level: value,
            spread: 0.0,
            error_spread: 0.0,
            residual: 0.0,
            errors: Errors::default(),
            covariance: 0.0,
            variance: 0.0,
            change_ln: 0.0,
            changes: 0,
        }
    }

    /// How often the value has changed.
    pub(super) fn changes(&self) -> u32 {
        self.changes
    }

    /// Takes in by how much the value has changed; before it is judged, so that the first change of a constant series has a measure.
    pub(super) fn changed(&mut self, by: f64) {
        if by == 0.0 {
            return;
        }
        self.changes = self.changes.saturating_add(1);
        let pace = (1.0 / self.changes as f32).max(1.0 / CHANGES_REMEMBERED);
        self.change_ln += pace * (by.abs().ln() as f32 - self.change_ln);
    }

    /// What was expected of `value`.
    pub(super) fn expected(&self, value: f64, moment: &Moment) -> Expected {
        let change = if self.changes == 0 { 0.0 } else { f64::from(self.change_ln).exp() };
        let floor = (STEP_SHARE * change).max(LEVEL_SHARE * self.level.abs()).max(f64::MIN_POSITIVE);
        let lasting = if self.variance > 0.0 { (self.covariance / self.variance).clamp(0.0, 1.0) } else { 0.0 };
        let lasting = f64::from(lasting);
        let (mut base, mut scale, mut from_days) = (self.level, self.spread, false);
        let mut error_scale = self.error_spread;
        if let Some((day, spread)) = self.of_day(moment) {
            if self.errors.day < DAY_BETTER * self.errors.level {
                // This half hour's own deviation and that of all: the first is known from few points.
                (base, scale, from_days) = (day, f64::midpoint(self.spread, spread).max(spread), true);
                // What is left of it when the part that lasts is foretold; a jump at the same time every day is no surprise.
                error_scale = error_scale.max(spread * (1.0 - lasting * lasting).sqrt());
                if moment.days > WEEK_DAYS_MIN && self.errors.week < WEEK_BETTER * self.errors.day {
                    base += self.of_week(moment);
                }
            } else if self.errors.day > 0.0 {
                // Without a rhythm there may be a job at this time of the day.
                let more = (spread / self.errors.day.max(floor)).max(1.0);
                (scale, error_scale) = (scale * more, error_scale * more);
            }
        }
        let residual = value - base;
        Expected {
            residual,
            scale: scale.max(floor),
            error: residual - lasting * self.residual,
            error_scale: error_scale.max(floor),
            restless: (error_scale / self.error_spread.max(floor)).max(1.0),
            floor,
            from_days,
        }
    }

    fn of_day(&self, moment: &Moment) -> Option<(f64, f64)> {
        self.rhythm.as_ref().filter(|_| moment.days > DAYS_MIN).and_then(|rhythm| rhythm.of_day(moment.place))
    }

    fn of_week(&self, moment: &Moment) -> f64 {
        self.rhythm.as_ref().and_then(|rhythm| rhythm.of_week(moment.place)).unwrap_or(0.0)
    }

    /// Takes `value` in, of which `expected` was expected.
    pub(super) fn learn(&mut self, value: f64, expected: &Expected, moment: &Moment, alarmed: bool) {
        let seen = f64::from(moment.seen);
        let clip =
            |off: f64, scale: f64| if seen < UNCLIPPED_POINTS { off } else { off.clamp(-CLIP * scale, CLIP * scale) };
        let usual = (1.0 / (seen + 1.0)).max(1.0 / MEMORY_POINTS);
        let pace = if alarmed { ALARMED_PACE * usual } else { usual };
        self.learn_errors(value, expected.floor, moment);
        let scale = if expected.from_days { self.errors.level } else { self.spread };
        self.level += pace * clip(value - self.level, scale.max(expected.floor));
        self.spread += pace * (clip(expected.residual, self.spread.max(expected.floor)).abs() - self.spread);
        let usual_error = self.error_spread.max(expected.floor);
        self.error_spread += pace * (clip(expected.error, usual_error).abs() - self.error_spread);
        if !alarmed {
            let now = (clip(expected.residual, expected.scale) / expected.scale) as f32;
            let before = (clip(self.residual, expected.scale) / expected.scale) as f32;
            self.covariance += pace as f32 * (now * before - self.covariance);
            self.variance += pace as f32 * (before * before - self.variance);
        }
        self.residual = expected.residual;
        self.learn_rhythm(value, moment, alarmed);
    }

    fn learn_errors(&mut self, value: f64, floor: f64, moment: &Moment) {
        let seen = f64::from(moment.seen);
        let most = if seen < UNCLIPPED_POINTS { f64::MAX } else { ERROR_CLIP * self.errors.level.max(floor) };
        let pace = (1.0 / (seen + 1.0)).max(1.0 / ERROR_POINTS);
        let learn = |mean: &mut f64, off: f64| *mean += pace * (off.abs().min(most) - *mean);
        let (day, week) = (self.of_day(moment), self.of_week(moment));
        learn(&mut self.errors.level, value - self.level);
        match day {
            Some((day, _)) => {
                learn(&mut self.errors.day, value - day);
                learn(&mut self.errors.week, value - day - week);
            }
            // Until they can be compared none is better.
            None if moment.days <= DAYS_MIN => {
                (self.errors.day, self.errors.week) = (self.errors.level, self.errors.level);
            }
            None => {}
        }
    }

    fn learn_rhythm(&mut self, value: f64, moment: &Moment, alarmed: bool) {
        let unit = if self.spread > 0.0 { self.spread } else { self.level.abs() };
        if self.rhythm.is_none() && moment.seen >= RHYTHM_POINTS && unit > 0.0 {
            self.rhythm = Some(Rhythm::new(self.level, unit));
        }
        if let Some(rhythm) = &mut self.rhythm
            && moment.step > 0.0
        {
            rhythm.learn(moment, value, alarmed);
        }
    }

    /// The level has changed for good.
    pub(super) fn shift(&mut self, by: f64) {
        self.level += by;
        if let Some(rhythm) = &mut self.rhythm {
            rhythm.shift(by);
        }
    }
}
