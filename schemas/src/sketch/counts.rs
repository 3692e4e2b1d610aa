//! The counts of a sketch's buckets, side by side, each in as few bytes as the largest of them needs: nearly all sketches of a
//! second or a minute count less than 256 in any bucket, and an eighth of the memory is an eighth of what a process holds open.
//! Counts never fall, so equal counts have equal widths. It must never lose a count: what does not fit makes all of them wider.

use super::SPAN_MAX;
use super::packed::put;

/// 32 buckets more at a time: the sketches of a window grow once a second at most, and few by more.
const GROWTH: usize = 32;

/// 64: as many as a number has bits.
const PLACES_AT_ONCE: usize = 64;

/// Counts by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    One(Vec<u8>),
    Two(Vec<u16>),
    Four(Vec<u32>),
    Eight(Vec<u64>),
}

/// The same work on counts of any width.
macro_rules! each {
    ($counts:expr, $of:ident => $work:expr) => {
        match $counts {
            Counts::One($of) => $work,
            Counts::Two($of) => $work,
            Counts::Four($of) => $work,
            Counts::Eight($of) => $work,
        }
    };
}

impl Default for Counts {
    fn default() -> Self {
        Self::One(Vec::new())
    }
}

impl Counts {
    pub(super) fn len(&self) -> usize {
        each!(self, all => all.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All counts, the lowest place first.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        (0..self.len()).map(|at| self.get(at))
    }

    fn get(&self, at: usize) -> u64 {
        each!(self, all => get(all, at))
    }

    /// Bytes that they take beside themselves.
    pub(super) fn heap_bytes(&self) -> usize {
        each!(self, all => heap_bytes(all))
    }

    /// Appends how many places are filled, the bucket `first` of the first one, and the counts and the gaps between them, as
    /// LEB128 numbers.
    pub(super) fn write_to(&self, bytes: &mut Vec<u8>, first: u16) {
        let before = bytes.len();
        if let Self::One(all) = self
            && write_in_bytes(all, bytes, first)
        {
            return;
        }
        bytes.truncate(before);
        put(bytes, each!(self, all => all.iter().filter(|n| **n != 0).count()) as u64);
        put(bytes, first.into());
        let mut next = 0;
        each!(self, all => for (at, n) in places(all) {
            if at > 0 {
                put(bytes, (at - next) as u64);
            }
            put(bytes, n);
            next = at + 1;
        });
    }

    /// Adds to many places.
    #[inline]
    pub(super) fn add_all(&mut self, mut adds: impl Iterator<Item = (usize, u64)>) {
        while let Some((at, sum)) = each!(self, all => add_while_they_fit(all, &mut adds)) {
            self.widen(sum);
            each!(self, all => set(all, at, sum));
        }
    }

    /// Adds all of `other` from its place `from` on, which is added to the place `at`.
    pub(super) fn add_counts(&mut self, at: usize, other: &Counts, from: usize) {
        each!(other, all => self.add_all(places(&all[from..]).map(|(place, n)| (at + place, n))));
    }

    /// Puts `low` empty places before the first and `high` behind the last.
    pub(super) fn grow(&mut self, low: usize, high: usize) {
        each!(self, all => grow(all, low, high));
    }

    /// Takes the first `places` out; their sum.
    pub(super) fn drain(&mut self, places: usize) -> u64 {
        each!(self, all => drain(all, places))
    }

    /// Gives each place as many bytes as `count` needs.
    fn widen(&mut self, count: u64) {
        *self = if u16::try_from(count).is_ok() {
            Self::Two(self.iter().map(|n| n as u16).collect())
        } else if u32::try_from(count).is_ok() {
            Self::Four(self.iter().map(|n| n as u32).collect())
        } else {
            Self::Eight(self.iter().collect())
        };
    }
}

/// Does that with a byte for each number behind the first two; false where one does not fit. Which places are filled is chance, so
/// nothing branches on a single one: 64 at a time are looked at, and what is filled of them is gone through.
fn write_in_bytes(counts: &[u8], bytes: &mut Vec<u8>, first: u16) -> bool {
    let Some(lowest) = counts.first() else {
        bytes.push(0);
        return true;
    };
    if counts.len() > SPAN_MAX || counts.iter().fold(0, |all, n| all | n) >= 0x80 {
        return false;
    }
    let mut filled = [0; SPAN_MAX / PLACES_AT_ONCE];
    for (filled, places) in filled.iter_mut().zip(counts.chunks(PLACES_AT_ONCE)) {
        *filled = filled_of(places);
    }
    let number = filled.iter().map(|filled| filled.count_ones() as usize).sum::<usize>();
    put(bytes, number as u64);
    put(bytes, first.into());
    bytes.push(*lowest);
    filled[0] &= !1;
    let before = bytes.len();
    bytes.resize(before + 2 * (number - 1), 0);
    let mut pairs = bytes[before..].chunks_exact_mut(2);
    let (mut next, mut gaps) = (1, 0);
    for (from, (mut left, places)) in
        (0..).step_by(PLACES_AT_ONCE).zip(filled.into_iter().zip(counts.chunks(PLACES_AT_ONCE)))
    {
        while left != 0 {
            let place = left.trailing_zeros() as usize;
            left &= left - 1;
            let Some(pair) = pairs.next() else { return false };
            let gap = from + place - next;
            pair.copy_from_slice(&[gap as u8, places[place]]);
            gaps |= gap;
            next = from + place + 1;
        }
    }
    gaps < 0x80
}

/// Which of these places are filled, a bit each, that of the first lowest. Eight are looked at in one number: what is added to the
/// low seven bits of each byte carries into its eighth unless they are 0, and the product moves the eighth bits together.
fn filled_of(places: &[u8]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const TOGETHER: u64 = 0x0002_0408_1020_4081;
    let mut filled = 0;
    for (at, eight) in places.chunks(8).enumerate() {
        let mut bytes = [0; 8];
        bytes[..eight.len()].copy_from_slice(eight);
        let number = u64::from_le_bytes(bytes);
        let eighth = (((number & LOW) + LOW) | number) & !LOW;
        filled |= (eighth.wrapping_mul(TOGETHER) >> 56) << (8 * at);
    }
    filled
}

/// The filled places.
fn places<T: Copy + Into<u64>>(counts: &[T]) -> impl Iterator<Item = (usize, u64)> {
    counts.iter().map(|n| (*n).into()).enumerate().filter(|(_, n)| *n > 0)
}

/// Adds until a sum does not fit, which is given back with its place.
fn add_while_they_fit<T: Copy + Into<u64> + TryFrom<u64>>(
    counts: &mut [T],
    adds: &mut impl Iterator<Item = (usize, u64)>,
) -> Option<(usize, u64)> {
    adds.find_map(|(at, n)| {
        let sum = counts[at].into().saturating_add(n);
        let Ok(fits) = T::try_from(sum) else { return Some((at, sum)) };
        counts[at] = fits;
        None
    })
}

fn heap_bytes<T>(all: &Vec<T>) -> usize {
    all.capacity() * size_of::<T>()
}

fn get<T: Copy + Into<u64>>(counts: &[T], at: usize) -> u64 {
    counts[at].into()
}

fn drain<T: Into<u64>>(counts: &mut Vec<T>, places: usize) -> u64 {
    counts.drain(..places).map(T::into).fold(0, u64::saturating_add)
}

fn set<T: TryFrom<u64>>(counts: &mut [T], at: usize, count: u64) {
    if let Ok(fits) = T::try_from(count) {
        counts[at] = fits;
    }
}

fn grow<T: Copy + Default>(counts: &mut Vec<T>, low: usize, high: usize) {
    let before = counts.len();
    let buckets = low + before + high;
    if buckets > counts.capacity() {
        counts.reserve_exact(buckets.next_multiple_of(GROWTH) - before);
    }
    counts.resize(buckets, T::default());
    if low > 0 {
        counts.copy_within(..before, low);
        counts[..low].fill(T::default());
    }
}
