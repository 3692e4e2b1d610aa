//! Commands of the protocol: the first bytes of a client's packet enter; what is asked and how it will be answered leaves.
//! Also says whether bytes from the middle of a connection can be a request, for picking a connection up. It must never read
//! beyond the bytes that were kept.

use std::sync::Arc;

use millrace_schemas::digest::{Change, DigestId, Kind, SqlMode, first_word};

use super::ended::Flags;
use super::values::Value;

/// Commands by their number in the protocol.
pub(super) mod code {
    pub(in super::super) const QUIT: u8 = 0x01;
    pub(in super::super) const INIT_DB: u8 = 0x02;
    pub(in super::super) const QUERY: u8 = 0x03;
    pub(in super::super) const FIELD_LIST: u8 = 0x04;
    pub(in super::super) const PROCESS_INFO: u8 = 0x0a;
    pub(in super::super) const CHANGE_USER: u8 = 0x11;
    pub(in super::super) const BINLOG_DUMP: u8 = 0x12;
    pub(in super::super) const STMT_PREPARE: u8 = 0x16;
    pub(in super::super) const STMT_EXECUTE: u8 = 0x17;
    pub(in super::super) const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub(in super::super) const STMT_CLOSE: u8 = 0x19;
    pub(in super::super) const STMT_FETCH: u8 = 0x1c;
    pub(in super::super) const BINLOG_DUMP_GTID: u8 = 0x1e;
    pub(in super::super) const STMT_RESET: u8 = 0x1a;
    pub(in super::super) const RESET_CONNECTION: u8 = 0x1f;
    pub(in super::super) const CLONE: u8 = 0x20;
    /// MariaDB's execution of a statement with many rows of values.
    pub(in super::super) const STMT_BULK_EXECUTE: u8 = 0xfa;
}

/// Most bytes of a statement that are kept for its digest. 256 KiB: longer ones are long because of their values, and the
/// digest of such a prefix is that of the whole.
const TEXT_KEPT: usize = 256 << 10;
/// Bytes kept of an execution: 64 KiB, values of a thousand parameters.
const VALUES_KEPT: usize = 64 << 10;
/// Bytes kept of other commands: names of users and schemas, and plugin data between them.
const OTHER_KEPT: usize = 1024;

/// How many bytes of a client's payload are wanted, by its first byte.
pub(super) fn kept(tag: u8) -> usize {
    match tag {
        code::QUERY | code::STMT_PREPARE => TEXT_KEPT,
        code::STMT_EXECUTE | code::STMT_BULK_EXECUTE => VALUES_KEPT,
        _ => OTHER_KEPT,
    }
}

/// Names in the protocol, by the command's number.
const NAMES: [&str; 33] = [
    "sleep",
    "quit",
    "init_db",
    "query",
    "field_list",
    "create_db",
    "drop_db",
    "refresh",
    "shutdown",
    "statistics",
    "process_info",
    "connect",
    "process_kill",
    "debug",
    "ping",
    "time",
    "delayed_insert",
    "change_user",
    "binlog_dump",
    "table_dump",
    "connect_out",
    "register_slave",
    "stmt_prepare",
    "stmt_execute",
    "stmt_send_long_data",
    "stmt_close",
    "stmt_reset",
    "set_option",
    "stmt_fetch",
    "daemon",
    "binlog_dump_gtid",
    "reset_connection",
    "clone",
];

/// The name of a command in the protocol, in lower case and without `COM_`.
pub(super) fn protocol_name(command: u8) -> &'static str {
    match command {
        code::STMT_BULK_EXECUTE => "stmt_bulk_execute",
        _ => NAMES.get(usize::from(command)).copied().unwrap_or("unknown"),
    }
}

/// How a command is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Not at all.
    None,
    /// By one packet.
    One,
    /// By OK, an error, a result set, or a request for a file.
    Result,
    /// By a result of one statement, however many result sets it has.
    Execution,
    /// By rows without columns before them.
    Rows,
    /// By columns without rows behind them.
    Columns,
    /// By the number of a statement, its parameters and columns.
    Prepared,
    /// By an exchange that ends with OK or an error.
    Login,
    /// By an endless stream.
    Stream,
    /// In a way that is not understood.
    Unknown,
}

/// How the server answers a command.
pub(super) fn answer(command: u8) -> Answer {
    match command {
        code::QUIT | code::STMT_CLOSE | code::STMT_SEND_LONG_DATA => Answer::None,
        code::QUERY | code::PROCESS_INFO => Answer::Result,
        code::STMT_EXECUTE | code::STMT_BULK_EXECUTE => Answer::Execution,
        code::STMT_FETCH => Answer::Rows,
        code::FIELD_LIST => Answer::Columns,
        code::STMT_PREPARE => Answer::Prepared,
        code::CHANGE_USER => Answer::Login,
        code::BINLOG_DUMP | code::BINLOG_DUMP_GTID | code::CLONE => Answer::Stream,
        // Init DB, Create DB, Drop DB, Refresh, Shutdown, Statistics, Kill, Debug, Ping, Register Replica, Reset stmt, Set
        // option, Reset Connection.
        0x02 | 0x05..=0x09 | 0x0c..=0x0e | 0x15 | 0x1a | 0x1b | 0x1f => Answer::One,
        _ => Answer::Unknown,
    }
}

