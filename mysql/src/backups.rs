//! When a server was backed up last, by the tables that backup programs keep on it. In: a session. Out: the end of the newest backup of
//! the whole server that succeeded. A table that is not there, or that the account may not read, says nothing.

use crate::connect::Session;

/// Where programs write what they did, and what is asked there. A backup of some tables alone restores no server, and is none here.
const HISTORIES: [(&str, &str); 3] = [
    // MySQL Enterprise Backup has a row for each backup that ended, well or not.
    ("mysql.backup_history", "exit_state = 'SUCCESS' AND backup_type NOT IN ('PARTIAL', 'TTS')"),
    // mariadb-backup and XtraBackup, with --history, have one for each that succeeded.
    ("mysql.mariadb_backup_history", "partial = 'N'"),
    ("PERCONA_SCHEMA.xtrabackup_history", "partial = 'N'"),
];

/// The tables.
pub fn tables() -> impl Iterator<Item = &'static str> {
    HISTORIES.into_iter().map(|(table, _)| table)
}

/// The end of the newest backup, in seconds since 1970.
pub async fn newest(session: &mut Session) -> Option<i64> {
    let mut newest = None;
    for (table, whole) in HISTORIES {
        let statement = format!("SELECT FLOOR(UNIX_TIMESTAMP(MAX(end_time))) FROM {table} WHERE {whole}");
        // It fails where there is no such table: as a rule two of the three.
        let ended = session.value(&statement).await.ok().flatten();
        newest = newest.max(ended.and_then(|text| text.parse().ok()));
    }
    newest
}
