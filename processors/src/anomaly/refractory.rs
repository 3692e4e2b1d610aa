//! One event, one alarm: after an alarm the surprise that follows from it is held down, less with every point. What is half as
//! surprising again as the alarm was is an alarm of its own.

use serde::{Deserialize, Serialize};

/// 200 points, 17 hours of five minutes: about what an incident and its end take.
const POINTS: f64 = 200.0;
/// Half as much again in decades: at the usual 6.5 that is a thousand times rarer at least.
const AGAIN: f64 = 1.5;
/// Three quarters of an alarm hold down what follows too, for who asks for a lower threshold than ours.
const NEAR: f64 = 0.75;
/// A point of less than two decades is calm and counts for four: 50 of them, four hours, and what comes is another event.
const CALM: f64 = 2.0;
const CALM_POINTS: u32 = 4;
/// What is above the held level but no alarm of its own counts for a quarter, so that it can be seen and alarms nobody.
const HELD_SHARE: f64 = 0.25;

/// How surprising the newest alarm was, and how long ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Refractory {
    peak: f32,
    points: u32,
}

impl Refractory {
    /// What is left of a surprise in decades. An alarm is one of `alarm` decades or more.
    pub(super) fn pass(&mut self, decades: f64, alarm: f64) -> f64 {
        self.points = self.points.saturating_add(if decades < CALM { CALM_POINTS } else { 1 });
        let held = f64::from(self.peak) * (1.0 - f64::from(self.points) / POINTS).max(0.0);
        // What was nearly an alarm holds down no alarm.
        let first = decades >= alarm && f64::from(self.peak) < alarm;
        if held > 0.0 && decades <= AGAIN * held && !first {
            return HELD_SHARE * (decades - held).max(0.0);
        }
        if decades >= NEAR * alarm {
            *self = Refractory { peak: decades as f32, points: 0 };
        }
        decades
    }
}
