//! Shapes: a short statement enters; the id of its class leaves, when one of the same shape was seen lately. A shape is the statement as
//! it stands, byte for byte, without its numbers, its strings and what its comments say, and with lists of those as two of them. What
//! has the same shape has the same tokens but for the bytes of its values, so the same canonical text, and that need not be
//! written again; most servers run few shapes. Tokens are not read one by one for it: where a literal or a comment may begin is found
//! sixteen bytes at a time, and only what begins there is read, by the lexer itself. It must never give two texts one shape: every
//! part of it says how long it is and what ended it, and what the lexer may read in another way than it looks has none.
#![allow(clippy::inline_always)] // as in `scan`

use xxhash_rust::xxh3::xxh3_128;

use super::runs::{Chunk, beginning, chunk};
use super::scan::{Lexeme, Lexer};
use super::syntax::SqlMode;
use crate::ids::DigestId;

/// 1 KiB: longer statements are mostly lists, each of a length of its own, so that a shape is hardly met again.
pub(super) const STATEMENT_BYTES_MAX: usize = 1 << 10;
/// 2,048 shapes lately seen: 64 KiB, which stay in a core's second cache.
const SLOTS: usize = 1 << 11;
/// 4 KiB: a byte of a statement takes 4 of its shape at most, where it is a number with nothing before it.
const SHAPE_BYTES_MAX: usize = 4 * STATEMENT_BYTES_MAX + 2 * size_of::<Chunk>();

/// What ended a part: the quote of a string, or one of these.
const NUMBER: u8 = b'0';
/// `0x1f` or `0b1`, which may have a character set before it.
const HEX: u8 = b'x';
const COMMENT: u8 = b'*';
const END: u8 = 0;

/// The shapes that were seen lately.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// The statement at hand with zeros behind it.
    room: Vec<u8>,
    /// Its shape.
    shape: Option<Box<[u8; SHAPE_BYTES_MAX]>>,
    /// By the lowest bits of the shape's hash.
    slots: Vec<(u128, DigestId)>,
}

impl Shapes {
    /// The shape of a short statement; none when it is cut, or not surely read as it was meant, or needs more than a look.
    #[inline(always)]
    pub(super) fn of(&mut self, sql: &[u8], mode: SqlMode) -> Option<u128> {
        self.room.clear();
        self.room.extend_from_slice(sql);
        self.room.extend_from_slice(&[0; size_of::<Chunk>()]);
        let shape = self.shape.get_or_insert_with(|| Box::new([0; SHAPE_BYTES_MAX]));
        let mut lexer = Lexer::with_room(&self.room, sql.len(), mode);
        let mut writer = Writer { room: &self.room, shape, at: 0, from: 0, values: 0 };
        let mut at = 0;
        loop {
            at = beginning(&self.room, at).min(sql.len());
            let next = self.room[at + 1]; // zeros are behind the last byte
            at = match self.room[at] {
                first @ (b'0'..=b'9' | b'\'' | b'"') => match lexer.read_at(at, first) {
                    (Lexeme::Value, end) if !first.is_ascii_digit() => writer.value(first, at, end),
                    // Behind a dot it is a name, or another part of a number.
                    (Lexeme::Value, end) if at == 0 || self.room[at - 1] != b'.' => {
                        writer.value(if matches!(next, b'x' | b'b') { HEX } else { NUMBER }, at, end)
                    }
                    (Lexeme::DoubleQuoted, end) => end,
                    _ => return None,
                },
                b'`' => match lexer.read_at(at, b'`') {
                    (Lexeme::Quoted, end) => end,
                    _ => return None,
                },
                b'/' if next == b'*' => writer.comment(at, lexer.plain_comment_at(at)?),
                b'@' if next == b'@' => at + 2,
                b'@' if next.is_ascii_alphabetic() => at + 1,
                b'-' if next == b'-' => return None,
                b'@' | b'#' | b'\\' => return None,
                0 if at == sql.len() => break,
                _ => at + 1,
            };
        }
        writer.part(END, at);
        Some(xxh3_128(&writer.shape[..writer.at]))
    }

    /// The class of this shape, if it was seen lately.
    #[inline(always)]
    pub(super) fn get(&self, shape: u128) -> Option<DigestId> {
        let (known, id) = self.slots.get(shape as usize % SLOTS)?;
        (*known == shape).then_some(*id)
    }

    /// Remembers the class of a shape, in the place of another.
    pub(super) fn put(&mut self, shape: u128, id: DigestId) {
        self.slots.resize(SLOTS, (0, DigestId::OTHER));
        self.slots[shape as usize % SLOTS] = (shape, id);
    }
}

/// Writes a shape.
struct Writer<'a> {
    /// The statement, and zeros behind it.
    room: &'a [u8],
    shape: &'a mut [u8; SHAPE_BYTES_MAX],
    at: usize,
    /// Where the part at hand begins.
    from: usize,
    /// So many values, with nothing but a comma between two, end where the part at hand begins.
    values: usize,
}

impl Writer<'_> {
    /// A value stands from `at` to `end`; goes on behind it. From the third value on a list is the same.
    #[inline(always)]
    fn value(&mut self, kind: u8, at: usize, end: usize) -> usize {
        self.values = if self.values > 0 && self.is_comma(at) { self.values + 1 } else { 1 };
        if self.values < 3 {
            self.part(kind, at);
        }
        self.from = end;
        end
    }

    /// A comment stands from `at` to `end`; goes on behind it.
    #[inline(never)]
    fn comment(&mut self, at: usize, end: usize) -> usize {
        self.values = 0;
        self.part(COMMENT, at);
        self.from = end;
        end
    }

    /// Whether the part at hand is a comma, and nothing else but blanks.
    #[inline(always)]
    fn is_comma(&self, end: usize) -> bool {
        let part = &self.room[self.from..end];
        part == b"," || part == b", " || part.trim_ascii() == b","
    }

    /// The part at hand ends at `end`.
    #[inline(always)]
    fn part(&mut self, kind: u8, end: usize) {
        let (length, mut done) = (end - self.from, 0);
        while done < length {
            let room = &mut self.shape[self.at + done..][..size_of::<Chunk>()];
            room.copy_from_slice(&chunk(self.room, self.from + done));
            done += size_of::<Chunk>();
        }
        self.at += length;
        let [low, high] = (length as u16).to_le_bytes();
        self.shape[self.at..self.at + 3].copy_from_slice(&[low, high, kind]);
        self.at += 3;
    }
}
