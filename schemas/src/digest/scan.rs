//! The lexer: bytes of a statement enter, one token at a time leaves, with its place in the input. It follows the rules of
//! MySQL's lexer as far as they show in a digest: comments, `/*! */` bodies as code, numbers that turn out to be
//! identifiers, words behind a dot. It never looks back, never allocates, and never fails: what is not closed ends the
//! input with a `Cut` token. It must never read a literal's bytes as anything but a literal.
#![allow(clippy::inline_always)] // a call for each token, and what it spills, takes longer than the token

use super::classes::{CLASSES, Class};
use super::runs::{Either, NoDigit, find, is_word, word_end};
use super::syntax::SqlMode;

/// What a token is; the place in the input says which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lexeme {
    /// A bare word that may be a keyword.
    Word,
    /// A bare word that cannot be a keyword, because a dot stands beside it.
    Bare,
    /// An identifier in backticks, with them.
    Quoted,
    /// An identifier in double quotes, with them: `ANSI_QUOTES`.
    DoubleQuoted,
    /// A string, a number, or a `?`.
    Value,
    /// `_utf8mb4` in front of a string, or the server's `(_charset)` for it.
    Introducer,
    /// `@name` in any quoting, or the server's `@?`.
    Variable,
    /// `@name` with the name in backticks, or in the quotes of names: servers keep it.
    NamedVariable,
    /// `@@`.
    System,
    /// `@` between a user and a host; the host follows as part of the token.
    Account,
    /// `.`
    Dot,
    /// `,`
    Comma,
    /// `(`
    Open,
    /// `)`
    Close,
    /// `;`
    Semicolon,
    /// `...`, as the server prints it.
    Ellipsis,
    /// `+` or `-`.
    Sign,
    /// Any other operator.
    Operator,
    /// An unterminated literal: the input was cut inside a value.
    CutValue,
    /// An unterminated comment or quoted identifier.
    Cut,
}

/// A token and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) lexeme: Lexeme,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Reads tokens off a statement.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    sql: &'a [u8],
    /// The same, perhaps with zeros behind it.
    room: &'a [u8],
    at: usize,
    /// Inside a `/*! */` body, whose end is to be skipped.
    code_comments: u32,
    /// Where the last dot ended: a word there is an identifier.
    dot_end: usize,
    /// The last token was `@@`, so that a word is looked up although a dot follows.
    after_system: bool,
    /// Where the last identifier or string ended: an `@` there belongs to an account name.
    account_at: usize,
    mode: SqlMode,
    /// Where the first string with a backslash in it begins.
    first_escape: usize,
    /// A literal is not closed, or a backslash stands where no statement has one.
    doubtful: bool,
}

/// Version numbers in `/*!` comments from here on belong to no server; mysqldump uses them to hide text from all servers.
const NO_SUCH_VERSION: u32 = 99_999;

impl<'a> Lexer<'a> {
    pub(super) fn new(sql: &'a [u8], mode: SqlMode) -> Self {
        Lexer::with_room(sql, sql.len(), mode)
    }

    /// Reads the first `length` bytes, behind which are zeros or nothing: with zeros, the last bytes are read like all others.
    pub(super) fn with_room(room: &'a [u8], length: usize, mode: SqlMode) -> Self {
        let (dot_end, account_at) = (usize::MAX, usize::MAX);
        Lexer {
            sql: &room[..length],
            room,
            at: 0,
            code_comments: 0,
            dot_end,
            after_system: false,
            account_at,
            mode,
            first_escape: usize::MAX,
            doubtful: false,
        }
    }

    /// How much of the statement was surely read as the session meant it; none for all of it. A mode or a character set
    /// that is not the session's shows in a literal that seems not to end or a backslash outside of literals, and it is a string
    /// with a backslash that is read differently then.
    pub(super) fn doubted_from(&self) -> Option<usize> {
        (self.doubtful && self.first_escape < self.sql.len()).then_some(self.first_escape)
    }

    /// What begins at `at` with a digit or one of the three quotes, and where it ends; nothing before it was read.
    #[inline(always)]
    pub(super) fn read_at(&mut self, at: usize, first: u8) -> (Lexeme, usize) {
        self.at = at;
        let lexeme = match first {
            b'0'..=b'9' => self.number(at, first),
            b'`' => self.name(first, Lexeme::Quoted),
            _ => self.string(first),
        };
        (lexeme, self.at)
    }

