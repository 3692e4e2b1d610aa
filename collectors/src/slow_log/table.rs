//! Following a slow log that is a table: what the server adds to `mysql.slow_log` leaves, entry by entry, as from a file. The table
//! only grows, and is emptied as a whole by its owner: a place in it is a number of rows, and the last of them, which must still
//! be there. It must never read more in one look than its budget, nor look again before the server had twenty times as long a rest,
//! since each look scans the table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_mysql::slow_log::{SlowRow, count, read};
use millrace_mysql::{Error, Session};
use millrace_schemas::time::Timestamp;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::fields::Marks;
use super::{Found, SlowEntry, mysql};
use crate::log_in::LogIn;

/// 500 rows a look, of 16 KiB of text at most: 8 MiB, as of a file.
const ROWS_MAX: usize = 500;
/// 1 s to 60 s between looks.
const REST: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(1);
/// 20 times as long as the last look took: a server spends 5 % of one core on it at most.
const REST_FACTOR: u32 = 20;

/// A place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePosition {
    /// How many rows are before it.
    pub rows: u64,
    /// XXH3 of the last of them; absent before the first row.
    pub last: Option<u64>,
}

/// What a look at the table did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Rows read.
    pub rows: u64,
    /// The table was emptied since the last look: what was added in between and before that is gone.
    pub emptied: bool,
    /// More can be read.
    pub more: bool,
    /// How long the server took.
    pub took: Duration,
}

impl Looked {
    /// How long the server is to be left alone.
    pub fn rest(&self) -> Duration {
        (self.took * REST_FACTOR).clamp(*REST.start(), *REST.end())
    }
}

/// Follows the table of one server.
#[derive(Debug)]
pub struct TableFollower {
    log_in: Arc<LogIn>,
    session: Option<Session>,
    /// None until the first look, without a place to go on from.
    at: Option<TablePosition>,
}

impl TableFollower {
    /// Goes on `from` where an earlier run stopped, else behind what is there.
    pub fn new(log_in: Arc<LogIn>, from: Option<TablePosition>) -> Self {
        Self { log_in, session: None, at: from }
    }

    /// Where to go on after a restart.
    pub fn position(&self) -> Option<TablePosition> {
        self.at
    }