/// One statement of a request.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) digest: DigestId,
    /// What it does, where that is known.
    pub(super) kind: Option<Kind>,
    /// Its text, where somebody wants to see it.
    pub(super) text: Option<Arc<[u8]>>,
    /// The text is only the beginning of it.
    pub(super) truncated: bool,
    /// Its values, where somebody wants to see them and they can be read.
    pub(super) values: Option<Arc<[Value]>>,
    /// A call, which is answered by any number of result sets and then an OK.
    pub(super) call: bool,
    /// How statements are to be read if this one succeeds: a `SET`.
    pub(super) change: Option<Change>,
    /// The default schema if this statement succeeds.
    pub(super) schema: Option<u32>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: u8,
    pub(super) answer: Answer,
    pub(super) part: Part,
    /// The number of the current statement among those of this request.
    pub(super) statement: u32,
    /// The statements behind the current one, last first.
    pub(super) later: Vec<Part>,
    /// More than one statement came in this request.
    pub(super) multiple: bool,
    /// When its last packet was captured, or, behind the first statement, when the answer before ended.
    pub(super) start_us: i64,
    pub(super) first_us: Option<i64>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) rows: u64,
    pub(super) flags: Flags,
    /// The sequence number that the answer must begin with.
    pub(super) answer_number: u8,
    /// The user if a change of user succeeds.
    pub(super) user: Option<u32>,
    /// The number of the collation that a change of user names.
    pub(super) collation: Option<u8>,
}

impl Part {
    /// A statement whose text is not at hand, or that is none.
    pub(super) fn without_text(digest: DigestId) -> Self {
        Part { digest, kind: None, text: None, truncated: false, values: None, call: false, schema: None, change: None }
    }

    /// A statement; `name` gives the number of a schema's name.
    pub(super) fn of(
        (digest, kind): (DigestId, Option<Kind>),
        text: &[u8],
        mode: SqlMode,
        name: impl FnOnce(&str) -> u32,
    ) -> Self {
        let first = first_word(text);
        let is = |word: &[u8]| first.eq_ignore_ascii_case(word);
        let schema = if is(b"use") { used_schema(text) } else { None };
        Part {
            digest,
            kind,
            text: None,
            truncated: false,
            values: None,
            call: is(b"call"),
            schema: schema.map(|schema| name(&schema)),
            change: if is(b"set") { Change::of(text, mode) } else { None },
        }
    }
}

/// Whether bytes can be the start of a request: a header with number 0 and a known command whose length fits.
pub(super) fn plausible(data: &[u8]) -> bool {
    let [a, b, c, 0, command, rest @ ..] = data else { return false };
    let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
    if length == 0 || answer(*command) == Answer::Unknown {
        return false;
    }
    let body = length - 1;
    match *command {
        code::QUERY | code::STMT_PREPARE => {
            // Attributes, or text without control bytes other than blanks.
            let text = rest.strip_prefix(&[0, 1]).unwrap_or(rest);
            body > 0 && text.iter().take(16.min(body)).all(|b| *b >= b' ' || b.is_ascii_whitespace())
        }
        code::STMT_EXECUTE => body >= 9,
        code::STMT_BULK_EXECUTE | code::STMT_SEND_LONG_DATA => body >= 6,
        code::STMT_FETCH => body == 8 && rest.len() == 8,
        code::STMT_CLOSE | code::STMT_RESET => body == 4,
        code::INIT_DB | code::CHANGE_USER | code::FIELD_LIST => body > 0 && body < OTHER_KEPT,
        0x15 | code::BINLOG_DUMP | code::BINLOG_DUMP_GTID => body >= 10,
        _ => body <= 8,
    }
}

/// The schema that a statement names whose first word is `USE`.
fn used_schema(text: &[u8]) -> Option<String> {
    let at = text.windows(3).position(|word| word.eq_ignore_ascii_case(b"use"))?;
    let name = text[at + 3..].trim_ascii();
    let name = name.strip_suffix(b";").unwrap_or(name).trim_ascii();
    let name = String::from_utf8_lossy(name);
    let quoted = |quote: char| {
        let inner = name.strip_prefix(quote).and_then(|name| name.strip_suffix(quote))?;
        Some(inner.replace(&String::from_iter([quote, quote]), &String::from(quote)))
    };
    Some(quoted('`').or_else(|| quoted('"')).unwrap_or_else(|| name.clone().into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_requests_from_other_bytes() {
        let check = |data: &[u8], expected| assert_eq!(plausible(data), expected, "{data:?}");
        check(b"\x09\0\0\0\x03select 1", true);
        check(b"\x0b\0\0\0\x03\x00\x01select 1", true);
        check(b"\x01\0\0\0\x0e", true);
        check(b"\x01\0\0\x01\x0e", false);
        check(b"\x05\0\0\0\x03\xff\x01\x02", false);
        check(b"GET / HTTP/1.1", false);
        check(b"\x01\0", false);
    }

    #[test]
    fn reads_the_schema_of_use() {
        assert_eq!(used_schema(b"/* x */ use `a``b` ;").as_deref(), Some("a`b"));
        assert_eq!(used_schema(b"USE shop").as_deref(), Some("shop"));
        assert_eq!(used_schema(br#"use "a`b""#).as_deref(), Some("a`b"));
    }

    #[test]
    fn names_commands() {
        check_name(0x16, "stmt_prepare");
        check_name(code::STMT_SEND_LONG_DATA, "stmt_send_long_data");
        check_name(code::STMT_CLOSE, "stmt_close");
        check_name(code::STMT_FETCH, "stmt_fetch");
        check_name(code::RESET_CONNECTION, "reset_connection");
        check_name(code::STMT_BULK_EXECUTE, "stmt_bulk_execute");
        check_name(0x77, "unknown");
    }

    fn check_name(command: u8, name: &str) {
        assert_eq!(protocol_name(command), name);
    }
}
