//! One series of 10-s windows: values go in, in order, and out comes whether the last of them are unusual together. It keeps no value;
//! its state is eight numbers. `crate::anomaly::Scorer` finds more in a series that is looked at alone, and is not used here: it takes
//! 100 points to know a series and 20 times the room, and its alarm, which is right for points of five minutes, would come thirty
//! times as often in windows of ten seconds. With a thousand digests of an instance there are four thousand series of it, nearly all
//! of them sparse or without weight, and all of them must fit into a snapshot. What is multiplied in an incident (times, calls) is
//! given as its logarithm, so that a deviation is a factor and the noise of a busy and of a quiet hour are alike.

use serde::{Deserialize, Serialize};

/// 180 windows, half an hour: slow enough for five minutes of an event to change nothing, and fast enough for the slope of a day.
const PACE: f32 = 180.0;
/// A value moves the level by at most so many usual deviations: an event that is not found yet must not become usual.
const CLIP: f32 = 3.0;
/// In the spread a value counts for at most five: spikes that come again widen it, one does not.
const SPREAD_CLIP: f32 = 5.0;
/// A mean absolute deviation is 0.8 of a standard deviation where the noise is normal.
const SPREAD: f32 = 1.25;
/// 4 %: what a server does is never steadier than that for long, whatever the last half hour was.
const SPREAD_LEAST: f32 = 0.04;
/// One window counts for at most six deviations: with a lock that lasted for one of them, the other must be far out itself.
pub(super) const HIT_MOST: f32 = 6.0;
/// Less than two deviations are no hit, however large the factor: the series is that noisy.
const HIT_LEAST: f32 = 2.0;
/// 12 windows, two minutes: the level that an event has reached.
const RECENT: f32 = 12.0;
/// Six calm windows, a minute, end it: a short calm within an event is a part of it. Calm is what would begin no event.
const CALM: u16 = 6;
/// 180 windows, half an hour of an event: that is how it is now.
const LASTING: u16 = 180;
/// A hit that is not found to be an event teaches a quarter: what is beyond all the time becomes usual in the end.
const HIT_WEIGHT: f32 = 0.25;

/// From where on something is an event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bar {
    /// The least deviation, which is the logarithm of a factor.
    pub(super) effect: f32,
    /// The sum of deviations, in usual ones, of the hits among three windows.
    pub(super) evidence: f32,
    /// Values that are learnt before anything is said.
    pub(super) learns: u16,
}

/// What became of a series with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As usual, or not known.
    Usual,
    /// It holds: the last windows were unusual together, and it is not over.
    Unusual,
    /// It held, and values are as they were.
    Over,
    /// It held for so long that it is usual now.
    Settled,
}

/// The state of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "[u32; 8]", from = "[u32; 8]")]
pub(super) struct Series {
    level: f32,
    spread: f32,
    recent: f32,
    /// Hits of the last two windows, in usual deviations; zero where there was none.
    hits: [f32; 2],
    /// The last deviation.
    last: f32,
    seen: u16,
    /// Windows since it is unusual; zero while it is not.
    unusual: u16,
    /// Calm ones of them in a row.
    calm: u16,
    /// It is unusual because it is less than usual.
    low: bool,
}

impl From<Series> for [u32; 8] {
    /// Numbers as they are: text would have to be read back to the last bit.
    fn from(one: Series) -> Self {
        let pair = |high: u16, low: u16| (u32::from(high) << 16) | u32::from(low);
        let [first, second] = one.hits.map(f32::to_bits);
        let [level, spread, recent, last] = [one.level, one.spread, one.recent, one.last].map(f32::to_bits);
        [level, spread, recent, first, second, last, pair(one.seen, one.unusual), pair(one.low.into(), one.calm)]
    }
}

impl From<[u32; 8]> for Series {
    fn from([level, spread, recent, first, second, last, counts, calm]: [u32; 8]) -> Self {
        // A snapshot may be damaged; a number that is none would make every later one none.
        let number = |bits| Some(f32::from_bits(bits)).filter(|number| number.is_finite()).unwrap_or(0.0);
        Self {
            level: number(level),
            spread: number(spread),
            recent: number(recent),
            hits: [number(first), number(second)],
            last: number(last),
            seen: (counts >> 16) as u16,
            unusual: counts as u16,
            calm: calm as u16,
            low: calm >> 16 > 0,
        }
    }
}

impl Series {
    /// How far the last value was from the level.
    pub(super) fn deviation(&self) -> f32 {
        self.last
    }

    /// The level.
    pub(super) fn level(&self) -> f32 {
        self.level
    }

    /// Whether enough of it is known to judge it.
    pub(super) fn is_known(&self, bar: &Bar) -> bool {
        self.seen >= bar.learns
    }

