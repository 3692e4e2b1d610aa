//! The text of statements in a log: whether a literal or a comment is open where a line ends, and numbers as headers write
//! them. Pure and without memory beyond one state.

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
        for (at, byte) in bytes.iter().enumerate() {
            let next = bytes.get(at + 1).copied();
            self.byte(*byte, next);
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
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part)
}

/// The pairs of a header line: `Key: value  Key: value`. A key without a value has an empty one.
pub(super) fn pairs(line: &str) -> Vec<(&str, &str)> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    let mut expects = false;
    for word in line.split_ascii_whitespace() {
        match word.strip_suffix(':') {
            Some(key) if !key.is_empty() => {
                pairs.push((key, ""));
                expects = true;
            }
            _ if expects => {
                if let Some(last) = pairs.last_mut() {
                    last.1 = word;
                }
                expects = false;
            }
            _ => {}
        }
    }
    pairs
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

    #[test]
    fn reads_numbers_and_pairs() {
        assert_eq!(micros("0.000061"), Some(61));
        assert_eq!(micros("12.5"), Some(12_500_000));
        assert_eq!(micros("3"), Some(3_000_000));
        assert_eq!(micros("x.1"), None);
        assert_eq!(micros("99999999999999999999.1"), None);
        assert_eq!(pairs("Thread_id: 9  Schema:   QC_hit: No"), [("Thread_id", "9"), ("Schema", ""), ("QC_hit", "No")]);
    }
}
