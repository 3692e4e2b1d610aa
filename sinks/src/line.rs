//! The line protocol, as stores take it: points enter, lines leave. Only what every store reads alike is written: what the protocol
//! cannot carry in a label is replaced and counted, and a number that is none is refused. Times are whole milliseconds.

use std::fmt::Write as _;

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
pub fn encode(point: &Point, out: &mut String) -> Result<u64, Refused> {
    if point.fields.is_empty() {
        return Err(Refused::NoField);
    }
    if let Some((field, _)) = point.fields.iter().find(|(_, value)| !value.is_finite()) {
        return Err(Refused::NotANumber(field));
    }
    let mut replaced = 0;
    replaced += escaped(point.measurement, out);
    for (label, value) in point.labels.iter().filter(|(_, value)| !value.is_empty()) {
        out.push(',');
        replaced += escaped(label, out);
        out.push('=');
        replaced += escaped(value, out);
    }
    for (at, (field, value)) in point.fields.iter().enumerate() {
        out.push(if at == 0 { ' ' } else { ',' });
        replaced += escaped(field, out);
        let _ = write!(out, "={value}");
    }
    let _ = writeln!(out, " {}", point.at.0.div_euclid(1_000));
    Ok(replaced)
}

/// What has a meaning in a line.
const SPECIAL: [char; 3] = [',', '=', ' '];

/// Appends `text` so that every store reads it back as it is. A control character, the end of the line among them, ends a line or
/// its reader: a space stands for it. A backslash before something special, before another or at the end is read in different
/// ways, or takes what follows with it: a slash stands for it.
fn escaped(text: &str, out: &mut String) -> u64 {
    let mut replaced = 0;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' if chars.peek().is_none_or(|next| *next == '\\' || next.is_control() || SPECIAL.contains(next)) => {
                replaced += 1;
                out.push('/');
            }
            char if SPECIAL.contains(&char) => out.extend(['\\', char]),
            char if char.is_control() => {
                replaced += 1;
                out.push_str("\\ ");
            }
            char => out.push(char),
        }
    }
    replaced
}

#[cfg(test)]
#[path = "line_tests.rs"]
pub(crate) mod tests;
