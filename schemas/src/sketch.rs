//! A mergeable sketch of durations: whole microseconds enter, quantiles with at most 1 % relative error leave (DDSketch,
//! Masson, Rim and Lee 2019). Second rows, window rows and dashboards merge the same bytes, so merging is exact: counts are
//! integers and the order of merging does not matter. Bucket bounds come from repeated multiplication, which every machine
//! rounds alike, never from a logarithm. It must never lose a count, whatever the value.
//!
//! Bytes, version 1: `1`, flags (bit 0: lowest buckets were collapsed), then LEB128 numbers: zeros, number of filled
//! buckets, and for each filled bucket in rising order (index - previous index - 1, or the index for the first; count).

mod counts;
mod gathered;
mod packed;

use counts::Counts;
pub use gathered::Gathered;
pub use packed::Packed;
use packed::put;

/// Relative accuracy: 1 % is below what people can see in a response time and costs 2 KB at worst per row.
pub const RELATIVE_ACCURACY: f64 = 0.01;

const GAMMA: f64 = (1.0 + RELATIVE_ACCURACY) / (1.0 - RELATIVE_ACCURACY);

/// Buckets in all: `GAMMA` to this power is above `u64::MAX`, so every value has one.
const BUCKETS: usize = 2220;

/// Most buckets between the lowest and the highest that are kept apart. 1,024: they span a factor of 7.8e8, so 1 µs and
/// 13 minutes fit in one sketch; what is wider merges its lowest buckets, because people look at the slow end.
const SPAN_MAX: usize = 1024;

/// First byte of the layout described above.
const LAYOUT: u8 = 1;

/// Upper bound of each bucket, inclusive, in microseconds.
static UPPER: [u64; BUCKETS] = {
    let mut bounds = [0_u64; BUCKETS];
    let mut bound = 1.0_f64;
    let mut i = 0;
    while i < BUCKETS {
        // The cast saturates, so that the last bounds are `u64::MAX`.
        bounds[i] = bound as u64;
        bound *= GAMMA;
        i += 1;
    }
    bounds
};

/// The first bucket that a value of so many bits can be in: a look at the 35 of its octave finds it.
static BY_BITS: [u16; 66] = {
    let mut first = [0_u16; 66];
    let (mut bits, mut index) = (1, 0);
    while bits < 66 {
        // The least value of so many bits.
        let least = if bits == 65 { u64::MAX } else { 1 << (bits - 1) };
        while UPPER[index] < least {
            index += 1;
        }
        first[bits] = index as u16;
        bits += 1;
    }
    first
};

/// The bucket of a value that is not 0.
fn bucket(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()) as usize;
    let (first, last) = (usize::from(BY_BITS[bits]), usize::from(BY_BITS[bits + 1]));
    first + UPPER[first..last].partition_point(|bound| *bound < value)
}

/// Where a duration is counted in every sketch: found once for several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket(Option<usize>);

impl Bucket {
    /// That of a duration in microseconds.
    pub fn of(value_us: u64) -> Self {
        Bucket((value_us > 0).then(|| bucket(value_us)))
    }
}

/// Counts of durations by size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    zeros: u64,
    /// Neither the first nor the last is 0.
    counts: Counts,
    /// The bucket of the first count; 0 while there are none. Of [`BUCKETS`], so that it fits.
    first: u16,
    collapsed: bool,
}

/// Bytes that are no sketch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSketch {
    /// The first byte names a layout that this version does not know.
    #[error("sketch has layout {0}, this version reads layout 1")]
    Layout(u8),
    /// The bytes end inside a number.
    #[error("sketch of {0} bytes ends inside a number")]
    Short(usize),
    /// A number does not fit its place.
    #[error("sketch has a bad number at byte {0}")]
    Number(usize),
    /// Bytes follow the last bucket.
    #[error("sketch has {0} bytes behind its last bucket")]
    Trailing(usize),
}

impl Sketch {
    /// A sketch without counts.
    pub fn new() -> Self {
        Sketch::default()
    }

