//! Seeded series of five minutes: a daily rhythm that is weaker at weekends, noise that lasts a little, and what is put into it.

use millrace_schemas::time::Timestamp;

/// Five minutes.
const STEP_SECONDS: i64 = 300;
/// Points of a day.
pub(super) const DAY: usize = 288;
/// 2026-11-02, a Monday.
const BEGIN: i64 = 1_793_577_600;
/// The usual deviation of the noise; the rhythm is six of them high.
pub(super) const NOISE: f64 = 5.0;

/// xorshift64*: the same numbers on every machine.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0..1.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    /// Gaussian, deviation 1.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().max(f64::MIN_POSITIVE).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// What happens in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Two points, ten deviations of the noise above.
    Spike,
    /// From here on four deviations higher.
    Shift,
    /// A hundred points with four times the noise.
    Restless,
    /// A hundred points with one value.
    Flat,
    /// A day without its rhythm.
    NoDay,
}

/// The time of a point.
pub(super) fn at(point: usize) -> Timestamp {
    Timestamp((BEGIN + point as i64 * STEP_SECONDS) * 1_000_000)
}

/// A series without events.
pub(super) fn usual(seed: u64, points: usize) -> Vec<f64> {
    let mut dice = Dice::new(seed);
    let mut noise = 0.0;
    (0..points)
        .map(|point| {
            // Half of a deviation lasts to the next point.
            noise = 0.5 * noise + 0.75_f64.sqrt() * dice.normal();
            let weekend = if point / DAY % 7 >= 5 { 0.7 } else { 1.0 };
            let rhythm = (point as f64 / DAY as f64 * std::f64::consts::TAU).sin();
            200.0 + NOISE * (6.0 * weekend * rhythm + noise)
        })
        .collect()
}

/// A series with one event, and where it begins: at some time of the days after the tenth.
pub(super) fn with(event: Event, seed: u64) -> (Vec<f64>, usize) {
    let mut values = usual(seed, 14 * DAY);
    let mut dice = Dice::new(seed ^ 0x5eed);
    let from = 10 * DAY + dice.below(2 * DAY);
    let of = |length: usize| from..from + length;
    match event {
        Event::Spike => of(2).for_each(|point| values[point] += 10.0 * NOISE),
        Event::Shift => values[from..].iter_mut().for_each(|value| *value += 4.0 * NOISE),
        Event::Restless => of(100).for_each(|point| values[point] += 4.0 * NOISE * dice.normal()),
        Event::Flat => of(100).for_each(|point| values[point] = values[from]),
        Event::NoDay => {
            let from = from / DAY * DAY;
            values[from..from + DAY].iter_mut().for_each(|value| *value = 200.0 + NOISE * dice.normal());
            return (values, from);
        }
    }
    (values, from)
}
