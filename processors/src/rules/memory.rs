//! What a series has to remember so that a number can be made of its values. All of it is bounded: 17 points for a rate, 33 cells
//! for a line, 168 hours for a comparison with the past, 16 changes of a state. Time comes with the values.

use std::collections::VecDeque;
use std::time::Duration;

use millrace_schemas::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 16 steps of a span: a rate over 5 min then forgets the past within 20 s.
const STEPS: u32 = 16;
/// 32 cells of a span: one of 6 h has a mean every 11 min, which a line does not need finer.
const CELLS: u32 = 32;
/// A line needs a quarter of its cells, and half of its span: less is noise.
const CELLS_LEAST: usize = 8;
/// A week of hours: 168 numbers of 4 bytes, some 2 KiB in a snapshot, and only for rules that compare with the past.
const HOURS: usize = 168;
/// 10 min of an hour must be known before it is compared.
const HOUR_LEAST: Duration = Duration::from_mins(10);
/// 16 changes of a state in a span: more are as bad as 16.
const CHANGES: usize = 16;

/// A number that a snapshot gives back to the bit: read from decimal digits it may be another one, and so would be what follows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Exact(pub(super) f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.to_bits().serialize(out)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u64::deserialize(from).map(|bits| Self(f64::from_bits(bits)))
    }
}

/// What is remembered of a series; only what its rule needs is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    /// The last value of what the number is divided by: settings are told once a minute only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partner: Option<(Timestamp, Exact)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rise: Option<Rise>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partner_rise: Option<Rise>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<Line>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hours: Option<Box<Hours>>,
    /// The last value itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latest: Option<(Timestamp, Exact)>,
    #[serde(skip_serializing_if = "VecDeque::is_empty")]
    pub(super) changes: VecDeque<Timestamp>,
}

/// What a counter rose by, its restarts passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rise {
    at: Timestamp,
    last: Exact,
    total: Exact,
    points: VecDeque<(Timestamp, Exact)>,
}

impl Rise {
    /// Takes a value in; what it rose by over `span`, once that is known, and in how many seconds.
    pub(super) fn add(slot: &mut Option<Self>, now: Timestamp, value: f64, span: Duration) -> Option<(f64, f64)> {
        // Who was silent for a whole span may have begun anew more than once.
        let rise = match slot {
            Some(rise) if now.since(rise.at) <= span => rise,
            _ => slot.insert(Self {
                at: now,
                last: Exact(value),
                total: Exact(0.0),
                points: VecDeque::from([(now, Exact(0.0))]),
            }),
        };
        // A counter that fell was set back: what it shows, it has counted since.
        rise.total.0 += if value >= rise.last.0 { value - rise.last.0 } else { value };
        (rise.at, rise.last) = (now, Exact(value));
        let (from, total) = *rise.points.front()?;
        let known = now.since(from);
        let rose = (known >= span).then_some((rise.total.0 - total.0, known.as_secs_f64()));
        if rise.points.back().is_some_and(|(at, _)| now.since(*at) >= span / STEPS) {
            rise.points.push_back((now, rise.total));
        }
        while rise.points.get(1).is_some_and(|(at, _)| now.since(*at) >= span) {
            rise.points.pop_front();
        }
        rose
    }
}

/// Means of a span, through which a line is laid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Line(VecDeque<Cell>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cell {
    start: Timestamp,
    values: u32,
    /// Sum of the values, and of the seconds since `start` at which they came.
    sum: Exact,
    seconds: Exact,
}

impl Line {
    /// Takes a value in; what the line through the span rises by in an hour, once enough is known.
    pub(super) fn add(&mut self, now: Timestamp, value: f64, span: Duration) -> Option<f64> {
        let start = now.floor(span / CELLS);
        if self.0.back().is_none_or(|cell| cell.start < start) {
            self.0.push_back(Cell { start, values: 0, sum: Exact(0.0), seconds: Exact(0.0) });
        }
        while self.0.front().is_some_and(|cell| now.since(cell.start) > span) {
            self.0.pop_front();
        }
        let cell = self.0.back_mut()?;
        cell.values += 1;
        cell.sum.0 += value;
        cell.seconds.0 += now.since(cell.start).as_secs_f64();
        let known = self.0.front().map_or(Duration::ZERO, |first| now.since(first.start));
        (known >= span / 2 && self.0.len() >= CELLS_LEAST).then(|| self.slope(now)).flatten()
    }

