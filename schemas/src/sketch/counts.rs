//! The counts of a sketch's buckets, side by side, each in as few bytes as the largest of them needs: nearly all sketches of a
//! second or a minute count less than 256 in any bucket, and an eighth of the memory is an eighth of what a process holds open.
//! Counts never fall, so equal counts have equal widths. It must never lose a count: what does not fit makes all of them wider.

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
        each!(self, all => all[at].into())
    }

    /// Hands all filled places to `work`, the lowest first.
    pub(super) fn each_filled(&self, work: impl FnMut((usize, u64))) {
        each!(self, all => filled(all).for_each(work));
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
        each!(other, all => self.add_all(filled(&all[from..]).map(|(place, n)| (at + place, n))));
    }

    /// Puts `low` empty places before the first and `high` behind the last.
    pub(super) fn grow(&mut self, low: usize, high: usize) {
        each!(self, all => grow(all, low, high));
    }

    /// Takes the first `places` out; their sum.
    pub(super) fn drain(&mut self, places: usize) -> u64 {
        each!(self, all => all.drain(..places).fold(0, |sum, n| u64::from(n).saturating_add(sum)))
    }

    /// Gives each place as many bytes as `count` needs.
    fn widen(&mut self, count: u64) {
        *self = match count {
            ..=0xffff => Self::Two(self.iter().map(|n| n as u16).collect()),
            ..=0xffff_ffff => Self::Four(self.iter().map(|n| n as u32).collect()),
            _ => Self::Eight(self.iter().collect()),
        }
    }
}

/// The filled places.
fn filled<T: Copy + Into<u64>>(counts: &[T]) -> impl Iterator<Item = (usize, u64)> {
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
