//! How unusual a value is for its own series: the score stage of anomalies. Values of one series go in, in order; out comes for each
//! a score of 0..1 that means the same for every series, so that one threshold, a half, is right for all. A score rests on what came
//! before and on nothing else; no row is kept: the state of a series is less than 1 KiB, and a value costs about a microsecond.
//! Several components judge each value, each by the tail of what it has seen in this series itself (`tail.rs`): how far the value is
//! from the baseline (`baseline.rs`), from what the point before let expect, from the point before; whether short means have left
//! the baseline; whether it has become restless, quiet, flat or late. What alarms once is held down while it lasts (`refractory.rs`).

mod baseline;
mod refractory;
mod rhythm;
mod tail;

#[cfg(test)]
mod tests;

use millrace_schemas::time::Timestamp;
use serde::{Deserialize, Serialize};

use self::baseline::{Baseline, Expected, Moment};
use self::refractory::Refractory;
use self::rhythm::Place;
use self::tail::Tail;

/// Six points and 36: half an hour and three of five minutes, a blip that lasts and a drift.
const BRIEF_POINTS: f64 = 6.0;
const SLOW_POINTS: f64 = 36.0;
/// One value counts in these means for at most eight usual deviations: they tell what lasts.
const MEAN_CLIP: f64 = 8.0;
/// Twelve points: as many surprises in a row make a series restless.
const UNREST_POINTS: f64 = 12.0;
/// One surprise counts there for at most four decades.
const UNREST_CLIP: f64 = 4.0;
/// 24 points that hardly move are quiet; one counts for at most four usual errors.
const QUIET_POINTS: f64 = 24.0;
const QUIET_CLIP: f64 = 4.0;
/// A series is known well enough for that after twice as many.
const QUIET_AFTER: u32 = 48;
/// A series that has moved less than 30 times may be one that hardly ever does: its rest is no event.
const CHANGES_MIN: u32 = 30;
/// A late point alone is no alarm: 3 decades.
const LATE_MAX: f64 = 3.0;
/// From three decades on a value is out of the ordinary, and not learnt from as others are.
const ALARMED: f64 = 3.0;
/// After three such values in a row a quarter of each is learnt: an event does not become usual while it lasts, but does in the end.
/// The first three count in full, or events that come again would alarm for ever.
const LASTING_POINTS: i32 = 3;
const ALARMED_WEIGHT: f32 = 0.25;
/// 48 such values in a row on the same side, four hours of five minutes: that is the level now.
const CONFIRMED_POINTS: i32 = 48;
/// The first hundred points are on probation: scores grow to their full size with them.
const PROBATION_POINTS: f64 = 100.0;
/// The step is a mean of about 50 points, each of which doubles or halves it at most.
const STEP_PACE: f64 = 0.02;
/// After as many steps without a value, and a day, short means begin anew: what was before the gap is no trend any more.
const GAP_STEPS: f64 = 48.0;
const GAP_SECONDS: f64 = 86_400.0;
/// 10.5 decades at the least sensitivity, 2.5 at the most; 6.5 between them found most of what was put into seeded series, and raised
/// fewer alarms than what was put there (`tests.rs` has the figures).
const ALARM_MAX: f64 = 11.5;
/// Differences of two values must not overflow.
const VALUE_MAX: f64 = 1e300;
const DAY_SECONDS: f64 = 86_400.0;

/// What of a value is unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Far above the baseline.
    High,
    /// Far below it.
    Low,
    /// Above what the point before let expect.
    Rise,
    /// Below it.
    Fall,
    /// The mean of half a dozen points is above the baseline.
    HighBriefly,
    /// It is below.
    LowBriefly,
    /// The mean of three dozen points is above the baseline.
    HighLastingly,
    /// It is below.
    LowLastingly,
    /// Far from the point before.
    Change,
    /// An error that is large beside those of the last two dozen points.
    Jolt,
    /// One surprise after the other: a higher variance, or bursts that come more often.
    Unrest,
    /// Hardly any movement where there was some.
    Quiet,
    /// The same value again and again.
    Flat,
    /// Values did not come when they were due.
    Late,
}

const COMPONENTS: usize = 14;

/// Each with where its tail is guessed to begin, and below what it never does: in usual deviations, but for `Unrest` (decades),
/// `Quiet` (times as quiet), `Flat` (points) and `Late` (steps).
const TAILS: [(Component, f32, f32); COMPONENTS] = [
    (Component::High, 3.0, 0.1),
    (Component::Low, 3.0, 0.1),
    (Component::Rise, 3.0, 0.1),
    (Component::Fall, 3.0, 0.1),
    (Component::HighBriefly, 1.5, 0.1),
    (Component::LowBriefly, 1.5, 0.1),
    (Component::HighLastingly, 1.0, 0.1),
    (Component::LowLastingly, 1.0, 0.1),
    (Component::Change, 4.0, 0.1),
    (Component::Jolt, 4.0, 1.0),
    (Component::Unrest, 0.6, 0.1),
    (Component::Quiet, 3.0, 2.0),
    (Component::Flat, 12.0, 12.0),
    (Component::Late, 2.0, 2.0),
];

