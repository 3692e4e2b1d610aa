//! Query attributes: clients of MySQL 8.0.23 and later may put named values before the text of a statement. Enters: the
//! payload of `COM_QUERY` behind the command's byte. Leaves: the text. Values are passed over, never kept.

use super::packets::Fields;

/// The text behind the attributes; none when they cannot be read.
pub(super) fn skip(payload: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(payload);
    let count = usize::try_from(fields.number()?).ok()?;
    let _sets = fields.number()?;
    if count == 0 {
        return Some(fields.0);
    }
    let nulls = fields.bytes(count.div_ceil(8))?;
    if fields.u8()? != 1 {
        return None;
    }
    let mut types = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        types.push(fields.u16()? as u8);
        fields.string()?;
    }
    for (at, kind) in types.into_iter().enumerate() {
        if nulls[at / 8] >> (at % 8) & 1 == 0 {
            skip_value(&mut fields, kind)?;
        }
    }
    Some(fields.0)
}

/// Passes over one value of the binary protocol.
fn skip_value(fields: &mut Fields<'_>, kind: u8) -> Option<()> {
    let length = match kind {
        // NULL; tiny; short and year; long, int24 and float; longlong and double.
        6 => 0,
        1 => 1,
        2 | 13 => 2,
        3 | 4 | 9 => 4,
        5 | 8 => 8,
        // Timestamp, date, time, datetime: one byte of length before the value.
        7 | 10..=12 => usize::from(fields.u8()?),
        _ => {
            fields.string()?;
            0
        }
    };
    fields.bytes(length).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &[u8], expected: Option<&[u8]>) {
        assert_eq!(skip(payload), expected);
    }

    #[test]
    fn finds_the_text() {
        check(b"\x00\x01select 1", Some(b"select 1"));
        check(b"\x02\x01\x02\x01\xfe\x00\x01a\x08\x00\x01b\x03xyzselect 1", Some(b"select 1"));
        check(b"\x01\x01\x00\x01\x0c\x00\x01a\x04\xe6\x07\x01\x02select 1", Some(b"select 1"));
        check(b"\x01\x01\x00\x01\x0c\x00", None);
        check(b"", None);
    }
}
