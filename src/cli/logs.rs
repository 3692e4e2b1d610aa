//! Slow logs as commands read them: a file enters, unpacked; entries and what cannot be read leave. Who wrote a log is told by
//! its beginning, unless it was said.

use std::cell::Cell;
use std::io::{self, BufRead};

use clap::ValueEnum;
use millrace_collectors::slow_log::{Dialect, Entries, Found, SlowEntry, Style, Unreadable};
use millrace_schemas::digest::Syntax;

use super::output::complain;

/// 20 places of one file that cannot be read are named; more are counted.
const NAMED_MAX: u64 = 20;

/// Who wrote a log, as options name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Written {
    /// MySQL and Percona Server.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl From<Written> for Dialect {
    fn from(written: Written) -> Self {
        match written {
            Written::Mysql => Dialect::MySql,
            Written::Mariadb => Dialect::MariaDb,
        }
    }
}

/// What became of reading a log.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) dialect: Dialect,
    /// It has no byte.
    pub(super) empty: bool,
    /// Why it could not be read to its end.
    pub(super) outcome: io::Result<()>,
}

/// Reads a log to its end, or until `take` returns false.
pub(super) fn read(
    input: &mut dyn BufRead,
    dialect: Option<Dialect>,
    syntax: Syntax,
    take: &mut dyn FnMut(Found<'_>) -> bool,
) -> Log {
    let (start, written) = match beginning(input) {
        Ok(beginning) => beginning,
        Err(error) => return Log { dialect: dialect.unwrap_or(Dialect::MySql), empty: true, outcome: Err(error) },
    };
    let dialect = dialect.or(written).unwrap_or(Dialect::MySql);
    let go_on = Cell::new(true);
    let mut take = |found: Found<'_>| go_on.set(go_on.get() && take(found));
    let mut entries = Entries::new(Style { dialect, syntax }, 0);
    entries.take(&start, &mut take);
    let outcome = loop {
        let read = match input.fill_buf() {
            Ok(bytes) if !bytes.is_empty() && go_on.get() => {
                entries.take(bytes, &mut take);
                bytes.len()
            }
            Ok(_) => break Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => break Err(error),
        };
        input.consume(read);
    };
    entries.end(&mut take);
    Log { dialect, empty: start.is_empty(), outcome }
}

/// Reads until it is known who wrote the log, or its beginning does not tell.
pub(super) fn beginning(input: &mut dyn BufRead) -> io::Result<(Vec<u8>, Option<Dialect>)> {
    let mut start = Vec::new();
    loop {
        let bytes = input.fill_buf()?;
        let read = bytes.len();
        start.extend_from_slice(bytes);
        input.consume(read);
        let written = Dialect::of_log(&start);
        if written.is_some() || read == 0 || start.len() >= Dialect::START_BYTES {
            return Ok((start, written));
        }
    }
}

/// The parts of one file that cannot be read: the first are named, the others counted.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pub(super) parts: u64,
}

impl Unread {
    /// Names one on standard error, unless there were many.
    pub(super) fn tell(&mut self, file: &str, Unreadable { offset, bytes, reason }: &Unreadable) {
        self.parts += 1;
        if self.parts <= NAMED_MAX {
            complain(&format!("{file}: {bytes} bytes at offset {offset} cannot be read: {reason}"));
        }
    }

    /// Says how many were not named.
    pub(super) fn end(&self, file: &str) {
        if self.parts > NAMED_MAX {
            complain(&format!("{file}: {} more parts cannot be read", self.parts - NAMED_MAX));
        }
    }
}

/// What can be odd about an entry.
pub(super) const ODDITIES: [&str; 4] = ["truncated", "header_inside", "invalid_utf8", "admin_command"];

/// Which of them are.
pub(super) fn odd(entry: &SlowEntry, syntax: Syntax) -> [bool; ODDITIES.len()] {
    [
        entry.sql.len() as u64 != entry.sql_bytes,
        entry.header_inside,
        std::str::from_utf8(&syntax.to_utf8(&entry.sql)).is_err(),
        entry.admin_command.is_some(),
    ]
}

/// What is odd about an entry.
pub(super) fn oddities(entry: &SlowEntry, syntax: Syntax) -> impl Iterator<Item = &'static str> {
    ODDITIES.into_iter().zip(odd(entry, syntax)).filter_map(|(name, is)| is.then_some(name))
}