    /// Reads what was added, up to a budget.
    pub async fn look(&mut self, mut found: impl FnMut(Found<'_>)) -> Result<Looked, Error> {
        // Taken: if this is dropped while it waits, the session goes with the answer that it has in flight.
        let mut session = match self.session.take() {
            Some(session) if session.is_usable() => session,
            _ => self.log_in.open().await?,
        };
        let began = Instant::now();
        let at = match self.at {
            Some(at) => at,
            None => end(&mut session).await?,
        };
        // The last row is read again: it tells whether the table is still the same.
        let rows = read(&mut session, at.rows.saturating_sub(1), ROWS_MAX + 1).await?;
        self.session = Some(session);
        let (at, looked) = take(at, &rows, began.elapsed(), &mut found);
        self.at = Some(at);
        Ok(looked)
    }
}

/// The place behind all rows.
async fn end(session: &mut Session) -> Result<TablePosition, Error> {
    let rows = count(session).await?;
    let last = read(session, rows.saturating_sub(1), 1).await?;
    // Rows that came between the two statements are new.
    Ok(TablePosition { rows, last: last.first().filter(|_| rows > 0).map(hash) })
}

/// Gives out the rows behind `at`, of those that begin with the last one before it.
fn take(
    at: TablePosition,
    rows: &[SlowRow],
    took: Duration,
    found: &mut impl FnMut(Found<'_>),
) -> (TablePosition, Looked) {
    let new = match at.last {
        None => rows,
        Some(last) => match rows.split_first() {
            Some((first, rest)) if hash(first) == last => rest,
            _ => {
                let emptied = Looked { rows: 0, emptied: true, more: true, took };
                return (TablePosition { rows: 0, last: None }, emptied);
            }
        },
    };
    let new = &new[..new.len().min(ROWS_MAX)];
    for row in new {
        found(Found::Entry(&entry(row)));
    }
    let behind = TablePosition { rows: at.rows + new.len() as u64, last: new.last().map(hash).or(at.last) };
    (behind, Looked { rows: new.len() as u64, emptied: false, more: new.len() == ROWS_MAX, took })
}

/// Times of microseconds, accounts and connections make rows differ; two that do not are one to nobody's loss.
fn hash(row: &SlowRow) -> u64 {
    let SlowRow { started_us, user_host, query_time_us, thread, sql, .. } = row;
    xxh3_64(format!("{started_us} {query_time_us} {thread:?} {user_host} {sql}").as_bytes())
}

/// The row as an entry of a file. No client can write what would be taken for the header of another entry here.
fn entry(row: &SlowRow) -> SlowEntry {
    let ended = row.started_us.saturating_add(row.query_time_us);
    let sql = row.sql.clone().into_bytes();
    let mut entry = SlowEntry {
        ts: Timestamp(i64::try_from(ended).unwrap_or(i64::MAX)),
        thread: row.thread,
        schema: row.schema.clone(),
        query_time_us: row.query_time_us,
        lock_time_us: row.lock_time_us,
        rows_sent: row.rows_sent,
        rows_examined: row.rows_examined,
        marks: Marks::default(),
        admin_command: admin_command(&row.sql),
        sql_bytes: row.sql_bytes,
        sure: sql.len(),
        sql,
        ..SlowEntry::default()
    };
    // An account that cannot be read leaves the statement without one.
    let _ = mysql::user_host(&row.user_host, &mut entry);
    entry
}

/// The command of a row that is no statement.
fn admin_command(sql: &str) -> Option<String> {
    sql.strip_prefix("# administrator command: ")
        .or_else(|| sql.strip_prefix("administrator command: "))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: u64) -> SlowRow {
        SlowRow {
            started_us: 1_700_000_000_000_000 + at,
            user_host: "app[app] @ h [127.0.0.1]".to_owned(),
            query_time_us: 1_500_000,
            lock_time_us: 2,
            rows_sent: 3,
            rows_examined: 4,
            schema: "shop".to_owned(),
            thread: Some(9),
            sql: format!("SELECT {at}"),
            sql_bytes: 8,
        }
    }

    fn looked(at: TablePosition, rows: &[SlowRow]) -> (TablePosition, Looked, Vec<String>) {
        let mut sql = Vec::new();
        let (at, looked) = take(at, rows, Duration::from_millis(3), &mut |found| {
            let Found::Entry(entry) = found else { panic!("{found:?}") };
            sql.push(String::from_utf8(entry.sql.clone()).expect("text"));
        });
        (at, looked, sql)
    }

    const EMPTY: TablePosition = TablePosition { rows: 0, last: None };

    #[test]
    fn what_was_added_is_given_out_once() {
        let (at, first, sql) = looked(EMPTY, &[row(0), row(1)]);
        assert_eq!((at.rows, first.rows, first.more, sql), (2, 2, false, vec!["SELECT 0".into(), "SELECT 1".into()]));
        let (same, again, sql) = looked(at, &[row(1)]);
        assert_eq!((same, again.rows, sql.len()), (at, 0, 0));
        let (at, _, sql) = looked(at, &[row(1), row(2)]);
        assert_eq!((at.rows, sql), (3, vec!["SELECT 2".to_owned()]));
    }

    #[test]
    fn a_table_that_was_emptied_is_read_from_its_beginning() {
        let (at, ..) = looked(EMPTY, &[row(0), row(1)]);
        for rows in [vec![], vec![row(7)]] {
            let (again, looked, sql) = looked(at, &rows);
            assert_eq!((again, looked.emptied, looked.more, sql.len()), (EMPTY, true, true, 0));
        }
        let (at, looked, sql) = looked(EMPTY, &[row(7)]);
        assert_eq!((at.rows, looked.emptied, sql.len()), (1, false, 1));
    }

    #[test]
    fn a_look_has_its_budget_and_the_server_its_rest() {
        let rows: Vec<SlowRow> = (0..=ROWS_MAX as u64).map(row).collect();
        let (at, first, sql) = looked(EMPTY, &rows);
        assert_eq!((at.rows, first.more, sql.len()), (ROWS_MAX as u64, true, ROWS_MAX));
        let rest = |ms| Looked { took: Duration::from_millis(ms), ..first }.rest();
        assert_eq!([rest(3), rest(200), rest(9_000)], [1_000, 4_000, 60_000].map(Duration::from_millis));
    }

    #[test]
    fn a_row_is_an_entry() {
        let entry = entry(&row(0));
        assert_eq!((entry.user.as_str(), entry.host.as_str(), entry.ip.as_str()), ("app", "h", "127.0.0.1"));
        assert_eq!((entry.ts, entry.sure_sql()), (Timestamp(1_700_000_001_500_000), b"SELECT 0".as_slice()));
        assert_eq!(admin_command("# administrator command: Ping"), Some("Ping".to_owned()));
    }
}
