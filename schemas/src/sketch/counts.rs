//! The counts of a sketch's buckets, side by side, each in as few bytes as the largest of them needs: nearly all sketches of a
//! second or a minute count less than 256 in any bucket, and an eighth of the memory is an eighth of what a process holds open.
//! Counts never fall, so equal counts have equal widths. It must never lose a count: what does not fit makes all of them wider.

use super::packed::put;

/// 32 buckets more at a time: the sketches of a window grow once a second at most, and few by more.
const GROWTH: usize = 32;

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

    /// How many places are filled.
    pub(super) fn filled(&self) -> usize {
        each!(self, all => all.iter().filter(|n| **n != 0).count())
    }

    /// Appends the counts of the `filled` places and the gaps between them, as LEB128 numbers.
    pub(super) fn write_to(&self, bytes: &mut Vec<u8>, filled: usize) {
        let before = bytes.len();
        if let Self::One(all) = self
            && write_in_bytes(all, bytes, filled)
        {
            return;
        }
        bytes.truncate(before);
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

/// Appends them as a byte each; false where one does not fit. Which places are filled is chance, so nothing branches on it: every
/// place is written, and what a filled one follows is written over.
fn write_in_bytes(counts: &[u8], bytes: &mut Vec<u8>, filled: usize) -> bool {
    let Some((first, counts)) = counts.split_first() else { return true };
    bytes.push(*first);
    let (mut at, mut gap, mut all) = (bytes.len(), 0_u8, *first);
    let end = at + 2 * (filled - 1);
    bytes.resize(end + 2, 0);
    for n in counts {
        bytes[at..at + 2].copy_from_slice(&[gap, *n]);
        all |= gap | n;
        let is_filled = u8::from(*n > 0);
        at += 2 * usize::from(is_filled);
        gap = gap.wrapping_add(1) & is_filled.wrapping_sub(1);
    }
    bytes.truncate(end);
    all < 0x80
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
    let buckets = low + counts.len() + high;
    if buckets > counts.capacity() {
        counts.reserve_exact(buckets.next_multiple_of(GROWTH) - counts.len());
    }
    if low > 0 {
        counts.splice(..0, std::iter::repeat_n(T::default(), low));
    }
    counts.resize(buckets, T::default());
}