    /// A sketch without counts, with room for such as `other` has: it will not ask for more and more.
    pub fn with_room_of(other: &Sketch) -> Self {
        Sketch { counts: Counts::with_room_of(&other.counts), ..Sketch::default() }
    }

    /// Counts one duration in microseconds.
    pub fn add(&mut self, value_us: u64) {
        self.add_n(value_us, 1);
    }

    /// Counts one duration `n` times.
    pub fn add_n(&mut self, value_us: u64, n: u64) {
        self.add_in(Bucket::of(value_us), n);
    }

    /// Counts `n` durations of a bucket.
    pub fn add_in(&mut self, bucket: Bucket, n: u64) {
        match bucket {
            _ if n == 0 => {}
            Bucket(None) => self.zeros = self.zeros.saturating_add(n),
            Bucket(Some(index)) => self.add_to(index, n),
        }
    }

    /// Adds all counts of another sketch; the order of merging does not matter.
    pub fn merge(&mut self, other: &Sketch) {
        self.zeros = self.zeros.saturating_add(other.zeros);
        self.collapsed |= other.collapsed;
        let Some(last) = other.counts.len().checked_sub(1) else { return };
        let first = usize::from(other.first);
        let floor = self.make_room(first, first + last);
        let low = floor.saturating_sub(first).min(other.counts.len());
        self.counts.add_counts(first.max(floor) - usize::from(self.first), &other.counts, low);
        let low = other.counts.iter().take(low).fold(0_u64, u64::saturating_add);
        if low > 0 {
            self.collapsed = true;
            self.add_to(floor, low);
        }
    }

    /// Adds all counts of a packed sketch, `times` over.
    pub fn merge_packed(&mut self, other: &Packed<'_>, times: u64) {
        self.zeros = self.zeros.saturating_add(other.zeros.saturating_mul(times));
        if times == 0 {
            return;
        }
        self.collapsed |= other.collapsed;
        if other.filled == 0 {
            return;
        }
        let lowest = usize::from(other.first);
        let floor = self.make_room(lowest, other.last.into());
        self.collapsed |= lowest < floor;
        let first = usize::from(self.first);
        match other.pairs() {
            // Nearly always: nothing was left out, and nothing is merged.
            Some((count, pairs)) if times == 1 && lowest >= floor => {
                self.counts.add_pairs(lowest - first, count, pairs);
            }
            _ => {
                let here = |(index, n): (usize, u64)| (index.max(floor) - first, n.saturating_mul(times));
                self.counts.add_all(other.buckets().map(here));
            }
        }
    }

    /// Adds what was gathered, of which nothing is left there.
    pub fn merge_gathered(&mut self, gathered: &mut Gathered) {
        self.zeros = self.zeros.saturating_add(std::mem::take(&mut gathered.zeros));
        self.collapsed |= std::mem::take(&mut gathered.collapsed);
        let Some((lowest, last)) = gathered.span.take() else { return };
        // It may span more than a sketch can.
        let floor = self.make_room(lowest.max(last.saturating_sub(SPAN_MAX - 1)), last);
        self.collapsed |= lowest < floor;
        let first = usize::from(self.first);
        let filled = (lowest..).zip(&gathered.counts[lowest..=last]).filter(|(_, n)| **n > 0);
        self.counts.add_all(filled.map(|(index, n)| (index.max(floor) - first, *n)));
        gathered.counts[lowest..=last].fill(0);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(self.zeros, u64::saturating_add)
    }

