//! The second key of a statement: the id that pt-query-digest gives it, for people who come from that tool and have its ids in
//! reports, tickets and dashboards. A statement enters, its id leaves; the text behind it stays inside, because it may hold
//! literals (a doubled quote or a number in hex is enough). What the tool does is kept with its oddities, since an id that is
//! better is another id. It was held against percona-toolkit 3.2.1. Off the hot path: asked for by name, never by default.

mod steps;

use std::fmt;

use md5::{Digest as _, Md5};

use steps::{starts_with, whitespace, word};

/// What a dump asks for, all of its tables under one id.
const DUMP: &[u8] = b"SELECT /*!40001 SQL_NO_CACHE */ * FROM `";
/// What a command that is no statement is called.
const COMMAND: &[u8] = b"administrator command: ";

/// The id of a statement as pt-query-digest has it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PtId([u8; 16]);

impl PtId {
    /// The id of a whole statement. A command that a slow log writes as a comment (`# administrator command: Quit`) is one too.
    pub fn of(sql: &[u8]) -> PtId {
        let command = sql.strip_prefix(b"# ").filter(|rest| rest.starts_with(COMMAND));
        PtId(Md5::digest(fingerprint(command.unwrap_or(sql))).into())
    }

    /// The id of a statement of which only the beginning is known; none where the rest may matter. Of `INSERT` with several rows
    /// it does not, behind the first.
    pub fn of_beginning(sql: &[u8]) -> Option<PtId> {
        let settled = sql.starts_with(DUMP) || names_a_chunk(sql) || first_row(sql).is_some();
        settled.then(|| PtId::of(sql))
    }

    /// All 32 digits, as releases from 3.0.11 on print them; `Display` writes the last 16, which older ones print.
    pub fn whole(self) -> String {
        format!("{:032X}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for PtId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u128::from_be_bytes(self.0) as u64)
    }
}

impl fmt::Debug for PtId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole())
    }
}

/// The text that stands for all statements of one id. The order of the steps matters: most oddities come from it.
fn fingerprint(sql: &[u8]) -> Vec<u8> {
    if sql.starts_with(DUMP) {
        return b"mysqldump".to_vec();
    }
    if names_a_chunk(sql) {
        return b"percona-toolkit".to_vec();
    }
    if sql.starts_with(COMMAND) {
        return sql.to_vec();
    }
    if let Some(call) = call(sql) {
        return call.to_ascii_lowercase();
    }
    let text = steps::drop_block_comments(first_row(sql).unwrap_or(sql));
    let text = steps::drop_line_comments(&text);
    if let Some(text) = chosen_schema(&text) {
        return text;
    }
    let text = steps::drop_escaped_quotes(&text);
    let text = steps::mask_quoted(&text, b'"');
    let text = steps::mask_quoted(&text, b'\'');
    let text = steps::mask_words(&text, &[b"false", b"true"]);
    let text = steps::mask_numbers(&text);
    let text = steps::drop_signs(&text);
    let text = steps::squeeze(&text).to_ascii_lowercase();
    let text = steps::mask_words(&text, &[b"null"]);
    let text = steps::fold_lists(&text);
    let text = steps::fold_unions(&text);
    let text = steps::fold_limit(&text);
    steps::drop_ascending(&text)
}

/// Whether a comment names a chunk of a table (`/*db.table:3/9*/`), as the toolkit's own statements do.
fn names_a_chunk(sql: &[u8]) -> bool {
    let chunk = |at: usize| -> Option<()> {
        let rest = sql[at..].strip_prefix(b"/*")?;
        let schema = rest.iter().take_while(|byte| word(**byte)).count();
        let rest = rest[schema..].strip_prefix(b".")?;
        let table = rest.iter().take_while(|byte| word(**byte)).count();
        let place = rest[table..].strip_prefix(b":")?;
        let [part, b'/', parts, b'*', b'/', ..] = place else { return None };
        (schema > 0 && table > 0 && part.is_ascii_digit() && parts.is_ascii_digit()).then_some(())
    };
    (0..sql.len()).any(|at| sql[at] == b'/' && chunk(at).is_some())
}

