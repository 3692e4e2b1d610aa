//! Calls and time over the clock: slots of a second at first, of twice as much whenever there would be too many. Slots begin at
//! multiples of their width, so that series of different widths fit each other.

use millrace_schemas::profile::Load;
use millrace_schemas::time::Timestamp;

use super::{Observed, Times, plausible};

/// 240 slots: a plot has a few pixels for each.
const SLOTS_MAX: usize = 240;

#[derive(Debug, Clone, Default)]
pub(super) struct Series {
    /// A slot is 2 to this power seconds wide.
    doublings: u32,
    /// The number of the first slot, from 1970 on.
    first: i64,
    /// Calls and microseconds.
    slots: Vec<(u64, u64)>,
}

impl Series {
    pub(super) fn add(&mut self, one: &Observed<'_>) {
        let Some(ended) = plausible(one.ended) else { return };
        let time_us = match one.times {
            Times::One(us) => us,
            Times::Many { sum_us, .. } => sum_us,
        };
        let slot = self.place(ended.0.div_euclid(1_000_000));
        slot.0 = slot.0.saturating_add(one.calls.saturating_mul(one.factor));
        slot.1 = slot.1.saturating_add(time_us.saturating_mul(one.factor));
    }

    /// The slot of a second.
    fn place(&mut self, second: i64) -> &mut (u64, u64) {
        let mut number = second >> self.doublings;
        if self.slots.is_empty() {
            self.first = number;
        }
        let span = |first: i64, slots: usize, number: i64| {
            number.max(first + slots as i64 - 1).saturating_sub(number.min(first)).saturating_add(1) as u64
        };
        while span(self.first, self.slots.len(), number) > SLOTS_MAX as u64 {
            self.double();
            number = second >> self.doublings;
        }
        if number < self.first {
            let more = (self.first - number) as usize;
            self.slots.splice(..0, std::iter::repeat_n((0, 0), more));
            self.first = number;
        }
        let at = (number - self.first) as usize;
        if at >= self.slots.len() {
            self.slots.resize(at + 1, (0, 0));
        }
        &mut self.slots[at]
    }

    fn double(&mut self) {
        let odd = self.first.rem_euclid(2) as usize;
        let slots = (self.slots.len() + odd).div_ceil(2);
        for slot in 0..slots {
            let parts = [(2 * slot).checked_sub(odd), (2 * slot + 1).checked_sub(odd)];
            let sum = parts.into_iter().flatten().filter_map(|at| self.slots.get(at).copied());
            let sum = sum.fold((0_u64, 0_u64), |a, b| (a.0.saturating_add(b.0), a.1.saturating_add(b.1)));
            self.slots[slot] = sum;
        }
        self.slots.truncate(slots);
        self.first >>= 1;
        self.doublings += 1;
    }

    /// The series, with slots as wide as those of `other`, whose span is not shorter.
    pub(super) fn load_like(&self, other: &Series) -> Load {
        let mut series = self.clone();
        while series.doublings < other.doublings && !series.slots.is_empty() {
            series.double();
        }
        let from = Timestamp((series.first << series.doublings).saturating_mul(1_000_000));
        Load {
            from: (!series.slots.is_empty()).then(|| from.to_string()),
            slot_seconds: 1 << series.doublings,
            calls: series.slots.iter().map(|slot| slot.0).collect(),
            time_us: series.slots.iter().map(|slot| slot.1).collect(),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u64, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_widen_and_nothing_is_lost() {
        let mut series = Series::default();
        let seconds = [1_000_000_007_i64, 1_000_000_003, 1_000_000_003 + 239, 1_000_900_000, 999_999_999];
        for second in seconds {
            series.place(second).0 += 1;
        }
        let load = series.load_like(&Series::default());
        assert!(load.calls.len() <= SLOTS_MAX);
        assert_eq!(load.calls.iter().sum::<u64>(), seconds.len() as u64);
        // 900,001 s in at most 240 slots.
        assert_eq!(load.slot_seconds, 4_096);
        let from: Timestamp = load.from.expect("slots").parse().expect("a time");
        assert_eq!(from.0, 999_999_999 / 4_096 * 4_096 * 1_000_000);
        for second in seconds {
            let at = (second - from.0 / 1_000_000) / 4_096;
            assert!(load.calls[at as usize] > 0, "{second}");
        }
    }
}
