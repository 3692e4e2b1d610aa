//! The lexer: bytes of a statement enter, one token at a time leaves, with its place in the input. It follows the rules of
//! MySQL's lexer as far as they show in a digest: comments, `/*! */` bodies as code, numbers that turn out to be
//! identifiers, words behind a dot. It never looks back, never allocates, and never fails: what is not closed ends the
//! input with a `Cut` token. It must never read a literal's bytes as anything but a literal.

/// What a token is; the place in the input says which bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lexeme {
    /// A bare word that may be a keyword.
    Word,
    /// A bare word that cannot be a keyword, because a dot stands beside it.
    Bare,
    /// An identifier in backticks, with them.
    Quoted,
    /// A string, a number, or a `?`.
    Value,
    /// `_utf8mb4` in front of a string, or the server's `(_charset)` for it.
    Introducer,
    /// `@name` in any quoting, or the server's `@?`.
    Variable,
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
    at: usize,
    /// Inside a `/*! */` body, whose end is to be skipped.
    code_comments: u32,
    /// Where the last dot ended: a word there is an identifier.
    dot_end: usize,
    /// The last token was `@@`, so that a word is looked up although a dot follows.
    after_system: bool,
    /// Where the last identifier or string ended: an `@` there belongs to an account name.
    account_at: usize,
}

/// Version numbers in `/*!` comments from here on belong to no server; mysqldump uses them to hide text from all servers.
const NO_SUCH_VERSION: u32 = 99_999;

impl<'a> Lexer<'a> {
    pub(super) fn new(sql: &'a [u8]) -> Self {
        Lexer { sql, at: 0, code_comments: 0, dot_end: usize::MAX, after_system: false, account_at: usize::MAX }
    }

    /// The first byte behind the blanks that follow the last token.
    pub(super) fn next_byte(&self) -> Option<u8> {
        self.sql[self.at..].iter().copied().find(|b| !b.is_ascii_whitespace())
    }