    /// Where the comment ends that begins at `at`; none when it is code, or not closed.
    #[inline(never)]
    pub(super) fn plain_comment_at(&mut self, at: usize) -> Option<usize> {
        self.at = at;
        (self.code_opening().is_none() && self.skip_comment()).then_some(self.at)
    }

    /// The first byte behind the blanks that follow the last token.
    pub(super) fn next_byte(&self) -> Option<u8> {
        self.sql[self.at..].iter().copied().find(|b| !b.is_ascii_whitespace())
    }

    /// The byte at this distance behind the blanks.
    fn after_blanks(&self, ahead: usize) -> Option<u8> {
        self.sql[self.at..].iter().copied().skip_while(u8::is_ascii_whitespace).nth(ahead)
    }

    /// Where one of two bytes is from `at` on, or the end.
    #[inline(always)]
    fn find(&self, at: usize, bytes: Either) -> usize {
        find(self.room, at, bytes).min(self.sql.len())
    }

    #[inline(always)]
    fn peek(&self, ahead: usize) -> u8 {
        self.sql.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The next token, or none at the end. What most statements are made of is taken here.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<Token> {
        loop {
            let mut first = *self.sql.get(self.at)?;
            if first == b' ' {
                self.at += 1;
                first = *self.sql.get(self.at)?;
            }
            let start = self.at;
            let lexeme = match CLASSES[usize::from(first)] {
                Class::Blank => {
                    self.at += 1;
                    continue;
                }
                Class::Word => self.word(start, first),
                Class::Digit => self.number(start, first),
                Class::Comma => self.one(Lexeme::Comma),
                Class::Equals => self.one(Lexeme::Operator),
                Class::Quote => self.string(first),
                Class::Close => self.one(Lexeme::Close),
                Class::Mark => self.one(Lexeme::Value),
                class => match self.rarer(start, first, class) {
                    Some(lexeme) => lexeme,
                    None => continue,
                },
            };
            self.after_system = lexeme == Lexeme::System;
            if matches!(lexeme, Lexeme::Value | Lexeme::Quoted | Lexeme::DoubleQuoted | Lexeme::Word | Lexeme::Bare) {
                self.account_at = self.at;
            }
            return Some(Token { lexeme, start, end: self.at });
        }
    }

    #[inline(never)]
    fn rarer(&mut self, start: usize, first: u8, class: Class) -> Option<Lexeme> {
        Some(match class {
            Class::Backtick => self.name(first, Lexeme::Quoted),
            Class::Dot => self.dot(start),
            Class::Open => self.open(),
            Class::At => self.at_sign(start),
            Class::Semicolon => self.one(Lexeme::Semicolon),
            Class::Plus => self.one(Lexeme::Sign),
            _ => return self.comment_or_operator(first),
        })
    }

    #[inline(always)]
    fn one(&mut self, lexeme: Lexeme) -> Lexeme {
        self.at += 1;
        lexeme
    }

    /// Skips the comment that begins here, or takes the operator or the sign; an unclosed comment ends the input.
    fn comment_or_operator(&mut self, first: u8) -> Option<Lexeme> {
        match (first, self.peek(1)) {
            (b'#', _) => self.skip_line(),
            (b'-', b'-') if self.at + 2 >= self.sql.len() || self.peek(2) <= b' ' => self.skip_line(),
            (b'/', b'*') => {
                if !self.comment() {
                    self.at = self.sql.len();
                    return Some(Lexeme::Cut);
                }
            }
            (b'*', b'/') if self.code_comments > 0 => {
                self.code_comments -= 1;
                self.at += 2;
            }
            (b'-', next) if next != b'>' => return Some(self.one(Lexeme::Sign)),
            (_, next) => return Some(self.operator(first, next)),
        }
        None
    }

    fn skip_line(&mut self) {
        self.at = (self.find(self.at, Either(b'\n', b'\n')) + 1).min(self.sql.len());
    }

    /// Skips a comment, or only the opening of one whose body is code. False when it is not closed.
    fn comment(&mut self) -> bool {
        let Some(opening) = self.code_opening() else { return self.skip_comment() };
        let digits = self.sql[self.at + opening..].iter().take(6).take_while(|b| b.is_ascii_digit());
        let (mut version, mut length) = (0_u32, 0);
        for digit in digits {
            version = version * 10 + u32::from(digit - b'0');
            length += 1;
        }
        if version >= NO_SUCH_VERSION && (length != 6 || version >= 10 * NO_SUCH_VERSION) {
            return self.skip_comment();
        }
        self.at += opening + length;
        self.code_comments += 1;
        true
    }

    /// How long the opening of a comment is whose body is code.
    fn code_opening(&self) -> Option<usize> {
        match (self.peek(2), self.peek(3)) {
            (b'!', _) => Some(3),
            (b'M', b'!') => Some(4),
            _ => None,
        }
    }

    fn skip_comment(&mut self) -> bool {
        let mut at = self.at + 2;
        loop {
            at = self.find(at, Either(b'*', b'*')) + 1;
            match self.sql.get(at) {
                Some(b'/') => break,
                Some(_) => {}
                None => return false,
            }
        }
        self.at = at + 1;
        true
    }

    /// A string from the quote at hand to its end; doubled quotes belong to it, and what stands behind a backslash.
    #[inline(never)]
    fn string(&mut self, quote: u8) -> Lexeme {
        if quote == b'"' && self.mode.ansi_quotes {
            return self.name(quote, Lexeme::DoubleQuoted);
        }
        let start = self.at;
        let escaped = if self.mode.no_backslash_escapes { 1 } else { 2 };
        self.at += 1;
        loop {
            self.at = self.find(self.at, Either(quote, b'\\'));
            match self.sql.get(self.at) {
                None => {
                    self.doubtful = true;
                    return Lexeme::CutValue;
                }
                Some(b'\\') => {
                    self.first_escape = self.first_escape.min(start);
                    self.at = (self.at + escaped).min(self.sql.len());
                }
                Some(_) if self.peek(1) == quote => self.at += 2,
                Some(_) => return self.one(Lexeme::Value),
            }
        }
    }

    /// A quoted name: no backslash means anything in it.
    fn name(&mut self, quote: u8, lexeme: Lexeme) -> Lexeme {
        self.at += 1;
        loop {
            self.at = self.find(self.at, Either(quote, quote));
            if self.at == self.sql.len() {
                self.doubtful = true;
                return Lexeme::Cut;
            }
            if self.peek(1) != quote {
                return self.one(lexeme);
            }
            self.at += 2;
        }
    }

    /// A number, or an identifier that starts with digits; behind a dot it is one whatever it is.
    #[inline(always)]
    fn number(&mut self, start: usize, first: u8) -> Lexeme {
        if self.dot_end == start {
            return self.word(start, first);
        }
        self.at = find(self.room, start, NoDigit);
        if is_word(self.peek(0)) || self.peek(0) == b'.' { self.number_with_more(start) } else { Lexeme::Value }
    }

    /// The digits from `start` on have a fraction, an exponent, or letters behind them.
    #[inline(never)]
    fn number_with_more(&mut self, start: usize) -> Lexeme {
        let digits = self.at - start;
        let word = &self.sql[start..word_end(self.room, start)];
        let radix = word.get(..2).unwrap_or_default();
        let rest = word.get(2..).unwrap_or_default();
        if radix == b"0x" && !rest.is_empty() && rest.iter().all(u8::is_ascii_hexdigit)
            || radix == b"0b" && !rest.is_empty() && rest.iter().all(|b| matches!(b, b'0' | b'1'))
        {
            self.at = start + word.len();
            return Lexeme::Value;
        }
        if self.peek(0) == b'.' {
            self.at += 1;
            self.skip_digits();
            self.exponent();
            return Lexeme::Value;
        }
        if self.exponent() || digits == word.len() {
            return Lexeme::Value;
        }
        self.at = start + word.len();
        Lexeme::Bare
    }

    fn skip_digits(&mut self) {
        self.at = find(self.room, self.at, NoDigit);
    }

    /// Takes `e5`, `e+5`, `e-5` when it is at hand.
    fn exponent(&mut self) -> bool {
        if !matches!(self.peek(0), b'e' | b'E') {
            return false;
        }
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if !self.peek(1 + sign).is_ascii_digit() {
            return false;
        }
        self.at += 1 + sign;
        self.skip_digits();
        true
    }

    fn dot(&mut self, start: usize) -> Lexeme {
        if self.sql[start..].starts_with(b"...") {
            self.at += 3;
            return Lexeme::Ellipsis;
        }
        self.at += 1;
        if self.peek(0).is_ascii_digit() && self.account_at != start {
            self.skip_digits();
            self.exponent();
            return Lexeme::Value;
        }
        self.dot_end = self.at;
        Lexeme::Dot
    }

    fn open(&mut self) -> Lexeme {
        const CHARSET: &[u8] = b"(_charset)";
        if self.sql[self.at..].starts_with(CHARSET) {
            self.at += CHARSET.len();
            return Lexeme::Introducer;
        }
        self.one(Lexeme::Open)
    }

    /// `@@`, a user variable, or the `@` of an account with the host behind it.
    fn at_sign(&mut self, start: usize) -> Lexeme {
        let account = self.account_at == start;
        self.at += 1;
        if self.peek(0) == b'@' {
            return self.one(Lexeme::System);
        }
        while account && self.peek(0).is_ascii_whitespace() {
            self.at += 1;
        }
        let inner = match self.peek(0) {
            quote @ (b'\'' | b'"') => self.string(quote),
            b'`' => self.name(b'`', Lexeme::Quoted),
            b'?' => self.one(Lexeme::Value),
            _ => {
                while is_word(self.peek(0)) || self.peek(0) == b'.' {
                    self.at += 1;
                }
                Lexeme::Value
            }
        };
        match inner {
            Lexeme::CutValue | Lexeme::Cut => Lexeme::CutValue,
            _ if account => Lexeme::Account,
            Lexeme::Quoted | Lexeme::DoubleQuoted => Lexeme::NamedVariable,
            _ => Lexeme::Variable,
        }
    }

    #[inline(always)]
    fn word(&mut self, start: usize, first: u8) -> Lexeme {
        self.at = word_end(self.room, start);
        if self.dot_end == start {
            return Lexeme::Bare;
        }
        match self.peek(0) {
            b'\'' if self.at - start == 1 && matches!(first, b'x' | b'X' | b'b' | b'B' | b'n' | b'N') => {
                self.string(b'\'')
            }
            _ if first == b'_' && self.introduces_string(start) => Lexeme::Introducer,
            b'.' if !self.after_system && self.begins_name(self.peek(1)) => Lexeme::Bare,
            _ => Lexeme::Word,
        }
    }

    #[inline(always)]
    fn begins_name(&self, byte: u8) -> bool {
        is_word(byte) || byte == b'`' || (byte == b'"' && self.mode.ansi_quotes)
    }

    /// Whether `_utf8mb4` stands before a string, where it names the character set.
    #[inline(never)]
    fn introduces_string(&self, start: usize) -> bool {
        self.at - start > 1
            && match self.next_byte() {
                Some(b'\'') => true,
                Some(b'"') => !self.mode.ansi_quotes,
                Some(b'x' | b'X' | b'b' | b'B') => self.after_blanks(1) == Some(b'\''),
                Some(b'0') => matches!(self.after_blanks(1), Some(b'x' | b'b')),
                _ => false,
            }
    }

    fn operator(&mut self, first: u8, next: u8) -> Lexeme {
        let length = match (first, next, self.peek(2)) {
            (b'<', b'=', b'>') | (b'-', b'>', b'>') => 3,
            (b'<', b'=' | b'>' | b'<', _)
            | (b'>', b'=' | b'>', _)
            | (b'!' | b':', b'=', _)
            | (b'|', b'|', _)
            | (b'&', b'&', _)
            | (b'-', b'>', _) => 2,
            // MariaDB has `\N` for NULL.
            (b'\\', next, _) if next != b'N' => {
                self.doubtful = true;
                1
            }
            _ => 1,
        };
        self.at += length;
        Lexeme::Operator
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