    /// Nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.zeros == 0 && self.counts.is_empty()
    }

    /// Durations and how many were counted, the shortest first: each within 1 % of those it stands for.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, n)| *n > 0);
        let zeros = (self.zeros > 0).then_some((0, self.zeros));
        zeros.into_iter().chain(filled.map(|(at, n)| (middle(usize::from(self.first) + at), n)))
    }

    /// Bytes that it takes beside itself.
    pub fn heap_bytes(&self) -> usize {
        self.counts.heap_bytes()
    }

    /// The lowest buckets were merged: low quantiles may be too high.
    pub fn collapsed(&self) -> bool {
        self.collapsed
    }

    /// The duration at `q` (0 to 1) of the sorted durations, within 1 % of the exact one and half a microsecond of rounding;
    /// none when nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        self.quantiles([q]).map(|[one]| one)
    }

    /// The same at several places, from the lowest to the highest, in one pass.
    pub fn quantiles<const N: usize>(&self, places: [f64; N]) -> Option<[u64; N]> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let mut counted = self.counts.iter().enumerate();
        let (mut seen, mut at) = (self.zeros, None);
        Some(places.map(|q| {
            let rank = (q.clamp(0.0, 1.0) * (count - 1) as f64) as u64;
            while rank >= seen
                && let Some((next, n)) = counted.next()
            {
                seen = seen.saturating_add(n);
                at = Some(next);
            }
            at.map_or(0, |at| middle(usize::from(self.first) + at))
        }))
    }

    fn add_to(&mut self, index: usize, n: u64) {
        let floor = self.make_room(index, index);
        self.collapsed |= index < floor;
        self.counts.add_all(std::iter::once((index.max(floor) - usize::from(self.first), n)));
    }

    /// Has a place for every bucket from `first` to `last`, both of which will be filled; below the floor that it returns there is
    /// none, and what lies there is counted in the bucket of the floor.
    fn make_room(&mut self, first: usize, last: usize) -> usize {
        if self.counts.is_empty() {
            self.first = first as u16;
            self.counts.grow(0, last - first + 1);
            return first;
        }
        let mine = usize::from(self.first) + self.counts.len() - 1;
        let floor = last.max(mine).saturating_sub(SPAN_MAX - 1);
        if usize::from(self.first) < floor {
            self.collapse_below(floor);
        }
        let low = usize::from(self.first).saturating_sub(first.max(floor));
        let high = last.saturating_sub(usize::from(self.first) + self.counts.len() - 1);
        if low + high > 0 {
            self.counts.grow(low, high);
            self.first -= low as u16;
        }
        floor
    }

    /// Moves all counts below `floor` into it.
    fn collapse_below(&mut self, floor: usize) {
        self.collapsed = true;
        let below = (floor - usize::from(self.first)).min(self.counts.len());
        let moved = self.counts.drain(below);
        if self.counts.is_empty() {
            self.counts.grow(0, 1);
        }
        self.first = floor as u16;
        self.counts.add_all(std::iter::once((0, moved)));
    }

    /// The layout described at the top of this file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes);
        bytes
    }

    /// Appends the same to `bytes`.
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        bytes.push(LAYOUT);
        bytes.push(u8::from(self.collapsed));
        put(bytes, self.zeros);
        self.counts.write_to(bytes, self.first);
    }

    /// Reads what [`Sketch::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Sketch, BadSketch> {
        let packed = Packed::read(bytes)?;
        let mut sketch = Sketch { collapsed: packed.collapsed, ..Sketch::default() };
        sketch.merge_packed(&packed, 1);
        Ok(sketch)
    }
}

