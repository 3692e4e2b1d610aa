//! What decoding tells of each command as it ends, besides the sums of the table: for who looks at commands one by one. Texts and
//! values are as the client sent them; who shows them masks them.

use std::net::SocketAddr;
use std::sync::Arc;

use millrace_schemas::digest::{DigestId, SqlMode};

pub use super::values::Value;

/// One command that ended, one statement of a request with several, or one turn of an encrypted session.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// When the last packet of the request was captured, in microseconds since 1970-01-01 UTC; of a later statement of a request when
    /// the answer before it ended.
    pub ts_us: i64,
    /// The client's end of the connection.
    pub client: SocketAddr,
    /// The server's end.
    pub server: SocketAddr,
    /// The number of the connection among those of this capture, from 1.
    pub connection: u64,
    /// The connection's id in the server; none when its greeting was not seen.
    pub thread: Option<u32>,
    /// The account's name; none when it is not known.
    pub user: Option<Arc<str>>,
    /// The default schema; none when there is none, or it is not known.
    pub schema: Option<Arc<str>>,
    /// The command's name in the protocol, in lower case without `COM_`; none for a turn of an encrypted session.
    pub command: Option<&'static str>,
    /// The number of the statement in its request, from 0.
    pub statement: u32,
    /// The text, as UTF-8 where the client's character set is known; none where there is none, or it was not captured.
    pub sql: Option<Arc<[u8]>>,
    /// How the text is to be read.
    pub mode: SqlMode,
    /// The values of an execution; none where there are none, or they cannot be read.
    pub values: Option<Arc<[Value]>>,
    /// The class of the statement; none where the text is not known, or there is none.
    pub digest: Option<DigestId>,
    /// Microseconds from the last packet of the request to the first of the answer, and to the last; none when no answer was seen.
    pub rt_us: Option<(u64, u64)>,
    /// Rows in the answer.
    pub rows: u64,
    /// Rows that were changed, as the server says.
    pub affected: u64,
    /// Warnings, as the server says; none where it does not.
    pub warnings: Option<u16>,
    /// The error that it ended with.
    pub error: Option<ServerError>,
    /// Bytes of the request's packets with their headers, before compression.
    pub request_bytes: u64,
    /// Bytes of the answer's packets with their headers, before compression.
    pub response_bytes: u64,
    /// What else is to be known.
    pub flags: Flags,
    /// The GTIDs that the server said were committed.
    pub gtid: Option<String>,
    /// It stands for so many: one of so many connections is followed.
    pub sample_factor: u32,
}

/// How long a command, a statement of several, or a turn of an encrypted session took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    /// When the last packet of the request was captured, in microseconds since 1970-01-01 UTC.
    pub ts_us: i64,
    /// Microseconds from there to the first packet of the answer, and to the last.
    pub rt_us: (u64, u64),
    /// It is a turn of an encrypted session.
    pub encrypted: bool,
    /// It stands for so many: one of so many connections is followed.
    pub sample_factor: u32,
}

/// What is told of commands one by one, besides the sums.
#[derive(Debug, Default)]
pub(super) enum Shown {
    /// Nothing.
    #[default]
    Nothing,
    /// How long those took that were answered.
    Times(Vec<Timed>),
    /// All that is known of each.
    Commands(Vec<Ended>),
}

impl Shown {
    /// Texts and values are wanted.
    pub(super) fn has_texts(&self) -> bool {
        matches!(self, Shown::Commands(_))
    }

    /// How many commands wait to be taken.
    pub(super) fn waiting(&self) -> usize {
        match self {
            Shown::Nothing => 0,
            Shown::Times(times) => times.len(),
            Shown::Commands(ended) => ended.len(),
        }
    }
}

/// An error of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerError {
    /// Its number.
    pub code: u16,
    /// Its SQL state; none before authentication.
    pub sqlstate: Option<[u8; 5]>,
}

/// What else is to be known of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u16);

impl Flags {
    /// The text is only the beginning of the statement.
    pub const TRUNCATED: Flags = Flags(1);
    /// The connection had begun before it was seen.
    pub const MIDSTREAM: Flags = Flags(1 << 1);
    /// The connection is compressed.
    pub const COMPRESSED: Flags = Flags(1 << 2);
    /// The connection is encrypted: a burst of the client and the server's answer, whatever they hold.
    pub const ENCRYPTED: Flags = Flags(1 << 3);
    /// Bytes of the request or of its answer were not captured.
    pub const LOST: Flags = Flags(1 << 4);
    /// No answer was seen, though the command has one.
    pub const UNANSWERED: Flags = Flags(1 << 5);
    /// The client sent a file.
    pub const LOCAL_INFILE: Flags = Flags(1 << 6);
    /// The server keeps the result for the client to fetch.
    pub const CURSOR: Flags = Flags(1 << 7);
    /// The answer is an endless stream.
    pub const STREAM: Flags = Flags(1 << 8);

    const NAMES: [&'static str; 9] =
        ["truncated", "midstream", "compressed", "encrypted", "lost", "unanswered", "local_infile", "cursor", "stream"];

    /// Adds these.
    pub fn add(&mut self, more: Flags) {
        self.0 |= more.0;
    }

    /// Adds these if so.
    #[must_use]
    pub fn with(self, more: Flags, so: bool) -> Flags {
        if so { Flags(self.0 | more.0) } else { self }
    }

    /// Whether all of these are there.
    pub fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..).zip(Flags::NAMES).filter(move |(bit, _)| self.0 >> bit & 1 != 0).map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_names() {
        let flags = Flags::default().with(Flags::LOST, true).with(Flags::STREAM, true).with(Flags::CURSOR, false);
        assert_eq!(flags.names().collect::<Vec<_>>(), ["lost", "stream"]);
        assert!(flags.has(Flags::LOST) && !flags.has(Flags::CURSOR));
        assert_eq!(Flags::NAMES[8], "stream");
    }
}