/// How readily a series alarms, 1 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensitivity(u8);

impl Sensitivity {
    /// The least, which alarms at what was never heard of.
    pub const LEAST: u8 = 1;
    /// The most.
    pub const MOST: u8 = 9;

    /// A sensitivity of `LEAST` to `MOST`.
    pub fn new(level: u8) -> Option<Self> {
        (Self::LEAST..=Self::MOST).contains(&level).then_some(Self(level))
    }

    /// The level.
    pub fn level(self) -> u8 {
        self.0
    }

    /// How many decades of surprise have the score of a half: 6.5 where nothing else is asked for, and one fewer for each step.
    fn alarm(self) -> f64 {
        ALARM_MAX - f64::from(self.0)
    }
}

impl Default for Sensitivity {
    /// 5: seldom more than an alarm a week in a series of five minutes in which nothing happens.
    fn default() -> Self {
        Self(5)
    }
}

/// What is said of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// 0..1; a half or more is an alarm.
    pub score: f64,
    /// What of it was most unusual, also where an earlier alarm holds the score down; none where nothing was.
    pub component: Option<Component>,
}

/// The state of one series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Scorer {
    sensitivity: Sensitivity,
    series: Option<Series>,
}

/// What is known of a series that has begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Series {
    tails: [Tail; COMPONENTS],
    baseline: Baseline,
    refractory: Refractory,
    last: f64,
    brief: f64,
    slow: f64,
    quiet: f64,
    first_at: i64,
    last_at: i64,
    step: f32,
    unrest: f32,
    seen: u32,
    run: u32,
    /// Values in a row that are out of the ordinary, negative below the baseline.
    beyond: i32,
}

impl Scorer {
    /// The state of a series that has not begun.
    pub fn new(sensitivity: Sensitivity) -> Self {
        Scorer { sensitivity, series: None }
    }

    /// Judges the next value and takes it in. What is not finite is no value: it is judged 0 and changes nothing.
    pub fn observe(&mut self, at: Timestamp, value: f64) -> Score {
        let seconds = at.0.div_euclid(1_000_000);
        if !value.is_finite() {
            return Score { score: 0.0, component: None };
        }
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        let Some(series) = &mut self.series else {
            self.series = Some(Series::new(seconds, value));
            return Score { score: 0.0, component: None };
        };
        let alarm = self.sensitivity.alarm();
        let (decades, component) = series.observe(seconds, value, alarm);
        // A half at `alarm` decades, 0.94 at twice as many; half of them have 0.16.
        Score { score: 1.0 - (-(decades / alarm).powi(2)).exp2(), component }
    }
}

impl Series {
    fn new(seconds: i64, value: f64) -> Self {
        Series {
            tails: TAILS.map(|(_, threshold, _)| Tail::new(threshold)),
            baseline: Baseline::new(value),
            refractory: Refractory::default(),
            last: value,
            brief: 0.0,
            slow: 0.0,
            quiet: 0.0,
            first_at: seconds,
            last_at: seconds,
            step: 0.0,
            unrest: 0.0,
            seen: 1,
            run: 0,
            beyond: 0,
        }
    }

    fn observe(&mut self, seconds: i64, value: f64, alarm: f64) -> (f64, Option<Component>) {
        let since = seconds.saturating_sub(self.last_at) as f64;
        let step = f64::from(self.step);
        if step > 0.0 && since > GAP_SECONDS && since > GAP_STEPS * step {
            (self.brief, self.slow, self.unrest, self.beyond) = (0.0, 0.0, 0.0, 0);
        }
        let change = value - self.last;
        self.baseline.changed(change);
        let days = seconds.saturating_sub(self.first_at).max(0) as f64 / DAY_SECONDS;
        let moment = Moment { place: Place::of(seconds), days, step, seen: self.seen };
        let expected = self.baseline.expected(value, &moment);
        let jolt = if self.seen > QUIET_AFTER {
            expected.error.abs() / (expected.restless * self.quiet.max(expected.floor))
        } else {
            0.0
        };
        self.average(&expected);
        let ended = (change != 0.0).then_some(self.run);
        self.run = if change == 0.0 { self.run.saturating_add(1) } else { 0 };
        let late = if step > 0.0 { (since / step).max(0.0) } else { 0.0 };
        let figures = self.figures(&expected, change, late, jolt);
        let decades = self.judge(&figures);
        // Where several components agree the surprise is larger than the largest of them; they are not independent, so it is less
        // than their sum.
        let all = decades.iter().map(|decades| decades * decades).sum::<f64>().sqrt();
        let alarmed = all >= ALARMED;
        self.learn(&figures, ended, alarmed);
        self.baseline.learn(value, &expected, &moment, alarmed);
        self.settle(alarmed, expected.residual);
        self.tick(seconds, since);
        self.last = value;
        let most = decades.iter().zip(TAILS).max_by(|(one, _), (other, _)| one.total_cmp(other));
        let component = most.filter(|(decades, _)| **decades > 0.0).map(|(_, (component, ..))| component);
        let known = (f64::from(self.seen) / PROBATION_POINTS).min(1.0);
        (known * self.refractory.pass(all, alarm), component)
    }

