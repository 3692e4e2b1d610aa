//! The values of an execution of a prepared statement, in the binary form: the payload of `COM_STMT_EXECUTE` behind the command's
//! byte enters; values leave, for who asked to see them. Types are sent with the first execution only, and long values before it,
//! so both are remembered with the statement. What cannot be read is said by giving nothing, never by a guess.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::packets::Fields;

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A number with its sign.
    Signed(i64),
    /// A number without sign.
    Unsigned(u64),
    /// A number of 4 bytes.
    Float(f32),
    /// A number of 8 bytes.
    Double(f64),
    /// Text, also decimal numbers, dates and times, and bytes that are no text.
    Bytes(Box<[u8]>),
    /// A value that was sent before, in pieces: so many bytes.
    Long(u64),
    /// The column's default, as MariaDB's executions with many rows may ask for it.
    Default,
    /// Nothing: the column stays as it is.
    Ignored,
    /// The values of one row of an execution with many.
    Row(Box<[Value]>),
}

/// What is remembered of a statement's parameters.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters {
    count: u16,
    /// Their types, once an execution has said them.
    types: Vec<u16>,
    /// How many bytes of which were sent before the execution.
    long: BTreeMap<u16, u64>,
}

/// The flag of an execution which says that a count of parameters follows.
const COUNT_FOLLOWS: u8 = 8;
/// The flag of an execution with many rows which says that types follow.
const TYPES_FOLLOW: u16 = 128;
/// The bit of a type that says that it has no sign.
const UNSIGNED: u16 = 0x8000;

impl Parameters {
    pub(super) fn new(count: u16) -> Self {
        Parameters { count, ..Parameters::default() }
    }

    /// A piece of a long value came, `COM_STMT_SEND_LONG_DATA` behind the statement's number: `length` bytes with the parameter's.
    pub(super) fn long_data(&mut self, payload: &[u8], length: u64) {
        if let Some(parameter) = Fields(payload).u16().filter(|at| *at < self.count) {
            *self.long.entry(parameter).or_default() += length.saturating_sub(2);
        }
    }

    /// `COM_STMT_RESET` forgets what was sent.
    pub(super) fn forget_long(&mut self) {
        self.long.clear();
    }

    /// The values of an execution, behind the statement's number; `attributes`: the client may name them, and send attributes.
    pub(super) fn take(&mut self, payload: &[u8], attributes: bool) -> Option<Vec<Value>> {
        let long = std::mem::take(&mut self.long);
        let mut fields = Fields(payload);
        let flags = fields.u8()?;
        fields.u32()?;
        let mut count = usize::from(self.count);
        if attributes && (count > 0 || flags & COUNT_FOLLOWS != 0) {
            count = usize::try_from(fields.number()?).ok()?;
        }
        if count == 0 {
            return Some(Vec::new());
        }
        let nulls = fields.bytes(count.div_ceil(8))?;
        if fields.u8()? == 1 {
            self.types.clear();
            for _ in 0..count {
                self.types.push(fields.u16()?);
                if attributes {
                    fields.string()?;
                }
            }
        }
        if self.types.len() < count {
            return None;
        }
        let mut values = Vec::with_capacity(usize::from(self.count));
        for (at, kind) in self.types.iter().enumerate().take(usize::from(self.count)) {
            values.push(match long.get(&(at as u16)) {
                Some(bytes) => Value::Long(*bytes),
                None if nulls[at / 8] >> (at % 8) & 1 != 0 => Value::Null,
                None => value(&mut fields, *kind)?,
            });
        }
        Some(values)
    }

