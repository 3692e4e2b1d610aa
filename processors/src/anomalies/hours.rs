//! The hours of a week, as an instance had them: how many statements it answered at the most and at the least. What was there at the
//! same hour of yesterday or of the week before is a rhythm, and no event. 168 hours in 336 bytes.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The hours of a week, and of a day.
const WEEK: i64 = 168;
const DAY: i64 = 24;
/// Eighths of a logarithm to base 2, 9 % each: one byte reaches from 1 to 4e9.
const STEPS: f32 = 8.0 / std::f32::consts::LN_2;
/// Three such steps, a third: as much as a rhythm differs from one day to the next.
const NEAR: u8 = 3;

/// The least and the most of each hour; zero where nothing is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Hours {
    week: Vec<(u8, u8)>,
    hour: i64,
    now: (u8, u8),
    /// The step of the window before: one window alone is no level.
    before: u8,
}

impl Hours {
    /// Takes in the logarithm of how many statements a window had.
    pub(super) fn add(&mut self, start: i64, value: f32) {
        let hour = start.div_euclid(3_600);
        if hour != self.hour {
            self.close(hour);
        }
        let step = step(value);
        let (low, high) = (step.min(self.before), step.max(self.before));
        if self.before > 0 {
            // Of two windows the lower one for the most and the higher one for the least: a spike is no rhythm.
            let (least, most) = self.now;
            self.now = if most == 0 { (high, low) } else { (least.min(high), most.max(low)) };
        }
        self.before = step;
    }

    /// True where about as much was seen around this hour of yesterday, or of the week before.
    pub(super) fn knows(&self, start: i64, value: f32) -> bool {
        let (hour, step) = (start.div_euclid(3_600), step(value));
        let around = [hour - 1, hour, hour + 1, hour - DAY - 1, hour - DAY, hour - DAY + 1];
        around.into_iter().any(|hour| {
            let slot = self.week.get(hour.rem_euclid(WEEK) as usize);
            let known = slot.filter(|(_, most)| *most > 0);
            known.is_some_and(|(least, most)| step.saturating_add(NEAR) >= *least && step <= most.saturating_add(NEAR))
        })
    }

    /// True where this hour of the week was heard of.
    pub(super) fn has(&self, start: i64) -> bool {
        let slot = self.week.get(start.div_euclid(3_600).rem_euclid(WEEK) as usize);
        slot.is_some_and(|(_, most)| *most > 0)
    }

    /// As text: the hours in hexadecimal digits, four each, and what is not over yet.
    pub(super) fn to_text(&self) -> String {
        let (least, most) = self.now;
        let mut text = format!("{} {least} {most} {} ", self.hour, self.before);
        for (least, most) in &self.week {
            let _ = write!(text, "{least:02x}{most:02x}");
        }
        text
    }

    /// Reads what [`Self::to_text`] wrote; of anything else nothing is known.
    pub(super) fn from_text(text: &str) -> Self {
        Self::parsed(text).unwrap_or_default()
    }

    fn parsed(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let hour = parts.next()?.parse().ok()?;
        let mut step = || parts.next()?.parse::<u8>().ok();
        let (now, before) = ((step()?, step()?), step()?);
        let digits = parts.next()?;
        let hex = |from: usize| u8::from_str_radix(digits.get(from..from + 2)?, 16).ok();
        let week = (0..digits.len()).step_by(4).map(|at| Some((hex(at)?, hex(at + 2)?))).collect::<Option<Vec<_>>>()?;
        (week.is_empty() || week.len() == WEEK as usize).then_some(Self { week, hour, now, before })
    }

    /// An hour is over; those in which nothing was heard are not known.
    fn close(&mut self, hour: i64) {
        if self.week.is_empty() {
            self.week = vec![(0, 0); WEEK as usize];
        }
        if self.hour > 0 {
            self.week[self.hour.rem_euclid(WEEK) as usize] = self.now;
            for silent in (self.hour + 1..hour).take(WEEK as usize) {
                self.week[silent.rem_euclid(WEEK) as usize] = (0, 0);
            }
        }
        (self.hour, self.now) = (hour, (0, 0));
    }
}

fn step(value: f32) -> u8 {
    (value * STEPS).clamp(0.0, 254.0) as u8 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_yesterday_or_a_week_ago_is_known_and_nothing_else() {
        let mut hours = Hours::default();
        let monday = 400_000 * 3_600;
        let at = |hour: i64| monday + hour * 3_600;
        for window in 0..170 * 360 {
            let hour = window / 360;
            let busy = hour % 24 == 3 && hour < 24 * 6;
            hours.add(monday + window * 10, if busy { 9.0 } else { 6.0 });
        }
        let check =
            |hour: i64, value: f32, expected: bool| assert_eq!(hours.knows(at(hour), value), expected, "{hour}");
        check(171, 9.0, true); // the day before it was not busy, but a week ago
        check(171, 10.0, false);
        check(176, 9.0, false);
        check(176, 6.1, true);
        check(176, 4.0, false);
        assert!(hours.has(at(171)) && !Hours::default().has(at(171)));
        assert_eq!(Hours::from_text(&hours.to_text()), hours);
        assert_eq!(Hours::from_text(&Hours::default().to_text()), Hours::default());
        for damaged in ["", "x", "1 2 3 4 zz", "1 2 3 4 0102"] {
            assert_eq!(Hours::from_text(damaged), Hours::default(), "{damaged}");
        }
    }

    #[test]
    fn an_hour_without_a_word_and_a_single_spike_are_not_known() {
        let mut hours = Hours::default();
        for window in 0..720 {
            hours.add(3_600 * 1_000 + window * 10, if window == 7 { 12.0 } else { 5.0 });
        }
        hours.add(3_600 * 1_010, 5.0);
        assert!(hours.knows(3_600 * 1_000, 5.0) && !hours.knows(3_600 * 1_000, 12.0));
        assert!(!hours.knows(3_600 * 1_006, 5.0));
        assert!(hours.has(3_600 * 1_000) && !hours.has(3_600 * 1_006));
    }
}
