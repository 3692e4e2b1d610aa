//! How a session's statements are to be read: the two modes of `sql_mode` that move the borders of literals, and the character set
//! of the client. Enters: what a server or a person says of them. Leaves: values that the scanner reads by. Servers have their
//! defaults in `Syntax::default()`. What is not known is never guessed from the statement.

mod changes;
mod charset;

use std::borrow::Cow;
use std::str::FromStr;

pub use changes::Change;
pub use charset::{CHARACTER_BYTES_MAX, Charset, UnknownCharset};

/// How the statements of a session are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Syntax {
    /// What quotes and backslashes mean.
    pub mode: SqlMode,
    /// What the bytes are: `character_set_client`.
    pub charset: Charset,
}

impl Syntax {
    /// The statement in UTF-8, which the scanner reads; the same bytes where they are that already.
    pub fn to_utf8<'a>(&self, sql: &'a [u8]) -> Cow<'a, [u8]> {
        self.charset.to_utf8(sql)
    }
}

/// The modes of `sql_mode` that decide where a literal begins and ends. All others leave a statement's digest as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct SqlMode {
    /// `ANSI_QUOTES`: `"name"` is a name, as in backticks, and no string.
    pub ansi_quotes: bool,
    /// `NO_BACKSLASH_ESCAPES`: a backslash in a string is a character like any other.
    pub no_backslash_escapes: bool,
}

/// A name that stands in double quotes, as it would stand in backticks, with them.
#[inline(never)]
pub(super) fn in_backticks(name: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(name.len() + 2);
    quoted.push(b'`');
    let mut rest = name.iter();
    while let Some(byte) = rest.next() {
        quoted.push(*byte);
        match byte {
            b'`' => quoted.push(b'`'),
            // A doubled one is one.
            b'"' => drop(rest.next()),
            _ => {}
        }
    }
    quoted.push(b'`');
    quoted
}

/// The bit of `ANSI_QUOTES` in a number of `sql_mode`.
const ANSI_QUOTES_BIT: u64 = 1 << 2;
/// The bit of `NO_BACKSLASH_ESCAPES` in a number of `sql_mode`.
const NO_BACKSLASH_ESCAPES_BIT: u64 = 1 << 20;

impl SqlMode {
    /// What a number of `sql_mode` means, as `SET sql_mode = 4` has it. MySQL and MariaDB agree on both bits.
    pub fn from_bits(bits: u64) -> SqlMode {
        SqlMode { ansi_quotes: bits & ANSI_QUOTES_BIT != 0, no_backslash_escapes: bits & NO_BACKSLASH_ESCAPES_BIT != 0 }
    }

    /// What the names in a server's `@@sql_mode` mean. Names that nobody knows are passed over: a server knows its own.
    pub fn of_server(modes: &str) -> SqlMode {
        modes.split(',').filter_map(of_name).fold(SqlMode::default(), SqlMode::or)
    }

    fn or(self, other: SqlMode) -> SqlMode {
        SqlMode {
            ansi_quotes: self.ansi_quotes || other.ansi_quotes,
            no_backslash_escapes: self.no_backslash_escapes || other.no_backslash_escapes,
        }
    }
}

/// A name that no server has as a mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no sql_mode is called `{0}`; those that matter to a digest are ANSI_QUOTES and NO_BACKSLASH_ESCAPES, and ANSI, which has the first"
)]
pub struct UnknownMode(String);

impl FromStr for SqlMode {
    type Err = UnknownMode;

    /// Reads a list as `@@sql_mode` has it; an empty one is no mode.
    fn from_str(modes: &str) -> Result<SqlMode, UnknownMode> {
        modes.split(',').filter(|name| !name.trim().is_empty()).try_fold(SqlMode::default(), |mode, name| {
            of_name(name).map(|more| mode.or(more)).ok_or_else(|| UnknownMode(name.trim().to_owned()))
        })
    }
}

/// What a mode's name means for literals; none for a name that is no mode.
fn of_name(name: &str) -> Option<SqlMode> {
    let name = name.trim().to_ascii_uppercase();
    let name = name.as_str();
    (QUOTING.contains(&name) || name == "NO_BACKSLASH_ESCAPES" || OTHERS.contains(&name))
        .then(|| SqlMode { ansi_quotes: QUOTING.contains(&name), no_backslash_escapes: name == "NO_BACKSLASH_ESCAPES" })
}

/// The mode itself, and the names that stand for several of which it is one.
const QUOTING: [&str; 7] = ["ANSI_QUOTES", "ANSI", "DB2", "MAXDB", "MSSQL", "ORACLE", "POSTGRESQL"];
/// All other modes of MySQL 5.7 to 9.7 and of MariaDB 10 and 11.
const OTHERS: [&str; 28] = [
    "ALLOW_INVALID_DATES",
    "EMPTY_STRING_IS_NULL",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "HIGH_NOT_PRECEDENCE",
    "IGNORE_BAD_TABLE_OPTIONS",
    "IGNORE_SPACE",
    "MYSQL323",
    "MYSQL40",
    "NO_AUTO_CREATE_USER",
    "NO_AUTO_VALUE_ON_ZERO",
    "NO_DIR_IN_CREATE",
    "NO_ENGINE_SUBSTITUTION",
    "NO_FIELD_OPTIONS",
    "NO_KEY_OPTIONS",
    "NO_TABLE_OPTIONS",
    "NO_UNSIGNED_SUBTRACTION",
    "NO_ZERO_DATE",
    "NO_ZERO_IN_DATE",
    "ONLY_FULL_GROUP_BY",
    "PAD_CHAR_TO_FULL_LENGTH",
    "PIPES_AS_CONCAT",
    "REAL_AS_FLOAT",
    "SIMULTANEOUS_ASSIGNMENT",
    "STRICT_ALL_TABLES",
    "STRICT_TRANS_TABLES",
    "TIME_ROUND_FRACTIONAL",
    "TIME_TRUNCATE_FRACTIONAL",
    "TRADITIONAL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_names_of_modes() {
        let check = |modes: &str, ansi_quotes, no_backslash_escapes| {
            assert_eq!(modes.parse(), Ok(SqlMode { ansi_quotes, no_backslash_escapes }), "{modes}");
        };
        check("", false, false);
        check("strict_trans_tables, no_backslash_escapes", false, true);
        check("REAL_AS_FLOAT,PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,ANSI", true, false);
        check("ORACLE", true, false);
        let error = "ANSI_QUOTE".parse::<SqlMode>().expect_err("no mode");
        assert!(error.to_string().contains("`ANSI_QUOTE`"), "{error}");
    }

    #[test]
    fn reads_what_servers_say() {
        assert!(SqlMode::of_server("FUTURE_MODE,ANSI_QUOTES").ansi_quotes);
        assert_eq!(SqlMode::from_bits(4), SqlMode { ansi_quotes: true, no_backslash_escapes: false });
        assert_eq!(SqlMode::from_bits(1_048_577), SqlMode { ansi_quotes: false, no_backslash_escapes: true });
    }
}
