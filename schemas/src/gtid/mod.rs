//! GTID sets as values: which transactions a server has received or executed, in either flavour.
//! In: the text that servers print. Out: canonical text, and the answers that failover rests on: is everything of this one in
//! that one, what is missing, what do both hold together. They live here and not beside the client, because the deciders
//! compare them and must not depend on one. Must never guess: a text that cannot be read whole is an error, and so is an
//! operation on two flavours.

pub mod intervals;
pub mod mariadb;
pub mod mysql;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::flavour::{Flavour, UnknownFlavour};

/// 1 MiB: a set of 25,000 sources or of 100,000 holes. Healthy servers print below 10 kB; a larger text would not fit the
/// records that carry it, so it is refused where it enters.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// 100,000 ranges: operations are linear in them, and this many take about a millisecond, so one broken server cannot hold a
/// decider up.
pub const RANGES_MAX: usize = 100_000;

/// An error message repeats at most this much of the text that it is about, so that a log line stays a line.
const QUOTED_CHARS_MAX: usize = 80;

/// Why a GTID set could not be read, or two could not be combined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GtidError {
    /// Some part of the text is malformed.
    #[error("`{part}` in a GTID set cannot be read: {expected}")]
    Malformed {
        /// The part, shortened.
        part: String,
        /// What would be right there.
        expected: &'static str,
    },
    /// The text is longer than [`TEXT_BYTES_MAX`].
    #[error("a GTID set of {bytes} bytes is refused, the limit is {max}; look for a server whose set is full of holes")]
    TooLong {
        /// The length of the text.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The text has more ranges than [`RANGES_MAX`].
    #[error(
        "a GTID set of {ranges} ranges is refused, the limit is {max}; look for a server whose set is full of holes"
    )]
    TooManyRanges {
        /// The number of ranges.
        ranges: usize,
        /// The limit.
        max: usize,
    },
    /// The two sets are of different flavours, which share no transactions and no order.
    #[error(
        "a GTID set of {left} cannot be combined with one of {right}; one of the two servers is in the wrong cluster"
    )]
    Flavours {
        /// The flavour of the set on the left.
        left: Flavour,
        /// The flavour of the set on the right.
        right: Flavour,
    },
    /// A self-describing text did not begin with a flavour.
    #[error("a GTID set without its flavour cannot be read; write `mysql:` or `mariadb:` before it")]
    NoFlavour(#[from] UnknownFlavour),
}

impl GtidError {
    fn bad(part: &str, expected: &'static str) -> Self {
        Self::Malformed { part: part.chars().take(QUOTED_CHARS_MAX).collect(), expected }
    }
}

/// A set of transactions. Written self-describingly (`mysql:3e11fa47-...:1-5`, `mariadb:0-1-105`) in JSON and by
/// [`GtidSet::tagged`]; `Display` is the bare canonical text that a server of that flavour understands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GtidSet {
    /// Transactions of MySQL servers, exact.
    MySql(mysql::Set),
    /// Sequence numbers of `MariaDB` servers by domain; [`mariadb`] says what that can and cannot tell.
    MariaDb(mariadb::Set),
}

impl GtidSet {
    /// The set without transactions.
    pub fn empty(flavour: Flavour) -> Self {
        match flavour {
            Flavour::MySql => Self::MySql(mysql::Set::default()),
            Flavour::MariaDb => Self::MariaDb(mariadb::Set::default()),
        }
    }

