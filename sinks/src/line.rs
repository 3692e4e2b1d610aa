//! The line protocol, as stores take it: points enter, lines leave. Only what every store reads alike is written: what the protocol
//! cannot carry in a label is replaced and counted, and a number that is none is refused. Times are whole milliseconds.

use std::io::Write as _;

use millrace_schemas::time::Timestamp;

/// Numbers of one series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The measurement.
    pub measurement: &'static str,
    /// Labels; one with an empty value is as good as absent.
    pub labels: Vec<(&'static str, String)>,
    /// Fields.
    pub fields: Vec<(&'static str, f64)>,
    /// When.
    pub at: Timestamp,
}

/// Why a point is no line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The protocol has no word for it.
    #[error("{0} is not a number")]
    NotANumber(&'static str),
    /// A line has at least one.
    #[error("a point without a field")]
    NoField,
}

/// Appends the line of `point`, with its end, and says how many characters were replaced. A point that is refused leaves `out` as
/// it was.
pub fn encode(point: &Point, out: &mut Vec<u8>) -> Result<u64, Refused> {
    if point.fields.is_empty() {
        return Err(Refused::NoField);
    }
    if let Some((field, _)) = point.fields.iter().find(|(_, value)| !value.is_finite()) {
        return Err(Refused::NotANumber(field));
    }
    let mut replaced = 0;
    replaced += escaped(point.measurement, out);
    for (label, value) in point.labels.iter().filter(|(_, value)| !value.is_empty()) {
        out.push(b',');
        replaced += escaped(label, out);
        out.push(b'=');
        replaced += escaped(value, out);
    }
    for (at, (field, value)) in point.fields.iter().enumerate() {
        out.push(if at == 0 { b' ' } else { b',' });
        replaced += escaped(field, out);
        // A whole number has the same digits as an integer, which are found in a tenth of the time.
        let _ = if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
            write!(out, "={}", *value as i64)
        } else {
            write!(out, "={value}")
        };
    }
    let _ = writeln!(out, " {}", point.at.0.div_euclid(1_000));
    Ok(replaced)
}

/// 2^53: up to there an integer is its number, and prints the same.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// What has a meaning in a line.
const SPECIAL: [char; 3] = [',', '=', ' '];

/// Appends `text` so that every store reads it back as it is. A control character, the end of the line among them, ends a line or
/// its reader: a space stands for it. A backslash before something special, before another or at the end is read in different
/// ways, or takes what follows with it: a slash stands for it.
fn escaped(text: &str, out: &mut Vec<u8>) -> u64 {
    // Most names have nothing of all this, and no byte that may be a part of it.
    if text.bytes().all(|byte| matches!(byte, b'!'..=b'~' if !matches!(byte, b',' | b'=' | b'\\'))) {
        out.extend_from_slice(text.as_bytes());
        return 0;
    }
    let mut replaced = 0;
    let mut push = |char: char| out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if chars.peek().is_none_or(|next| *next == '\\' || next.is_control() || SPECIAL.contains(next)) => {
                replaced += 1;
                push('/');
            }
            char if SPECIAL.contains(&char) => {
                push('\\');
                push(char);
            }
            char if char.is_control() => {
                replaced += 1;
                push('\\');
                push(' ');
            }
            char => push(char),
        }
    }
    replaced
}

#[cfg(test)]
#[path = "line_tests.rs"]
pub(crate) mod tests;
