//! The server's own counters per statement digest and per command: what other sources of digests are compared with, and what
//! stands in where no packets can be read. In: `performance_schema`. Out: one value per digest, and totals per command.
//! Known gaps, measured: counts can be off by one or two; MariaDB's digest table does not count executions of prepared
//! statements at all (its commands do).

use std::collections::BTreeMap;

use crate::connect::Session;
use crate::error::Error;
use crate::rows::Row;

/// 10,000 digests: the size of the server's own table by default; rows beyond it are in its "other" row anyway.
pub const DIGESTS_MAX: usize = 10_000;

/// What a server counted of one digest in one schema since it started, or since its table was emptied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestCounters {
    /// The schema that was current.
    pub schema: Option<String>,
    /// The server's own digest, hexadecimal. `None` in the row that stands for all statements beyond the table's size.
    pub digest: Option<String>,
    /// The normalised text, cut at `max_digest_length`.
    pub text: Option<String>,
    /// Executions.
    pub count: u64,
    /// Executions that failed.
    pub errors: u64,
    /// Time in all, in picoseconds, the server's own unit.
    pub time_ps: u64,
    /// Time spent waiting for table locks, in picoseconds.
    pub lock_time_ps: u64,
    /// Rows sent to clients.
    pub rows_sent: u64,
    /// Rows inserted, changed or deleted.
    pub rows_affected: u64,
    /// Rows read by the storage engines.
    pub rows_examined: u64,
}

/// Reads the digest table, most executed first, at most 10,000 rows.
pub async fn read(session: &mut Session) -> Result<Vec<DigestCounters>, Error> {
    let statement = format!(
        "SELECT SCHEMA_NAME, DIGEST, DIGEST_TEXT, COUNT_STAR, SUM_ERRORS, SUM_TIMER_WAIT, SUM_LOCK_TIME, SUM_ROWS_SENT, \
         SUM_ROWS_AFFECTED, SUM_ROWS_EXAMINED \
         FROM performance_schema.events_statements_summary_by_digest ORDER BY COUNT_STAR DESC LIMIT {DIGESTS_MAX}"
    );
    let rows = session.rows(&statement).await?;
    rows.iter()
        .map(|row| digest_of(row).ok_or_else(|| session.unreadable(&statement, "a counter is missing or no number")))
        .collect()
}

fn digest_of(row: &Row) -> Option<DigestCounters> {
    Some(DigestCounters {
        schema: row.text("SCHEMA_NAME"),
        digest: row.text("DIGEST"),
        text: row.text("DIGEST_TEXT"),
        count: row.number("COUNT_STAR")?,
        errors: row.number("SUM_ERRORS")?,
        time_ps: row.number("SUM_TIMER_WAIT")?,
        lock_time_ps: row.number("SUM_LOCK_TIME")?,
        rows_sent: row.number("SUM_ROWS_SENT")?,
        rows_affected: row.number("SUM_ROWS_AFFECTED")?,
        rows_examined: row.number("SUM_ROWS_EXAMINED")?,
    })
}

/// How often each command of the protocol and each kind of statement ran, by event name, for instance
/// `statement/com/Execute` or `statement/sql/select`. Names that never ran are left out.
pub async fn read_commands(session: &mut Session) -> Result<BTreeMap<String, u64>, Error> {
    let statement = "SELECT EVENT_NAME, COUNT_STAR FROM performance_schema.events_statements_summary_global_by_event_name \
                     WHERE COUNT_STAR > 0";
    let rows = session.rows(statement).await?;
    let pairs = rows.iter().map(|row| row.text("EVENT_NAME").zip(row.number("COUNT_STAR")));
    pairs.collect::<Option<_>>().ok_or_else(|| session.unreadable(statement, "a name or counter is missing"))
}

/// Empties the digest table, so that counting starts at 0. The right is `DROP` on the table.
pub async fn reset(session: &mut Session) -> Result<(), Error> {
    session.execute("TRUNCATE TABLE performance_schema.events_statements_summary_by_digest").await
}