    /// Reads what a server of `flavour` prints, with any whitespace, letter case and order.
    pub fn parse(flavour: Flavour, text: &str) -> Result<Self, GtidError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(GtidError::TooLong { bytes: text.len(), max: TEXT_BYTES_MAX });
        }
        Ok(match flavour {
            Flavour::MySql => Self::MySql(mysql::Set::parse(text)?),
            Flavour::MariaDb => Self::MariaDb(mariadb::Set::parse(text)?),
        })
    }

    /// The canonical text with its flavour before it; `parse` of [`FromStr`] reads it back.
    pub fn tagged(&self) -> String {
        format!("{}:{self}", self.flavour())
    }

    /// The flavour whose transactions these are.
    pub fn flavour(&self) -> Flavour {
        match self {
            Self::MySql(_) => Flavour::MySql,
            Self::MariaDb(_) => Flavour::MariaDb,
        }
    }

    /// Whether the set holds no transaction.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::MySql(set) => set.is_empty(),
            Self::MariaDb(set) => set.is_empty(),
        }
    }

    /// How many transactions the set holds; for `MariaDB` how many sequence numbers it covers.
    pub fn count(&self) -> u64 {
        match self {
            Self::MySql(set) => set.count(),
            Self::MariaDb(set) => set.count(),
        }
    }

    /// Whether everything in this set is in `other`. For `MariaDB`, ask [`GtidSet::diverged_from`] too.
    pub fn is_subset(&self, other: &Self) -> Result<bool, GtidError> {
        match (self, other) {
            (Self::MySql(left), Self::MySql(right)) => Ok(left.is_subset(right)),
            (Self::MariaDb(left), Self::MariaDb(right)) => Ok(left.is_subset(right)),
            _ => Err(self.mixed(other)),
        }
    }

    /// What is in this set and not in `other`.
    pub fn subtract(&self, other: &Self) -> Result<Self, GtidError> {
        match (self, other) {
            (Self::MySql(left), Self::MySql(right)) => Ok(Self::MySql(left.subtract(right))),
            (Self::MariaDb(left), Self::MariaDb(right)) => Ok(Self::MariaDb(left.subtract(right))),
            _ => Err(self.mixed(other)),
        }
    }

    /// What is in either set.
    pub fn union(&self, other: &Self) -> Result<Self, GtidError> {
        match (self, other) {
            (Self::MySql(left), Self::MySql(right)) => Ok(Self::MySql(left.union(right))),
            (Self::MariaDb(left), Self::MariaDb(right)) => Ok(Self::MariaDb(left.union(right))),
            _ => Err(self.mixed(other)),
        }
    }

    /// The transactions that the first server has and the second does not, given what each has *executed*: `gtid_executed` of
    /// MySQL, `gtid_binlog_state` of `MariaDB`. Unlike [`GtidSet::subtract`] it sees through equal sequence numbers.
    pub fn extra_to(&self, other: &Self) -> Result<Self, GtidError> {
        match (self, other) {
            (Self::MySql(left), Self::MySql(right)) => Ok(Self::MySql(left.subtract(right))),
            (Self::MariaDb(left), Self::MariaDb(right)) => {
                Ok(Self::MariaDb(left.unknown_to(right).union(&left.subtract(right))))
            }
            _ => Err(self.mixed(other)),
        }
    }

    /// Whether the two sets alone prove that their servers filled the same place with different transactions. Only positions
    /// of `MariaDB` can: in MySQL every server numbers its own. `false` is no proof of the contrary.
    pub fn diverged_from(&self, other: &Self) -> Result<bool, GtidError> {
        match (self, other) {
            (Self::MySql(_), Self::MySql(_)) => Ok(false),
            (Self::MariaDb(left), Self::MariaDb(right)) => Ok(!left.conflicts(right).is_empty()),
            _ => Err(self.mixed(other)),
        }
    }

    /// The text to put into a statement that waits for this set or starts replication from it. `None` for a `MariaDB` set that
    /// is no position: the difference of two positions cannot be waited for.
    pub fn position(&self) -> Option<String> {
        match self {
            Self::MySql(set) => Some(set.to_string()),
            Self::MariaDb(set) => set.position(),
        }
    }

    fn mixed(&self, other: &Self) -> GtidError {
        GtidError::Flavours { left: self.flavour(), right: other.flavour() }
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql(set) => set.fmt(f),
            Self::MariaDb(set) => set.fmt(f),
        }
    }
}

impl FromStr for GtidSet {
    type Err = GtidError;

    /// Reads the self-describing form of [`GtidSet::tagged`].
    fn from_str(text: &str) -> Result<Self, GtidError> {
        let (flavour, rest) = text.split_once(':').unwrap_or((text, ""));
        let flavour = flavour.chars().take(QUOTED_CHARS_MAX).collect::<String>().parse()?;
        Self::parse(flavour, rest)
    }
}

impl Serialize for GtidSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.tagged())
    }
}

impl<'de> Deserialize<'de> for GtidSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for GtidSet {
    fn schema_name() -> Cow<'static, str> {
        "GtidSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A GTID set with its flavour before it: `mysql:UUID[:TAG]:1-5,...` or `mariadb:DOMAIN-SERVER-SEQ,...`.",
            "pattern": "^(mysql|mariadb):",
            "maxLength": TEXT_BYTES_MAX + "mariadb:".len(),
        })
    }
}

#[cfg(test)]
mod tests;