    /// Least squares over the means, in units an hour.
    fn slope(&self, now: Timestamp) -> Option<f64> {
        let points = self.0.iter().map(|cell| {
            let values = f64::from(cell.values);
            let hours = (cell.seconds.0 / values - now.since(cell.start).as_secs_f64()) / 3_600.0;
            (hours, cell.sum.0 / values)
        });
        let count = self.0.len() as f64;
        let (hours, means) = points.clone().fold((0.0, 0.0), |(a, b), (hours, mean)| (a + hours, b + mean));
        let (hours, means) = (hours / count, means / count);
        let (up, down) = points.fold((0.0, 0.0), |(up, down), (at, mean)| {
            (up + (at - hours) * (mean - means), down + (at - hours).powi(2))
        });
        (down > 0.0).then(|| up / down)
    }
}

/// The mean of each hour of a week.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Hours {
    /// By the number of the hour since the epoch, modulo a week; the bits of each, as of [`Exact`].
    means: Vec<Option<u32>>,
    /// The hour that is under way, since when it is known, its values, and their sum.
    hour: i64,
    since: Timestamp,
    values: u32,
    sum: Exact,
}

impl Hours {
    /// Takes a value in; the mean of this hour so far, once it says something.
    pub(super) fn add(&mut self, now: Timestamp, value: f64) -> Option<f64> {
        let hour = now.0.div_euclid(3_600_000_000);
        if self.values == 0 || hour != self.hour {
            self.close(hour);
            (self.hour, self.since, self.values, self.sum) = (hour, now, 0, Exact(0.0));
        }
        self.values += 1;
        self.sum.0 += value;
        (now.since(self.since) >= HOUR_LEAST).then(|| self.sum.0 / f64::from(self.values))
    }

    /// The hour is over: its mean is kept, and hours that nobody saw have none.
    fn close(&mut self, next: i64) {
        self.means.resize(HOURS, None);
        if self.values > 0 {
            self.means[slot(self.hour)] = Some(((self.sum.0 / f64::from(self.values)) as f32).to_bits());
            let unseen = (next - self.hour - 1).clamp(0, HOURS as i64);
            (1..=unseen).for_each(|on| self.means[slot(self.hour + on)] = None);
        }
    }

    /// The mean of the hour `hours` before this one, up to a week.
    pub(super) fn before(&self, hours: i64) -> Option<f64> {
        self.means.get(slot(self.hour - hours)).copied().flatten().map(|bits| f64::from(f32::from_bits(bits)))
    }
}

fn slot(hour: i64) -> usize {
    hour.rem_euclid(HOURS as i64) as usize
}

impl Memory {
    /// Takes a state in; how often it changed in `span`. The first one seen is no change.
    pub(super) fn changed(&mut self, now: Timestamp, value: f64, span: Duration) -> f64 {
        if self.latest.is_some_and(|(_, before)| before.0.total_cmp(&value).is_ne()) {
            self.changes.push_back(now);
        }
        self.latest = Some((now, Exact(value)));
        while self.changes.len() > CHANGES || self.changes.front().is_some_and(|at| now.since(*at) >= span) {
            self.changes.pop_front();
        }
        self.changes.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever comes, and however often, what is remembered has its size.
    #[test]
    fn what_is_remembered_is_bounded() {
        let span = Duration::from_mins(5);
        let (mut rise, mut line, mut hours) = (None, Line::default(), Hours::default());
        let mut memory = Memory::default();
        for at in 0..100_000_i64 {
            let (now, value) = (Timestamp(at * 10_000_000 + at % 7), (at % 13) as f64);
            Rise::add(&mut rise, now, value, span);
            line.add(now, value, span);
            hours.add(now, value);
            memory.changed(now, value, Duration::from_hours(1));
            let points = rise.as_ref().map_or(0, |rise: &Rise| rise.points.len());
            assert!(points <= STEPS as usize + 1 && line.0.len() <= CELLS as usize + 1);
            assert!(hours.means.len() <= HOURS && memory.changes.len() <= CHANGES);
        }
        let bytes = serde_json::to_vec(&hours).expect("plain data").len();
        assert!(bytes < 2_048, "{bytes} bytes");
    }

    #[test]
    fn an_hour_that_nobody_saw_has_no_mean() {
        let mut hours = Hours::default();
        let at = |hour: i64| Timestamp(hour * 3_600_000_000);
        hours.add(at(0), 7.0);
        hours.add(at(3), 9.0);
        hours.add(at(24), 1.0);
        assert_eq!([24, 21, 22, 1].map(|before| hours.before(before)), [Some(7.0), Some(9.0), None, None]);
        // A week later it is another week's.
        hours.add(at(24 + 400), 1.0);
        assert!((0..=168).all(|before| hours.before(before).is_none()));
    }
}
