//! A server's own counters of its work, as a snapshot: the difference of two snapshots is the load between them.
//! In: `SHOW GLOBAL STATUS`. Out: whole numbers by name. Counters that a server does not have are absent, not 0.

use std::collections::BTreeMap;

use crate::connect::Session;
use crate::error::Error;
use crate::flavour::names::renamed;

/// What is read: load, connections, waits for locks and disks, the binlog caches. All of it exists in both flavours unless a
/// comment says otherwise; the whole list would be 400 to 600 rows a second that nobody looks at.
const READ: &[&str] = &[
    "Aborted_clients",
    "Aborted_connects",
    "Bytes_received",
    "Bytes_sent",
    "Com_begin",
    "Com_commit",
    "Com_delete",
    "Com_insert",
    "Com_replace",
    "Com_rollback",
    "Com_select",
    "Com_update",
    "Connections",
    "Handler_commit",
    "Innodb_buffer_pool_read_requests",
    "Innodb_buffer_pool_reads",
    "Innodb_buffer_pool_wait_free",
    "Innodb_data_fsyncs",
    "Innodb_os_log_written",
    "Innodb_row_lock_current_waits",
    "Innodb_row_lock_time",
    "Innodb_row_lock_waits",
    "Innodb_rows_deleted",
    "Innodb_rows_inserted",
    "Innodb_rows_read",
    "Innodb_rows_updated",
    "Prepared_stmt_count",
    "Queries",
    "Questions",
    "Slow_queries",
    "Threads_connected",
    "Threads_created",
    "Threads_running",
    "Uptime",
];

/// Counters by their name in lower case, under the newest name where a dialect has an older one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads them in one statement.
    pub async fn read(session: &mut Session) -> Result<Self, Error> {
        Self::from_rows(session, READ).await
    }

    /// The counters of semi-synchronous replication, under MySQL's newest names, with switches as 1 and 0.
    pub(crate) async fn read_semi_sync(session: &mut Session) -> Result<Self, Error> {
        Self::from_rows(session, &[]).await
    }

    async fn from_rows(session: &mut Session, names: &[&str]) -> Result<Self, Error> {
        let listed: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        let choice = if listed.is_empty() {
            "LIKE 'Rpl_semi_sync%'".to_owned()
        } else {
            format!("WHERE Variable_name IN ({})", listed.join(","))
        };
        let rows = session.rows(&format!("SHOW GLOBAL STATUS {choice}")).await?;
        let pairs = rows.into_iter().filter_map(|row| row.nth(0).zip(row.nth(1)));
        Ok(Self(pairs.filter_map(|(name, value)| Some((renamed(&name), number(&value)?))).collect()))
    }

    /// The counter named `name` (lower case).
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// What was added to the counter since `before`; `None` if either lacks it or the server restarted between.
    pub fn since(&self, before: &Self, name: &str) -> Option<u64> {
        self.get(name)?.checked_sub(before.get(name)?)
    }

    /// All counters, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

fn number(text: &str) -> Option<u64> {
    match text {
        "ON" => Some(1),
        "OFF" => Some(0),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_went_back_or_is_absent_gives_no_difference() {
        let snapshot = |queries| Counters(BTreeMap::from([("queries".to_owned(), queries)]));
        assert_eq!(snapshot(12).since(&snapshot(5), "queries"), Some(7));
        assert_eq!(snapshot(3).since(&snapshot(5), "queries"), None);
        assert_eq!(snapshot(3).since(&snapshot(5), "questions"), None);
        assert_eq!([number("ON"), number("OFF"), number("17"), number("x")], [Some(1), Some(0), Some(17), None]);
    }
}
