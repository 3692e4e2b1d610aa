//! The bus file itself: its format, its lock, opening it, and what its errors mean to a reader of the message.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::{Retention, Topic};
use rusqlite::{Connection, ErrorCode};

use crate::bus::Error;

/// The format this version writes. 1: one table per topic.
pub(super) const FORMAT: i64 = 1;
/// "MLRC": tells a bus file from any other SQLite file.
const APPLICATION_ID: i64 = 0x4d4c_5243;
/// SQLite's header; the application id stands in its bytes 68 to 71.
const HEADER_BYTES: usize = 100;
/// A file of one page of 4 KiB holds no table of anybody yet.
const FIRST_PAGE_BYTES: u64 = 4_096;
/// 256 MiB are checked whole at each start (about a second); of larger files only the schema is.
const CHECKED_BYTES_MAX: u64 = 256 << 20;

/// An opened bus file: the only writing connection, the lock, and where each topic ends.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Held for the life of the bus: a second process is refused.
    pub(super) lock: File,
    pub(super) ends: Vec<(Topic, u64)>,
    pub(super) newest: Timestamp,
    pub(super) path: std::path::PathBuf,
}

/// The table of a topic.
pub(super) fn table(topic: Topic) -> &'static str {
    match topic {
        Topic::Journal => "t_journal",
        Topic::Queries => "t_queries",
        Topic::SlowQueries => "t_slow_queries",
        Topic::Samples => "t_samples",
        Topic::Digests => "t_digests",
        Topic::Windows => "t_windows",
        Topic::Inventory => "t_inventory",
        Topic::Actions => "t_actions",
        Topic::Alerts => "t_alerts",
        Topic::Routes => "t_routes",
        Topic::Dead => "t_dead",
    }
}

pub(super) fn open(path: &Path) -> Result<Opened, Error> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| Error::Unavailable(format!("cannot make the folder {}: {error}", folder.display())))?;
    }
    let lock = lock(path)?;
    refuse_foreign(path)?;
    let connection = connect(path)?;
    let explained = |error: rusqlite::Error| explain(path, &error);
    check(path, &connection)?;
    create(&connection).map_err(explained)?;
    let mut ends = Vec::new();
    let mut newest = Timestamp::ZERO;
    for topic in Topic::ALL {
        let (end, at) = end_of(&connection, topic).map_err(explained)?;
        ends.push((topic, end));
        newest = newest.max(at);
    }
    Ok(Opened { connection, lock, ends, newest, path: path.to_owned() })
}

/// A connection with the settings that every connection needs.
pub(super) fn connect(path: &Path) -> Result<Connection, Error> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?; // a checkpoint takes well under a second
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?; // acknowledged means on disk
        connection.pragma_update(None, "cache_size", -4_096)?; // 4 MiB: readers mostly use the tail in memory
        Ok(connection)
    };
    open().map_err(|error| explain(path, &error))
}

/// 1 s for the lock to be free: a process that was killed lets go when the kernel has taken it down.
const FREE_WITHIN: Duration = Duration::from_secs(1);
/// 20 ms between looks at it.
const FREE_LOOK: Duration = Duration::from_millis(20);

fn lock(path: &Path) -> Result<File, Error> {
    let name = path.with_extension("lock");
    let io =
        |error: std::io::Error| Error::Unavailable(format!("cannot use the lock file {}: {error}", name.display()));
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name).map_err(io)?;
    let until = Instant::now() + FREE_WITHIN;
    while rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() < until {
            std::thread::sleep(FREE_LOOK);
            continue;
        }
        let mut pid = String::new();
        let _ = file.read_to_string(&mut pid);
        let by = if pid.trim().is_empty() { String::new() } else { format!(" (pid {})", pid.trim()) };
        return Err(Error::OpenElsewhere { path: path.display().to_string(), by });
    }
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id())).map_err(io)?;
    Ok(file)
}

/// Refuses another program's database before anything is written to it: opening in WAL mode changes its header.
fn refuse_foreign(path: &Path) -> Result<(), Error> {
    let mut header = [0; HEADER_BYTES];
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    let long = file.metadata().is_ok_and(|meta| meta.len() > FIRST_PAGE_BYTES);
    // With a write-ahead log beside it the header may be older than what the log says: the check below reads both.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let logged = std::fs::metadata(log).is_ok_and(|meta| meta.len() > 0);
    let application = APPLICATION_ID.to_be_bytes();
    if long && !logged && file.read_exact(&mut header).is_ok() && header[68..72] != application[4..] {
        let problem = "it is no bus file: another program wrote it".to_owned();
        return Err(Error::Damaged { path: path.display().to_string(), problem });
    }
    Ok(())
}

fn check(path: &Path, connection: &Connection) -> Result<(), Error> {
    let damaged = |problem: String| Error::Damaged { path: path.display().to_string(), problem };
    let number = |name: &str| -> Result<i64, Error> {
        connection.pragma_query_value(None, name, |row| row.get(0)).map_err(|error| explain(path, &error))
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(|error| explain(path, &error))?;
    let (application, found) = (number("application_id")?, number("user_version")?);
    if tables == 0 && application == 0 {
        return Ok(()); // new
    }
    if application != APPLICATION_ID {
        return Err(damaged("it is a database of another program".to_owned()));
    }
    if found > FORMAT {
        return Err(Error::Newer { path: path.display().to_string(), found, known: FORMAT });
    }
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() <= CHECKED_BYTES_MAX) {
        let verdict: String = connection
            .pragma_query_value(None, "quick_check", |row| row.get(0))
            .map_err(|error| explain(path, &error))?;
        if verdict != "ok" {
            return Err(damaged(verdict));
        }
    }
    Ok(())
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS group_offsets(grp TEXT, topic TEXT, next INTEGER NOT NULL, PRIMARY KEY(grp, topic)) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS snapshots(processor TEXT, entity TEXT, next INTEGER NOT NULL, value BLOB NOT NULL,
             PRIMARY KEY(processor, entity)) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS ends(topic TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;",
    )?;
    for topic in Topic::ALL {
        let table = table(topic);
        connection.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS {table}(offset INTEGER PRIMARY KEY, key TEXT NOT NULL, appended INTEGER NOT NULL,
                 headers TEXT NOT NULL, value BLOB);"
        ))?;
        if topic.retention() == Retention::Compacted {
            connection.execute_batch(&format!("CREATE INDEX IF NOT EXISTS {table}_key ON {table}(key, offset);"))?;
        }
    }
    Ok(())
}

/// Where a topic ends, also when retention has removed its last records.
fn end_of(connection: &Connection, topic: Topic) -> rusqlite::Result<(u64, Timestamp)> {
    let (last, newest): (Option<i64>, Option<i64>) = connection
        .query_row(&format!("SELECT offset, appended FROM {} ORDER BY offset DESC LIMIT 1", table(topic)), [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok((None, None)),
            other => Err(other),
        })?;
    let kept: Option<i64> = connection
        .query_row("SELECT next FROM ends WHERE topic = ?1", [topic.name()], |row| row.get(0))
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(None),
            other => Err(other),
        })?;
    let end = last.map_or(0, |last| last + 1).max(kept.unwrap_or(0));
    Ok((end as u64, Timestamp(newest.unwrap_or(0))))
}

/// What a failure of SQLite means.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> Error {
    let damaged = || Error::Damaged { path: path.display().to_string(), problem: error.to_string() };
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => damaged(),
        Some(ErrorCode::DiskFull) => {
            Error::Unavailable(format!("no space left for {}: free some, nothing was written", path.display()))
        }
        _ => Error::Unavailable(format!("{}: {error}", path.display())),
    }
}
