//! The text of statements in a log: whether a literal or a comment is open where a line ends, and numbers as headers write
//! them. Pure and without memory beyond one state.

use memchr::{memchr, memchr2};

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Open {
    #[default]
    Nothing,
    /// A string or a quoted name, by its quote.
    Quote(u8),
    /// Behind a backslash in a string.
    Escape(u8),
    Comment,
    /// Up to the end of the line.
    LineComment,
}

/// Bytes that may open something where nothing is open.
const OPENS: [bool; 256] = {
    let mut opens = [false; 256];
    let bytes = b"'\"`#-*";
    let mut at = 0;
    while at < bytes.len() {
        opens[bytes[at] as usize] = true;
        at += 1;
    }
    opens
};

/// Follows a statement byte by byte.
#[derive(Debug, Clone, Default)]
pub(super) struct Lexical {
    open: Open,
    last: u8,
}

impl Lexical {
    /// Whether a literal or a comment goes on behind the last byte.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.open, Open::Nothing | Open::LineComment)
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            // Whatever changes nothing is passed over; the first byte that may is looked at.
            let passed = match self.open {
                Open::Nothing => rest.iter().position(|byte| OPENS[usize::from(*byte)]),
                Open::Quote(quote) => memchr2(quote, b'\\', rest),
                Open::Escape(_) => Some(0),
                Open::Comment => memchr(b'/', rest),
                Open::LineComment => memchr(b'\n', rest),
            };
            let passed = passed.unwrap_or(rest.len());
            if passed > 0 {
                at += passed;
                self.last = bytes[at - 1];
            }
            if let Some(byte) = bytes.get(at) {
                at += 1;
                self.byte(*byte, bytes.get(at).copied());
            }
        }
    }

    fn byte(&mut self, byte: u8, next: Option<u8>) {
        let last = std::mem::replace(&mut self.last, byte);
        self.open = match (self.open, byte) {
            (Open::Nothing, b'\'' | b'"' | b'`') => Open::Quote(byte),
            (Open::Nothing, b'#') => Open::LineComment,
            (Open::Nothing, b'-') if last == b'-' && next.is_none_or(|b| b <= b' ') => Open::LineComment,
            (Open::Nothing, b'*') if last == b'/' => {
                // The star of the opening must not close it: `/*/`.
                self.last = 0;
                Open::Comment
            }
            (Open::Quote(quote), b'\\') if quote != b'`' => Open::Escape(quote),
            // A doubled quote closes and opens again, which comes to the same.
            (Open::Quote(quote), _) if byte == quote => Open::Nothing,
            (Open::Escape(quote), _) => Open::Quote(quote),
            (Open::Comment, b'/') if last == b'*' => {
                self.last = 0;
                Open::Nothing
            }
            (Open::LineComment, b'\n') => Open::Nothing,
            (open, _) => open,
        };
    }
}

/// Seconds with up to six digits behind the point, as microseconds.
pub(super) fn micros(seconds: &str) -> Option<u64> {
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, ""));
    if part.len() > 6 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = part.bytes().chain(std::iter::repeat(b'0')).take(6);
    let part = digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

/// The pairs of a header line: `Key: value  Key: value`. A key without a value has an empty one.
pub(super) fn pairs(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let key_of = |word: &'_ str| word.len() > 1 && word.ends_with(':');
    let mut words = line.split_ascii_whitespace().peekable();
    std::iter::from_fn(move || {
        let key = words.find(|word| key_of(word))?;
        Some((&key[..key.len() - 1], words.next_if(|word| !key_of(word)).unwrap_or("")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_open() {
        let check = |text: &str, open| {
            let mut lexical = Lexical::default();
            lexical.take(text.as_bytes());
            assert_eq!(lexical.is_open(), open, "{text}");
        };
        check("select 'a", true);
        check("select 'it''s'", false);
        check(r"select 'a\'", true);
        check(r"select `a\`", false);
        check("select /* 'x", true);
        check("select /*/ x", true);
        check("select /* ' */ 1", false);
        check("select 1 -- it's\n", false);
        check("select 1 # it's", false);
        check("select 1--'x", true);
    }

    /// Cut anywhere, a statement leaves the same open.
    #[test]
    fn it_is_the_same_in_one_piece_and_byte_by_byte() {
        let text = br#"select 'it''s \' -- no' , `a\` /*/ ' */ , "x\"" -- it's
            # "
            from t -- "
            where a = b--1 and c = '\\' /* ** / */ + '-- "#;
        for end in 0..=text.len() {
            let (mut whole, mut single) = (Lexical::default(), Lexical::default());
            whole.take(&text[..end]);
            for at in 0..end {
                single.byte(text[at], text[..end].get(at + 1).copied());
            }
            assert_eq!((whole.open, whole.last), (single.open, single.last), "{end}");
        }
    }

    #[test]
    fn reads_numbers_and_pairs() {
        assert_eq!(micros("0.000061"), Some(61));
        assert_eq!(micros("12.5"), Some(12_500_000));
        assert_eq!(micros("3"), Some(3_000_000));
        assert_eq!(micros("x.1"), None);
        assert_eq!(micros("99999999999999999999.1"), None);
        let check = |line, expected: &[(&str, &str)]| assert_eq!(pairs(line).collect::<Vec<_>>(), expected, "{line}");
        check("Thread_id: 9  Schema:   QC_hit: No", &[("Thread_id", "9"), ("Schema", ""), ("QC_hit", "No")]);
        check("a : b: : c d: e f g:", &[("b", ":"), ("d", "e"), ("g", "")]);
    }
}
