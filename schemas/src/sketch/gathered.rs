//! Packed sketches that are all added to one: their buckets enter, and leave once. Where each of them needs no look at how wide a
//! count is, or where the sketch begins, adding takes half as long.

use super::{BUCKETS, Packed};

/// Counts of every bucket there is, to be added to a sketch.
#[derive(Clone, Debug)]
pub struct Gathered {
    pub(super) zeros: u64,
    pub(super) collapsed: bool,
    /// The lowest filled bucket and the highest.
    pub(super) span: Option<(usize, usize)>,
    /// Of all [`BUCKETS`].
    pub(super) counts: Vec<u64>,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { zeros: 0, collapsed: false, span: None, counts: vec![0; BUCKETS] }
    }
}

impl Gathered {
    /// Adds all counts of a packed sketch, `times` over.
    pub fn add(&mut self, packed: &Packed<'_>, times: u64) {
        self.zeros = self.zeros.saturating_add(packed.zeros.saturating_mul(times));
        if times == 0 {
            return;
        }
        self.collapsed |= packed.collapsed;
        if packed.filled == 0 {
            return;
        }
        let (first, last) = (packed.first.into(), packed.last.into());
        let (lowest, highest) = self.span.unwrap_or((first, last));
        self.span = Some((first.min(lowest), last.max(highest)));
        let Some((count, pairs)) = packed.pairs() else {
            packed.buckets().for_each(|(index, n)| self.count(index, n.saturating_mul(times)));
            return;
        };
        self.count(first, u64::from(count).saturating_mul(times));
        let mut index = first;
        for [gap, count] in pairs {
            index += usize::from(*gap) + 1;
            self.count(index, u64::from(*count).saturating_mul(times));
        }
    }

    #[inline]
    fn count(&mut self, index: usize, n: u64) {
        let place = &mut self.counts[index];
        *place = place.saturating_add(n);
    }
}
