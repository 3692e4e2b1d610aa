//! The text of statements in a log: whether a literal or a comment is open where a line ends, and numbers and times as headers
//! write them. Pure and without memory beyond one state.

use memchr::{memchr, memchr2};
use millrace_schemas::digest::{CHARACTER_BYTES_MAX, Syntax};
use millrace_schemas::time::Timestamp;

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
    /// Behind two dashes with which a piece of a long line ends: what follows says whether they begin a comment.
    Dashes,
}

/// 16 bytes are looked at in one step.
const STEP: usize = 16;

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
    syntax: Syntax,
    /// The beginning of a character with which a piece of a long line ends.
    held: Vec<u8>,
}

impl Lexical {
    /// Nothing is open in a statement that is to be read so.
    pub(super) fn new(syntax: Syntax) -> Self {
        Lexical { syntax, ..Lexical::default() }
    }

    /// Statements are to be read so from here on.
    pub(super) fn read_as(&mut self, syntax: Syntax) {
        self.syntax = syntax;
    }

    /// Another statement begins.
    pub(super) fn begin(&mut self) {
        (self.open, self.last) = (Open::Nothing, 0);
        self.held.clear();
    }

    /// Whether a literal or a comment goes on behind the last byte.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.open, Open::Nothing | Open::LineComment | Open::Dashes)
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        if self.syntax.charset.has_traps() && !(self.held.is_empty() && bytes.is_ascii()) {
            return self.take_characters(bytes);
        }
        self.take_bytes(bytes);
    }

    /// Takes text of which a byte may look like a quote or a backslash: what is longer than a byte can open and close nothing.
    fn take_characters(&mut self, bytes: &[u8]) {
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        let mut plain = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if rest.len() < CHARACTER_BYTES_MAX && !rest[0].is_ascii() && rest.last() != Some(&b'\n') {
                self.held = rest.to_vec();
                break;
            }
            let length = self.syntax.charset.character_bytes(rest);
            plain.push(if length == 1 { rest[0] } else { b'x' });
            at += length;
        }
        self.take_bytes(&plain);
    }

    fn take_bytes(&mut self, bytes: &[u8]) {
        let mode = self.syntax.mode;
        if let (Open::Dashes, Some(first)) = (self.open, bytes.first()) {
            self.open = if *first <= b' ' { Open::LineComment } else { Open::Nothing };
        }
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            // Whatever changes nothing is passed over; the first byte that may is looked at.
            let passed = match self.open {
                Open::Nothing => opening(rest),
                Open::Quote(quote) => memchr2(quote, if mode.no_backslash_escapes { quote } else { b'\\' }, rest),
                Open::Escape(_) => Some(0),
                Open::Comment => memchr(b'/', rest),
                Open::LineComment | Open::Dashes => memchr(b'\n', rest),
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

    /// Whether a backslash means something inside these quotes: in strings, not in names.
    fn escapes_in(&self, quote: u8) -> bool {
        let mode = self.syntax.mode;
        !mode.no_backslash_escapes && quote != b'`' && !(quote == b'"' && mode.ansi_quotes)
    }

    fn byte(&mut self, byte: u8, next: Option<u8>) {
        let last = std::mem::replace(&mut self.last, byte);
        self.open = match (self.open, byte) {
            (Open::Nothing, b'\'' | b'"' | b'`') => Open::Quote(byte),
            (Open::Nothing, b'#') => Open::LineComment,
            (Open::Nothing, b'-') if last == b'-' => match next {
                None => Open::Dashes,
                Some(next) if next <= b' ' => Open::LineComment,
                Some(_) => Open::Nothing,
            },
            (Open::Nothing, b'*') if last == b'/' => {
                // The star of the opening must not close it: `/*/`.
                self.last = 0;
                Open::Comment
            }
            (Open::Quote(quote), b'\\') if self.escapes_in(quote) => Open::Escape(quote),
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

/// Where the first byte is that may open something. Most statements have few of them, so that whole steps are passed over.
fn opening(bytes: &[u8]) -> Option<usize> {
    let any = |step: &[u8; STEP]| {
        step.iter().fold(0, |any, b| {
            any | u8::from(*b == b'\'')
                | u8::from(*b == b'"')
                | u8::from(*b == b'`')
                | u8::from(*b == b'#')
                | u8::from(*b == b'-')
                | u8::from(*b == b'*')
        })
    };
    let (steps, _) = bytes.as_chunks::<STEP>();
    let passed = STEP * steps.iter().take_while(|step| any(step) == 0).count();
    bytes[passed..].iter().position(|byte| OPENS[usize::from(*byte)]).map(|at| passed + at)
}

/// Seconds with up to six digits behind the point, as microseconds.
pub(super) fn micros(seconds: &[u8]) -> Option<u64> {
    let point = seconds.iter().position(|b| *b == b'.').unwrap_or(seconds.len());
    let (whole, part) = (&seconds[..point], seconds.get(point + 1..).unwrap_or_default());
    if part.len() > 6 {
        return None;
    }
    let mut micros = 0;
    for at in 0..6 {
        let digit = part.get(at).map_or(0, |b| b.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        micros = micros * 10 + u64::from(digit);
    }
    integer(whole)?.checked_mul(1_000_000)?.checked_add(micros)
}

/// A whole number.
#[inline]
pub(super) fn integer(text: &[u8]) -> Option<u64> {
    // 19 digits always fit.
    if text.is_empty() || text.len() > 19 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let mut number = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return std::str::from_utf8(text).ok()?.parse().ok();
        }
        number = number * 10 + u64::from(digit);
    }
    Some(number)
}

/// A time as MySQL writes it, `2026-11-21T09:01:47.011068Z`; other forms are left to a reader of all of them.
pub(super) fn time(text: &[u8]) -> Option<Timestamp> {
    let by_hand = text.try_into().ok().and_then(usual_time);
    by_hand.or_else(|| any_time(text))
}

fn usual_time(text: &[u8; 27]) -> Option<Timestamp> {
    let marks = [(10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
    if marks.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let two = |at: usize| digits(&text[at..at + 2]);
    let (hour, minute, second, micros) = (two(11)?, two(14)?, two(17)?, digits(&text[20..26])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days(&text[..10])? * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000_000 + micros))
}

/// Digits and nothing else, few enough to fit.
fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + i64::from(digit))
    })
}