    /// The rows of values of MariaDB's `COM_STMT_BULK_EXECUTE`, behind the statement's number: before each value stands whether it is
    /// one (0), NULL (1), the column's default (2) or to be left out (3).
    pub(super) fn take_rows(&mut self, payload: &[u8]) -> Option<Vec<Value>> {
        let mut fields = Fields(payload);
        let (flags, count) = (fields.u16()?, usize::from(self.count));
        if flags & TYPES_FOLLOW != 0 {
            self.types = (0..count).map(|_| fields.u16()).collect::<Option<_>>()?;
        }
        if count == 0 || self.types.len() < count {
            return None;
        }
        let mut rows = Vec::new();
        while !fields.0.is_empty() {
            let one = |kind: &u16| match fields.u8()? {
                0 => value(&mut fields, *kind),
                1 => Some(Value::Null),
                2 => Some(Value::Default),
                3 => Some(Value::Ignored),
                _ => None,
            };
            rows.push(Value::Row(self.types[..count].iter().map(one).collect::<Option<_>>()?));
        }
        Some(rows)
    }
}

/// Reads one value of the binary form.
fn value(fields: &mut Fields<'_>, kind: u16) -> Option<Value> {
    let unsigned = kind & UNSIGNED != 0;
    let integer = |bytes: &[u8]| {
        let plain = bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let unused = 64 - 8 * bytes.len();
        if unsigned { Value::Unsigned(plain) } else { Value::Signed((plain << unused) as i64 >> unused) }
    };
    Some(match kind & 0xff {
        6 => Value::Null,
        1 => integer(fields.bytes(1)?),
        2 | 13 => integer(fields.bytes(2)?),
        3 | 9 => integer(fields.bytes(4)?),
        8 => integer(fields.bytes(8)?),
        4 => Value::Float(f32::from_le_bytes(fields.bytes(4)?.try_into().ok()?)),
        5 => Value::Double(f64::from_le_bytes(fields.bytes(8)?.try_into().ok()?)),
        7 | 10 | 12 => Value::Bytes(date(fields)?.into_bytes().into()),
        11 => Value::Bytes(time(fields)?.into_bytes().into()),
        _ => Value::Bytes(fields.string()?.into()),
    })
}

/// A date, with a time where there is one; as long as what is not zero.
fn date(fields: &mut Fields<'_>) -> Option<String> {
    let length = fields.u8()?;
    let mut part = Fields(fields.bytes(usize::from(length))?);
    if length == 0 {
        return Some("0000-00-00".to_owned());
    }
    let (year, month, day) = (part.u16()?, part.u8()?, part.u8()?);
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    if length > 4 {
        let _ = write!(text, " {:02}:{:02}:{:02}", part.u8()?, part.u8()?, part.u8()?);
    }
    if length > 7 {
        let _ = write!(text, ".{:06}", part.u32()?);
    }
    Some(text)
}