    /// Whether it is unusual now.
    pub(super) fn is_unusual(&self) -> bool {
        self.unusual > 0
    }

    /// Whether it is unusual, and its last window shows it.
    pub(super) fn deviates(&self) -> bool {
        self.unusual > 0 && self.calm == 0
    }

    /// How many windows showed it when it was found.
    pub(super) fn windows(&self) -> i64 {
        if self.hits[1] == 0.0 { 3 } else { 2 }
    }

    /// Judges the next value and takes it in. `weight` is 1, or less for a value that rests on less than others do; `counts` says of
    /// a deviation whether it would matter to anybody.
    pub(super) fn observe(&mut self, value: f32, weight: f32, bar: &Bar, counts: impl Fn(f32) -> bool) -> Verdict {
        if !value.is_finite() {
            return Verdict::Usual;
        }
        if self.seen == 0 {
            *self = Self { level: value, recent: value, spread: 0.0, seen: 1, ..Self::default() };
            return Verdict::Usual;
        }
        self.recent += (value - self.recent) / RECENT;
        let deviation = value - self.level;
        self.last = deviation;
        if !self.is_known(bar) {
            self.learn(deviation, 1.0);
            return Verdict::Usual;
        }
        let sized = deviation.abs() >= bar.effect;
        let surprise = (deviation.abs() / self.spread() * weight).min(HIT_MOST);
        let hit = if sized && surprise >= HIT_LEAST && counts(deviation) { surprise.copysign(deviation) } else { 0.0 };
        let before = self.hits;
        self.hits = [hit, before[0]];
        if self.unusual > 0 {
            return self.goes_on(deviation, bar);
        }
        // Two up and one down are no event: only hits of one side add up.
        let alike = before.into_iter().filter(|other| *other != 0.0 && other.is_sign_positive() == (hit > 0.0));
        let (others, sum) = alike.fold((0, hit.abs()), |(count, sum), other| (count + 1, sum + other.abs()));
        if hit != 0.0 && others > 0 && sum >= bar.evidence {
            (self.unusual, self.calm, self.low) = (1, 0, hit < 0.0);
            return Verdict::Unusual;
        }
        self.learn(deviation, if hit == 0.0 { 1.0 } else { HIT_WEIGHT });
        Verdict::Usual
    }

    /// A window came without a value. Nothing is learnt; an event of which nothing is heard is over in time.
    pub(super) fn pass(&mut self) -> Verdict {
        self.hits = [0.0, self.hits[0]];
        if self.unusual == 0 { Verdict::Usual } else { self.calmer() }
    }

    /// Forgets the level, not the noise: what comes next is another series.
    pub(super) fn rebase(&mut self) {
        *self = Self { seen: 0, ..Self::default() };
    }

    fn goes_on(&mut self, deviation: f32, bar: &Bar) -> Verdict {
        self.unusual = self.unusual.saturating_add(1);
        if self.unusual >= LASTING {
            (self.level, self.unusual, self.calm, self.hits) = (self.recent, 0, 0, [0.0; 2]);
            return Verdict::Settled;
        }
        let out = if self.low { -deviation } else { deviation };
        if out >= bar.effect {
            self.calm = 0;
            return Verdict::Unusual;
        }
        // The level stays: who recovers slowly passes through here, and a level of then would hide what comes next.
        self.calmer()
    }

    fn calmer(&mut self) -> Verdict {
        self.calm += 1;
        if self.calm < CALM {
            return Verdict::Unusual;
        }
        (self.unusual, self.calm, self.hits) = (0, 0, [0.0; 2]);
        Verdict::Over
    }

    fn spread(&self) -> f32 {
        (self.spread * SPREAD).max(SPREAD_LEAST)
    }