/// `call p` of a call with its parenthesis right behind the name; of several, up to the last one before a blank.
fn call(sql: &[u8]) -> Option<&[u8]> {
    let sql = &sql[blanks(sql)..];
    let behind = sql.get(4..).filter(|_| starts_with(sql, b"call"))?;
    let between = blanks(behind);
    let name = 4 + between;
    let run = sql[name..].iter().take_while(|byte| !whitespace(**byte)).count();
    let open = sql[name..name + run].iter().rposition(|byte| *byte == b'(')?;
    (between > 0 && open > 0).then(|| &sql[..name + open])
}

/// An `INSERT` or `REPLACE` of several rows up to the end of the first; none for other statements.
fn first_row(sql: &[u8]) -> Option<&[u8]> {
    let mut at = ["insert", "replace"].iter().find(|verb| starts_with(sql, verb.as_bytes()))?.len();
    if starts_with(&sql[at..], b" ignore") {
        at += " ignore".len();
    }
    let between = blanks(&sql[at..]);
    at += between;
    if between == 0 || !starts_with(&sql[at..], b"into") {
        return None;
    }
    at += "into".len();
    let opens = |at: usize| {
        let behind = at + "values".len();
        let open = starts_with(&sql[at..], b"values").then(|| behind + blanks(&sql[behind..]))?;
        (sql.get(open) == Some(&b'(')).then_some(open + 1)
    };
    let inside = (at + 1..sql.len()).find_map(opens)?;
    let goes_on = |at: &usize| {
        let behind = |at: usize| at + blanks(&sql[at..]);
        let comma = if sql[*at] == b')' { behind(at + 1) } else { sql.len() };
        sql.get(comma) == Some(&b',') && sql.get(behind(comma + 1)) == Some(&b'(')
    };
    (inside..sql.len()).find(goes_on).map(|end| &sql[..=end])
}

/// `use ?`.
fn chosen_schema(text: &[u8]) -> Option<Vec<u8>> {
    let (line, end) = text.strip_suffix(b"\n").map_or((text, &b""[..]), |line| (line, b"\n"));
    let name = line.get(4..).filter(|name| starts_with(line, b"use ") && !name.is_empty())?;
    let plain = !name.iter().any(|byte| whitespace(*byte));
    plain.then(|| [b"use ?", end].concat())
}

fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|byte| whitespace(**byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&fingerprint(sql.as_bytes())), expected, "{sql}");
    }

    #[test]
    fn steps_come_in_the_order_of_the_tool() {
        check("SELECT a-1, 0x1F, X'1F' FROM db12.T WHERE b=TRUE", "select a?, ?f, x? from d?t where b=?");
        check("select a from t order by a asc, b asc asc, ascii(c) asc", "select a from t order by a, b asc,ii(c)");
        check("select 1 union select 1, b", "select ? /*repeat union*/, b");
        check("select a from t where b in (1,2) , (3)", "select a from t where b in(?+)");
        check("insert into t values (now(), 'a)'), (now(), 'b')", "insert into t values (now(), ?)");
        check(" Call Db.P1(1, f(2))", "call db.p1");
        check("use Db1", "use ?");
    }

    #[test]
    fn a_command_is_the_same_in_a_log_and_by_itself() {
        assert_eq!(PtId::of(b"# administrator command: Quit"), PtId::of(b"administrator command: Quit"));
    }

    #[test]
    fn a_beginning_is_enough_where_the_rest_is_dropped() {
        let whole = b"insert into t (a) values (1), (2), (3)";
        assert_eq!(PtId::of_beginning(&whole[..whole.len() - 6]), Some(PtId::of(whole)));
        assert_eq!(PtId::of_beginning(b"select a from t where b in (1, 2"), None);
    }

    /// Bytes that lead into every step, most of them unfinished.
    #[test]
    fn nothing_ends_the_process() {
        let parts: [&[u8]; 14] = [
            b"insert into",
            b"values(",
            b"), (",
            b"/*",
            b"*/",
            b"--",
            b"'",
            b"\\\"",
            b"in (",
            b" union ",
            b"select ",
            b"\xff",
            b" limit ?",
            b"order by a asc",
        ];
        for first in parts {
            for second in parts {
                for third in parts {
                    PtId::of(&[first, second, third].concat());
                    PtId::of_beginning(&[third, first].concat());
                }
            }
        }
    }
}
