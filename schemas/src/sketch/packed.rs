//! Sketches as bytes: what [`Sketch::to_bytes`](super::Sketch::to_bytes) wrote enters, its buckets leave, without a copy. Nearly all
//! numbers of a sketch are below 128, a byte each, and are read as that. It must never trust bytes that it has not checked.

use super::{BUCKETS, BadSketch, LAYOUT, SPAN_MAX};

/// A sketch as its bytes, which were checked: merging it needs no copy of it.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    pub(super) zeros: u64,
    pub(super) collapsed: bool,
    /// How many buckets; at most [`SPAN_MAX`].
    pub(super) filled: u16,
    /// The lowest filled bucket and the highest, of [`BUCKETS`].
    pub(super) first: u16,
    pub(super) last: u16,
    /// What follows the number of the first filled bucket: its count, then gaps and counts in turn.
    counts: &'a [u8],
    /// Each number of `counts` is one byte.
    in_bytes: bool,
}

impl<'a> Packed<'a> {
    /// Checks what [`Sketch::to_bytes`](super::Sketch::to_bytes) wrote.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BadSketch> {
        let [layout, flags, ..] = *bytes else { return Err(BadSketch::Short(bytes.len())) };
        if layout != LAYOUT {
            return Err(BadSketch::Layout(layout));
        }
        if flags > 1 {
            return Err(BadSketch::Number(1));
        }
        let mut at = 2;
        let (zeros, filled) = (take(bytes, &mut at)?, take(bytes, &mut at)?);
        let place = at;
        let first = if filled > 0 { take(bytes, &mut at)? } else { 0 };
        if first >= BUCKETS as u64 {
            return Err(BadSketch::Number(place));
        }
        let first = first as usize;
        let counts = &bytes[at..];
        let (last, in_bytes) = match last_in_bytes(filled, first, counts) {
            Some(last) => (last, true),
            None => (last_of(filled, first, place, bytes, at)?, false),
        };
        let (filled, first, last) = (filled as u16, first as u16, last as u16);
        Ok(Self { zeros, collapsed: flags == 1, filled, first, last, counts, in_bytes })
    }

    /// Where each number is one byte: the count of the first filled bucket, and for each other one, in rising order, the gap before
    /// it and its count.
    pub(super) fn pairs(&self) -> Option<(u8, &'a [[u8; 2]])> {
        let (count, rest) = self.counts.split_first().filter(|_| self.in_bytes)?;
        Some((*count, rest.as_chunks().0))
    }

    /// The filled buckets, the lowest first, and their counts, of whatever size the numbers are.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (usize, u64)> {
        let (bytes, mut at, mut index) = (self.counts, 0, usize::from(self.first));
        (0..self.filled).map_while(move |number| {
            if number > 0 {
                index += take(bytes, &mut at).ok()? as usize + 1;
            }
            Some((index, take(bytes, &mut at).ok()?))
        })
    }
}

/// The last of `filled` buckets, where each number behind that of the first is one byte and nothing is wrong. Four buckets are
/// looked at in one number.
fn last_in_bytes(filled: u64, first: usize, counts: &[u8]) -> Option<usize> {
    const GAPS: u64 = 0x00ff_00ff_00ff_00ff;
    const LARGE: u64 = 0x8080_8080_8080_8080;
    /// Added to counts below 128 it carries into their eighth bit, unless they are 0.
    const LOW: u64 = 0x7f00_7f00_7f00_7f00;
    const COUNTED: u64 = 0x8000_8000_8000_8000;
    let filled = usize::try_from(filled).ok().filter(|filled| (1..=SPAN_MAX).contains(filled))?;
    let (count, rest) = counts.split_first()?;
    if rest.len() != 2 * (filled - 1) || !(1..0x80).contains(count) {
        return None;
    }
    let (fours, left) = rest.as_chunks::<8>();
    // Buckets without a gap, counted once, fill up the last four: they change nothing.
    let mut last_four = [0, 1, 0, 1, 0, 1, 0, 1];
    last_four[..left.len()].copy_from_slice(left);
    // At most 257 gaps below 128 are added up in each 16 bits.
    let (mut gaps, mut large, mut counted) = (0_u64, 0, COUNTED);
    for four in fours.iter().chain([&last_four]) {
        let four = u64::from_le_bytes(*four);
        gaps += four & GAPS & !LARGE;
        large |= four;
        counted &= (four & LOW) + LOW;
    }
    let gaps: u64 = (0..4).map(|at| (gaps >> (16 * at)) & 0xffff).sum();
    let last = first + gaps as usize + filled - 1;
    (large & LARGE == 0 && counted == COUNTED && last < BUCKETS && last - first < SPAN_MAX).then_some(last)
}

/// The last of `filled` buckets, whose first is named at `place`; what follows it begins at `at`.
fn last_of(filled: u64, first: usize, mut place: usize, bytes: &[u8], mut at: usize) -> Result<usize, BadSketch> {
    let mut last = first as u64;
    for number in 0..filled {
        if number > 0 {
            place = at;
            last = take(bytes, &mut at)?.saturating_add(last + 1);
        }
        let count = take(bytes, &mut at)?;
        if last >= BUCKETS as u64 || count == 0 || last - first as u64 >= SPAN_MAX as u64 {
            return Err(BadSketch::Number(place));
        }
    }
    if at < bytes.len() {
        return Err(BadSketch::Trailing(bytes.len() - at));
    }
    Ok(last as usize)
}

/// Appends a LEB128 number.
pub(super) fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &[u8], at: &mut usize) -> Result<u64, BadSketch> {
    let start = *at;
    // Most numbers of a sketch are below 128.
    if let Some(byte) = bytes.get(start).filter(|byte| **byte < 0x80) {
        *at += 1;
        return Ok(u64::from(*byte));
    }
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or(BadSketch::Short(bytes.len()))?;
        *at += 1;
        if shift == 63 && byte > 1 {
            return Err(BadSketch::Number(start));
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(BadSketch::Number(start))
}
