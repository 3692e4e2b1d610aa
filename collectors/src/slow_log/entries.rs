//! Entries of a slow log: bytes of the file enter in order, cut anywhere; entries leave. An entry begins at `# Time:` or
//! `# User@Host:` and ends where the next begins, provided that the statement before has its semicolon and no open literal:
//! else the line belongs to the statement, because a client put it there. Where a literal is never closed (a statement with a
//! syntax error), too many such lines show that they were real: the entry is given up and reading goes on at the first of them.
//! It must never keep more than its limits.

use std::borrow::Cow;

use memchr::{memchr, memmem};
use millrace_schemas::digest::Syntax;
use millrace_schemas::time::Timestamp;

use super::fields::Fields;
use super::mysql::Accounts;
use super::text::{Lexical, integer};
use super::{Dialect, Found, SlowEntry, Style, Unreadable, mariadb, mysql};

/// Longest statement that is kept, in bytes. 1 MiB: the digest of a longer one is that of its beginning.
const SQL_KEPT: usize = 1 << 20;
/// Header-like lines inside one open literal from which on they are taken for real. 64: a forger would have to be that
/// obvious, and a syntax error hides no more than this.
const SUSPECTS_MAX: usize = 64;
/// Bytes from the first header-like line on that are kept, to be read again. 4 MiB.
const SUSPECT_BYTES_MAX: usize = 4 << 20;
/// 4 bytes in front of every packet, and one that says which command it is.
const REQUEST_HEAD: u64 = 5;
/// Longest line that is kept in one piece; of a longer one in a header, the rest is passed over. 64 KiB; the longest real ones of
/// headers are plans.
const LINE_MAX: usize = 64 << 10;
/// Longest header. 1 MiB: a plan of thousands of lines; a client's comment that looks like a header may be as long as its packets.
const HEADER_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first entry, or behind what cannot be read.
    Outside,
    /// In the lines that begin with `#`.
    Header,
    /// Behind them: `use` and `SET timestamp`.
    Preamble,
    /// In the statement.
    Statement,
}

/// Finds entries.
#[derive(Debug)]
pub struct Entries {
    dialect: Dialect,
    place: Place,
    entry: SlowEntry,
    lexical: Lexical,
    /// The last bytes of the statement.
    tail: [u8; 2],
    fields: Fields,
    accounts: Accounts,
    /// The header had an account.
    accounted: bool,
    /// Attributes are kept.
    attributes: bool,
    /// The last one that was named; none before.
    schema: Option<String>,
    /// A line that is not whole yet.
    line: Vec<u8>,
    /// Where the next byte lies in the file.
    offset: u64,
    /// Where the line at hand began.
    line_at: u64,
    /// The line at hand is the rest of a longer one.
    continued: bool,
    suspects: usize,
    /// Where in the statement the first header-like line is.
    inside_at: usize,
    /// What was read since the first header-like line in an open literal.
    suspected: Vec<u8>,
    suspected_at: u64,
    timestamp: Option<u64>,
    /// The header had a query time.
    queried: bool,
    /// Where the last line of the statement ends.
    statement_end: u64,
}

impl Entries {
    /// Reads from `offset` of a file on.
    pub fn new(style: impl Into<Style>, offset: u64) -> Self {
        let Style { dialect, syntax } = style.into();
        Entries {
            dialect,
            place: Place::Outside,
            entry: SlowEntry::default(),
            lexical: Lexical::new(syntax),
            tail: [0; 2],
            fields: Fields::new(dialect == Dialect::MariaDb),
            accounts: Accounts::default(),
            accounted: false,
            attributes: true,
            schema: None,
            line: Vec::new(),
            offset,
            line_at: offset,
            continued: false,
            suspects: 0,
            inside_at: 0,
            suspected: Vec::new(),
            suspected_at: 0,
            timestamp: None,
            queried: false,
            statement_end: offset,
        }
    }

    /// Reads entries without their attributes.
    pub fn without_attributes(style: impl Into<Style>, offset: u64) -> Self {
        Entries { attributes: false, ..Entries::new(style, offset) }
    }