fn any_time(text: &[u8]) -> Option<Timestamp> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Days from 1970 to a date of this century or the ones beside it.
fn days(date: &[u8]) -> Option<i64> {
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&date[..4])?, digits(&date[5..7])?, digits(&date[8..])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month = usize::try_from(month - 1).ok().filter(|month| *month < 12)?;
    if !(1970..2100).contains(&year) || day < 1 || day > lengths[month] {
        return None;
    }
    // 2000 was a leap year, and 2100 is not reached.
    let leaps = (year - 1969) / 4;
    let before: i64 = lengths[..month].iter().sum();
    Some((year - 1970) * 365 + leaps + before + day - 1)
}

#[cfg(test)]
mod tests {
    use millrace_schemas::digest::{Charset, SqlMode};
    use proptest::prelude::*;

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

    #[test]
    fn what_is_open_depends_on_how_it_is_to_be_read() {
        let gbk = Charset::named("gbk").expect("a set");
        let check = |text: &[u8], ansi_quotes, no_backslash_escapes, charset, open| {
            let mode = SqlMode { ansi_quotes, no_backslash_escapes };
            let mut whole = Lexical::new(Syntax { mode, charset });
            let mut single = whole.clone();
            whole.take(text);
            for byte in text {
                single.take(&[*byte]);
            }
            for lexical in [&mut whole, &mut single] {
                lexical.take(b"\n");
            }
            assert_eq!((whole.is_open(), single.is_open()), (open, open), "{}", String::from_utf8_lossy(text));
        };
        let utf8 = Charset::default();
        check(br"select 'a\'", false, false, utf8, true);
        check(br"select 'a\'", false, true, utf8, false);
        check(br#"select "a\""#, true, false, utf8, false);
        check(br#"select "a\""#, false, false, utf8, true);
        check(b"select '\xbf\\'", false, false, gbk, false);
        check(b"select '\xbf\\'", false, false, utf8, true);
        check(b"select '\xbf'", false, false, gbk, false);
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
    fn reads_numbers() {
        let check = |text: &str, expected| assert_eq!(micros(text.as_bytes()), expected, "{text}");
        check("0.000061", Some(61));
        check("12.5", Some(12_500_000));
        check("3", Some(3_000_000));
        check("3.", Some(3_000_000));
        check("x.1", None);
        check(".1", None);
        check("1.0000001", None);
        check("99999999999999999999.1", None);
        assert_eq!([integer(b"+7"), integer(b""), integer(b"18446744073709551615")], [Some(7), None, Some(u64::MAX)]);
    }

    proptest! {
        /// By hand, times are what the library makes of them.
        #[test]
        fn times_are_those_of_all_readers(us in 0_i64..4_102_444_800_000_000, at in 0..27_usize, byte in any::<u8>()) {
            let text = format!("{}", Timestamp(us));
            prop_assert_eq!(time(text.as_bytes()), Some(Timestamp(us)), "{}", text);
            let mut text = format!("{}.{:06}Z", &text[..19], us % 1_000_000).into_bytes();
            prop_assert_eq!(time(&text), Some(Timestamp(us)));
            text[at] = byte;
            prop_assert_eq!(time(&text), any_time(&text), "{}", String::from_utf8_lossy(&text));
        }
    }
}
