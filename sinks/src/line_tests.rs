//! The encoder against readers of our own, one for each way in which stores read a backslash: what one reads the other must too.

use proptest::prelude::*;

use super::*;

/// How a reader decides that a character has no meaning.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// By the character before it: a backslash. Other backslashes stay.
    Before,
    /// By the number of backslashes before it: an odd one. Two are one.
    Counted,
}

/// What a line says: measurement, labels, fields, time.
#[derive(Debug, PartialEq)]
struct Read(String, Vec<(String, String)>, Vec<(String, f64)>, i64);

/// Splits `text` where `separator` stands with its meaning.
fn split(text: &str, separator: char, reading: Reading) -> Vec<String> {
    let (mut parts, mut slashes) = (vec![String::new()], 0_usize);
    for char in text.chars() {
        let taken = match reading {
            Reading::Before => slashes > 0,
            Reading::Counted => slashes % 2 == 1,
        };
        slashes = if char == '\\' { slashes + 1 } else { 0 };
        match char {
            char if char == separator && !taken => parts.push(String::new()),
            char => parts.last_mut().expect("one at least").push(char),
        }
    }
    parts
}

fn plain(text: &str, reading: Reading) -> String {
    let mut plain = text.to_owned();
    if matches!(reading, Reading::Counted) {
        plain = plain.replace("\\\\", "\\");
    }
    for special in [',', '=', ' '] {
        plain = plain.replace(&format!("\\{special}"), &special.to_string());
    }
    plain
}

fn read(line: &str, reading: Reading) -> Read {
    let [head, fields, at] = split(line, ' ', reading).try_into().unwrap_or_else(|parts| panic!("{line:?}: {parts:?}"));
    let pair = |text: &String| {
        let [name, value] = split(text, '=', reading).try_into().unwrap_or_else(|parts| panic!("{text:?}: {parts:?}"));
        (plain(&name, reading), plain(&value, reading))
    };
    let mut head = split(&head, ',', reading).into_iter();
    let measurement = plain(&head.next().expect("one at least"), reading);
    let labels = head.map(|one| pair(&one)).collect();
    let number = |(name, value): (String, String)| (name, value.parse().expect("a number"));
    let fields = split(&fields, ',', reading).iter().map(|one| number(pair(one))).collect();
    Read(measurement, labels, fields, at.parse().expect("a time"))
}

/// What the protocol carries of a text.
pub(crate) fn carried(text: &str) -> String {
    let next = text.chars().skip(1).map(Some).chain([None]);
    let ends = |next: Option<char>| next.is_none_or(|next| next.is_control() || "\\,= ".contains(next));
    let carry = |(char, next): (char, Option<char>)| match char {
        '\\' if ends(next) => '/',
        char if char.is_control() => ' ',
        char => char,
    };
    text.chars().zip(next).map(carry).collect()
}

fn point(value: &str, number: f64, ms: i64) -> Point {
    let labels = vec![("a", value.to_owned()), ("empty", String::new()), ("z", "k".to_owned())];
    Point { measurement: "m_e", labels, fields: vec![("f", number), ("g", 1.0)], at: Timestamp(ms * 1_000) }
}

#[test]
fn what_cannot_be_carried_is_replaced_and_counted() {
    let check = |value: &str, expected: &str, replaced| {
        let mut line = Vec::new();
        assert_eq!(encode(&point(value, 0.5, 7), &mut line), Ok(replaced), "{value:?}");
        assert_eq!(line, format!("m_e,a={expected},z=k f=0.5,g=1 7\n").into_bytes(), "{value:?}");
    };
    check("plain", "plain", 0);
    check("a b,c=d", "a\\ b\\,c\\=d", 0);
    check("C:\\dir", "C:\\dir", 0);
    check("C:\\", "C:/", 1);
    check("a\\,b", "a/\\,b", 1);
    check("a\\\\b", "a/\\b", 1);
    check("a\nb\r", "a\\ b\\ ", 2);
    check("\"é\" 'x'", "\"é\"\\ 'x'", 0);
}

#[test]
fn what_is_no_number_is_refused_and_leaves_nothing() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut line = b"before\n".to_vec();
        assert_eq!(encode(&point("v", number, 1), &mut line), Err(Refused::NotANumber("f")));
        assert_eq!(line, b"before\n");
    }
    let none = Point { fields: Vec::new(), ..point("v", 1.0, 1) };
    assert_eq!(encode(&none, &mut Vec::new()), Err(Refused::NoField));
}

/// Numbers of any kind, and whole ones about as large as are all exact.
fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![-1e18..1e18_f64, -1.0..1.0_f64, (-(1_i64 << 54)..1_i64 << 54).prop_map(|whole| whole as f64)]
}

proptest! {
    #[test]
    fn every_reader_reads_what_was_said(value in "\\PC{1,20}|[a\\\\,= \n\"é]{1,12}", number in numbers(), ms in -1_000_000..4_102_444_800_000_i64) {
        let mut line = Vec::new();
        let replaced = encode(&point(&value, number, ms), &mut line).expect("a number");
        let line = String::from_utf8(line).expect("text");
        prop_assert_eq!(line.matches('\n').count(), 1, "one line");
        let carried = carried(&value);
        prop_assert_eq!(replaced, value.chars().zip(carried.chars()).filter(|(a, b)| a != b).count() as u64);
        let labels = vec![("a".to_owned(), carried), ("z".to_owned(), "k".to_owned())];
        let expected = Read("m_e".to_owned(), labels, vec![("f".to_owned(), number), ("g".to_owned(), 1.0)], ms);
        for reading in [Reading::Before, Reading::Counted] {
            prop_assert_eq!(&read(line.trim_end_matches('\n'), reading), &expected, "{:?}", reading);
        }
    }
}
