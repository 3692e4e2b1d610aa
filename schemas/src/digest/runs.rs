//! Sixteen bytes at a time: where a word, a run of digits, a literal or a comment ends. Enters: a text and a place in it. Leaves:
//! the place where the run ends, or the end of the text. Most words end within the
//! first step, which no branch on each byte could foresee. It must never read beyond the text.
#![allow(clippy::inline_always)] // a call for each token, and what it spills, takes longer than the token

use wide::u8x16;

/// What is looked at in one step: a register of every processor that we build for.
const WIDE: usize = 16;
/// The step.
pub(super) type Chunk = [u8; WIDE];

/// The bytes from `at` on, with zeros behind the end of the text.
#[inline(always)]
pub(super) fn chunk(text: &[u8], at: usize) -> Chunk {
    match text.get(at..).and_then(<[u8]>::first_chunk) {
        Some(chunk) => *chunk,
        None => chunk_at_end(text, at),
    }
}

/// The first 8 bytes of the same.
#[inline(always)]
pub(super) fn half(text: &[u8], at: usize) -> u64 {
    match text.get(at..).and_then(<[u8]>::first_chunk) {
        Some(half) => u64::from_le_bytes(*half),
        None => u128::from_le_bytes(chunk_at_end(text, at)) as u64,
    }
}

/// The same where less is left. Most statements are short: what is left is moved out of the last whole chunk, since copying so few
/// bytes takes a call.
#[inline(never)]
fn chunk_at_end(text: &[u8], at: usize) -> Chunk {
    let left = text.len().saturating_sub(at);
    if let Some(last) = text.last_chunk() {
        return u128::from_le_bytes(*last).checked_shr(8 * (WIDE - left) as u32).unwrap_or(0).to_le_bytes();
    }
    let mut chunk = [0; WIDE];
    chunk[..left].copy_from_slice(&text[text.len() - left..]);
    chunk
}

/// What bytes are looked for.
pub(super) trait Kind: Copy {
    /// Whether a byte is one.
    fn is(self, byte: u8) -> bool;
    /// Which bytes of a chunk are, a bit for each.
    fn marks(self, chunk: Chunk) -> u32;
}

/// Where the first byte of a kind is from `at` on, or the end of the text.
#[inline(always)]
pub(super) fn find(text: &[u8], at: usize, kind: impl Kind) -> usize {
    let marks = kind.marks(chunk(text, at));
    if marks == 0 { find_further(text, at + WIDE, kind) } else { at + marks.trailing_zeros() as usize }
}

/// The same behind the first chunk.
#[inline(never)]
fn find_further(text: &[u8], mut at: usize, kind: impl Kind) -> usize {
    while at < text.len() {
        let marks = kind.marks(chunk(text, at));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize;
        }
        at += WIDE;
    }
    text.len()
}

/// Where from `at` on something may begin that is no word, blank or operator: a digit with no word before it, a quote of any kind,
/// a comment, a variable or a backslash; or the end of the text. Nothing of a word stands before `at`.
#[inline(always)]
pub(super) fn beginning(text: &[u8], mut at: usize) -> usize {
    let mut word_before = 0;
    while at < text.len() {
        let bytes = Bytes::of(chunk(text, at));
        let digits = bytes.within(0, b'0', b'9');
        let words = bytes.word(digits).bits();
        let marks = digits.bits() & !(words << 1 | word_before) | bytes.begins().bits();
        if marks != 0 {
            return at + marks.trailing_zeros() as usize;
        }
        word_before = words >> (WIDE - 1) & 1;
        at += WIDE;
    }
    text.len()
}

/// Where the word that stands at `at` ends.
#[inline(always)]
pub(super) fn word_end(text: &[u8], at: usize) -> usize {
    find(text, at, NoWord)
}

/// Bytes of a bare identifier; all bytes above ASCII belong to it, as in UTF-8 names.
#[inline]
pub(super) fn is_word(byte: u8) -> bool {
    !NoWord.is(byte)
}

/// Bytes that belong to no word; the zeros behind the end of a text are such.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoWord;

/// Bytes that are no digits; the zeros behind the end of a text are such.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoDigit;

/// One of two bytes, neither of them zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Either(pub(super) u8, pub(super) u8);

