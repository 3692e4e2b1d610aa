//! The reductions: tokens enter, the canonical text leaves. The shape is that of MySQL's `STATEMENT_DIGEST_TEXT` with declared
//! differences, which `tests/digests` counts against a running server: rows of a list collapse to one row whatever their number;
//! hints are dropped; cut input gives the digest of its prefix and says so; bodies of `/*! */` are code; positions in `ORDER BY`
//! and `GROUP BY`, which MySQL 9 prints, are literals like others; a backtick in a name stays doubled. One pass with a stack of token kinds, no backtracking;
//! buffers are kept between calls, so a warm scanner allocates nothing. Text without a `truncated` flag is a fixed point:
//! scanning it again gives the same text. It must never write a byte of a literal.
#![allow(clippy::inline_always)] // a call for each token, and what it spills, takes longer than the token

use super::runs::{Chunk, chunk};
use super::scan::{Lexeme, Lexer, Token};
use super::syntax::{SqlMode, in_backticks};
use super::words::{self, Word};

/// Longest canonical text, in bytes. 8 KiB: four times what a server keeps by default (1,024 bytes of tokens), and small
/// enough to keep thousands of texts; what is longer is cut at a token and flagged.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// 1 KiB: statements up to that are copied to where they have room behind them, so that their last words cost what all others do; in
/// longer ones, the last words do not matter.
const COPIED_MAX: usize = 1 << 10;
/// 24 bytes behind the text: a chunk with a quote on either side, so that the next token is written without a look at how long it is.
const ROOM: usize = 24;

/// What the reductions must know about a token that is already written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword or operator behind which an expression may start, and a sign is part of the number behind it.
    Starter,
    /// A keyword or operator behind which an expression may start, but the server keeps a sign: `WHERE - ?`.
    Clause,
    /// Any other word, operator, or identifier.
    Other,
    In,
    Values,
    Sign,
    /// `?`
    Value,
    /// `?, ...`
    List,
    /// `@?`, which has a value of the server's inside: values behind it join it, but it joins nothing.
    Variable,
    /// `@?, ...`
    VariableList,
    Comma,
    Open,
    /// A row of one value or of several, reduced.
    Row,
    /// The parenthesis that closes a row with something else than values in it.
    RowEnd,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    kind: Kind,
    /// Where its text starts in the output, with the blank before it.
    start: u32,
}

#[derive(Debug, Clone, Copy)]
struct OpenAt {
    /// Its place in the stack.
    entry: u32,
    /// It opens a row of `VALUES` or of the list of an `IN`.
    row: bool,
    /// Where the row before it starts, when that one ended in `RowEnd`.
    row_before: Option<u32>,
}

/// The buffers of the reductions.
#[derive(Debug, Default)]
pub(super) struct Canonical {
    /// The text, and room behind it.
    out: Vec<u8>,
    /// How long the text is.
    length: usize,
    stack: Vec<Entry>,
    opens: Vec<OpenAt>,
    /// Where the last `RowEnd`'s row starts.
    last_row: Option<u32>,
    /// The next token is written without a blank before it.
    glue: bool,
    /// A short statement with room behind it.
    copy: Vec<u8>,
    /// Write every word in lower case and without quotes, for `match_key`.
    fold: bool,
    truncated: bool,
}

