//! Slow logs: the bytes of a log file enter, as the server writes them; one typed entry per slow statement leaves, in both
//! dialects. `follow` keeps the place across rotation and truncation (`rotation` finds the file
//! that it is in), `entries` finds where entries begin and end, `mysql` and `mariadb` read their headers; `table` reads the log
//! where it is a table, and `rows` adds entries up. Any client can write text that looks like a header into the log, so a header inside an open
//! literal is none. It must never stop at what it cannot read: that is counted, with its place and the reason.

mod entries;
mod fields;
mod follow;
mod mariadb;
mod mysql;
mod rotation;
mod rows;
mod table;
mod text;

use millrace_schemas::digest::Syntax;
use millrace_schemas::time::Timestamp;

pub use entries::Entries;
pub use fields::Marks;
pub use follow::{FollowError, Follower, Polled, Start};
pub use rotation::Position;
pub use rows::{Rows, factor};
pub use table::{Looked, TableFollower, TablePosition};

/// Which server writes the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// By whom.
    pub dialect: Dialect,
    /// How the statements of its sessions are to be read. The log does not say it, and all are taken to be alike.
    pub syntax: Syntax,
}

impl From<Dialect> for Style {
    fn from(dialect: Dialect) -> Self {
        Style { dialect, syntax: Syntax::default() }
    }
}

impl Dialect {
    /// 64 KiB: a log that begins in the middle of a statement says by then who wrote it.
    pub const START_BYTES: usize = 64 << 10;

    /// The dialect of a log, from the whole lines of its first bytes: servers write their version there. None when they say
    /// nothing.
    pub fn of_log(start: &[u8]) -> Option<Dialect> {
        let start = &start[..start.len().min(Dialect::START_BYTES)];
        let whole = start.iter().rposition(|byte| *byte == b'\n')?;
        let text = String::from_utf8_lossy(&start[..whole]);
        if text.contains("MariaDB") {
            return Some(Dialect::MariaDb);
        }
        let time = text.lines().find_map(|line| line.strip_prefix("# Time: "));
        let iso = time.map(|time| time.contains('T'));
        match iso {
            Some(true) => Some(Dialect::MySql),
            Some(false) => Some(Dialect::MariaDb),
            None if text.contains("Thread_id:") && text.contains("Schema:") => Some(Dialect::MariaDb),
            None if text.contains(", Version: ") => Some(Dialect::MySql),
            None => None,
        }
    }
}

/// One slow statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SlowEntry {
    /// When it ended, by the server's clock. MariaDB writes whole seconds, to which the query time is added.
    pub ts: Timestamp,
    /// The account's user name.
    pub user: String,
    /// The client's host name; empty when the server does not resolve names.
    pub host: String,
    /// The client's address; empty for local sockets.
    pub ip: String,
    /// The connection's number in the server.
    pub thread: Option<u64>,
    /// The default schema; empty when none was named since the log was opened.
    pub schema: String,
    /// How long it took.
    pub query_time_us: u64,
    /// How long it waited for locks.
    pub lock_time_us: u64,
    /// Rows sent.
    pub rows_sent: u64,
    /// Rows examined.
    pub rows_examined: u64,
    /// Rows changed, where the server says so.
    pub rows_affected: Option<u64>,
    /// Bytes sent, where the server says so.
    pub bytes_sent: Option<u64>,
    /// The error that it ended with, where the server says so; 0 is success.
    pub error: Option<u32>,
    /// Everything else that the header says, in its order; nothing where it was not asked for.
    pub attributes: Attributes,
    /// How it was carried out.
    pub marks: Marks,
    /// It stands for so many, because the others were left out when the log was written; 0 where the log does not say.
    pub sampled: u64,
    /// The schema was named last before the place where reading began.
    pub schema_before: bool,
    /// The command, when it is no statement: `Quit`, `Ping`.
    pub admin_command: Option<String>,
    /// The statement as it was sent, without the semicolon that the server adds; its beginning when it is long.
    pub sql: Vec<u8>,
    /// The length of the whole statement.
    pub sql_bytes: u64,
    /// Lines inside the statement look like the header of an entry: a client may have sent them to forge one.
    pub header_inside: bool,
    /// How many of the statement's bytes are surely its own.
    sure: usize,
    /// Bytes of the request, its head of five included; 0 where the server does not say.
    bytes_received: u64,
    /// Where in the file the entry begins.
    pub offset: u64,
}

impl SlowEntry {
    /// What is surely of this statement: all of it, or what stands before a line that looks like the header of an entry. Such a
    /// line is either text that a client wrote into a literal, or the literal was never closed and the next entry's first quote
    /// closed it: then what that one has in quotes would count as names. MySQL's count of received bytes tells which.
    pub fn sure_sql(&self) -> &[u8] {
        &self.sql[..self.sure.min(self.sql.len())]
    }

    /// Another entry begins in the same place: its account is not told yet, and is most likely the same.
    fn begin(&mut self, offset: u64) {
        let SlowEntry { user, host, ip, mut schema, mut attributes, mut sql, .. } = std::mem::take(self);
        schema.clear();
        attributes.clear();
        sql.clear();
        *self = SlowEntry { user, host, ip, schema, attributes, sql, offset, ..SlowEntry::default() };
    }
}

/// Names and values of a header, in its order. They are told apart when they are asked for, since few are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// The lines that they stand in.
    lines: String,
}

impl Attributes {
    /// Adds those of a line.
    fn push_line(&mut self, line: &str) {
        self.lines.push_str(line);
        self.lines.push('\n');
    }

    fn clear(&mut self) {
        self.lines.clear();
    }

    /// All names with their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.lines().flat_map(|line| {
            let plan = line.strip_prefix("explain: ");
            let of_line = plan.is_none().then(|| fields::pairs(line)).into_iter().flatten();
            plan.map(|plan| ("explain", plan)).into_iter().chain(of_line.filter(|(name, _)| !fields::has_place(name)))
        })
    }
}

/// A part of the log that is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Why it cannot be read.
    pub reason: &'static str,
}

/// What is found in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// A statement; its place in memory is that of the next.
    Entry(&'a SlowEntry),
    /// Something else.
    Unreadable(Unreadable),
}
