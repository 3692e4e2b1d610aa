//! Statements of a part of a log on their way from who reads it to who sums them: entries enter, digested; what the sums must know of
//! them leaves, in order. Their texts lie side by side in memory that is used again, so that an entry costs no allocation.

use millrace_collectors::slow_log::{Found, Marks, SlowEntry, Unreadable};
use millrace_processors::profile::{Observed, Text, Times};
use millrace_schemas::digest::{DigestId, Scanner};
use millrace_schemas::time::Timestamp;

use crate::cli::logs::{ODDITIES, odd};

/// What a statement may be marked with: oddities and how it was carried out.
const FLAGS_MAX: usize = 16;

/// Statements and what cannot be read, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    names: String,
    texts: Vec<u8>,
    /// The user, the host and the schema of the last statement: most have those of the one before.
    last: [Part; 3],
}

#[derive(Debug)]
pub(super) enum Item {
    Statement(Statement),
    Unreadable(Unreadable),
}

/// A part of the names or of the texts.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    start: u32,
    end: u32,
}

impl Part {
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// An entry of a log.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) ended: Timestamp,
    pub(super) digest: DigestId,
    user: Part,
    host: Part,
    /// None where it was named in the part of the log before.
    schema: Option<Part>,
    thread: Option<u64>,
    query_time_us: u64,
    lock_time_us: u64,
    rows_sent: u64,
    rows_examined: u64,
    rows_affected: Option<u64>,
    bytes_sent: Option<u64>,
    error: Option<u32>,
    odd: [bool; ODDITIES.len()],
    marks: Marks,
    sampled: u64,
    sql: Part,
    sql_bytes: u64,
    /// The text is the name of a command, which is no literal.
    plain: bool,
    offset: u64,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.names.clear();
        self.texts.clear();
        self.last = [Part::default(); 3];
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn add(&mut self, found: Found<'_>, scanner: &mut Scanner) {
        let item = match found {
            Found::Entry(entry) => Item::Statement(self.statement(entry, scanner)),
            Found::Unreadable(part) => Item::Unreadable(part),
        };
        self.items.push(item);
    }

    fn statement(&mut self, entry: &SlowEntry, scanner: &mut Scanner) -> Statement {
        let digest = match entry.admin_command {
            Some(_) => DigestId::ADMIN,
            None => scanner.id_of(entry.sure_sql()),
        };
        let start = self.texts.len() as u32;
        self.texts.extend_from_slice(entry.sure_sql());
        Statement {
            ended: entry.ts,
            digest,
            user: self.name(0, &entry.user),
            host: self.name(1, if entry.host.is_empty() { &entry.ip } else { &entry.host }),
            schema: (!entry.schema_before).then(|| self.name(2, &entry.schema)),
            thread: entry.thread,
            query_time_us: entry.query_time_us,
            lock_time_us: entry.lock_time_us,
            rows_sent: entry.rows_sent,
            rows_examined: entry.rows_examined,
            rows_affected: entry.rows_affected,
            bytes_sent: entry.bytes_sent,
            error: entry.error,
            odd: odd(entry, scanner.syntax()),
            marks: entry.marks,
            sampled: entry.sampled.max(1),
            sql: Part { start, end: self.texts.len() as u32 },
            sql_bytes: entry.sql_bytes,
            plain: entry.admin_command.as_deref().is_some_and(is_plain),
            offset: entry.offset,
        }
    }

    fn name(&mut self, which: usize, name: &str) -> Part {
        let last = self.last[which];
        if self.names[last.range()] == *name {
            return last;
        }
        let start = self.names.len() as u32;
        self.names.push_str(name);
        self.last[which] = Part { start, end: self.names.len() as u32 };
        self.last[which]
    }

    /// The text of a statement.
    pub(super) fn sql(&self, statement: &Statement) -> &[u8] {
        &self.texts[statement.sql.range()]
    }

    /// Calls `take` with what the sums must know of a statement of the input `input`. `schema` is the one that was named before this
    /// part of the log, and each entry stands for `factor` statements.
    pub(super) fn observed<R>(
        &self,
        one: &Statement,
        (schema, factor, input): (&str, u64, u64),
        take: impl FnOnce(&Observed<'_>) -> R,
    ) -> R {
        let (mut flags, mut count) = ([""; FLAGS_MAX], 0);
        let odd = ODDITIES.into_iter().zip(one.odd).filter_map(|(name, is)| is.then_some(name));
        for flag in odd.chain(one.marks.names()) {
            flags[count] = flag;
            count += 1;
        }
        take(&Observed {
            ended: one.ended,
            digest: one.digest,
            user: &self.names[one.user.range()],
            host: &self.names[one.host.range()],
            schema: one.schema.map_or(schema, |part| &self.names[part.range()]),
            thread: one.thread,
            calls: 1,
            factor: factor.saturating_mul(one.sampled),
            times: Times::One(one.query_time_us),
            lock_us: Some(one.lock_time_us),
            rows_sent: one.rows_sent,
            rows_examined: Some(one.rows_examined),
            rows_affected: one.rows_affected,
            bytes_sent: one.bytes_sent,
            errors: one.error.map(|error| u64::from(error != 0)),
            error_code: one.error.unwrap_or(0),
            flags: &flags[..count],
            text: Text { sql: self.sql(one), bytes: one.sql_bytes, masked: one.plain, input, offset: Some(one.offset) },
        })
    }
}

/// Whether a command is a name and nothing else: what a client made look like one may hold literals.
fn is_plain(command: &str) -> bool {
    command.len() <= 24 && command.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ')
}