    /// The byte at this distance behind the blanks.
    fn after_blanks(&self, ahead: usize) -> Option<u8> {
        self.sql[self.at..].iter().copied().skip_while(u8::is_ascii_whitespace).nth(ahead)
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.sql.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The next token, or none at the end.
    pub(super) fn next(&mut self) -> Option<Token> {
        if let Some(cut) = self.skip_blanks_and_comments() {
            return Some(cut);
        }
        let start = self.at;
        let first = *self.sql.get(start)?;
        let (after_dot, after_system) = (self.dot_end == start, self.after_system);
        self.after_system = false;
        let lexeme = match first {
            b'\'' | b'"' => self.string(first),
            b'`' => self.backticks(),
            b'0'..=b'9' if !after_dot => self.number(),
            b'.' => self.dot(start),
            b'@' => self.at_sign(start),
            b',' => self.one(Lexeme::Comma),
            b'(' => self.open(),
            b')' => self.one(Lexeme::Close),
            b';' => self.one(Lexeme::Semicolon),
            b'?' => self.one(Lexeme::Value),
            b'+' | b'-' if !self.sql[start..].starts_with(b"->") => self.one(Lexeme::Sign),
            b if is_word(b) => self.word(after_dot, after_system),
            _ => self.operator(),
        };
        match lexeme {
            Lexeme::Dot => self.dot_end = self.at,
            Lexeme::System => self.after_system = true,
            Lexeme::Value | Lexeme::Quoted | Lexeme::Word | Lexeme::Bare => {
                self.account_at = self.at;
            }
            _ => {}
        }
        Some(Token { lexeme, start, end: self.at })
    }

    fn one(&mut self, lexeme: Lexeme) -> Lexeme {
        self.at += 1;
        lexeme
    }

    /// Skips to the next token; an unclosed comment is a token that ends the input.
    fn skip_blanks_and_comments(&mut self) -> Option<Token> {
        loop {
            let start = self.at;
            match self.peek(0) {
                0 if start >= self.sql.len() => return None,
                b if b.is_ascii_whitespace() || b < b' ' => self.at += 1,
                b'#' => self.skip_line(),
                b'-' if self.peek(1) == b'-' && (start + 2 >= self.sql.len() || self.peek(2) <= b' ') => {
                    self.skip_line();
                }
                b'/' if self.peek(1) == b'*' => {
                    if !self.comment() {
                        self.at = self.sql.len();
                        return Some(Token { lexeme: Lexeme::Cut, start, end: self.at });
                    }
                }
                b'*' if self.code_comments > 0 && self.peek(1) == b'/' => {
                    self.code_comments -= 1;
                    self.at += 2;
                }
                _ => return None,
            }
        }
    }

    fn skip_line(&mut self) {
        self.at = match self.sql[self.at..].iter().position(|b| *b == b'\n') {
            Some(length) => self.at + length + 1,
            None => self.sql.len(),
        };
    }

    /// Skips a comment, or only the opening of one whose body is code. False when it is not closed.
    fn comment(&mut self) -> bool {
        let opening = if self.peek(2) == b'!' {
            3
        } else if self.peek(2) == b'M' && self.peek(3) == b'!' {
            4
        } else {
            return self.skip_comment();
        };
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

    fn skip_comment(&mut self) -> bool {
        match self.sql[self.at + 2..].windows(2).position(|pair| pair == b"*/") {
            Some(length) => {
                self.at += 2 + length + 2;
                true
            }
            None => false,
        }
    }

    /// A string from the quote at hand to its end; doubled quotes and backslashes belong to it.
    fn string(&mut self, quote: u8) -> Lexeme {
        self.at += 1;
        while let Some(length) = self.sql[self.at..].iter().position(|b| *b == quote || *b == b'\\') {
            self.at += length;
            if self.sql[self.at] == b'\\' {
                self.at = (self.at + 2).min(self.sql.len());
            } else if self.peek(1) == quote {
                self.at += 2;
            } else {
                self.at += 1;
                return Lexeme::Value;
            }
        }
        self.at = self.sql.len();
        Lexeme::CutValue
    }

    fn backticks(&mut self) -> Lexeme {
        self.at += 1;
        while let Some(length) = self.sql[self.at..].iter().position(|b| *b == b'`') {
            self.at += length + 1;
            if self.peek(0) != b'`' {
                return Lexeme::Quoted;
            }
            self.at += 1;
        }
        self.at = self.sql.len();
        Lexeme::Cut
    }

    /// A number, or an identifier that starts with digits.
    fn number(&mut self) -> Lexeme {
        let start = self.at;
        self.skip_word();
        let word = &self.sql[start..self.at];
        let radix = word.get(..2).unwrap_or_default();
        let rest = word.get(2..).unwrap_or_default();
        if radix == b"0x" && !rest.is_empty() && rest.iter().all(u8::is_ascii_hexdigit)
            || radix == b"0b" && !rest.is_empty() && rest.iter().all(|b| matches!(b, b'0' | b'1'))
        {
            return Lexeme::Value;
        }
        let digits = word.iter().take_while(|b| b.is_ascii_digit()).count();
        self.at = start + digits;
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
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
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
            b'`' => self.backticks(),
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
            _ => Lexeme::Variable,
        }
    }

    fn skip_word(&mut self) {
        while is_word(self.peek(0)) {
            self.at += 1;
        }
    }

    fn word(&mut self, after_dot: bool, after_system: bool) -> Lexeme {
        let start = self.at;
        self.skip_word();
        let word = &self.sql[start..self.at];
        if after_dot {
            return Lexeme::Bare;
        }
        if self.peek(0) == b'\'' && matches!(word, b"x" | b"X" | b"b" | b"B" | b"n" | b"N") {
            return self.string(b'\'');
        }
        if word[0] == b'_' && self.introduces_string(word) {
            return Lexeme::Introducer;
        }
        if !after_system && self.peek(0) == b'.' && (is_word(self.peek(1)) || self.peek(1) == b'`') {
            return Lexeme::Bare;
        }
        Lexeme::Word
    }

    /// Whether `_utf8mb4` stands before a string, where it names the character set.
    fn introduces_string(&self, word: &[u8]) -> bool {
        word.len() > 1
            && match self.next_byte() {
                Some(b'\'' | b'"') => true,
                Some(b'x' | b'X' | b'b' | b'B') => self.after_blanks(1) == Some(b'\''),
                Some(b'0') => matches!(self.after_blanks(1), Some(b'x' | b'b')),
                _ => false,
            }
    }

    fn operator(&mut self) -> Lexeme {
        const LONG: [&[u8]; 12] =
            [b"<=>", b"->>", b"<=", b">=", b"<>", b"!=", b"<<", b">>", b":=", b"||", b"&&", b"->"];
        let length = LONG.iter().find(|o| self.sql[self.at..].starts_with(o)).map_or(1, |o| o.len());
        self.at += length;
        Lexeme::Operator
    }
}

/// Bytes of a bare identifier; all bytes above ASCII belong to it, as in UTF-8 names.
pub(super) fn is_word(byte: u8) -> bool {
    WORD[usize::from(byte)]
}

static WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0_usize;
    while b < 256 {
        table[b] = (b as u8).is_ascii_alphanumeric() || b == b'_' as usize || b == b'$' as usize || b >= 0x80;
        b += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &[(Lexeme, &str)]) {
        let mut lexer = Lexer::new(sql.as_bytes());
        let mut found = Vec::new();
        while let Some(token) = lexer.next() {
            found.push((token.lexeme, &sql[token.start..token.end]));
        }
        assert_eq!(found, expected, "{sql}");
    }