    /// The statements that come are to be read so.
    pub fn read_as(&mut self, syntax: Syntax) {
        self.lexical.read_as(syntax);
    }

    /// Where an entry may begin in a part of a log: the last place behind a semicolon and a line end where a header stands. Whether
    /// one does begin there, [`Entries::is_outside`] says of who has read the part before it.
    pub fn last_border(part: &[u8]) -> Option<usize> {
        const BORDER: &[u8] = b";\n# ";
        let at = |found: usize| found + BORDER.len() - b"# ".len();
        memmem::FinderRev::new(BORDER).rfind_iter(part).map(at).find(|at| is_header(&part[*at..]))
    }

    /// No entry is at hand: who begins to read here finds what this would find.
    pub fn is_outside(&self) -> bool {
        self.place == Place::Outside && self.line.is_empty() && !self.continued
    }

    /// The schema that was named last.
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Goes on behind what `before` has read, as if it had read that.
    pub fn follow(&mut self, before: &Entries) {
        if self.schema.is_none() {
            self.schema.clone_from(&before.schema);
        }
    }

    /// Where to begin again so that no entry is lost: at the entry at hand.
    pub fn resume_offset(&self) -> u64 {
        if self.place == Place::Outside { self.line_at } else { self.entry.offset }
    }

    /// Takes bytes and gives what they complete.
    pub fn take(&mut self, mut bytes: &[u8], found: &mut impl FnMut(Found<'_>)) {
        while !bytes.is_empty() {
            // A long line is taken in pieces, which are the same however its bytes come.
            let room = LINE_MAX - self.line.len();
            let within = &bytes[..room.min(bytes.len())];
            let end = memchr(b'\n', within).map(|at| at + 1);
            let part = &within[..end.unwrap_or(within.len())];
            bytes = &bytes[part.len()..];
            self.offset += part.len() as u64;
            let whole = end.is_some() || part.len() == room;
            if whole && self.line.is_empty() {
                self.whole_line(part, found);
                self.continued = end.is_none();
                continue;
            }
            self.line.extend_from_slice(part);
            if whole {
                let line = std::mem::take(&mut self.line);
                self.whole_line(&line, found);
                self.continued = end.is_none();
            }
        }
    }

    fn whole_line(&mut self, line: &[u8], found: &mut impl FnMut(Found<'_>)) {
        let begins = !std::mem::take(&mut self.continued);
        let at = self.line_at;
        self.line_at = at + line.len() as u64;
        self.line(line, at, begins, found);
    }

    /// The file ends, or nothing came for a while: an entry that looks whole is given out.
    pub fn settle(&mut self, found: &mut impl FnMut(Found<'_>)) {
        if self.line.is_empty() && self.statement_ended() {
            self.finish(found);
        }
    }

    /// The file ends for good: what is at hand is given out or counted.
    pub fn end(&mut self, found: &mut impl FnMut(Found<'_>)) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.whole_line(&line, found);
        }
        if self.suspects > 0 {
            self.give_up("a literal is not closed where the log ends", found);
            return self.end(found);
        }
        if self.statement_ended() {
            self.finish(found);
        } else if self.place != Place::Outside {
            self.unreadable("the log ends inside the entry", self.line_at, found);
        }
    }

    fn statement_ended(&self) -> bool {
        self.place == Place::Statement && !self.lexical.is_open() && self.tail == *b";\n"
    }

    fn line(&mut self, line: &[u8], at: u64, begins: bool, found: &mut impl FnMut(Found<'_>)) {
        match self.place {
            Place::Outside => {
                if begins && is_header(line) {
                    self.begin(line, at, found);
                }
            }
            // A second one before any statement: what looked like an entry was text of a statement before it.
            Place::Header if begins && is_header(line) && self.queried => {
                self.unreadable("the header has no statement", at, found);
                self.begin(line, at, found);
            }
            Place::Header if !begins => {}
            Place::Header if line.starts_with(b"#") && !is_admin(line) => self.header(line, found),
            Place::Header | Place::Preamble => {
                if self.preamble(line) {
                    self.place = Place::Preamble;
                } else {
                    self.place = Place::Statement;
                    self.look_for_header(begins, line);
                    self.statement(line);
                }
            }
            Place::Statement => self.statement_line(line, at, begins, found),
        }
    }

    fn statement_line(&mut self, line: &[u8], at: u64, begins: bool, found: &mut impl FnMut(Found<'_>)) {
        if begins && self.statement_ended() && (is_header(line) || is_banner(line)) {
            self.finish(found);
            if is_header(line) {
                self.begin(line, at, found);
            }
            return;
        }
        if begins && is_header(line) && self.lexical.is_open() {
            if self.suspects == 0 {
                self.suspected_at = at;
            }
            self.suspects += 1;
        }
        self.look_for_header(begins, line);
        if self.suspects > 0 {
            self.suspected.extend_from_slice(line);
            if self.suspects > SUSPECTS_MAX || self.suspected.len() > SUSPECT_BYTES_MAX {
                return self.give_up("a literal is not closed in the statement", found);
            }
        }
        self.statement(line);
        if self.statement_ended() {
            // The literal was closed: those lines were part of it.
            self.forget_suspects();
        }
    }

    fn look_for_header(&mut self, begins: bool, line: &[u8]) {
        if begins && is_header(line) && !self.entry.header_inside {
            self.entry.header_inside = true;
            self.inside_at = self.entry.sql.len();
        }
    }

    fn forget_suspects(&mut self) {
        self.suspects = 0;
        self.suspected.clear();
        self.suspected.shrink_to(LINE_MAX);
    }

    fn begin(&mut self, line: &[u8], at: u64, found: &mut impl FnMut(Found<'_>)) {
        self.entry.begin(at);
        self.fields.begin();
        self.accounted = false;
        self.place = Place::Header;
        self.lexical.begin();
        self.tail = [0; 2];
        self.timestamp = None;
        self.queried = false;
        self.header(line, found);
    }

    fn header(&mut self, line: &[u8], found: &mut impl FnMut(Found<'_>)) {
        let hashes = line.iter().take_while(|byte| **byte == b'#').count();
        let text = line[hashes..].trim_ascii();
        self.queried |= text.starts_with(b"Query_time: ");
        let read = if let Some(account) = text.strip_prefix(b"User@Host: ") {
            self.accounted = true;
            self.accounts.take(account, &mut self.entry)
        } else {
            if self.attributes && !text.is_empty() && !text.starts_with(b"Time: ") {
                self.entry.attributes.push_line(&readable(text));
            }
            match self.dialect {
                Dialect::MySql => mysql::header(text, &mut self.entry, &mut self.fields),
                Dialect::MariaDb => mariadb::header(text, &mut self.entry, &mut self.fields),
            }
        };
        if read.is_none() {
            self.unreadable("the header cannot be read", self.line_at, found);
        } else if self.line_at - self.entry.offset > HEADER_MAX {
            self.unreadable("the header is too long", self.line_at, found);
        }
    }

    /// Takes `use` and `SET timestamp`, which the server writes before the statement; false for other lines.
    fn preamble(&mut self, line: &[u8]) -> bool {
        if self.timestamp.is_some() {
            return false;
        }
        if let Some(time) = line.strip_prefix(b"SET timestamp=").and_then(|time| time.strip_suffix(b";\n"))
            && let Some(whole) = integer(time)
        {
            self.timestamp = Some(whole);
            return true;
        }
        if !line.starts_with(b"use ") && !line.starts_with(b"SET ") {
            return false;
        }
        let text = readable(line);
        let Some(text) = text.trim_end().strip_suffix(';') else { return false };
        if let Some(schema) = text.strip_prefix("use ") {
            let quoted = schema.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
            self.schema = Some(quoted.map_or_else(|| schema.to_owned(), |name| name.replace("``", "`")));
            return true;
        }
        let set = text.strip_prefix("SET ").into_iter().flat_map(|set| set.split(','));
        let mut timestamps = set.filter_map(|pair| pair.trim().strip_prefix("timestamp="));
        let whole = timestamps.next().and_then(|value| value.split('.').next()).and_then(|value| value.parse().ok());
        self.timestamp = whole;
        whole.is_some()
    }

    fn statement(&mut self, line: &[u8]) {
        if self.entry.sql_bytes == 0 && is_admin(line) {
            let command = String::from_utf8_lossy(&line[ADMIN.len()..]);
            self.entry.admin_command = Some(command.trim().trim_end_matches(';').to_owned());
        } else {
            self.lexical.take(line);
        }
        let room = (SQL_KEPT + 2).saturating_sub(self.entry.sql.len()).min(line.len());
        self.entry.sql.extend_from_slice(&line[..room]);
        self.entry.sql_bytes += line.len() as u64;
        self.statement_end = self.line_at;
        self.tail = match line {
            [.., before, last] => [*before, *last],
            [last] => [self.tail[1], *last],
            [] => self.tail,
        };
    }

    fn finish(&mut self, found: &mut impl FnMut(Found<'_>)) {
        self.place = Place::Outside;
        self.forget_suspects();
        let entry = &mut self.entry;
        if !self.queried {
            let bytes = self.statement_end.saturating_sub(entry.offset);
            let reason = "the entry has no query time";
            return found(Found::Unreadable(Unreadable { offset: entry.offset, bytes, reason }));
        }
        // `;` and the line end are the server's.
        entry.sql_bytes -= 2;
        entry.sql.truncate(usize::try_from(entry.sql_bytes).unwrap_or(usize::MAX).min(SQL_KEPT));
        let one_request = entry.bytes_received >= entry.sql_bytes + REQUEST_HEAD;
        entry.sure = if entry.header_inside && !one_request { self.inside_at } else { entry.sql.len() };
        if entry.schema.is_empty() {
            match &self.schema {
                Some(schema) => entry.schema.clone_from(schema),
                None => entry.schema_before = true,
            }
        }
        if !self.accounted {
            self.accounts.none(entry);
        }
        if self.dialect == Dialect::MariaDb || entry.ts == Timestamp::ZERO {
            let started = self.timestamp.unwrap_or(0).saturating_mul(1_000_000);
            entry.ts = Timestamp(i64::try_from(started.saturating_add(entry.query_time_us)).unwrap_or(i64::MAX));
        }
        found(Found::Entry(entry));
    }

    /// The entry at hand cannot be read up to `end`.
    fn unreadable(&mut self, reason: &'static str, end: u64, found: &mut impl FnMut(Found<'_>)) {
        self.place = Place::Outside;
        self.forget_suspects();
        let offset = self.entry.offset;
        found(Found::Unreadable(Unreadable { offset, bytes: end.saturating_sub(offset), reason }));
    }

    /// The header-like lines in the open literal were real: reads again from the first of them.
    fn give_up(&mut self, reason: &'static str, found: &mut impl FnMut(Found<'_>)) {
        let again = std::mem::take(&mut self.suspected);
        let (at, end) = (self.suspected_at, self.line_at);
        self.unreadable(reason, at, found);
        self.line_at = at;
        for line in again.split_inclusive(|b| *b == b'\n') {
            for (at, piece) in line.chunks(LINE_MAX).enumerate() {
                self.continued = at > 0;
                self.whole_line(piece, found);
            }
        }
        self.line_at = end;
    }
}

/// The line as text. Nearly all are valid, and to see that takes far less than to look for what is not.
fn readable(line: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(line).map_or_else(|_| String::from_utf8_lossy(line), Cow::Borrowed)
}

const ADMIN: &[u8] = b"# administrator command: ";

fn is_header(line: &[u8]) -> bool {
    line.starts_with(b"# Time: ") || line.starts_with(b"# User@Host: ")
}

fn is_admin(line: &[u8]) -> bool {
    line.starts_with(ADMIN)
}

/// What a server writes when it opens the log.
fn is_banner(line: &[u8]) -> bool {
    line.windows(10).any(|part| part == b", Version:") && line.trim_ascii_end().ends_with(b"started with:")
}

#[cfg(test)]
#[path = "entries_tests.rs"]
mod tests;
