//! What an OK says has changed in the session (`session_track_*`): the bytes of its list enter; the schema, the character set and
//! the GTID of what was just committed leave. MySQL tells GTIDs in an entry of their own, MariaDB as the variable `last_gtid`.
//! Other entries are passed over.

use super::packets::Fields;

/// Types of entries.
const VARIABLE: u8 = 0;
const SCHEMA: u8 = 1;
const GTIDS: u8 = 3;

/// The list, as it lies in the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Changes<'a>(pub(super) &'a [u8]);

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// The default schema is this.
    Schema(&'a [u8]),
    /// The client's character set is this; none: what the client sends is not converted.
    Charset(&'a [u8]),
    /// This was committed.
    Gtid(&'a [u8]),
}

impl<'a> Changes<'a> {
    /// Each change, in order.
    pub(super) fn each(self) -> impl Iterator<Item = Change<'a>> {
        let mut fields = Fields(self.0);
        std::iter::from_fn(move || {
            loop {
                let (kind, entry) = (fields.u8()?, fields.string()?);
                if let Some(change) = change(kind, Fields(entry)) {
                    return Some(change);
                }
            }
        })
    }
}

fn change(kind: u8, mut entry: Fields<'_>) -> Option<Change<'_>> {
    match kind {
        SCHEMA => entry.string().map(Change::Schema),
        GTIDS => {
            let _form = entry.u8()?;
            entry.string().map(Change::Gtid)
        }
        VARIABLE => {
            let (name, value) = (entry.string()?, entry.string()?);
            match name {
                b"character_set_client" => Some(Change::Charset(value)),
                b"last_gtid" if !value.is_empty() => Some(Change::Gtid(value)),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        for part in parts {
            body.push(part.len() as u8);
            body.extend_from_slice(part);
        }
        [&[kind, body.len() as u8][..], &body].concat()
    }

    #[test]
    fn reads_both_dialects_and_passes_over_the_rest() {
        let gtid = b"3e11fa47-71ca-11e1-9e33-c80aa9429562:23";
        let mut mysql = entry(SCHEMA, &[b"shop"]);
        mysql.extend(entry(2, &[b"1"]));
        mysql.extend([GTIDS, gtid.len() as u8 + 2, 0, gtid.len() as u8]);
        mysql.extend(gtid);
        mysql.extend(entry(5, &[b"T_______"]));
        assert_eq!(Changes(&mysql).each().collect::<Vec<_>>(), [Change::Schema(b"shop"), Change::Gtid(gtid)]);
        let mariadb =
            [entry(VARIABLE, &[b"character_set_client", b"gbk"]), entry(VARIABLE, &[b"autocommit", b"ON"])].concat();
        assert_eq!(Changes(&mariadb).each().collect::<Vec<_>>(), [Change::Charset(b"gbk")]);
        let last = entry(VARIABLE, &[b"last_gtid", b"0-1-42"]);
        assert_eq!(Changes(&last).each().collect::<Vec<_>>(), [Change::Gtid(b"0-1-42")]);
        for length in 0..mysql.len() {
            let _ = Changes(&mysql[..length]).each().count();
        }
    }
}