    #[test]
    fn tells_numbers_from_names() {
        use Lexeme::{Bare, Dot, Value};
        check(
            "0x1F 0b10 1.5e-3 .5 1e3",
            &[(Value, "0x1F"), (Value, "0b10"), (Value, "1.5e-3"), (Value, ".5"), (Value, "1e3")],
        );
        check("1e 12abc 0xZZ", &[(Bare, "1e"), (Bare, "12abc"), (Bare, "0xZZ")]);
        check("t.1a", &[(Bare, "t"), (Dot, "."), (Bare, "1a")]);
    }

    #[test]
    fn skips_comments_and_reads_code_in_them() {
        use Lexeme::{Cut, Sign, Value, Word};
        check("a -- x\n#y\n/* z */ b", &[(Word, "a"), (Word, "b")]);
        check("a --1", &[(Word, "a"), (Sign, "-"), (Sign, "-"), (Value, "1")]);
        check("/*!50001 a */ /*M!100100 b */ c", &[(Word, "a"), (Word, "b"), (Word, "c")]);
        check("/*!99999 a */ /*!999999 b */ c", &[(Word, "c")]);
        check("a /* b", &[(Word, "a"), (Cut, "/* b")]);
    }

    #[test]
    fn closes_strings_where_the_server_does() {
        use Lexeme::{CutValue, Value};
        check(r"'it''s' 'a\'b' x'1f'", &[(Value, "'it''s'"), (Value, r"'a\'b'"), (Value, "x'1f'")]);
        check("'open", &[(CutValue, "'open")]);
        check(r"'open\", &[(CutValue, r"'open\")]);
    }

    #[test]
    fn tells_variables_from_accounts() {
        use Lexeme::{Account, Dot, Operator, System, Value, Variable, Word};
        check(
            "@a = @@global.b",
            &[(Variable, "@a"), (Operator, "="), (System, "@@"), (Word, "global"), (Dot, "."), (Lexeme::Bare, "b")],
        );
        check("'u'@'h'", &[(Value, "'u'"), (Account, "@'h'")]);
        check("? @?", &[(Value, "?"), (Variable, "@?")]);
    }
}
