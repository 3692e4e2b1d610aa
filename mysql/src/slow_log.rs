//! The slow log as a table, where `log_output` has TABLE: `mysql.slow_log`, a file of comma-separated values without any index.
//! In: from which row on. Out: rows in the order of the file, at most so many. What it costs: a look scans the table from its first
//! row to the last that it returns, some 0.7 s for 100,000 rows (measured, MariaDB 10.11); the table is emptied by its owner,
//! never from here.

use crate::connect::Session;
use crate::error::Error;
use crate::rows::Row;

/// 16 KiB of a statement: its digest is that of its beginning where it is longer.
pub const SQL_BYTES_MAX: usize = 16 << 10;

/// A row of the table, as the server writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowRow {
    /// Microseconds since 1970-01-01 UTC at which the statement began.
    pub started_us: u64,
    /// The account: `user[user] @ host [address]`.
    pub user_host: String,
    /// How long it took.
    pub query_time_us: u64,
    /// How long it waited for locks.
    pub lock_time_us: u64,
    /// Rows sent.
    pub rows_sent: u64,
    /// Rows examined.
    pub rows_examined: u64,
    /// The default schema; empty when there was none.
    pub schema: String,
    /// The connection's number.
    pub thread: Option<u64>,
    /// The statement; its beginning when it is long.
    pub sql: String,
    /// The length of the whole statement.
    pub sql_bytes: u64,
}

/// How many rows the table has.
pub async fn count(session: &mut Session) -> Result<u64, Error> {
    const COUNT: &str = "SELECT COUNT(*) FROM mysql.slow_log";
    let count = session.value(COUNT).await?.and_then(|count| count.parse().ok());
    count.ok_or_else(|| session.unreadable(COUNT, "it is no number"))
}

/// At most `most` rows from the row `from` on, which counts from 0.
pub async fn read(session: &mut Session, from: u64, most: usize) -> Result<Vec<SlowRow>, Error> {
    let statement = format!(
        "SELECT CAST(UNIX_TIMESTAMP(start_time) * 1000000 AS UNSIGNED) AS started_us, user_host, query_time, lock_time, \
         rows_sent, rows_examined, db, thread_id, LEFT(sql_text, {SQL_BYTES_MAX}) AS sql_begin, LENGTH(sql_text) AS sql_bytes \
         FROM mysql.slow_log LIMIT {most} OFFSET {from}"
    );
    let rows = session.rows(&statement).await?;
    let read =
        |row: &Row| slow_row(row).ok_or_else(|| session.unreadable(&statement, "a value is missing or no number"));
    rows.iter().map(read).collect()
}

fn slow_row(row: &Row) -> Option<SlowRow> {
    Some(SlowRow {
        started_us: row.number("started_us")?,
        user_host: row.text("user_host")?,
        query_time_us: micros(&row.text("query_time")?)?,
        lock_time_us: micros(&row.text("lock_time")?)?,
        rows_sent: row.number("rows_sent")?,
        rows_examined: row.number("rows_examined")?,
        schema: row.text("db").unwrap_or_default(),
        thread: row.number("thread_id"),
        sql: row.text("sql_begin").unwrap_or_default(),
        sql_bytes: row.number("sql_bytes").unwrap_or(0),
    })
}

/// Microseconds of `00:01:02.345678`, as servers print the type TIME.
fn micros(time: &str) -> Option<u64> {
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut seconds = 0;
    for part in whole.split(':') {
        seconds = seconds * 60 + part.parse::<u64>().ok()?;
    }
    if fraction.len() > 6 {
        return None;
    }
    let fraction = if fraction.is_empty() { 0 } else { format!("{fraction:0<6}").parse::<u64>().ok()? };
    Some(seconds * 1_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_servers_print_them() {
        let check = |time: &str, expected| assert_eq!(micros(time), expected, "{time}");
        check("00:00:01.500000", Some(1_500_000));
        check("00:00:00.000012", Some(12));
        check("838:59:59.000000", Some(3_020_399_000_000));
        check("00:01:02", Some(62_000_000));
        check("00:00:01.5", Some(1_500_000));
        check("soon", None);
        check("00:00:00.1234567", None);
    }
}