impl Kind for NoWord {
    #[inline(always)]
    fn is(self, byte: u8) -> bool {
        !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80)
    }

    #[inline(always)]
    fn marks(self, chunk: Chunk) -> u32 {
        let bytes = Bytes::of(chunk);
        !bytes.word(bytes.within(0, b'0', b'9')).bits() & ALL
    }
}

impl Kind for NoDigit {
    #[inline(always)]
    fn is(self, byte: u8) -> bool {
        !byte.is_ascii_digit()
    }

    #[inline(always)]
    fn marks(self, chunk: Chunk) -> u32 {
        !Bytes::of(chunk).within(0, b'0', b'9').bits() & ALL
    }
}

impl Kind for Either {
    #[inline(always)]
    fn is(self, byte: u8) -> bool {
        byte == self.0 || byte == self.1
    }

    #[inline(always)]
    fn marks(self, chunk: Chunk) -> u32 {
        let bytes = Bytes::of(chunk);
        bytes.equal(self.0).or(bytes.equal(self.1)).bits()
    }
}

/// A bit for each byte of a chunk.
const ALL: u32 = (1 << WIDE) - 1;

/// A chunk in a register.
#[derive(Debug, Clone, Copy)]
struct Bytes(u8x16);

impl Bytes {
    #[inline(always)]
    fn of(chunk: Chunk) -> Bytes {
        Bytes(u8x16::new(chunk))
    }

    /// Bytes that are this one.
    #[inline(always)]
    fn equal(self, byte: u8) -> Bytes {
        Bytes(self.0.simd_eq(u8x16::splat(byte)))
    }

    /// Bytes from `low` to `high`, once the bits of `with` are set in them.
    #[inline(always)]
    fn within(self, with: u8, low: u8, high: u8) -> Bytes {
        let above = (self.0 | u8x16::splat(with)) - u8x16::splat(low);
        Bytes(above.min(u8x16::splat(high - low)).simd_eq(above))
    }

    /// Bytes of words, by their highest bit, where it is known which are digits.
    #[inline(always)]
    fn word(self, digits: Bytes) -> Bytes {
        self.within(0x20, b'a', b'z').or(digits).or(self.equal(b'_')).or(self.equal(b'$')).or(self)
    }

    /// Bytes that begin something else than a word, a number or an operator. A bit that is set finds two of them at once, and `|` with
    /// the backslash.
    #[inline(always)]
    fn begins(self) -> Bytes {
        let with = |bit: u8, byte: u8| Bytes(self.0 | u8x16::splat(bit)).equal(byte);
        let (quotes, hash) = (self.equal(b'\'').or(with(0x20, b'`')), with(0x01, b'#'));
        quotes.or(hash).or(with(0x02, b'/')).or(with(0x20, b'|'))
    }

    #[inline(always)]
    fn or(self, other: Bytes) -> Bytes {
        Bytes(self.0 | other.0)
    }

    /// The highest bit of each byte.
    #[inline(always)]
    fn bits(self) -> u32 {
        self.0.to_bitmask()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ends_wherever_the_text_ends() {
        let text: Vec<u8> = (0..100).map(|at| if at % 23 == 22 { b' ' } else { b'a' + at % 26 }).collect();
        for begin in 0..text.len() {
            for end in begin..text.len() {
                let part = &text[begin..end];
                for at in 0..=part.len() {
                    let expected = part[at..].iter().position(|b| *b == b' ').map_or(part.len(), |found| at + found);
                    assert_eq!(word_end(part, at), expected, "{begin}..{end} from {at}");
                }
            }
        }
    }

    #[test]
    fn a_chunk_is_marked_as_its_bytes_are() {
        fn check(kind: impl Kind) {
            for byte in 0..=u8::MAX {
                let chunk = std::array::from_fn(|at| byte.wrapping_add(at as u8 * 17));
                let expected = (0..WIDE).filter(|at| kind.is(chunk[*at])).fold(0, |bits, at| bits | 1 << at);
                assert_eq!(kind.marks(chunk), expected, "{chunk:?}");
            }
        }
        check(NoWord);
        check(NoDigit);
        check(Either(b'\'', b'\\'));
    }
}