    fn learn(&mut self, deviation: f32, weight: f32) {
        self.seen = self.seen.saturating_add(1);
        let pace = f32::from(self.seen).min(PACE);
        // The first ten count in full: with them the spread is not known well enough to call anything large.
        let most = if self.seen <= 10 { f32::INFINITY } else { CLIP * self.spread() };
        self.level += weight * deviation.clamp(-most, most) / pace;
        let most = if self.seen <= 10 { f32::INFINITY } else { SPREAD_CLIP * self.spread() };
        self.spread += weight * (deviation.abs().min(most) - self.spread) / pace;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAR: Bar = Bar { effect: 0.4, evidence: 10.0, learns: 30 };

    /// A series that has seen an hour of a value that moves by a tenth to and fro.
    fn usual() -> Series {
        let mut series = Series::default();
        for at in 0..360 {
            assert_eq!(series.observe(wave(at), 1.0, &BAR, |_| true), Verdict::Usual, "window {at}");
        }
        series
    }

    fn wave(at: usize) -> f32 {
        [0.0, 0.1, -0.05, 0.08, -0.1, 0.02][at % 6]
    }

    fn verdicts(series: &mut Series, values: impl IntoIterator<Item = f32>) -> Vec<Verdict> {
        values.into_iter().map(|value| series.observe(value, 1.0, &BAR, |_| true)).collect()
    }

    #[test]
    fn twice_as_much_is_found_with_the_second_window_and_over_a_minute_after_it_ended() {
        use Verdict::{Over, Unusual, Usual};
        let mut series = usual();
        assert_eq!(verdicts(&mut series, [0.69, 0.72]), [Usual, Unusual]);
        let level = series.level();
        verdicts(&mut series, [0.7; 28]);
        assert_eq!(level.to_bits(), series.level().to_bits(), "an event teaches nothing");
        assert_eq!(verdicts(&mut series, [0.0; 7]), [Unusual, Unusual, Unusual, Unusual, Unusual, Over, Usual]);
    }

    #[test]
    fn one_spike_is_nothing_and_neither_are_two_that_lie_apart_or_on_both_sides() {
        let check = |values: &[f32]| {
            let found = verdicts(&mut usual(), values.iter().copied());
            assert!(found.iter().all(|verdict| *verdict == Verdict::Usual), "{values:?}: {found:?}");
        };
        check(&[9.0, 0.0, 0.0, 9.0]);
        check(&[2.0, -2.0, 0.0]);
        check(&[0.39, 0.39, 0.39, 0.39]); // too small to speak of, however steady the series
    }

    #[test]
    fn what_stays_is_usual_after_half_an_hour() {
        let mut series = usual();
        let found = verdicts(&mut series, [1.0; 182]);
        assert_eq!(found[1], Verdict::Unusual);
        assert_eq!(found.iter().position(|verdict| *verdict == Verdict::Settled), Some(180));
        assert!((series.level() - 1.0).abs() < 0.01);
        assert!(verdicts(&mut series, [1.0; 20]).iter().all(|verdict| *verdict == Verdict::Usual));
    }

    #[test]
    fn what_is_calm_again_but_a_little_more_than_before_is_over() {
        let mut series = usual();
        verdicts(&mut series, [0.9; 20]);
        let level = series.level();
        let found = verdicts(&mut series, [0.3, 0.35, 0.25, 0.3, 0.3, 0.3]);
        assert_eq!(found.iter().position(|verdict| *verdict == Verdict::Over), Some(5), "{found:?}");
        assert_eq!(level.to_bits(), series.level().to_bits(), "it may still be on its way back");
        let later = verdicts(&mut series, (0..200).map(|at| 0.3 + 0.5 * wave(at)));
        assert!(later.iter().all(|verdict| *verdict == Verdict::Usual), "{later:?}");
        assert!(series.level() > level + 0.1, "{} is usual in the end", series.level());
        // A short calm ends nothing.
        let mut series = usual();
        verdicts(&mut series, [0.9; 20]);
        assert!(verdicts(&mut series, [0.3, 0.3, 0.3, 0.3, 0.3, 0.9]).iter().all(|one| *one == Verdict::Unusual));
    }

    #[test]
    fn what_is_not_known_yet_or_matters_to_nobody_is_usual() {
        let mut young = Series::default();
        verdicts(&mut young, (0..29).map(wave));
        assert_eq!(verdicts(&mut young, [3.0])[0], Verdict::Usual);
        let mut series = usual();
        for _ in 0..10 {
            assert_eq!(series.observe(2.0, 1.0, &BAR, |_| false), Verdict::Usual);
        }
        // A value that rests on a hundredth of the usual calls is no evidence.
        let mut series = usual();
        assert_eq!(series.observe(0.7, 0.1, &BAR, |_| true), Verdict::Usual);
        assert_eq!(series.observe(0.7, 0.1, &BAR, |_| true), Verdict::Usual);
        assert_eq!(series.observe(f32::NAN, 1.0, &BAR, |_| true), Verdict::Usual);
    }

    #[test]
    fn an_event_of_which_nothing_is_heard_is_over() {
        let mut series = usual();
        verdicts(&mut series, [1.0, 1.0]);
        let found: Vec<Verdict> = (0..6).map(|_| series.pass()).collect();
        assert_eq!(found.last(), Some(&Verdict::Over));
    }

    #[test]
    fn a_series_survives_its_snapshot_to_the_last_bit_and_a_damaged_one_begins_anew() {
        let mut series = usual();
        verdicts(&mut series, [0.7, 0.71, 0.3]);
        let text = serde_json::to_string(&series).expect("writes");
        assert!(text.len() <= 90, "{text}");
        assert_eq!(serde_json::from_str::<Series>(&text).expect("reads"), series);
        let damaged: Series = serde_json::from_str("[4294967295,0,0,0,0,0,0,0]").expect("reads");
        assert_eq!(damaged, Series::default());
    }
}
