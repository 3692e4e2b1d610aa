//! How far out in its own past a figure lies: the tail of what one component has seen, as a threshold that a fiftieth of all
//! figures exceed, and the excesses over it. Sixteen bytes; no figure is kept.

use serde::{Deserialize, Serialize};

/// 2 %: rare enough to be the tail, and 40 excesses in the points that are remembered.
const EXCEED: f32 = 0.02;
/// 50 points of which one exceeded stand for what was not seen yet.
const RATE_PRIOR_POINTS: f32 = 50.0;
/// 2,000 points: a week of 5 minutes, in which every usual thing has happened.
const MEMORY_POINTS: f32 = 2_000.0;
/// 1 % a step: the threshold halves in some 3,500 points without an excess, and a burst of ten raises it by a tenth only.
const STEP_MIN: f32 = 0.01;
/// At most 50 % a step, so that a first guess that is far off is made good in ten points.
const STEP_MAX: f32 = 0.5;
/// The steps shrink from half to their least within the first thousand points, as 10 / (seen + 20).
const STEP_POINTS: f32 = 10.0;
const STEP_AFTER: f32 = 20.0;
/// An excess is measured as the logarithm of what it is in thresholds, which suits tails of powers such as response times (0), or as
/// the ratio, which suits those of noise (1). Nearer to the ratio both kinds of series have the scores that their events deserve.
const BEND: f64 = 0.75;
/// Eight excesses of 0.4 stand for what was not seen yet: more than noise has (about 0.2), less than response times (1 and more).
const PRIOR_EXCESSES: f32 = 8.0;
const PRIOR_MEAN: f32 = 0.4;
/// The newest 60 excesses count, by weight: some 3,000 points.
const EXCESSES_MAX: f32 = 60.0;
/// One excess counts for at most 25 (55 thresholds): a single absurd value does not make the next one usual.
const EXCESS_MAX: f32 = 25.0;
/// 12 decades: beyond, all things are equally unheard of.
const DECADES_MAX: f64 = 12.0;

/// The upper tail of a figure that is never negative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Tail {
    threshold_ln: f32,
    rate: f32,
    excesses: f32,
    sum: f32,
}

impl Tail {
    /// A tail that is guessed to begin at `threshold`.
    pub(super) fn new(threshold: f32) -> Self {
        Tail { threshold_ln: threshold.ln(), rate: EXCEED, excesses: 0.0, sum: 0.0 }
    }

    /// How surprising `figure` is, in decades: 3 is once in a thousand points. Zero below the threshold.
    pub(super) fn decades(&self, figure: f64) -> f64 {
        let over = figure.max(f64::MIN_POSITIVE).ln() - f64::from(self.threshold_ln);
        if over <= 0.0 {
            return 0.0;
        }
        let over = bent(over);
        // The chance of an excess above L after k of them that sum to S is (S / (S + L))^k: an exponential tail whose mean is known
        // as well as k excesses tell it.
        let count = f64::from(PRIOR_EXCESSES + self.excesses);
        let sum = f64::from(PRIOR_EXCESSES * PRIOR_MEAN + self.sum);
        (count * (1.0 + over / sum).log10() - f64::from(self.rate).log10()).min(DECADES_MAX)
    }

    /// Takes `figure` in, after `seen` others, as so much of a figure. The threshold never falls below `least`.
    pub(super) fn learn(&mut self, figure: f64, seen: u32, least: f32, weight: f32) {
        let seen = seen as f32;
        let over = (figure.max(f64::MIN_POSITIVE).ln() - f64::from(self.threshold_ln)) as f32;
        let exceeds = over > 0.0;
        let pace = weight * (1.0 / (seen + RATE_PRIOR_POINTS)).max(1.0 / MEMORY_POINTS);
        self.rate += pace * (f32::from(u8::from(exceeds)) - self.rate);
        let step = weight * (STEP_POINTS / (seen + STEP_AFTER)).clamp(STEP_MIN, STEP_MAX);
        if !exceeds {
            self.threshold_ln = (self.threshold_ln - step * EXCEED).max(least.ln());
            return;
        }
        self.excesses += weight;
        self.sum += weight * (bent(f64::from(over)) as f32).min(EXCESS_MAX);
        if self.excesses > EXCESSES_MAX {
            self.sum *= EXCESSES_MAX / self.excesses;
            self.excesses = EXCESSES_MAX;
        }
        self.threshold_ln += step * (1.0 - EXCEED);
    }
}

/// An excess, from its logarithm in thresholds.
fn bent(over: f64) -> f64 {
    (BEND * over).exp_m1() / BEND
}