    /// The means of deviations and errors, with the newest.
    fn average(&mut self, expected: &Expected) {
        let most = MEAN_CLIP * expected.scale;
        let residual = expected.residual.clamp(-most, most);
        self.brief += (residual - self.brief) / BRIEF_POINTS;
        self.slow += (residual - self.slow) / SLOW_POINTS;
        self.quiet += (expected.error.abs().min(QUIET_CLIP * expected.error_scale) - self.quiet) / QUIET_POINTS;
    }

    /// What each component sees, none of it negative. The run, which has no end yet, is as long as it is now.
    fn figures(&mut self, expected: &Expected, change: f64, late: f64, jolt: f64) -> [f64; COMPONENTS] {
        let (scale, error_scale) = (expected.scale, expected.error_scale);
        let quiet = if self.seen > QUIET_AFTER { error_scale / self.quiet.max(expected.floor) } else { 0.0 };
        let above = |figure: f64| (figure.max(0.0), (-figure).max(0.0));
        let (high, low) = above(expected.residual / scale);
        let (rise, fall) = above(expected.error / error_scale);
        let (high_briefly, low_briefly) = above(self.brief / scale);
        let (high_lastingly, low_lastingly) = above(self.slow / scale);
        let surprise = self.tails[2].decades(rise).max(self.tails[3].decades(fall)).min(UNREST_CLIP);
        self.unrest += (surprise as f32 - self.unrest) / UNREST_POINTS as f32;
        [
            high,
            low,
            rise,
            fall,
            high_briefly,
            low_briefly,
            high_lastingly,
            low_lastingly,
            change.abs() / error_scale,
            jolt,
            f64::from(self.unrest),
            quiet,
            f64::from(self.run),
            late,
        ]
    }

    /// How surprising each component finds what it sees, in decades.
    fn judge(&self, figures: &[f64; COMPONENTS]) -> [f64; COMPONENTS] {
        let mut decades = [0.0; COMPONENTS];
        for (at, (component, ..)) in TAILS.into_iter().enumerate() {
            let found = self.tails[at].decades(figures[at]);
            decades[at] = match component {
                Component::Quiet | Component::Flat if self.baseline.changes() < CHANGES_MIN => 0.0,
                Component::Late => found.min(LATE_MAX),
                _ => found,
            };
        }
        decades
    }

    /// Takes in what the components saw.
    fn learn(&mut self, figures: &[f64; COMPONENTS], ended: Option<u32>, alarmed: bool) {
        let weight = if alarmed && self.beyond.abs() >= LASTING_POINTS { ALARMED_WEIGHT } else { 1.0 };
        for (at, (component, _, least)) in TAILS.into_iter().enumerate() {
            // A run is one figure, known when it ends.
            let figure = if component == Component::Flat { ended.map(f64::from) } else { Some(figures[at]) };
            if let Some(figure) = figure {
                self.tails[at].learn(figure, self.seen, least, weight);
            }
        }
    }

    /// Counts values that are out of the ordinary; enough of them are the new level.
    fn settle(&mut self, alarmed: bool, residual: f64) {
        let side = if residual > 0.0 { 1 } else { -1 };
        self.beyond = match alarmed {
            false => 0,
            true if self.beyond.signum() == side => self.beyond + side,
            true => side,
        };
        if self.beyond.abs() >= CONFIRMED_POINTS {
            self.baseline.shift(self.slow);
            (self.brief, self.slow, self.beyond) = (0.0, 0.0, 0);
        }
    }

    /// Takes in when the value came. Times that do not move on say nothing.
    fn tick(&mut self, seconds: i64, since: f64) {
        if since > 0.0 {
            let step = f64::from(self.step);
            let pace = (1.0 / f64::from(self.seen)).max(STEP_PACE);
            let step = if step > 0.0 { step + pace * (since.clamp(step / 2.0, step * 2.0) - step) } else { since };
            self.step = step as f32;
            self.last_at = seconds;
        }
        self.seen = self.seen.saturating_add(1);
    }
}
