//! GTID sets of MySQL: for each source UUID and optional tag, the transaction numbers that a server has.
//! In: the text of `gtid_executed`, `Received_transaction_set` and the like. Out: sets, compared exactly as the server's own
//! `GTID_SUBSET` and `GTID_SUBTRACT` would. A set is a value: two sets are equal when they hold the same transactions.

use std::collections::BTreeMap;
use std::fmt;

use super::intervals::{Intervals, Range};
use super::{GtidError, RANGES_MAX};

/// MySQL's own bound on the length of a tag.
const TAG_BYTES_MAX: usize = 32;

/// Who numbered a transaction: the server's UUID and, since MySQL 8.3, an optional tag with numbers of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    uuid: [u8; 16],
    /// The empty text stands for "no tag" and sorts first, as the server prints it.
    tag: String,
}

impl Source {
    /// The source without a tag whose UUID is written as `text`, in either case.
    pub fn parse(text: &str) -> Result<Self, GtidError> {
        Ok(Self { uuid: parse_uuid(text.trim())?, tag: String::new() })
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        (!self.tag.is_empty()).then_some(self.tag.as_str())
    }

    /// The server's UUID in its usual form, in lower case.
    pub fn uuid(&self) -> String {
        let mut text = String::with_capacity(36);
        for (index, byte) in self.uuid.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            for half in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(half), 16).expect("four bits are one hexadecimal digit"));
            }
        }
        text
    }
}

/// One transaction, in the form that `SET gtid_next` takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    /// Who numbered the transaction.
    pub source: Source,
    /// Its number, from 1.
    pub number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source.tag() {
            Some(tag) => write!(f, "{}:{tag}:{}", self.source.uuid(), self.number),
            None => write!(f, "{}:{}", self.source.uuid(), self.number),
        }
    }
}

/// A set of MySQL transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set(BTreeMap<Source, Intervals>);

impl Set {
    /// Reads a set as the server prints it: `uuid:1-5:7:tag:1-3, uuid:...`, with any whitespace, case and order.
    /// The caller has bounded the length of `text`.
    pub(super) fn parse(text: &str) -> Result<Self, GtidError> {
        let mut found: BTreeMap<Source, Vec<Range>> = BTreeMap::new();
        let mut ranges = 0;
        for element in text.split(',').map(str::trim).filter(|element| !element.is_empty()) {
            let mut parts = element.split(':').map(str::trim);
            let mut source = Source::parse(parts.next().unwrap_or_default())?;
            let mut numbers = 0;
            for part in parts {
                if part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    source.tag = parse_tag(part)?;
                    numbers = 0;
                } else {
                    found.entry(source.clone()).or_default().push(parse_range(part)?);
                    numbers += 1;
                    ranges += 1;
                }
            }
            if numbers == 0 {
                return Err(GtidError::bad(element, "an interval such as `:1-5` is missing at its end"));
            }
        }
        if ranges > RANGES_MAX {
            return Err(GtidError::TooManyRanges { ranges, max: RANGES_MAX });
        }
        Ok(Self(found.into_iter().map(|(source, ranges)| (source, Intervals::of(ranges))).collect()))
    }

    /// The sources and their numbers, ordered by UUID, then by tag.
    pub fn sources(&self) -> impl Iterator<Item = (&Source, &Intervals)> {
        self.0.iter()
    }

    /// The single transactions, ascending by source. There may be billions: the caller takes as many as it can bear.
    pub fn gtids(&self) -> impl Iterator<Item = Gtid> + '_ {
        self.0.iter().flat_map(|(source, numbers)| {
            let ranges = numbers.ranges().iter().flat_map(|range| range.first..=range.last);
            ranges.map(|number| Gtid { source: source.clone(), number })
        })
    }

    /// The part of the set that the server with the UUID of `source` numbered, with every tag.
    #[must_use]
    pub fn of_server(&self, source: &Source) -> Self {
        let own = self.0.iter().filter(|(candidate, _)| candidate.uuid == source.uuid);
        Self(own.map(|(source, numbers)| (source.clone(), numbers.clone())).collect())
    }

    /// Whether the set holds no transaction.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many transactions the set holds; stops at `u64::MAX` for sets of thousands of full sources.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, numbers| sum.saturating_add(numbers.count()))
    }

    /// The transactions in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.0.clone();
        for (source, numbers) in &other.0 {
            let both = all.get(source).map_or_else(|| numbers.clone(), |own| own.union(numbers));
            all.insert(source.clone(), both);
        }
        Self(all)
    }

    /// The transactions in this set that are not in `other`: the server's `GTID_SUBTRACT`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let rest = self.0.iter().map(|(source, numbers)| {
            let left = other.0.get(source).map_or_else(|| numbers.clone(), |gone| numbers.subtract(gone));
            (source.clone(), left)
        });
        Self(rest.filter(|(_, numbers)| !numbers.is_empty()).collect())
    }

    /// Whether every transaction of this set is in `other`: the server's `GTID_SUBSET`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().all(|(source, numbers)| other.0.get(source).is_some_and(|hull| numbers.is_subset(hull)))
    }
}