/// The value in a bucket that is within the accuracy of every value in it.
fn middle(index: usize) -> u64 {
    let mut bound = UPPER[index] as f64;
    if bound < 1e6 {
        // Small bounds were rounded down when they became integers.
        bound = (0..index).fold(1.0, |b, _| b * GAMMA);
    }
    (2.0 * bound / (1.0 + GAMMA)).round() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Sketch {
        let mut sketch = Sketch::new();
        for value in values {
            sketch.add(*value);
        }
        sketch
    }

    fn merged(a: &Sketch, b: &Sketch) -> Sketch {
        let mut sketch = a.clone();
        sketch.merge(b);
        sketch
    }

    /// Durations of every size, small ones most often.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec((0..64_u32, any::<u64>()).prop_map(|(shift, v)| v >> shift), 0..50)
    }

    #[test]
    fn knows_its_quantiles() {
        let values: Vec<u64> = (1..=1000).collect();
        let sketch = of(&values);
        assert_eq!(sketch.count(), 1000);
        assert!((495..=505).contains(&sketch.quantile(0.5).expect("counted")));
        assert!((980..=1000).contains(&sketch.quantile(0.99).expect("counted")));
        assert_eq!(of(&[0, 0, 5]).quantile(0.5), Some(0));
        assert_eq!(Sketch::new().quantile(0.5), None);
    }

    #[test]
    fn every_value_has_a_bucket() {
        assert_eq!(UPPER[BUCKETS - 1], u64::MAX);
        let sketch = of(&[1, u64::MAX]);
        assert_eq!(sketch.count(), 2);
        assert!(sketch.collapsed());
    }

    #[test]
    fn refuses_bytes_that_are_no_sketch() {
        assert_eq!(Sketch::from_bytes(&[]), Err(BadSketch::Short(0)));
        assert_eq!(Sketch::from_bytes(&[9, 0, 0, 0]), Err(BadSketch::Layout(9)));
        assert_eq!(Sketch::from_bytes(&[1, 0, 0, 1]), Err(BadSketch::Short(4)));
        assert_eq!(Sketch::from_bytes(&[1, 0, 0, 0, 7]), Err(BadSketch::Trailing(1)));
        assert_eq!(Sketch::from_bytes(&[1, 0, 0, 1, 0xff, 0x7f, 1]), Err(BadSketch::Number(4)));
    }

    proptest! {
        #[test]
        fn merging_is_commutative_and_associative(a in durations(), b in durations(), c in durations()) {
            let (a, b, c) = (of(&a), of(&b), of(&c));
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }

        #[test]
        fn room_is_no_count_and_suffices(values in durations()) {
            let sketch = of(&values);
            let mut with_room = Sketch::with_room_of(&sketch);
            prop_assert_eq!(&with_room, &Sketch::new());
            let room = with_room.heap_bytes();
            for value in &values {
                with_room.add(*value);
            }
            prop_assert_eq!(with_room.heap_bytes(), room);
            prop_assert_eq!(with_room, sketch);
        }

        #[test]
        fn merging_what_is_packed_is_merging(a in durations(), b in durations(), times in 0..4_u64) {
            let (mut packed, mut merged) = (of(&a), of(&a));
            let bytes = of(&b).to_bytes();
            packed.merge_packed(&Packed::read(&bytes).expect("just written"), times);
            (0..times).for_each(|_| merged.merge(&of(&b)));
            prop_assert_eq!(packed, merged);
        }

        #[test]
        fn merging_what_was_gathered_is_merging(all in prop::collection::vec((durations(), 0..4_u64), 0..5), b in durations()) {
            let (mut at_once, mut merged, mut gathered) = (of(&b), of(&b), Gathered::default());
            for _ in 0..2 {
                for (values, times) in &all {
                    let bytes = of(values).to_bytes();
                    let packed = Packed::read(&bytes).expect("just written");
                    gathered.add(&packed, *times);
                    merged.merge_packed(&packed, *times);
                }
                at_once.merge_gathered(&mut gathered);
                prop_assert_eq!(&at_once, &merged);
            }
        }

        #[test]
        fn merging_is_counting_together(a in durations(), b in durations()) {
            prop_assert_eq!(merged(&of(&a), &of(&b)), of(&[a, b].concat()));
        }

        #[test]
        fn quantiles_are_within_one_percent(mut values in prop::collection::vec(0..10_000_000_u64, 1..200), q in 0.0..=1.0_f64) {
            let sketch = of(&values);
            values.sort_unstable();
            let exact = values[(q * (values.len() - 1) as f64) as usize] as f64;
            let found = sketch.quantile(q).expect("counted") as f64;
            let several = [q / 4.0, q / 4.0, q].map(|q| sketch.quantile(q).expect("counted"));
            prop_assert_eq!(sketch.quantiles([q / 4.0, q / 4.0, q]), Some(several));
            prop_assert!((found - exact).abs() <= exact * RELATIVE_ACCURACY * 1.000_001 + 0.5, "{} for {}", found, exact);
        }

        #[test]
        fn bytes_survive_a_round_trip(values in durations()) {
            let sketch = of(&values);
            prop_assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Ok(sketch));
        }

        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(first) = bytes.first_mut() {
                *first = LAYOUT;
            }
            let _ = Sketch::from_bytes(&bytes);
        }
    }
}
