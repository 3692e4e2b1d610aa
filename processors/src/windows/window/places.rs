//! The rows of a window, each in the place at which it came first. Digests, schemas and users enter; places leave, and rows in the
//! order in which they are shown. Agents name the digests of a second in much the same order as those of the second before: the
//! place behind the one that was found last is looked at first, and nearly always it is the right one.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_schemas::ids::DigestId;

use super::{Own, Sum};

/// 32 places more at a time: twice as many as are needed would be a good part of what a window takes.
const GROWTH: usize = 32;

/// Rows by place.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    all: Vec<Own>,
    /// The first half of each digest, which tells nearly all apart, and its places.
    by_digest: BTreeSet<(u64, u32)>,
    /// Where the next row is likely to be.
    likely: usize,
    /// All places by schema, user and digest, as long as none was added.
    order: Vec<u32>,
}

impl Places {
    /// The rows by place.
    pub(super) fn all(&self) -> &[Own] {
        &self.all
    }

    /// The row in a place.
    pub(super) fn at(&mut self, place: usize) -> &mut Own {
        &mut self.all[place]
    }

    /// The place of a row, if it has one.
    pub(super) fn find(&mut self, digest: DigestId, schema: &str, user: &str) -> Option<usize> {
        let is_it = |own: &Own| own.digest == digest && *own.schema == *schema && *own.user == *user;
        let likely = if self.likely < self.all.len() { self.likely } else { 0 };
        let place = if self.all.get(likely).is_some_and(is_it) {
            likely
        } else {
            // Few digests are run by several users or in several schemas.
            let half = half(digest);
            let mut places = self.by_digest.range((half, 0)..=(half, u32::MAX));
            places.find(|(_, place)| is_it(&self.all[*place as usize]))?.1 as usize
        };
        self.likely = place + 1;
        Some(place)
    }

    /// The sum of a row of this digest, if it has one; likely that at `place`.
    pub(super) fn like(&self, place: usize, digest: DigestId) -> Option<&Sum> {
        let likely = self.all.get(place).filter(|own| own.digest == digest);
        let found = likely.or_else(|| {
            let half = half(digest);
            let (_, place) = self.by_digest.range((half, 0)..=(half, u32::MAX)).next()?;
            self.all.get(*place as usize)
        });
        found?.sum.as_deref()
    }

    /// Makes a place for a row that has none.
    pub(super) fn add(&mut self, own: Own) -> usize {
        let place = self.all.len();
        self.by_digest.insert((half(own.digest), place as u32));
        if place == self.all.capacity() {
            self.all.reserve_exact(GROWTH);
        }
        self.all.push(own);
        self.likely = place + 1;
        place
    }

    /// The rows by schema, user and digest.
    pub(super) fn in_order(&mut self) -> Vec<&Own> {
        let Self { all, order, .. } = self;
        if order.len() < all.len() {
            *order = (0..all.len() as u32).collect();
            order.sort_unstable_by(|a, b| named(&all[*a as usize]).cmp(&named(&all[*b as usize])));
        }
        order.iter().map(|place| &all[*place as usize]).collect()
    }

    /// The rows with the most response time first, at most so many.
    pub(super) fn slowest(&self, most: usize) -> Vec<&Own> {
        let time = |own: &Own| own.sum.as_ref().map_or(0, |sum| sum.rt_sum_us);
        let mut counted: Vec<&Own> = self.all.iter().filter(|own| own.sum.is_some()).collect();
        let order = |a: &&Own, b: &&Own| {
            let slowest = time(b).cmp(&time(a));
            slowest.then(a.digest.cmp(&b.digest)).then_with(|| named(a).cmp(&named(b)))
        };
        if most < counted.len() {
            counted.select_nth_unstable_by(most, order);
            counted.truncate(most);
        }
        counted.sort_unstable_by(order);
        counted
    }
}

/// What the rows of a window differ in.
fn named(own: &Own) -> (&Arc<str>, &Arc<str>, DigestId) {
    (&own.schema, &own.user, own.digest)
}

fn half(digest: DigestId) -> u64 {
    digest.0.first_chunk().map_or(0, |half| u64::from_be_bytes(*half))
}
