//! Shapes: a short statement enters; the id of its class leaves, when one of the same shape was seen lately. A shape is the tokens
//! without their literals and before any reduction, as they stand. What has the same shape has
//! the same canonical text, so that this need not be written again; most servers run few shapes. It must never give two texts one
//! shape: every part of it says how long it is.
#![allow(clippy::inline_always)] // as in `scan`

use xxhash_rust::xxh3::xxh3_128;

use super::runs::{Chunk, chunk};
use super::scan::{Lexeme, Lexer, Token};
use super::syntax::SqlMode;
use crate::ids::DigestId;

/// 1 KiB: longer statements are mostly lists, each of a length of its own, so that a shape is hardly met again.
pub(super) const STATEMENT_BYTES_MAX: usize = 1 << 10;
/// 2,048 shapes lately seen: 64 KiB, which stay in a core's second cache.
const SLOTS: usize = 1 << 11;
/// 4 KiB: a byte of a statement takes 3 of its shape at most, where it is a name; and room for a chunk.
const SHAPE_BYTES_MAX: usize = 4 << 10;
/// A name of this length or more has it in 4 bytes.
const LONG: usize = 255;

/// An opening parenthesis with a comment before it.
const APART: u8 = 0xff;

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
    /// The shape of a short statement; none when it is cut, or not surely read as it was meant.
    #[inline(always)]
    pub(super) fn of(&mut self, sql: &[u8], mode: SqlMode) -> Option<u128> {
        self.room.clear();
        self.room.extend_from_slice(sql);
        self.room.extend_from_slice(&[0; size_of::<Chunk>()]);
        let shape = self.shape.get_or_insert_with(|| Box::new([0; SHAPE_BYTES_MAX]));
        let mut lexer = Lexer::with_room(&self.room, sql.len(), mode);
        let mut writer = Writer { shape, at: 0, list: 0, end: 0 };
        while let Some(token) = lexer.next() {
            writer.token(token, &self.room)?;
        }
        let length = writer.at;
        lexer.doubted_from().is_none().then(|| xxh3_128(&shape[..length]))
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
    shape: &'a mut [u8; SHAPE_BYTES_MAX],
    at: usize,
    /// So many of the last tokens are values and commas in turn, beginning with a value.
    list: u8,
    /// Where the last token ends.
    end: usize,
}

impl Writer<'_> {
    #[inline(always)]
    fn token(&mut self, Token { lexeme, start, end }: Token, sql: &[u8]) -> Option<()> {
        let list = std::mem::take(&mut self.list);
        let behind = std::mem::replace(&mut self.end, end);
        match lexeme {
            Lexeme::Word | Lexeme::Bare | Lexeme::Quoted | Lexeme::DoubleQuoted | Lexeme::NamedVariable => {
                self.text(lexeme, sql, start, end);
            }
            Lexeme::Value => {
                // From the third value on a list is the same.
                if list == 4 {
                    self.at -= 1;
                } else {
                    self.byte(lexeme as u8);
                }
                self.list = if list % 2 == 1 { 1 } else { list.min(2) + 1 };
            }
            Lexeme::Comma => {
                self.byte(lexeme as u8);
                self.list = if list % 2 == 1 { list + 1 } else { 0 };
            }
            Lexeme::Open => {
                // A word is a function's name when nothing but blanks stands between.
                let beside = sql[behind..start].iter().all(u8::is_ascii_whitespace);
                self.byte(if beside { lexeme as u8 } else { APART });
            }
            Lexeme::Sign | Lexeme::Operator => self.text(lexeme, sql, start, end),
            Lexeme::CutValue | Lexeme::Cut => return None,
            _ => self.byte(lexeme as u8),
        }
        Some(())
    }

    #[inline(always)]
    fn byte(&mut self, byte: u8) {
        self.shape[self.at] = byte;
        self.at += 1;
    }

    /// The text of a token: most are no longer than a chunk.
    #[inline(always)]
    fn text(&mut self, lexeme: Lexeme, sql: &[u8], start: usize, end: usize) {
        let length = end - start;
        if let Some([kind, told, room @ ..]) = self.shape[self.at..].first_chunk_mut::<{ 2 + size_of::<Chunk>() }>()
            && length <= size_of::<Chunk>()
        {
            (*kind, *told, *room) = (lexeme as u8, length as u8, chunk(sql, start));
            self.at += 2 + length;
        } else {
            self.long_text(lexeme, &sql[start..end]);
        }
    }

    #[inline(never)]
    fn long_text(&mut self, lexeme: Lexeme, text: &[u8]) {
        self.byte(lexeme as u8);
        self.byte(text.len().min(LONG) as u8);
        if text.len() >= LONG {
            (text.len() as u32).to_le_bytes().iter().for_each(|byte| self.byte(*byte));
        }
        self.shape[self.at..self.at + text.len()].copy_from_slice(text);
        self.at += text.len();
    }
}
