//! How the families and versions of servers differ: the one place that knows. In: what `SELECT VERSION()` says. Out: the text of
//! statements and the names of variables, as pure functions, so that every dialect is tested without its server.
//! Nothing else in the project compares versions or writes `SLAVE` or `REPLICA` into a statement.

pub(crate) mod names;
mod statements;

use std::fmt;

use millrace_schemas::flavour::Flavour;

use crate::connect::Session;
use crate::error::Error;

pub use names::SemiSyncNames;
pub use statements::{SEMI_SYNC_TIMEOUT_MAX_MS, Source, Unspeakable};

/// A server's version: three numbers, compared in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The major version, `8` in 8.0.36.
    pub major: u32,
    /// The minor version, `0` in 8.0.36.
    pub minor: u32,
    /// The patch level, `36` in 8.0.36.
    pub patch: u32,
}

impl Version {
    /// The version from its three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads the numbers at the start of a version text such as `10.11.19-MariaDB-0+deb12u1-log`.
    fn parse(text: &str) -> Option<Self> {
        // Replication-compatible builds of MariaDB put 5.5.5- before their version in the handshake.
        let text = text.strip_prefix("5.5.5-").unwrap_or(text);
        let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let (major, minor) = (parts.next()??, parts.next()??);
        Some(Self { major, minor, patch: parts.next().flatten().unwrap_or(0) })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What a server speaks. Its methods are the texts and names that this dialect has for what Millrace wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// The family.
    pub flavour: Flavour,
    /// The version within the family.
    pub version: Version,
}

impl Dialect {
    /// The dialect of a server that answers `version` and `comment` to [`DETECT`]. `None` if the version cannot be read.
    pub fn of(version: &str, comment: &str) -> Option<Self> {
        let names = |text: &str| text.to_ascii_lowercase().contains("mariadb");
        let flavour = if names(version) || names(comment) { Flavour::MariaDb } else { Flavour::MySql };
        Some(Self { flavour, version: Version::parse(version)? })
    }

    /// Asks a server what it speaks.
    pub async fn detect(session: &mut Session) -> Result<Self, Error> {
        let row = session.first(DETECT).await?;
        let version = row.as_ref().and_then(|row| row.nth(0)).unwrap_or_default();
        let comment = row.and_then(|row| row.nth(1)).unwrap_or_default();
        Self::of(&version, &comment)
            .ok_or_else(|| session.unreadable(DETECT, format_args!("`{version}` is no version of a server")))
    }

    fn is_mysql(self) -> bool {
        self.flavour == Flavour::MySql
    }

    /// Whether this is MySQL from `major.minor.patch` on.
    fn mysql_from(self, major: u32, minor: u32, patch: u32) -> bool {
        self.is_mysql() && self.version >= Version::new(major, minor, patch)
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.flavour, self.version)
    }
}

/// The statement whose answer tells flavour and version. Every server knows it.
pub const DETECT: &str = "SELECT VERSION(), @@version_comment";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavour_and_version_come_from_what_the_server_says() {
        let check = |version: &str, comment: &str, expected: &str| {
            let read = Dialect::of(version, comment).map(|dialect| dialect.to_string());
            assert_eq!(read.as_deref().unwrap_or("none"), expected, "{version}");
        };
        check("9.7.4-2", "(Debian)", "mysql 9.7.4");
        check("8.0.36-28.1", "Percona Server (GPL), Release 28", "mysql 8.0.36");
        check("5.7.44-log", "MySQL Community Server (GPL)", "mysql 5.7.44");
        check("10.11.19-MariaDB-0+deb12u1-log", "Debian 12", "mariadb 10.11.19");
        check("5.5.5-10.6.1-MariaDB", "", "mariadb 10.6.1");
        check("11.4.2", "mariadb.org binary distribution", "mariadb 11.4.2");
        check("8.4", "", "mysql 8.4.0");
        check("", "", "none");
        check("eight", "", "none");
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(Version::new(8, 0, 9) < Version::new(8, 0, 22));
        assert!(Version::new(9, 7, 0) > Version::new(8, 4, 99));
    }
}