impl fmt::Display for Set {
    /// One line, ordered, which every MySQL server that knows the tags in it reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before: Option<[u8; 16]> = None;
        for (source, numbers) in &self.0 {
            if before != Some(source.uuid) {
                write!(f, "{}{}", if before.is_some() { "," } else { "" }, source.uuid())?;
                before = Some(source.uuid);
            }
            if let Some(tag) = source.tag() {
                write!(f, ":{tag}")?;
            }
            for range in numbers.ranges() {
                write!(f, ":{range}")?;
            }
        }
        Ok(())
    }
}

fn parse_uuid(text: &str) -> Result<[u8; 16], GtidError> {
    let bad = || GtidError::bad(text, "a server UUID of the form 8-4-4-4-12 hexadecimal digits was expected");
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return Err(bad());
    }
    let mut uuid = [0_u8; 16];
    let mut digits = 0;
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return Err(bad());
            }
            continue;
        }
        let digit = char::from(*byte).to_digit(16).ok_or_else(bad)?;
        uuid[digits / 2] = uuid[digits / 2] << 4 | digit as u8;
        digits += 1;
    }
    Ok(uuid)
}

fn parse_tag(text: &str) -> Result<String, GtidError> {
    if text.len() > TAG_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(GtidError::bad(text, "a tag has at most 32 letters, digits and underscores"));
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads `7` or `1-5`. The server drops an interval whose end lies before its start; no server prints one, so here it is an
/// error: it can only come from a damaged text.
pub(super) fn parse_range(text: &str) -> Result<Range, GtidError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |part: &str| part.trim().parse::<u64>().ok();
    let range = number(first).zip(number(last)).and_then(|(first, last)| Range::new(first, last));
    range.ok_or_else(|| GtidError::bad(text, "an interval such as `1-5` or `7`, ascending and from 1, was expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

    fn set(text: &str) -> Set {
        Set::parse(&text.replace('A', A).replace('B', B)).unwrap()
    }

    #[test]
    fn the_canonical_text_is_ordered_merged_and_on_one_line() {
        let check = |text: &str, expected: &str| {
            assert_eq!(set(text).to_string(), expected.replace('A', A).replace('B', B), "{text}");
        };
        check("", "");
        check(" , ", "");
        check("A:1", "A:1");
        check("A:1-1", "A:1");
        check("B:3,\nA:5-7:1-4:9", "A:1-7:9,B:3");
        check("A:1-3:backup:1-2:5:other:7", "A:1-3:backup:1-2:5:other:7");
        check("A:zeta:1:alpha:2, A:4", "A:4:alpha:2:zeta:1");
        check("A : 1 - 3 , A:4-5", "A:1-5");
        assert_eq!(Set::parse(&format!("{}:1", A.to_uppercase())).unwrap().to_string(), format!("{A}:1"));
    }

    #[test]
    fn a_damaged_text_is_refused_with_the_part_that_is_wrong() {
        let check = |text: &str, part: &str| {
            let error = Set::parse(&text.replace('A', A)).unwrap_err();
            assert!(error.to_string().contains(&format!("`{}`", part.replace('A', A))), "{text}: {error}");
        };
        check("A", "A");
        check("A:tag", "A:tag");
        check("A:1:tag", "A:1:tag");
        check("A:0", "0");
        check("A:5-3", "5-3");
        check("A:1-2-3", "1-2-3");
        check("A:", "");
        check("A:1:-:2", "-");
        check("A:x!:1", "x!");
        check("A:abcdefghijklmnopqrstuvwxyz_0123456:1", "abcdefghijklmnopqrstuvwxyz_0123456");
        check("0-1-5", "0-1-5");
        check("A:9223372036854775807", "9223372036854775807");
        check("zzzzzzzz-71ca-11e1-9e33-c80aa9429562:1", "zzzzzzzz-71ca-11e1-9e33-c80aa9429562");
    }

    #[test]
    fn tags_count_apart_from_the_plain_numbers() {
        assert!(!set("A:1-5").is_subset(&set("A:t:1-9")));
        assert_eq!(set("A:1-5:t:1-5").subtract(&set("A:t:2-4")), set("A:1-5:t:1:5"));
        assert_eq!(set("A:1-2:t:7").union(&set("A:t:8,B:1")), set("A:1-2:t:7-8,B:1"));
        assert_eq!(set("A:1-2:t:7-8,B:1").count(), 5);
    }

    #[test]
    fn the_transactions_of_one_server_are_listed_as_gtid_next_takes_them() {
        let own = set("A:1-2:t:7,B:1").of_server(&Source::parse(A).unwrap());
        let listed: Vec<String> = own.gtids().map(|gtid| gtid.to_string()).collect();
        assert_eq!(listed, [format!("{A}:1"), format!("{A}:2"), format!("{A}:t:7")]);
    }
}
