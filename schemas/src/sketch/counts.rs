//! The counts of a sketch's buckets, side by side, each in as few bytes as the largest of them needs: nearly all sketches of a
//! second or a minute count less than 256 in any bucket, and an eighth of the memory is an eighth of what a process holds open.
//! Counts never fall, so equal counts have equal widths. It must never lose a count: what does not fit makes all of them wider.

use wide::{u8x16, u16x8};

use super::SPAN_MAX;
use super::packed::put;

/// 32 buckets more at a time: the sketches of a window grow once a second at most, and few by more.
const GROWTH: usize = 32;

/// 16: as many bytes as a register of every processor has.
const AT_ONCE: usize = 16;

/// A span of 256 buckets is a factor of 170: nearly all statements stay within.
const FEW: usize = 256;

/// Of each set of eight places, a bit for each, the first lowest: which they are, in rising order.
static PLACES: [[u16; 8]; 256] = {
    let mut all = [[0; 8]; 256];
    let mut set = 0;
    while set < 256 {
        let (mut place, mut number) = (0, 0);
        while place < 8 {
            if (set >> place) & 1 == 1 {
                all[set][number] = place;
                number += 1;
            }
            place += 1;
        }
        set += 1;
    }
    all
};

/// And how many.
static NUMBERS: [u8; 256] = {
    let mut all = [0; 256];
    let mut set: usize = 0;
    while set < 256 {
        all[set] = set.count_ones() as u8;
        set += 1;
    }
    all
};

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
    /// None yet, and room for as many as `other` has.
    pub(super) fn with_room_of(other: &Counts) -> Self {
        Self::One(Vec::with_capacity(other.len().next_multiple_of(GROWTH)))
    }

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
        let done = match self {
            Self::One(all) if all.len() <= FEW => write_in_bytes::<FEW>(all, bytes, first),
            Self::One(all) if all.len() <= SPAN_MAX => write_in_bytes::<SPAN_MAX>(all, bytes, first),
            _ => false,
        };
        if done {
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

    /// Adds a count to the place `at`, and for each pair, of a gap and a count, to the place behind the gap.
    #[inline]
    pub(super) fn add_pairs(&mut self, at: usize, count: u8, pairs: &[[u8; 2]]) {
        // Nearly always all of it fits.
        if let Self::One(all) = self {
            if !pairs_are_too_many(all, at, count, pairs, u8::overflowing_add) {
                return;
            }
            // What did not fit is taken back, with all the rest.
            pairs_are_too_many(all, at, count, pairs, u8::overflowing_sub);
        }
        let rest = pairs.iter().scan(at, |at, [gap, count]| {
            *at += usize::from(*gap) + 1;
            Some((*at, u64::from(*count)))
        });
        self.add_all(std::iter::once((at, count.into())).chain(rest));
    }

    /// Adds all of `other` from its place `from` on, which is added to the place `at`.
    pub(super) fn add_counts(&mut self, at: usize, other: &Counts, from: usize) {
        if let (Self::One(all), Self::One(other)) = (&mut *self, other) {
            let all = &mut all[at..];
            if !counts_are_too_many(all, &other[from..], u8::overflowing_add) {
                return;
            }
            counts_are_too_many(all, &other[from..], u8::overflowing_sub);
        }
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

/// Adds each count to its place, as `add` does; true when one did not fit. Which one is not asked meanwhile: that would cost more
/// than the adding.
#[inline]
fn pairs_are_too_many(
    counts: &mut [u8],
    mut at: usize,
    count: u8,
    pairs: &[[u8; 2]],
    add: impl Fn(u8, u8) -> (u8, bool),
) -> bool {
    let (sum, mut too_many) = add(counts[at], count);
    counts[at] = sum;
    for [gap, count] in pairs {
        at += usize::from(*gap) + 1;
        let (sum, is_too_much) = add(counts[at], *count);
        counts[at] = sum;
        too_many |= is_too_much;
    }
    too_many
}

/// The same for places that lie side by side.
fn counts_are_too_many(counts: &mut [u8], other: &[u8], add: impl Fn(u8, u8) -> (u8, bool)) -> bool {
    let mut too_many = false;
    for (count, more) in counts.iter_mut().zip(other) {
        let (sum, is_too_much) = add(*count, *more);
        *count = sum;
        too_many |= is_too_much;
    }
    too_many
}

/// Does that with a byte for each number behind the first two, for at most `SPAN` places; false where one does not fit. Which places
/// are filled is chance, so nothing branches on a single one: all are found first, 16 looked at at once.
fn write_in_bytes<const SPAN: usize>(counts: &[u8], bytes: &mut Vec<u8>, first: u16) -> bool {
    let Some(lowest) = counts.first() else {
        bytes.push(0);
        return true;
    };
    let (mut filled, mut number, mut large) = ([0_u16; SPAN], 0, u8x16::ZERO);
    let (all, left) = counts.as_chunks();
    let mut last = [0; AT_ONCE];
    last[..left.len()].copy_from_slice(left);
    for (from, some) in (0..).step_by(AT_ONCE).zip(all.iter().chain((!left.is_empty()).then_some(&last))) {
        let some = u8x16::new(*some);
        large |= some;
        let set = !some.simd_eq(u8x16::ZERO).to_bitmask();
        for (from, set) in [(from, set & 0xff), (from + 8, (set >> 8) & 0xff)] {
            let places = u16x8::new(PLACES[set as usize]) + u16x8::splat(from);
            filled[number..number + 8].copy_from_slice(places.as_array());
            number += usize::from(NUMBERS[set as usize]);
        }
    }
    put(bytes, number as u64);
    put(bytes, first.into());
    bytes.push(*lowest);
    let before = bytes.len();
    bytes.resize(before + 2 * (number - 1), 0);
    let (mut next, mut gaps) = (1, 0);
    for (place, pair) in filled[1..number].iter().zip(bytes[before..].as_chunks_mut().0) {
        let gap = place - next;
        *pair = ((gap & 0xff) | (u16::from(counts[usize::from(*place)]) << 8)).to_le_bytes();
        gaps |= gap;
        next = place + 1;
    }
    gaps < 0x80 && large.to_bitmask() == 0
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