impl Canonical {
    /// The text of the last statement.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.out[..self.length]
    }

    pub(super) fn truncated(&self) -> bool {
        self.truncated
    }

    /// Reads a whole statement.
    pub(super) fn read(&mut self, sql: &[u8], mode: SqlMode, fold: bool) {
        self.read_bytes(sql, mode, fold);
        if !self.bytes().is_ascii() && std::str::from_utf8(self.bytes()).is_err() {
            // Read again as what a reader will see of it, which is longer: the limit is that of the text that leaves.
            self.read_bytes(String::from_utf8_lossy(sql).as_bytes(), mode, fold);
        }
    }

    fn read_bytes(&mut self, sql: &[u8], mode: SqlMode, fold: bool) {
        if let Some(sure) = self.read_once(sql, mode, fold) {
            self.read_once(&sql[..sure], mode, fold);
            if !std::mem::replace(&mut self.truncated, true) {
                // A string begins there, wherever it ends.
                self.value();
                self.close_cut_list();
            }
        }
    }

    /// Reads a statement; says from where on it is in doubt, if it is.
    #[inline(always)]
    fn read_once(&mut self, sql: &[u8], mode: SqlMode, fold: bool) -> Option<usize> {
        self.length = 0;
        self.stack.clear();
        self.opens.clear();
        self.last_row = None;
        self.glue = false;
        self.fold = fold;
        self.truncated = false;
        let mut copy = std::mem::take(&mut self.copy);
        let (sql, lexer) = if sql.len() <= COPIED_MAX {
            copy.clear();
            copy.extend_from_slice(sql);
            copy.extend_from_slice(&[0; size_of::<Chunk>()]);
            (copy.as_slice(), Lexer::with_room(&copy, sql.len(), mode))
        } else {
            (sql, Lexer::new(sql, mode))
        };
        let doubted = self.read_tokens(sql, lexer);
        self.copy = copy;
        if self.truncated {
            self.close_cut_list();
        }
        doubted
    }

    #[inline(always)]
    fn read_tokens(&mut self, sql: &[u8], mut lexer: Lexer<'_>) -> Option<usize> {
        let mut pending_semicolons = 0;
        while let Some(token) = lexer.next() {
            if token.lexeme == Lexeme::Semicolon {
                // Only a semicolon that something follows is part of the statement.
                pending_semicolons += 1;
                continue;
            }
            for _ in 0..std::mem::take(&mut pending_semicolons) {
                if !self.stack.is_empty() {
                    self.push(Kind::Other, b";");
                }
            }
            self.take(token, sql, &lexer);
            if self.truncated {
                break;
            }
            if self.length > TEXT_BYTES_MAX {
                self.cut_to_limit();
                break;
            }
        }
        lexer.doubted_from()
    }

    #[inline(always)]
    fn take(&mut self, token: Token, sql: &[u8], lexer: &Lexer<'_>) {
        let Token { start, end, .. } = token;
        match token.lexeme {
            Lexeme::Word => self.word(sql, start, end, lexer),
            Lexeme::Bare => self.identifier(sql, start, end),
            Lexeme::Quoted => self.identifier(sql, start + 1, end - 1),
            Lexeme::DoubleQuoted => {
                let name = in_backticks(&sql[start + 1..end - 1]);
                self.identifier(&name, 1, name.len() - 1);
            }
            Lexeme::Value => self.value(),
            Lexeme::Introducer => self.push(Kind::Other, b"(_charset)"),
            Lexeme::NamedVariable if !self.fold => self.named_variable(sql, start, end),
            Lexeme::Variable | Lexeme::NamedVariable | Lexeme::Account => self.push(Kind::Variable, b"@?"),
            Lexeme::System => {
                self.push(Kind::Other, b"@@");
                self.glue = true;
            }
            Lexeme::Dot => self.push(Kind::Other, b"."),
            Lexeme::Comma => self.push(Kind::Comma, b","),
            Lexeme::Open => self.open(),
            Lexeme::Close => self.close(),
            Lexeme::Ellipsis => self.ellipsis(),
            Lexeme::Sign => self.push_part(Kind::Sign, sql, start, end),
            Lexeme::Operator => self.operator(sql, start, end),
            Lexeme::CutValue => {
                self.value();
                self.truncated = true;
            }
            Lexeme::Cut => self.truncated = true,
            Lexeme::Semicolon => {}
        }
    }

    #[inline(always)]
    fn operator(&mut self, sql: &[u8], start: usize, end: usize) {
        match &sql[start..end] {
            b"=" => self.push(Kind::Starter, b"="),
            b"<>" => self.push(Kind::Starter, b"!="),
            b"!" | b"~" | b":=" => self.push_part(Kind::Clause, sql, start, end),
            _ => self.push_part(Kind::Starter, sql, start, end),
        }
    }

    #[inline(always)]
    fn last(&self, back: usize) -> Option<Kind> {
        self.stack.len().checked_sub(back + 1).map(|at| self.stack[at].kind)
    }

    /// Begins a token; its text is written to the room that this gives, and counted by [`Self::end_token`].
    #[inline(always)]
    fn begin_token(&mut self, kind: Kind) -> &mut [u8; ROOM] {
        let at = self.length;
        self.stack.push(Entry { kind, start: at as u32 });
        if self.out.len() < at + 1 + ROOM {
            self.out.resize(2 * (at + 1 + ROOM), 0);
        }
        self.out[at] = b' ';
        let blank = !std::mem::take(&mut self.glue) && at > 0;
        self.length = at + usize::from(blank);
        self.out[self.length..].first_chunk_mut().expect("there is room")
    }

    #[inline(always)]
    fn end_token(&mut self, length: usize) {
        self.length += length;
    }

    #[inline(always)]
    fn push<const N: usize>(&mut self, kind: Kind, text: &[u8; N]) {
        self.begin_token(kind)[..N].copy_from_slice(text);
        self.end_token(N);
    }

    /// A token that is a part of the statement as it stands there.
    #[inline(always)]
    fn push_part(&mut self, kind: Kind, sql: &[u8], start: usize, end: usize) {
        let room = self.begin_token(kind);
        if let Some(room) = room.first_chunk_mut() {
            *room = chunk(sql, start);
        }
        self.written(&sql[start..end]);
    }

    /// Ends a token whose text is this, of which the first chunk is written.
    #[inline(always)]
    fn written(&mut self, text: &[u8]) {
        if text.len() > size_of::<Chunk>() {
            self.write_all_of(text);
        }
        self.end_token(text.len());
    }

    #[inline(never)]
    fn write_all_of(&mut self, text: &[u8]) {
        self.out.truncate(self.length);
        self.out.extend_from_slice(text);
        // Room for what ends the token.
        self.out.extend_from_slice(&[0; ROOM]);
    }

    /// Takes the last `count` tokens back.
    fn pop(&mut self, count: usize) {
        let keep = self.stack.len() - count;
        self.length = self.stack[keep].start as usize;
        self.stack.truncate(keep);
    }

    #[inline(always)]
    fn word(&mut self, sql: &[u8], start: usize, end: usize, lexer: &Lexer<'_>) {
        match words::look_up(sql, start, end) {
            None => self.identifier(sql, start, end),
            Some(word) if word.function && !self.is_function(lexer) => self.identifier(sql, start, end),
            Some(word) if word.null && self.null_is_value() => self.value(),
            Some(word) => self.keyword(word),
        }
    }

    #[inline(always)]
    fn keyword(&mut self, word: &Word) {
        if self.fold {
            return self.push_folded(word.kind, word.text.as_bytes());
        }
        if let Some(room) = self.begin_token(word.kind).first_chunk_mut() {
            *room = word.start;
        }
        self.written(word.text.as_bytes());
    }

    /// For `match_key`.
    #[inline(never)]
    fn push_folded(&mut self, kind: Kind, text: &[u8]) {
        self.begin_token(kind);
        self.out.truncate(self.length);
        self.out.extend(text.iter().map(u8::to_ascii_lowercase));
        self.end_token(text.len());
    }

    /// `NULL` is a value where an expression may start, also behind a `NOT` there; `IS NULL`, `IS NOT NULL` and a column's
    /// `NOT NULL` are kept.
    fn null_is_value(&self) -> bool {
        use Kind::{Clause, Comma, In, Open, Sign, Starter, Values};
        let before = if self.last_word_is(&["NOT"]) { self.last(1) } else { self.last(0) };
        matches!(before, Some(Starter | Clause | In | Values | Sign | Comma | Open))
    }

    /// A function's name stands before a parenthesis, but a table's name may, too.
    fn is_function(&self, lexer: &Lexer<'_>) -> bool {
        lexer.next_byte() == Some(b'(') && !self.last_word_is(&["INTO", "TABLE", "FROM", "JOIN", "UPDATE"])
    }

    fn last_word_is(&self, words: &[&str]) -> bool {
        let Some(last) = self.stack.last() else { return false };
        let text = self.bytes()[last.start as usize..].trim_ascii_start();
        words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The name from `start` to `end`, which has its backticks doubled if it has any.
    #[inline(always)]
    fn identifier(&mut self, sql: &[u8], start: usize, end: usize) {
        let name = &sql[start..end];
        if self.fold {
            return self.push_folded(Kind::Other, name);
        }
        let room = self.begin_token(Kind::Other);
        room[0] = b'`';
        if let Some(room) = room[1..].first_chunk_mut() {
            *room = chunk(sql, start);
        }
        self.end_token(1);
        self.written(name);
        self.out[self.length] = b'`';
        self.end_token(1);
    }

    #[inline(never)]
    fn named_variable(&mut self, sql: &[u8], start: usize, end: usize) {
        if sql[start + 1] == b'`' {
            return self.push_part(Kind::Other, sql, start, end);
        }
        let name = [b"@", &*in_backticks(&sql[start + 2..end - 1])].concat();
        self.push_part(Kind::Other, &name, 0, name.len());
    }

    /// A literal: takes the signs before it, and joins the list that it continues.
    fn value(&mut self) {
        while self.last(0) == Some(Kind::Sign) && self.sign_is_unary() {
            self.pop(1);
        }
        if !self.joins_list() {
            self.push(Kind::Value, b"?");
        }
    }

    /// Makes a list of the value before the comma at hand, of which what comes is a part; false where there is none.
    fn joins_list(&mut self) -> bool {
        match (self.last(1), self.last(0)) {
            (Some(Kind::Value | Kind::List), Some(Kind::Comma)) => {
                self.pop(2);
                self.push(Kind::List, b"?, ...");
            }
            (Some(Kind::Variable | Kind::VariableList), Some(Kind::Comma)) => {
                self.pop(2);
                self.push(Kind::VariableList, b"@?, ...");
            }
            _ => return false,
        }
        true
    }

    fn sign_is_unary(&self) -> bool {
        match self.last(1) {
            None | Some(Kind::Starter | Kind::Comma | Kind::Open | Kind::Sign) => true,
            // Servers differ here, and `match_key` is about what they have in common.
            Some(Kind::Clause | Kind::In | Kind::Values) => self.fold,
            Some(_) => false,
        }
    }

    /// The server's own way to write a list; it occurs when its text is scanned again.
    fn ellipsis(&mut self) {
        if self.joins_list() {
            return;
        }
        match self.last(0) {
            Some(Kind::Open) => self.push(Kind::List, b"?, ..."),
            _ => self.push(Kind::Other, b"..."),
        }
    }

    fn open(&mut self) {
        let follows_row = self.last(0) == Some(Kind::Comma) && self.last(1) == Some(Kind::RowEnd);
        let follows_values = self.last(0) == Some(Kind::Comma) && self.last(1) == Some(Kind::Row);
        let in_list = self.last(0) == Some(Kind::Open) && self.last(1) == Some(Kind::In);
        self.opens.push(OpenAt {
            entry: self.stack.len() as u32,
            row: follows_row || follows_values || in_list || self.last(0) == Some(Kind::Values),
            row_before: if follows_row { self.last_row } else { None },
        });
        self.push(Kind::Open, b"(");
    }

    fn close(&mut self) {
        let Some(open) = self.opens.pop() else { return self.push(Kind::Other, b")") };
        let inside = self.stack.len() - open.entry as usize - 1;
        if inside == 1 {
            match self.last(0) {
                Some(Kind::Value) => return self.row(b"(?)"),
                Some(Kind::List) => return self.row(b"(...)"),
                _ => {}
            }
        }
        let start = self.stack[open.entry as usize].start;
        self.push(if open.row { Kind::RowEnd } else { Kind::Other }, b")");
        if !open.row {
            return;
        }
        if let Some(before) = open.row_before {
            let comma = self.stack[open.entry as usize - 1].start;
            if self.same_row(before, comma, start) {
                let count = self.stack.len() - open.entry as usize + 1;
                self.pop(count);
                self.last_row = Some(before);
                return;
            }
        }
        self.last_row = Some(start);
    }

    /// Whether the row that starts at `start` reads as the one from `before` to `comma`; blanks before either do not count.
    fn same_row(&self, before: u32, comma: u32, start: u32) -> bool {
        let earlier = self.out[before as usize..comma as usize].trim_ascii_start();
        earlier == self.bytes()[start as usize..].trim_ascii_start()
    }

    /// Replaces a parenthesis with values in it, and joins the rows that it continues.
    fn row<const N: usize>(&mut self, text: &[u8; N]) {
        self.pop(2);
        if self.last(0) == Some(Kind::In) {
            return self.push(Kind::Row, b"(...)");
        }
        if self.last(0) == Some(Kind::Comma) && self.last(1) == Some(Kind::Row) {
            let comma = self.stack[self.stack.len() - 1].start as usize;
            let earlier = self.stack[self.stack.len() - 2].start as usize;
            if self.out[earlier..comma].trim_ascii_start() == text {
                return self.pop(1);
            }
        }
        self.push(Kind::Row, text);
    }

    /// Ends the text at the last token that fits.
    fn cut_to_limit(&mut self) {
        self.truncated = true;
        while self.length > TEXT_BYTES_MAX && !self.stack.is_empty() {
            self.pop(1);
        }
        // Parentheses that were cut off are not open.
        let tokens = self.stack.len() as u32;
        while self.opens.pop_if(|open| open.entry >= tokens).is_some() {}
    }

    /// Cut input often ends inside a list of values; the list is read as if it ended there, so that a long `IN` or `VALUES`
    /// that was cut has the digest of the whole statement.
    fn close_cut_list(&mut self) {
        if self.last(0) == Some(Kind::Comma) {
            self.pop(1);
        }
        if self.last(1) == Some(Kind::Open) && matches!(self.last(0), Some(Kind::Value | Kind::List)) {
            self.close();
        }
    }
}