/// A time, which may be of several days and negative.
fn time(fields: &mut Fields<'_>) -> Option<String> {
    let length = fields.u8()?;
    let mut part = Fields(fields.bytes(usize::from(length))?);
    if length == 0 {
        return Some("00:00:00".to_owned());
    }
    let (negative, days) = (part.u8()?, part.u32()?);
    let hours = u64::from(days) * 24 + u64::from(part.u8()?);
    let sign = if negative == 1 { "-" } else { "" };
    let mut text = format!("{sign}{hours:02}:{:02}:{:02}", part.u8()?, part.u8()?);
    if length > 8 {
        let _ = write!(text, ".{:06}", part.u32()?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Bytes(text.as_bytes().into())
    }

    /// An execution behind the statement's number: no cursor, once.
    fn execution(rest: &[u8]) -> Vec<u8> {
        [&[0, 1, 0, 0, 0][..], rest].concat()
    }

    /// One value of a type, in both the form of the text and as it lies in the packet.
    fn check(kind: u16, bytes: &[u8], expected: &Value) {
        let rest = [&[0, 1][..], &kind.to_le_bytes(), bytes].concat();
        let found = Parameters::new(1).take(&execution(&rest), false);
        assert_eq!(found.as_deref(), Some(&[expected.clone()][..]), "{kind}");
        for length in 0..rest.len() {
            let _ = Parameters::new(1).take(&execution(&rest[..length]), false);
        }
    }

    #[test]
    fn reads_every_type() {
        check(1, &[0xfe], &Value::Signed(-2));
        check(1 | UNSIGNED, &[0xfe], &Value::Unsigned(254));
        check(2, &[0, 0x80], &Value::Signed(-32_768));
        check(13, &[0xe8, 7], &Value::Signed(2_024));
        check(3, &[5, 0, 0, 0], &Value::Signed(5));
        check(9, &[0xff, 0xff, 0xff, 0xff], &Value::Signed(-1));
        check(8 | UNSIGNED, &[0xff; 8], &Value::Unsigned(u64::MAX));
        check(8, &[0xff; 8], &Value::Signed(-1));
        check(4, &1.5_f32.to_le_bytes(), &Value::Float(1.5));
        check(5, &(-2.5_f64).to_le_bytes(), &Value::Double(-2.5));
        check(6, &[], &Value::Null);
        check(10, &[4, 0xe8, 7, 2, 29], &text("2024-02-29"));
        check(12, &[7, 0xe8, 7, 2, 29, 1, 2, 3], &text("2024-02-29 01:02:03"));
        check(7, &[11, 0xe8, 7, 2, 29, 1, 2, 3, 4, 0, 0, 0], &text("2024-02-29 01:02:03.000004"));
        check(12, &[0], &text("0000-00-00"));
        check(11, &[8, 1, 1, 0, 0, 0, 2, 3, 4], &text("-26:03:04"));
        check(11, &[12, 0, 0, 0, 0, 0, 2, 3, 4, 5, 0, 0, 0], &text("02:03:04.000005"));
        check(11, &[0], &text("00:00:00"));
        for kind in [0, 15, 16, 245, 246, 247, 248, 249, 250, 251, 252, 253, 254, 255] {
            check(kind, b"\x03abc", &text("abc"));
        }
    }

    #[test]
    fn types_are_remembered_and_long_values_counted() {
        let mut parameters = Parameters::new(3);
        let typed = execution(b"\x02\x01\x03\0\x08\0\xfd\0\x07\0\0\0\x01x");
        assert_eq!(parameters.take(&typed, false), Some(vec![Value::Signed(7), Value::Null, text("x")]));
        parameters.long_data(b"\x02\0abc", 5);
        parameters.long_data(b"\x02\0de", 4);
        let again = execution(b"\x02\0\x08\0\0\0");
        assert_eq!(parameters.take(&again, false), Some(vec![Value::Signed(8), Value::Null, Value::Long(5)]));
        // Long values hold for one execution.
        assert_eq!(parameters.take(&again, false), None);
        assert_eq!(Parameters::new(3).take(&again, false), None, "no types were seen");
        assert_eq!(Parameters::new(0).take(&execution(b""), false), Some(Vec::new()));
    }

    #[test]
    fn attributes_are_passed_over() {
        let mut parameters = Parameters::new(1);
        let mut payload = vec![COUNT_FOLLOWS, 1, 0, 0, 0];
        // Two: the parameter, which has no name, and an attribute.
        payload.extend(b"\x02\0\x01\x03\0\0\xfe\0\x05trace\x07\0\0\0\x02id");
        assert_eq!(parameters.take(&payload, true), Some(vec![Value::Signed(7)]));
    }

    #[test]
    fn rows_of_values_are_read() {
        let mut parameters = Parameters::new(2);
        let typed = b"\x80\0\x03\0\xfd\0\0\x07\0\0\0\0\x01x\x01\x02\x03\0\x01y";
        let row = |one: Value, other: Value| Value::Row([one, other].into());
        let rows =
            vec![row(Value::Signed(7), text("x")), row(Value::Null, Value::Default), row(Value::Ignored, text("y"))];
        assert_eq!(parameters.take_rows(typed), Some(rows));
        // The types are known now.
        assert_eq!(parameters.take_rows(b"\0\0\x01\x01"), Some(vec![row(Value::Null, Value::Null)]));
        for length in 0..typed.len() {
            let _ = Parameters::new(2).take_rows(&typed[..length]);
        }
        for nonsense in [&b"\0\0\x07\x01"[..], b"\0\0\x01"] {
            assert_eq!(parameters.take_rows(nonsense), None);
        }
        assert_eq!(Parameters::new(2).take_rows(b"\0\0\x01\x01"), None, "no types were seen");
        assert_eq!(Parameters::new(0).take_rows(b"\0\0"), None);
    }
}
